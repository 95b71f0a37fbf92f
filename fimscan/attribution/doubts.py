"""Who may have had a file open for writing without showing it: why nobody is proven to be its only writer. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fimscan.model import Actor, Doubt, Unseen

_UNEXAMINED = "Not every process could be asked whether it held the file open (only root may): one of them may have."
_WITHOUT_PROCESS = {
    Unseen.NO_PROCESS: (
        "When the old content was read, the kernel counted somebody who had the file open for writing, and no process "
        "showed that it had: it may have been kept in an io_uring, in a socket or by the kernel itself (a loop device)."
    ),
    Unseen.NOT_ALONE: (
        "When the old content was read, the file was open for writing, other users may write to it, too, and the "
        "kernel does not say how many had it open."
    ),
}
_CLAUSES = {
    Unseen.REFUSED: "does not let itself be examined",
    Unseen.ENDED: "ended before it could be examined, as did those that it started",
    Unseen.TOO_MANY: "has more open files or mappings than could be looked at",
    Unseen.IN_FLIGHT: "had descriptors in flight in a socket",
    Unseen.BUFFERS: "had an io_uring, whose buffers may be memory of the file",
    Unseen.NAME: "may keep a removed name of the file, by which it is opened without a record",
    Unseen.RING: "had files registered with an io_uring, and which ones is not known",
}
_NAMED = 3


def why_not_alone(doubts: Sequence[Doubt], *, complete: bool) -> tuple[str, ...]:
    """Sentences about everybody else who may have had the file open when its old content was read; usually none.

    ``complete``: every process was examined, as far as this is known by itself (:attr:`Holders.complete`).
    """
    notes = () if complete else (_UNEXAMINED,)
    if not doubts:
        return notes
    for why, note in _WITHOUT_PROCESS.items():
        if any(doubt.why is why for doubt in doubts):
            return (*notes, note)
    named = [f"{_process(doubt)} {_CLAUSES[doubt.why]}" for doubt in doubts]
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    may = "When the old content was read, somebody else may have had the file open for writing:"
    return (*notes, f"{may} {'; '.join(named[:_NAMED])}{more}.")


def _process(doubt: Doubt) -> str:
    actor = doubt.actor
    return "a process" if actor is None else f"{_program(actor)} (pid {actor.pid}{_user(actor)})"


def _program(actor: Actor) -> str:
    name = actor.exe or actor.comm
    # Whoever names a program chooses its bytes: they are never shown as they are.
    return "a process" if name is None else ascii(name.decode("utf-8", "surrogateescape"))[1:-1]


def _user(actor: Actor) -> str:
    if actor.user is not None:
        return f", user {actor.user}"
    return "" if actor.uid is None else f", uid {actor.uid}"
