"""Describe actors: group system calls by process, and say what each process did."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import NamedTuple

from msgspec import Struct

from fimscan.model import Actor, Change, ChangeKind, FileKind, Role, Verdict
from fimscan.report.display import command_text, show, time_text
from fimscan.report.words import process_text, user_text

# Only these calls create a directory, device, FIFO, symbolic link or (bind) socket: open(2) creates regular files only.
_MAKERS = frozenset({"bind", "mkdir", "mkdirat", "mknod", "mknodat", "symlink", "symlinkat"})
_CREATING_FLAGS = frozenset({"O_CREAT", "O_TMPFILE"})


class ActorText(Struct, frozen=True, kw_only=True):
    """What one process did, as text that is safe to display; ``None`` where unknown.

    ``actor`` is the process at its first call, ``last_ns`` the time of its last one. ``events`` are times and audit
    events in order; ``place`` is the terminal and login session.
    """

    actor: Actor
    process: str
    acts: str
    first_act: str
    last_ns: int | None
    user: str
    place: str | None
    events: tuple[str, ...]
    command: str | None
    cwd: str | None

    @property
    def sentence(self) -> str:
        """``/usr/bin/vim (pid 4242) wrote it and renamed it into place``."""
        return f"{self.process} {self.acts}"

    @property
    def brief_act(self) -> str:
        """The first act without what it may mean: ``put an earlier file at this path``."""
        act = self.first_act.partition(": ")[0].partition(", which")[0]
        return act.replace("the content that is there now", "the present content")


def actor_texts(actors: Iterable[Actor], verdict: Verdict, change: Change | None) -> tuple[ActorText, ...]:
    """One text for each process, in the order of the actors.

    ``change`` is the change that the actors and the verdict belong to. It is ``None`` if there is no single one (no
    change, or several changes): then an open is described as an open, not as a write.

    System calls are merged only if pid, command line and user agree: two programs may have the same pid one after the
    other. ``comm`` and ``cwd`` are not compared: threads have names of their own, and a process can change directory.
    """
    actors = tuple(actors)
    context = _Context(verdict, change, last=_is_last_writer_known(actors, verdict, change))
    return tuple(_actor_text(calls, context) for calls in calls_by_process(actors))


def calls_by_process(actors: Iterable[Actor]) -> list[list[Actor]]:
    """The system calls of each process in order of time; the processes in the order of the actors."""
    groups: dict[tuple[object, ...], list[Actor]] = {}
    for actor in actors:
        key: tuple[object, ...] = _IDENTITY(actor)
        if actor.exe is not None and actor.exe.endswith(b" (deleted)"):
            key = _IDENTITY(actor._replace(exe=actor.process[3]))
        groups.setdefault(key, []).append(actor)
    for calls in groups.values():
        if len(calls) > 1:
            calls.sort(key=_time)
    return list(groups.values())


#: What the calls of one process have in common: the fields of :attr:`Actor.process`, and more.
_IDENTITY = itemgetter(
    *map(Actor._fields.index, ("pid", "auid", "session", "exe", "since_ns", "ppid", "cmdline", "uid", "euid"))
)


def _time(actor: Actor) -> int:
    return -1 if actor.time_ns is None else actor.time_ns


class _Context(NamedTuple):
    """What the actors belong to. ``last``: several wrote one after the other, and the last writer is known."""

    verdict: Verdict
    change: Change | None
    last: bool


def _is_last_writer_known(actors: Iterable[Actor], verdict: Verdict, change: Change | None) -> bool:
    """Whether one process wrote the present file, and all others only earlier files at this path."""
    earlier = [actor for actor in actors if actor.earlier]
    present = {actor.process for actor in actors if actor.role is Role.WRITER and not actor.earlier}
    return bool(earlier) and len(present) == 1 and verdict is Verdict.CONTESTED and change is not None


def _actor_text(calls: list[Actor], context: _Context) -> ActorText:
    first = calls[0]
    tty = f"on {show(first.tty)}" if first.tty else ""
    session = f"session {first.session}" if first.session is not None else ""
    acts = list(dict.fromkeys(_act(actor, context) for actor in calls))
    return ActorText(
        actor=first,
        process=process_text(first),
        acts=_joined(acts),
        first_act=acts[0],
        last_ns=calls[-1].time_ns,
        user=user_text(first),
        place=", ".join(filter(None, (tty, session))) or None,
        events=tuple(dict.fromkeys(filter(None, map(event_text, calls)))),
        command=command_text(first),
        cwd=None if first.cwd is None else show(first.cwd),
    )


def _joined(acts: list[str]) -> str:
    return f"{', '.join(acts[:-1])} and {acts[-1]}" if len(acts) > 1 else acts[0]


def event_text(actor: Actor) -> str | None:
    """The time and event of a system call; ``None`` if it has neither."""
    if actor.event is None:
        return None if actor.time_ns is None else time_text(actor.time_ns)
    return f"{time_text(actor.event.time_ns)} event {show(str(actor.event))}"


def _act(actor: Actor, context: _Context) -> str:
    """Describe one system call."""
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
            return _write_act(actor, call, context)


def _earlier_act(actor: Actor, call: str) -> str:
    """Describe a call on an earlier file at this path. Whether the present file contains the result is unknown."""
    match actor.role:
        case Role.PLACER:
            return "put an earlier file at this path: the present one may contain its content"
        case Role.CHANGER:
            return f"{_change_act(call).replace(' its ', ' the ')} of an earlier file at this path, which may be copied"
    if actor.event is None:
        return "had an earlier file at this path open: the present one may contain its changes"
    return "wrote to an earlier file at this path: the present one may contain that"


def _write_act(actor: Actor, call: str, context: _Context) -> str:
    if actor.event is None:
        return "held it open for writing" if actor.time_ns is None else "wrote to it, as fanotify saw"
    if not call:  # only the record of a crash names a process and has no system call
        return "crashed, and the kernel wrote its core dump"
    if call.startswith("truncate"):
        return "truncated it"
    if call in _MAKERS:
        return "created it"
    # An event shows the open only. A write is claimed only for a process that the verdict singles out.
    sure = actor.role is Role.WRITER and context.verdict in (Verdict.CONFIRMED, Verdict.LIKELY)
    if context.last and actor.role is Role.WRITER:
        return "wrote the content that is there now"
    return _outcome(actor, call, context.change) if sure and context.change is not None else "opened it for writing"


def _outcome(actor: Actor, call: str, change: Change) -> str:
    """The result of an open, judged by the file: unchanged content was not "written" (``touch -d``)."""
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
