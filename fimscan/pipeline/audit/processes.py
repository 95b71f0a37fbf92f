"""Identify the processes of answers: distinguish processes with the same pid; add logins, programs and containers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from operator import attrgetter

from msgspec.structs import replace

from fimscan import attribution, audit
from fimscan.linux.views import START_SLACK_NS
from fimscan.model import (
    Actor,
    Attribution,
    Change,
    Crash,
    EventId,
    FileAccess,
    Holders,
    Login,
    LoginOrigin,
    LoginSource,
    NoticeKind,
    ProcessView,
    Reasoning,
    Ruling,
    UnmodifiedOpen,
)
from fimscan.store import audit as audit_store
from fimscan.store import process_facts as fact_store
from fimscan.store import processes as process_store
from fimscan.store.session import Session

_DELETED = b" (deleted)"
_SLACK_NS = START_SLACK_NS
_NO_LOGIN = LoginOrigin(LoginSource.UNSEEN)
_UNSEEN = ProcessView()
_LOGIN = Actor._fields.index("login")


class Processes:
    """Reads what is stored about processes, once for each process. Use it within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._logins: dict[int, list[Login]] = {}
        self._looks: dict[int, list[fact_store.Look]] = {}
        self._began: dict[int, list[Actor]] = {}
        self._prepared: set[tuple[int, tuple[int, int]]] = set()
        self._boots: list[int] | None = None

    # ----------------------------------------------------------------------------------------------------------------
    # Distinguish processes that had the same pid

    def distinguish_lives(
        self, accesses: Iterable[FileAccess], changes: Iterable[Change], span: tuple[int, int]
    ) -> tuple[list[FileAccess], list[Change]]:
        """Set ``since_ns`` on all actors: it distinguishes processes that had the same pid one after the other."""
        accesses, changes = list(accesses), list(changes)
        held = [actor for change in changes if change.holders is not None for actor in _sightings(change.holders)]
        pids = {actor.pid for actor in held} | _pids_of_several_events(accesses)
        if not pids:
            return accesses, changes
        self._load_looks(pids)
        alive: dict[int, list[attribution.Alive]] = {
            pid: [attribution.Alive(look.start_ns, look.time_ns) for look in self._looks[pid]] for pid in pids
        }
        for actor in held:
            if actor.since_ns is not None:
                alive[actor.pid].append(attribution.Alive(actor.since_ns, actor.moment))
        known = process_store.actors_between(self._session, pids, span)
        concerned = [access.actor for access in accesses if access.actor.pid in pids]
        lives = attribution.Lives([*known, *concerned, *held], alive)
        if lives.is_plain:
            return accesses, changes
        return (
            [_access_of_life(access, lives) for access in accesses],
            [_change_of_lives(change, lives) for change in changes],
        )

    # ----------------------------------------------------------------------------------------------------------------
    # Logins, programs, containers

    def prepare(self, pids: Iterable[int], span: tuple[int, int]) -> None:
        """Load what is known of the programs of these pids over a time, with few queries; of each pid once."""
        wanted = {pid for pid in pids if (pid, span) not in self._prepared}
        self._prepared.update((pid, span) for pid in wanted)
        self._load_looks(wanted)
        for began in process_store.actors_between(self._session, wanted, span):
            if began.view is not None:
                self._began.setdefault(began.pid, []).append(began)

    def completed(self, actor: Actor) -> Actor:
        """Add to an actor the origin of its login uid, and what was seen of its program (see :meth:`prepare`)."""
        view = actor.view
        if view is None or not view.seen_ns:
            view = self._view(actor) or view or _UNSEEN
        return _with(actor, self._origin(actor), view)

    def _with_login(self, actor: Actor) -> Actor:
        origin = self._origin(actor)
        return actor if origin is None else _with(actor, origin, actor.view)

    def completed_answer(self, answer: Attribution) -> Attribution:
        """Complete the actors of an answer; those that are not named get only their login."""
        actors = tuple(map(self.completed, answer.actors))
        reasoning = answer.reasoning
        if reasoning is not None:
            done = {id(actor): completed for actor, completed in zip(answer.actors, actors, strict=True)}
            rulings = []
            for ruling in reasoning.rulings:
                actor = done.get(id(ruling.actor))
                if actor is None:
                    actor = (self.completed if ruling.why.names else self._with_login)(ruling.actor)
                rulings.append(tuple.__new__(Ruling, (actor, *ruling[1:])))  # half the time of Ruling(...)
            reasoning = Reasoning(tuple(rulings), reasoning.omitted, reasoning.last_change_ns)
        return answer._replace(actors=actors, reasoning=reasoning)

    def completed_change(self, change: Change) -> Change:
        """Complete the processes that had the file open for writing."""
        if change.holders is None or not _sightings(change.holders):
            return change
        holders = replace(
            change.holders,
            actors=tuple(map(self.completed, change.holders.actors)),
            later=tuple(map(self.completed, change.holders.later)),
            earlier=tuple(map(self.completed, change.holders.earlier)),
        )
        return replace(change, holders=holders)

    def completed_open(self, opened: UnmodifiedOpen) -> UnmodifiedOpen:
        """Add the origin of their login uids to the actors of a write-open."""
        return replace(opened, actors=tuple(map(self._with_login, opened.actors)))

    def crashes(self, start_ns: int, end_ns: int) -> list[Crash]:
        """Load the crashes between two times."""
        return fact_store.crashes(self._session, start_ns, end_ns)

    def boot_ns(self, time_ns: int) -> int:
        """Return when the host last booted before a time; 0 if no such boot is known."""
        if self._boots is None:
            notices = audit_store.notices(self._session, 0, time.time_ns())
            boots = [notice.event.time_ns for notice in notices if notice.kind is NoticeKind.BOOT]
            self._boots = [*boots, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)]
        return max((boot for boot in self._boots if boot <= time_ns), default=0)

    def _origin(self, actor: Actor) -> LoginOrigin | None:
        """Find how an actor got its login uid, by the LOGIN record of its session (unique within a boot)."""
        if actor.auid is None:
            return None
        if actor.session is None:
            return _NO_LOGIN
        known = self._logins.get(actor.session)
        if known is None:
            known = self._logins[actor.session] = fact_store.logins(self._session, (actor.session,))
        if not known:
            return _NO_LOGIN
        moment = actor.moment or time.time_ns()  # a holder has no time: it ran a moment ago
        boot_ns = self.boot_ns(moment)
        logins = [one for one in known if boot_ns - _SLACK_NS <= one.event.moment <= moment]
        login = logins[-1] if logins else None
        if login is None or login.auid != actor.auid:
            return _NO_LOGIN
        source = audit.source_of_login(login)
        claimed = actor.login_user or login.name if source is LoginSource.USER else None
        return LoginOrigin(source, login.uid, login.user, login.pid, login.exe, claimed, login.event)

    def _load_looks(self, pids: Iterable[int]) -> None:
        missing = [pid for pid in pids if pid not in self._looks]
        found = fact_store.looks(self._session, missing)
        self._looks.update({pid: found.get(pid, []) for pid in missing})

    def _view(self, actor: Actor) -> ProcessView | None:
        """Return what ``/proc`` said of exactly this process and program; otherwise what its execve record says."""
        if actor.time_ns is None:
            return None
        for look in self._looks.get(actor.pid, ()):
            in_time = look.start_ns - _SLACK_NS <= actor.time_ns <= look.time_ns
            if in_time and _bare(look.exe) == _bare(actor.exe):
                return look.view
        if actor.pid not in self._began:
            return None
        began = max((one for one in self._began[actor.pid] if one.moment <= actor.moment), key=_MOMENT, default=None)
        if began is not None and began.process[:4] == actor.process[:4] and attribution.can_be_one(began, actor):
            return began.view
        return None


