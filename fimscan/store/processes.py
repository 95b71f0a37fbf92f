"""Store which program each process ran, from the audit log; ancestors are found from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from sqlalchemy import func, select

from fimscan.model import Actor
from fimscan.store import codec, files
from fimscan.store.inserting import add_new
from fimscan.store.registry import Subject
from fimscan.store.schema import process as table
from fimscan.store.session import Session

_IN_ONE_QUERY = 500
_MOST_KNOWN = 100  # records of one pid
_BEGINS = frozenset({"execve", "execveat"})


def add(session: Session, actors: Iterable[Actor]) -> None:
    """Store records of processes; a record that says nothing new about its pid is skipped."""
    dated = sorted([actor for actor in actors if actor.time_ns is not None], key=_MOMENT)
    if not dated:
        return
    until = dated[0].moment  # a log can be read late: rows of later times do not count
    known = _latest(session, {actor.pid for actor in dated}, until)
    last = {pid: _program(actor) for pid, actor in known}
    rows = []
    for actor in dated:
        program = _program(actor)
        if last.get(actor.pid) != program or actor.syscall in _BEGINS:
            last[actor.pid] = program
            # Two records of the same millisecond both count: their moments differ.
            rows.append({"pid": actor.pid, "time_ns": actor.moment, "actor": codec.dump_actors([actor])})
    add_new(session, Subject.PROCESS, rows)


_MOMENT = attrgetter("moment")


def _program(actor: Actor) -> object:
    """A key that is equal for records of a pid with the same program, user and parent."""
    return actor.process, actor.ppid, actor.uid


def _latest(session: Session, pids: Iterable[int], until: int) -> Iterator[tuple[int, Actor]]:
    wanted = sorted(pids)
    for start in range(0, len(wanted), _IN_ONE_QUERY):
        chunk = wanted[start : start + _IN_ONE_QUERY]
        last = (
            select(table.c.pid, func.max(table.c.time_ns).label("time_ns"))
            .where(table.c.host_id == session.host_id, table.c.pid.in_(chunk), table.c.time_ns <= until)
            .group_by(table.c.pid)
            .subquery()
        )
        query = select(table.c.pid, table.c.actor).join(
            last, (last.c.pid == table.c.pid) & (last.c.time_ns == table.c.time_ns)
        )
        for pid, text in session.execute(query.where(table.c.host_id == session.host_id)):
            yield pid, codec.load_actors(text)[0]


def actors_of_pid(session: Session, pid: int, moment: int) -> list[Actor]:
    """The records of a pid up to and including a moment (:attr:`fimscan.model.Actor.moment`), latest first."""
    query = (
        select(table.c.actor)
        .where(table.c.host_id == session.host_id, table.c.pid == pid, table.c.time_ns <= moment)
        .order_by(table.c.time_ns.desc())
        .limit(_MOST_KNOWN)
    )
    return [codec.load_actors(text)[0] for text in session.scalars(query)]


def actors_between(session: Session, pids: Iterable[int], span: tuple[int, int]) -> Iterator[Actor]:
    """Yield the records of some pids in a stretch of time, both ends included."""
    for some in files.chunks(sorted(set(pids))):
        query = select(table.c.actor).where(
            table.c.host_id == session.host_id, table.c.pid.in_(some), table.c.time_ns.between(*span)
        )
        for text in session.scalars(query):
            yield codec.load_actors(text)[0]
