"""Records of processes are stored once, as long as the pid runs the same program."""

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
    """Store these batches one after the other; return (pid, time) of the rows."""
    for batch in batches:
        with database.begin() as session:
            store.add(session, batch)
    with database.read() as session:
        query = process.select().order_by(process.c.pid, process.c.time_ns)
        return [(row.pid, load_actors(row.actor)[0].time_ns or 0) for row in session.execute(query)]


def test_repeated_calls_of_one_process_are_stored_once(database: Database) -> None:
    """In one part of the log or in the next: a daemon that writes all day does not fill the database."""
    daemon = [at(time_ns, b"/usr/sbin/daemon") for time_ns in (1, 2, 3, 4)]
    assert kept(database, daemon[:2], daemon[2:]) == [(7, 1)]


def test_another_program_or_parent_is_stored(database: Database) -> None:
    """A shell that execs a tool, and a reused pid."""
    calls = [at(1, b"/bin/sh"), at(2, b"/bin/tool"), at(3, b"/bin/sh"), at(4, b"/bin/sh", ppid=2), at(5, b"/a", pid=8)]
    assert kept(database, calls[:3], calls[3:]) == [(7, 1), (7, 2), (7, 3), (7, 4), (8, 5)]


def test_a_return_to_a_known_program_is_stored(database: Database) -> None:
    """Otherwise the process in between would be taken for an ancestor of everything later."""
    calls = [at(1, b"/bin/sh"), at(2, b"/bin/tool"), at(3, b"/bin/sh")]
    assert kept(database, calls[:1], calls[1:]) == [(7, 1), (7, 2), (7, 3)]


def test_records_are_compared_in_order_of_time(database: Database) -> None:
    """Within one part of the log, started programs are reported before all other calls."""
    begun, calls = [at(1, b"/bin/sh"), at(5, b"/bin/sh")], [at(2, b"/bin/sh"), at(3, b"/bin/tool")]
    assert kept(database, begun + calls) == [(7, 1), (7, 3), (7, 5)]


def test_late_records_are_compared_with_earlier_ones(database: Database) -> None:
    """A rotated log can be found after a newer one: rows of later times do not count."""
    early, newer, late = [at(1, b"/bin/tool")], [at(9, b"/bin/sh")], [at(5, b"/bin/sh"), at(6, b"/bin/sh")]
    assert kept(database, early, newer, late) == [(7, 1), (7, 5), (7, 9)]


def test_a_deleted_program_is_the_same_one(database: Database) -> None:
    """The kernel appends " (deleted)" to its path once an update has replaced it."""
    assert kept(database, [at(1, b"/bin/tool"), at(2, b"/bin/tool (deleted)")]) == [(7, 1)]
