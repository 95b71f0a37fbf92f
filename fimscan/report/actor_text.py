"""Actors in words. An attribution lists system calls; a reader wants processes, each with all that it did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from fimscan.model import Actor, Change, ChangeKind, FileKind, Role, Verdict
from fimscan.report.display import command_text, show, time_text
from fimscan.report.words import process_text, user_text

# Nothing but these makes a directory, a device, a FIFO, a symbolic link or (bind) a socket: open(2) makes files only.
_MAKERS = frozenset({"bind", "mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"})
_CREATING_FLAGS = frozenset({"O_CREAT", "O_TMPFILE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What one process did, as text that is safe to show; ``None`` where it is not known.

    ``events`` are the times and audit events in order, ``place`` the terminal and login session.
    """

    process: str
    acts: str
    user: str
    place: str | None
    events: tuple[str, ...]
    command: str | None
    cwd: str | None

    @property
    def sentence(self) -> str:
        """``/usr/bin/vim (pid 4242) wrote it and renamed it into place``."""
        return f"{self.process} {self.acts}"


def deeds(actors: Iterable[Actor], verdict: Verdict, change: Change | None) -> tuple[Deed, ...]:
    """One deed for each process, in the order of the actors.

    ``change`` is the one that the actors and the verdict are about; ``None`` where there is no single one (nothing
    was changed, or several times), so that an open is all that can be said of an open.

    Entries are merged only when command line and rights agree too, so that two programs which had the same pid one
    after the other stay two. (Not when ``comm`` or ``cwd`` do: threads have names of their own, and one can ``cd``.)
    """
    groups: dict[tuple[object, ...], list[Actor]] = {}
    actors = tuple(actors)
    told = _Told(verdict, change, last=_is_last_writer_known(actors, verdict, change))
    for actor in actors:
        key = (actor.process, actor.ppid, actor.cmdline, actor.uid, actor.euid)
        groups.setdefault(key, []).append(actor)
    return tuple(_deed(group, told) for group in groups.values())


class _Told(NamedTuple):
    """What the actors are told for. ``last``: several wrote one after the other, and who was the last is known."""

    verdict: Verdict
    change: Change | None
    last: bool


def _is_last_writer_known(actors: Iterable[Actor], verdict: Verdict, change: Change | None) -> bool:
    """Whether one process wrote the present file, and others only the files that had the path before."""
    earlier = [actor for actor in actors if actor.earlier]
    present = {actor.process for actor in actors if actor.role is Role.WRITER and not actor.earlier}
    return bool(earlier) and len(present) == 1 and verdict is Verdict.CONTESTED and change is not None


def _deed(group: list[Actor], told: _Told) -> Deed:
    ordered = sorted(group, key=lambda actor: -1 if actor.time_ns is None else actor.time_ns)
    first = ordered[0]
    tty = f"on {show(first.tty)}" if first.tty else ""
    session = f"session {first.session}" if first.session is not None else ""
    return Deed(
        process=process_text(first),
        acts=_joined(list(dict.fromkeys(_act(actor, told) for actor in ordered))),
        user=user_text(first),
        place=", ".join(filter(None, (tty, session))) or None,
        events=tuple(dict.fromkeys(filter(None, map(_event, ordered)))),
        command=command_text(first),
        cwd=None if first.cwd is None else show(first.cwd),
    )


def _joined(acts: list[str]) -> str:
    return f"{', '.join(acts[:-1])} and {acts[-1]}" if len(acts) > 1 else acts[0]


def _event(actor: Actor) -> str | None:
    if actor.event is None:
        return None if actor.time_ns is None else time_text(actor.time_ns)
    return f"{time_text(actor.event.time_ns)} event {show(str(actor.event))}"


def _act(actor: Actor, told: _Told) -> str:
    """What one system call did."""
    call = actor.syscall or ""
    if actor.earlier:
        return _earlier_act(actor, call)
    match actor.role:
        case Role.PLACER:
            return "linked it into place" if call.startswith("link") else "renamed it into place"
        case Role.REMOVER:
            return "renamed it away" if call.startswith("rename") else "removed it"
        case Role.CHANGER:
            return _change_act(call)
        case _:
            return _write_act(actor, call, told)


def _earlier_act(actor: Actor, call: str) -> str:
    """What was done to a file that had the path before: whether that is in the present file, nobody can see."""
    match actor.role:
        case Role.PLACER:
            return "put another file here before that: its content may be in it"
        case Role.CHANGER:
            return (
                f"{_change_act(call).replace(' its ', ' the ')} of the file that it replaced: that may have been copied"
            )
    if actor.event is None:
        return "had the file open that it replaced: a change by it may be in it"
    return "wrote to the file that it replaced: that change may be in it"


def _write_act(actor: Actor, call: str, told: _Told) -> str:
    if actor.event is None:
        return "held it open for writing" if actor.time_ns is None else "wrote to it, as fanotify saw"
    if not call:  # the record of a crash is the only one without a system call that names anybody
        return "crashed, and the kernel wrote its core dump"
    if call.startswith("truncate"):
        return "truncated it"
    if call in _MAKERS:
        return "created it"
    # An event shows no more than the open. What followed is said only of a process that the verdict stands for.
    sure = actor.role is Role.WRITER and told.verdict in (Verdict.CONFIRMED, Verdict.LIKELY)
    if told.last and actor.role is Role.WRITER:
        return "wrote the content that is there now"
    return _outcome(actor, call, told.change) if sure and told.change is not None else "opened it for writing"


def _outcome(actor: Actor, call: str, change: Change) -> str:
    """What came of an open, as the file shows it: content that nobody saw differ was not "written" (``touch -d``)."""
    is_new = change.kind is ChangeKind.ADDED
    if change.state.kind is FileKind.FILE and (is_new or change.kind is ChangeKind.MODIFIED):
        if not is_new or change.state.size:
            return "wrote it"
        if call == "creat" or _CREATING_FLAGS.intersection(actor.flags):
            return "created it"
    return "opened it for writing"


def _change_act(call: str) -> str:
    if call in _MAKERS:
        return "created it"
    for part, words in (
        ("chmod", "changed its mode"),
        ("chown", "changed its owner"),
        ("xattr", "changed its extended attributes"),
        ("utime", "set its times"),
        ("file_setattr", "set its flags"),
        ("unlink", "unlinked a name of it"),  # before "link", which is a part of it
        ("link", "linked it"),
        ("rename", "renamed a name of it"),
    ):
        if part in call:
            return words
    return "changed its attributes"
