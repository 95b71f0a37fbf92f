"""What the changes of a bundle take from the store in one pass is what the slower ways give."""

from __future__ import annotations

import random
import sqlite3
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import BigInteger, Boolean, Integer, select

from fimscan.store import acceptance, files, findings, schema
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.evidence.site import Site, problems

PATHS = [b"/w/%d" % number for number in range(40)] + [b"/w/\xff"]


def test_the_next_scan_and_the_decisions_of_many_paths(eventful: Site, copied: Callable[..., Database]) -> None:
    """For any order of changes and moves: also twice in one scan, of killed scans, and of other hosts."""
    chosen = random.Random(3)
    with closing(sqlite3.connect(eventful.root / "x.db")) as connection:
        scans = [number for (number,) in connection.execute("SELECT id FROM scan")]
        (killed,) = connection.execute("SELECT id FROM scan WHERE status = 'interrupted'").fetchone()
    statements = ["INSERT INTO host (id, name) VALUES (99, 'other')"]
    for _ in range(400):
        path, moved = chosen.choice(PATHS).hex(), chosen.choice(PATHS).hex()
        away = f"x'{moved}'" if chosen.random() < 0.3 else "NULL"
        values = f"{chosen.choice(scans)}, {chosen.choice((1, 1, 1, 99))}, 'modified', x'{path}', {away}"
        columns = "scan_id, host_id, kind, path, moved_from, changed, after_ns, before_ns, verdict, attribution"
        statements.append(f"INSERT INTO change ({columns}) VALUES ({values}, '', 0, 1, 'unattributed', '{{}}')")
    for number in range(60):
        path = f"x'{chosen.choice(PATHS).hex()}'" if number % 5 else "NULL"
        columns = "host_id, path, scan_id, accepted_ns, user, ticket, reason"
        statements.append(f"INSERT INTO acceptance ({columns}) VALUES (1, {path}, {scans[-1]}, {number}, 'u', '', '')")
    with copied(*statements).read() as session:
        assert session.host_id == 1
        later, by_path = findings.later_scans(session), findings.scans_of(session, PATHS)
        table = schema.change.c
        rows = session.execute(select(table.id, table.path, table.scan_id).where(table.host_id == 1)).all()
        seen = set()
        for number, path, scan in rows:
            if path in PATHS and scan != killed:
                known = sorted(by_path[path])
                place = bisect_right(known, scan)
                expected = known[place] if place < len(known) else None
                assert later(number) == expected
                seen.add(expected is None)
        assert seen == {True, False}
        for first, last in ((scans[0], scans[-1]), (scans[2], scans[3]), (10**6, 10**6)):
            concerned = {path for _, path, scan in rows if first <= scan <= last}
            found = acceptance.records_about_scans(session, first, last)
            assert found == acceptance.records_of(session, concerned)
            assert any(record.path is None for record in found)


def test_versions_are_checked_the_quick_way(eventful: Site) -> None:
    """As they are stored today: else verification takes three times as long, and nothing says so."""
    with eventful.database.read() as session:
        rows = list(files.rows_in_order(session))
        last = scan_store.last_finished(session)
        assert last is not None
        as_digested = [files.as_digested(version) for version in files.as_of(session, last.id)]
        assert list(files.states_as_of(session, last.id)) == as_digested
    assert len(rows) > 5
    assert all(map(files.holds, rows))


def test_a_version_that_was_altered_is_shown_as_it_is_stored(copied: Callable[..., Database]) -> None:
    database = copied("UPDATE file_version SET size = 4711")
    with database.read() as session:
        last = scan_store.last_finished(session)
        assert last is not None
        found = list(files.states_as_of(session, last.id))
        assert found == [version.state for version in files.as_of(session, last.id)]
        assert not any(map(files.holds, files.rows_in_order(session)))
    assert {state.size for state in found} == {4711}


WHOLE = (BigInteger, Integer, Boolean)
NUMBERS = [column.name for column in schema.file_version.columns if isinstance(column.type, WHOLE)]


@pytest.mark.parametrize("column", [name for name in NUMBERS if name not in ("id", "host_id")])
def test_a_fraction_in_a_column_of_whole_numbers_is_noticed(copied: Callable[..., Database], column: str) -> None:
    """A digest over decimal numbers must not leave out what is behind the point."""
    assert problems(copied(f"UPDATE file_version SET {column} = {column} + 0.25 WHERE {column} IS NOT NULL"))
