"""Accesses are stored as their audit records and load unchanged."""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan import attribution
from fimscan.audit import AuditBatch, read_stream
from fimscan.model import EventId, FileAccess
from fimscan.store import accesses as store
from fimscan.store import journal, row_digests
from fimscan.store.database import Database
from tests.support import change, changed_state, state

DATA = Path(__file__).parents[1] / "data" / "audit"


@pytest.fixture(scope="module")
def batches() -> list[AuditBatch]:
    """The audit events of all golden pairs."""
    found: list[AuditBatch] = []
    for name in sorted(glob.glob(f"{DATA}/*.log")):
        with open(name, "rb") as file:
            found += read_stream(file)
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    yield made
    made.close()


def stored(database: Database) -> list[FileAccess]:
    with database.read() as session:
        return list(store.load(session, store.references(session, 0, 2**63 - 1)))


def add(database: Database, batches: list[AuditBatch]) -> None:
    for batch in batches:
        with database.begin() as session:
            store.add(session, batch.found)


def test_every_recorded_access_comes_back_from_its_records(database: Database, batches: list[AuditBatch]) -> None:
    """Names that lie, failures, exchanges, cut events: the store returns what was read from the log."""
    add(database, batches)
    wanted = {(a.event, a.item): a for batch in reversed(batches) for a in reversed(batch.accesses)}
    assert stored(database) == [wanted[key] for key in sorted(wanted)]


def test_the_same_log_again_adds_nothing(database: Database, batches: list[AuditBatch]) -> None:
    """Neither rows nor records: reading a log twice does not make the database grow."""
    add(database, batches)
    with database.read() as session:
        before = session.connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM access), count(*) FROM audit_block"
        ).one()
    add(database, batches)
    with database.read() as session:
        after = session.connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM access), count(*) FROM audit_block"
        ).one()
    assert after == before and before[0] > 100


def test_lines_that_come_twice_at_once_are_kept_and_covered_once(database: Database) -> None:
    """A log made of overlapping pieces adds its lines once, and the database verifies."""
    log = (DATA / "unlinks.log").read_bytes()
    once, twice = list(read_stream(io.BytesIO(log))), list(read_stream(io.BytesIO(log + log)))
    assert len(twice) == 1 and len(twice[0].accesses) == 2 * len(once[0].accesses) > 0
    add(database, twice)
    assert stored(database) == list(once[0].accesses)
    with database.read() as session:
        entries = journal.entries(session)
        noted = [item for entry in entries for item in entry.unpacked()]
        assert noted == list(row_digests.of_audit_blocks(session))


def test_of_two_events_with_one_key_the_first_is_kept(database: Database) -> None:
    """A repeated event that lacks a record (a badly joined log) replaces nothing."""
    log = (DATA / "unlinks.log").read_bytes()
    poorer = re.sub(rb"(?m)^type=CWD [^\n]*\n", b"", log)
    once, twice = list(read_stream(io.BytesIO(log))), list(read_stream(io.BytesIO(log + poorer)))
    assert len(twice[0].accesses) == 2 * len(once[0].accesses)
    add(database, twice)
    assert stored(database) == list(once[0].accesses)


def test_the_records_of_an_event_are_the_lines_of_the_log(database: Database, batches: list[AuditBatch]) -> None:
    """The evidence is stored as it was written, whatever bytes are in it."""
    add(database, batches)
    event = batches[0].events[0]
    with database.read() as session:
        assert store.records(session, event.id) == event.records
        assert store.records(session, EventId(1, 1)) == ()


def test_many_events_are_located_at_once_and_each_has_its_own_records(
    database: Database, batches: list[AuditBatch]
) -> None:
    """Events may share a time; one that is not stored has no records, whatever has the same time."""
    add(database, batches)
    events = [event for batch in batches for event in batch.events if batch.accesses]
    missing = events[0].id._replace(serial=1)
    with database.read() as session:
        reader = store.RecordReader(session)
        reader.locate([missing, *(event.id for event in events)])
        stored = {event.id: store.records(session, event.id) for event in events}
        assert {event.id: reader.records(event.id) for event in events} == stored
        assert any(stored.values())
        assert reader.records(missing) == ()


def test_numbers_beyond_63_bits_survive(database: Database) -> None:
    """Some network file systems use the upper half of inode numbers."""
    inode = 2**64 - 5
    log = (
        b"type=SYSCALL msg=audit(1700000000.000:9): arch=c000003e syscall=87 success=yes exit=0 a0=0 a1=0 a2=0 a3=0 "
        b"items=1 ppid=1 pid=2 key=(null)\n"
        b'type=PATH msg=audit(1700000000.000:9): item=0 name="/x" inode=%d dev=00:2a mode=0100644 ouid=0 ogid=0 '
        b"rdev=00:00 nametype=DELETE\ntype=PROCTITLE msg=audit(1700000000.000:9): proctitle=2D\n" % inode
    )
    add(database, list(read_stream(io.BytesIO(log))))
    with database.read() as session:
        (found,) = store.references(session, 0, 2**63 - 1)
    assert found.identity == (0x2A, inode)
    assert [a.inode for a in stored(database)] == [inode]


def test_relevance_finds_by_identity_and_by_every_name(database: Database, batches: list[AuditBatch]) -> None:
    """The accesses of a change are selected from rows alone: by file, path, or directory and last component."""
    add(database, batches)
    everything = {(a.event, a.item): a for a in stored(database)}
    with database.read() as session:
        rows = list(store.references(session, 0, 2**63 - 1))
    for access in everything.values():
        if access.name.parent is None or access.name.base is None:
            continue
        path = b"/w/" + access.name.base
        known = attribution.KnownDirectories.of([(b"/w", access.name.parent)])
        relevance = attribution.Relevance([change(state(path=path), changed_state(path=path))], known)
        chosen = {(r.event, r.item) for r in rows if relevance.by_name(r.parent, r.name)}
        assert (access.event, access.item) in chosen
    some = next(a for a in everything.values() if a.identity is not None)
    assert some.dev is not None and some.inode is not None
    theirs = replace(changed_state(), dev=some.dev, inode=some.inode)
    relevance = attribution.Relevance([change(state(), theirs)], attribution.KnownDirectories.of([]))
    chosen = {(r.event, r.item) for r in rows if relevance.by_identity(r.identity, r.replaced)}
    assert chosen == {(a.event, a.item) for a in everything.values() if some.identity in (a.identity, a.replaced)}
