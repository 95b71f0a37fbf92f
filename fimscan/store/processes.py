"""Which program each process was, as far as the log told: what ancestry is found from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter

from sqlalchemy import Connection, func, select

from fimscan.model import Actor
from fimscan.store import codec
from fimscan.store.covered import Subject
from fimscan.store.inserting import add_new
from fimscan.store.schema import process as table

_IN_ONE_QUERY = 500


def add(connection: Connection, host_id: int, actors: Iterable[Actor]) -> None:
    """Remember what processes were; what is no news about a pid is left out."""
    dated = sorted([actor for actor in actors if actor.time_ns is not None], key=_TIME)
    if not dated:
        return
    until_ns = dated[0].time_ns or 0  # what is known of later times tells nothing: a log can be read late
    known = _latest(connection, host_id, {actor.pid for actor in dated}, until_ns)
    last = {pid: _program(actor) for pid, actor in known}
    rows = []
    for actor in dated:
        program = _program(actor)
        if last.get(actor.pid) != program:
            last[actor.pid] = program
            rows.append({"pid": actor.pid, "time_ns": actor.time_ns, "actor": codec.dump_actors([actor])})
    add_new(connection, host_id, Subject.PROCESS, rows)


_TIME = attrgetter("time_ns")


def _program(actor: Actor) -> object:
    """Equal for one pid as long as it runs one program, as a child of one process."""
    return actor.process, actor.ppid


def _latest(connection: Connection, host_id: int, pids: Iterable[int], until_ns: int) -> Iterator[tuple[int, Actor]]:
    wanted = sorted(pids)
    for start in range(0, len(wanted), _IN_ONE_QUERY):
        chunk = wanted[start : start + _IN_ONE_QUERY]
        last = (
            select(table.c.pid, func.max(table.c.time_ns).label("time_ns"))
            .where(table.c.host_id == host_id, table.c.pid.in_(chunk), table.c.time_ns <= until_ns)
            .group_by(table.c.pid)
            .subquery()
        )
        query = select(table.c.pid, table.c.actor).join(
            last, (last.c.pid == table.c.pid) & (last.c.time_ns == table.c.time_ns)
        )
        for pid, text in connection.execute(query.where(table.c.host_id == host_id)):
            yield pid, codec.load_actors(text)[0]


def before(connection: Connection, host_id: int, pid: int, time_ns: int) -> Actor | None:
    """What a pid was last known to be at a time."""
    query = (
        select(table.c.actor)
        .where(table.c.host_id == host_id, table.c.pid == pid, table.c.time_ns <= time_ns)
        .order_by(table.c.time_ns.desc())
        .limit(1)
    )
    text = connection.scalar(query)
    return None if text is None else codec.load_actors(text)[0]