_MOMENT = attrgetter("moment")


def _bare(exe: bytes | None) -> bytes | None:
    return None if exe is None else exe.removesuffix(_DELETED)


def _pids_of_several_events(accesses: Iterable[FileAccess]) -> set[int]:
    """The pids that have more than one event: a single one needs no distinction."""
    first: dict[int, EventId] = {}
    return {a.actor.pid for a in accesses if first.setdefault(a.actor.pid, a.event) != a.event}


def _with(actor: Actor, origin: LoginOrigin | None, view: ProcessView | None) -> Actor:
    """The actor with the origin of its login uid, and with what was seen of its program."""
    if origin is not None and origin.source is LoginSource.USER:
        # A login uid that a user's process wrote itself does not say who the user is.
        actor = actor._replace(login_user=None)
    # All fields in order, through the tuple's constructor: _replace() takes three times as long.
    return tuple.__new__(Actor, actor[:_LOGIN] + (origin, view))  # noqa: RUF005 -- faster than unpacking


def _sightings(holders: Holders) -> Sequence[Actor]:
    """List the processes that had a file open for writing, each with the time at which it was seen."""
    return [
        *(actor._replace(time_ns=holders.as_of_ns) for actor in holders.actors),
        *(actor._replace(time_ns=holders.later_ns) for actor in holders.later),
        *(actor._replace(time_ns=holders.earlier_ns) for actor in holders.earlier),
    ]


def _access_of_life(access: FileAccess, lives: attribution.Lives) -> FileAccess:
    since_ns = lives.since(access.actor.pid, access.actor.moment)
    return access if since_ns is None else access._replace(actor=access.actor._replace(since_ns=since_ns))


def _change_of_lives(change: Change, lives: attribution.Lives) -> Change:
    holders = change.holders
    if holders is None or not (holders.actors or holders.later or holders.earlier):
        return change
    actors = [actor._replace(since_ns=lives.since(actor.pid, holders.as_of_ns)) for actor in holders.actors]
    later = [actor._replace(since_ns=lives.since(actor.pid, holders.later_ns)) for actor in holders.later]
    earlier = [actor._replace(since_ns=lives.since(actor.pid, holders.earlier_ns)) for actor in holders.earlier]
    held = replace(holders, actors=tuple(actors), later=tuple(later), earlier=tuple(earlier))
    return replace(change, holders=held)
