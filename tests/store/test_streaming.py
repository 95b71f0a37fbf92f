"""Rows straight from SQLite's driver are converted as SQLAlchemy would convert them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from fimscan.errors import StoreError
from fimscan.model import FileState
from fimscan.state_row import pack
from fimscan.store import files, row_digests, scans
from fimscan.store.database import Database
from fimscan.store.registry import Subject
from fimscan.store.schema import file_version
from fimscan.store.version_writer import NewVersions
from tests.support import state


def store(database: Database, states: Iterable[FileState]) -> None:
    """Store states as a scan does."""
    with database.begin() as session:
        scan_id = scans.begin(session, trigger="manual", started_ns=1, config_digest="d" * 64, config_text="{}")
        new = NewVersions(scan_id)
        new.add(map(pack, states), adopted=False)
        new.write(session)


def test_large_numbers_vouch_unsigned(tmp_path: Path) -> None:
    """They are stored with a sign; without conversion, every scan would read a file with such an inode again."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    large = replace(state(), inode=(1 << 64) - 2)
    store(database, [large])
    with database.read() as session:
        ((row,),) = files.known_with_stats(session)
    assert tuple(row[6:8]) == (large.dev, large.inode)
    database.close()


@pytest.mark.parametrize("number", [1, 999, 1000, 1001, 2500])
def test_every_version_is_covered_however_many_there_are(tmp_path: Path, number: int) -> None:
    """They are written in chunks; the last one counts, too."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    store(database, [replace(state(b"/w/%05d" % number), inode=number + 1) for number in range(2500)])
    with database.begin() as session:
        before = list(row_digests.of_scan(session, 1))
        session.execute(update(file_version).where(file_version.c.id == number).values(read_end_ns=1))
        after = list(row_digests.of_scan(session, 1))
    altered = [old.subject for old, new in zip(before, after, strict=True) if old != new]
    assert altered == [Subject.BEGUN]
    database.close()


def test_unexpected_row_numbers_are_read_back(tmp_path: Path) -> None:
    """After the last possible number SQLite takes any: a row that another program inserted does not stop scans."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    store(database, [state(b"/w/a"), state(b"/w/b")])
    with database.begin() as session:
        session.execute(update(file_version).where(file_version.c.path == b"/w/a").values(id=2**63 - 1))
        new = NewVersions(1)
        new.add(map(pack, [state(b"/w/c"), state(b"/w/d")]), adopted=True)
        new.write(session)
        assert new.digest is None
        assert len(list(files.as_of(session, 1))) == 4
    database.close()


def test_a_diff_of_two_scans_reads_only_what_differs(tmp_path: Path) -> None:
    """Otherwise every scan of a large tree would read the whole of it in the database at its end."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    store(database, [replace(state(b"/w/%05d" % number), inode=number + 1) for number in range(3000)])
    store(database, [state(b"/w/new")])
    with database.begin() as session:
        files.end_versions(session, [17], 2)
    ticks = []
    with database.read() as session:
        driver = session.connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(lambda: ticks.append(1), 1000)  # after each thousand steps of SQLite's machine
        found = files.versions_between(session, 1, 2)
        driver.set_progress_handler(None, 0)
    assert [version.id for version in found] == [17, 3001]
    assert not ticks
    database.close()


def test_a_driver_error_is_reported_in_one_line(tmp_path: Path) -> None:
    """A database with overwritten pages is no internal error."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    store(database, [replace(state(b"/w/%05d" % number), inode=number + 1) for number in range(2000)])
    database.close()
    path = f"{tmp_path}/x.db"
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(size * 3 // 4)
        file.write(b"\xff" * (size // 8))
    damaged = Database(f"sqlite:///{path}", host="h")
    with pytest.raises(StoreError, match="not an intact fimscan database"), damaged.read() as session:
        list(files.known_rows(session))
    damaged.close()
