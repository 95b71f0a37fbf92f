"""Store facts about processes other than accesses: logins, crashes, and what ``/proc`` showed.

A login is found by its session, a crash by its time, a look at ``/proc`` by the pid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, select, update

from fimscan.linux.views import START_SLACK_NS
from fimscan.model import Actor, AuditRecord, Crash, Login, ProcessView
from fimscan.store import codec, files, journal
from fimscan.store.inserting import add_new
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from fimscan.store.schema import process_fact as table
from fimscan.store.session import Session

LOGIN, _CRASH, _LOOK = "login", "crash", "look"


class Look(NamedTuple):
    """What ``/proc`` showed of a process at ``time_ns``; the process had started at ``start_ns``."""

    pid: int
    time_ns: int
    start_ns: int
    exe: bytes | None
    view: ProcessView


def add(session: Session, facts: Iterable[Login | Crash]) -> None:
    """Store logins and crashes from the log; stored ones stay as they are."""
    add_new(session, Subject.PROCESS_FACT, [_row(fact) for fact in facts])


def _row(fact: Login | Crash) -> dict[str, Any]:
    if isinstance(fact, Login):
        kind, number, detail = LOGIN, fact.session, codec.dump_login(fact)
    else:
        kind, number, detail = _CRASH, fact.actor.pid, codec.dump_crash(fact)
    time_ns, serial, _ = fact.event
    return {"kind": kind, "number": number, "time_ns": time_ns, "serial": serial, "detail": detail}


def add_looks(session: Session, found: Sequence[Look]) -> None:
    """Store looks at ``/proc``. A look equal to the last one replaces it, so a daemon has one row."""
    known = looks(session, [look.pid for look in found])
    for look in found:
        same = [one for one in known.get(look.pid, ()) if _is_unchanged(one, look)]
        if same and same[-1].time_ns < look.time_ns:
            _replace(session, same[-1], look)
        elif not same:
            add_new(session, Subject.PROCESS_FACT, [_look_row(look)])


def _is_unchanged(one: Look, other: Look) -> bool:
    is_same_process = abs(one.start_ns - other.start_ns) <= START_SLACK_NS
    return is_same_process and (one.exe, one.view._replace(seen_ns=0)) == (other.exe, other.view._replace(seen_ns=0))


def _replace(session: Session, before: Look, now: Look) -> None:
    journal.lock(session)
    mine = and_(_of(session, _LOOK), table.c.number == before.pid, table.c.time_ns == before.time_ns)
    row = session.execute(select(table).where(mine)).one()._asdict()
    later = _look_row(now)
    session.execute(update(table).where(mine).values(**later))
    journal.note(session, [of_row(Subject.PROCESS_FACT, row), of_row(Subject.PROCESS_FACT, later)])


def _look_row(look: Look) -> dict[str, Any]:
    # As an actor: it has a field for each part, and a codec.
    detail = codec.dump_actors([Actor(look.pid, exe=look.exe, since_ns=look.start_ns, view=look.view)])
    return {"kind": _LOOK, "number": look.pid, "time_ns": look.time_ns, "serial": 0, "detail": detail}


def logins(session: Session, sessions: Iterable[int]) -> list[Login]:
    """The logins that began these sessions, in any boot, oldest first."""
    found = []
    for some in files.chunks(sorted(set(sessions))):
        query = select(table.c.detail).where(_of(session, LOGIN), table.c.number.in_(some))
        found += [codec.load_login(text) for text in session.scalars(query)]
    return sorted(found, key=lambda login: login.event)


def crashes(session: Session, start_ns: int, end_ns: int) -> list[Crash]:
    """The crashes of a stretch of time, both ends included, oldest first."""
    query = select(table.c.detail).where(_of(session, _CRASH), table.c.time_ns.between(start_ns, end_ns))
    return sorted(map(codec.load_crash, session.scalars(query)), key=lambda crash: crash.event)


def looks(session: Session, pids: Iterable[int]) -> dict[int, list[Look]]:
    """The looks at processes in ``/proc``, by pid, oldest first."""
    found: dict[int, list[Look]] = {}
    for some in files.chunks(sorted(set(pids))):
        query = select(table.c.time_ns, table.c.detail).where(_of(session, _LOOK), table.c.number.in_(some))
        for time_ns, text in session.execute(query.order_by(table.c.time_ns)):
            actor = codec.load_actors(text)[0]
            look = Look(actor.pid, time_ns, actor.since_ns or 0, actor.exe, actor.view or ProcessView())
            found.setdefault(actor.pid, []).append(look)
    return found


def records(session: Session, actor: Actor) -> list[AuditRecord]:
    """The audit records of the login and the crash that an actor refers to."""
    found = []
    if actor.login is not None and actor.login.event is not None and actor.session is not None:
        known = logins(session, (actor.session,))
        found += [AuditRecord(one.event, "LOGIN", one.record) for one in known if one.event == actor.login.event]
    if actor.syscall is None and actor.event is not None:
        at_ns = actor.event.time_ns
        crashed = crashes(session, at_ns, at_ns)
        found += [AuditRecord(c.event, "ANOM_ABEND", c.record) for c in crashed if c.event == actor.event]
    return found


def _of(session: Session, kind: str) -> ColumnElement[bool]:
    return and_(table.c.host_id == session.host_id, table.c.kind == kind)
