"""Which program a process was is kept once, for as long as it is that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fimscan.model import Actor, EventId
from fimscan.store import processes as store
from fimscan.store.codec import load_actors
from fimscan.store.database import Database
from fimscan.store.schema import process


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    yield made
    made.close()


def at(time_ns: int, exe: bytes, pid: int = 7, ppid: int = 1) -> Actor:
    return Actor(pid, ppid=ppid, exe=exe, time_ns=time_ns, event=EventId(time_ns, time_ns))


def kept(database: Database, *batches: list[Actor]) -> list[tuple[int, int]]:
    """(pid, time) of what is kept of these, which come one after the other."""
    for batch in batches:
        with database.begin() as session:
            store.add(session, batch)
    with database.read() as session:
        query = process.select().order_by(process.c.pid, process.c.time_ns)
        return [(row.pid, load_actors(row.actor)[0].time_ns or 0) for row in session.execute(query)]


def test_calls_of_one_process_are_no_news(database: Database) -> None:
    """Neither in one stretch of the log nor in the next: a daemon that writes all day does not fill the database."""
    daemon = [at(time_ns, b"/usr/sbin/daemon") for time_ns in (1, 2, 3, 4)]
    assert kept(database, daemon[:2], daemon[2:]) == [(7, 1)]


def test_another_program_or_parent_is_news(database: Database) -> None:
    """A shell that runs a tool in its place, and a pid that was given away again."""
    calls = [at(1, b"/bin/sh"), at(2, b"/bin/tool"), at(3, b"/bin/sh"), at(4, b"/bin/sh", ppid=2), at(5, b"/a", pid=8)]
    assert kept(database, calls[:3], calls[3:]) == [(7, 1), (7, 2), (7, 3), (7, 4), (8, 5)]


def test_a_return_to_the_program_that_was_known_is_news(database: Database) -> None:
    """Or else what came in between would be taken for an ancestor of all that follows."""
    calls = [at(1, b"/bin/sh"), at(2, b"/bin/tool"), at(3, b"/bin/sh")]
    assert kept(database, calls[:1], calls[1:]) == [(7, 1), (7, 2), (7, 3)]


def test_what_counts_is_the_order_in_time(database: Database) -> None:
    """Of one stretch of the log, programs that were begun are told of before all other calls."""
    begun, calls = [at(1, b"/bin/sh"), at(5, b"/bin/sh")], [at(2, b"/bin/sh"), at(3, b"/bin/tool")]
    assert kept(database, begun + calls) == [(7, 1), (7, 3), (7, 5)]


def test_what_is_read_late_is_compared_with_what_was_before_it(database: Database) -> None:
    """A rotated log can be found after a newer one: what is known of later times tells nothing of earlier ones."""
    early, newer, late = [at(1, b"/bin/tool")], [at(9, b"/bin/sh")], [at(5, b"/bin/sh"), at(6, b"/bin/sh")]
    assert kept(database, early, newer, late) == [(7, 1), (7, 5), (7, 9)]


def test_a_deleted_program_is_the_same_one(database: Database) -> None:
    """The kernel says so behind its path, once an update has replaced it."""
    assert kept(database, [at(1, b"/bin/tool"), at(2, b"/bin/tool (deleted)")]) == [(7, 1)]
