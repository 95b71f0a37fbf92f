"""Damaged lines are kept up to a quota, then counted; verify accepts the count, and notices an edit of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fimscan.model import DamagedLine
from fimscan.store import audit, integrity, journal
from fimscan.store.database import Database


def line(number: int, count: int = 1) -> DamagedLine:
    return DamagedLine(source=b"/log", offset=number, line=b"line %d" % number, problem="?", count=count)


def test_lines_beyond_the_quota_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write to syslog cannot make the database grow without limit."""
    monkeypatch.setattr(audit, "MOST_DAMAGED", 5)
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    added = 0
    for lines in ([line(1), line(2)], [line(3), line(0, count=100)], [line(n) for n in range(4, 20)], [line(20)]):
        added += sum(one.count for one in lines)
        with database.begin() as session:
            audit.add_damaged(session, lines)
        with database.read() as session:
            assert audit.damaged_count(session) == added
    with database.read() as session:
        rows = session.connection.exec_driver_sql("SELECT count(*) FROM damaged_line").scalar()
        assert rows == 5
        open_entry = journal.open_entry(session)
        assert open_entry is not None
        assert [*integrity.single_rows(session, set(open_entry.unpacked()))] == []
    database.close()
