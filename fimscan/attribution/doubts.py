"""Explain which other processes may have had a file open for writing, so that no single writer is proven. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fimscan.model import Actor, Doubt, Unseen

_UNINSPECTED = "Only root can inspect all processes: one that was not inspected may have had the file open for writing."
_WITHOUT_PROCESS = {
    Unseen.NO_PROCESS: (
        "When the old content was read, the kernel counted a writer of the file that no process showed: the open file "
        "may have been in an io_uring, in a socket or in the kernel itself (a loop device)."
    ),
    Unseen.NOT_ALONE: (
        "When the old content was read, the file was open for writing. Other users may write to it, and the kernel "
        "does not say how many processes had it open."
    ),
}
_CLAUSES = {
    Unseen.REFUSED: "could not be inspected",
    Unseen.ENDED: "ended before it could be inspected, and so did its child processes",
    Unseen.TOO_MANY: "has more open files or mappings than could be inspected",
    Unseen.IN_FLIGHT: "had file descriptors in flight in a socket",
    Unseen.BUFFERS: "had an io_uring, whose buffers may be a mapping of the file",
    Unseen.HIDDEN_RING: "may have an io_uring that does not show, whose buffers are memory of the file",
    Unseen.SERVES: "had a FUSE file system, and a read from it may have written to mapped memory of the file later",
    Unseen.NAME: "may keep a removed name of the file, through which it can be opened without an audit record",
    Unseen.RING: "had unknown files registered with an io_uring",
}
_NAMED = 3


def why_not_alone(doubts: Sequence[Doubt], *, complete: bool) -> tuple[str, ...]:
    """Return sentences about other processes that may have had the file open when its old content was read.

    Usually there are none. ``complete`` says that every process was inspected (:attr:`Holders.complete`).
    """
    notes = () if complete else (_UNINSPECTED,)
    if not doubts:
        return notes
    for why, note in _WITHOUT_PROCESS.items():
        if any(doubt.why is why for doubt in doubts):
            return (*notes, note)
    named = [f"{_process(doubt)} {_CLAUSES[doubt.why]}" for doubt in doubts]
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    may = "When the old content was read, another process may have had the file open for writing:"
    return (*notes, f"{may} {'; '.join(named[:_NAMED])}{more}.")


def _process(doubt: Doubt) -> str:
    actor = doubt.actor
    return "a process" if actor is None else f"{_program(actor)} (pid {actor.pid}{_user(actor)})"


def _program(actor: Actor) -> str:
    name = actor.exe or actor.comm
    # Its user chooses the bytes of a program's name: they are never shown unescaped.
    return "a process" if name is None else ascii(name.decode("utf-8", "surrogateescape"))[1:-1]


def _user(actor: Actor) -> str:
    if actor.user is not None:
        return f", user {actor.user}"
    return "" if actor.uid is None else f", uid {actor.uid}"
