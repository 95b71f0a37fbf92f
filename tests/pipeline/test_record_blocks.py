"""How a scan writes what it finds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.config import parse_config
from fimscan.pipeline import run_scan
from fimscan.pipeline.record import blocks
from fimscan.scan import scanner
from fimscan.scan.keeping import Keeping
from fimscan.scan.limits import Limits
from fimscan.store.database import Database


def test_the_write_ahead_log_stays_small_in_a_first_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise SQLite's write-ahead log would grow as large as the database, and be copied back only at the end."""
    (tmp_path / "w").mkdir()
    for number in range(200):
        (tmp_path / "w" / f"{number}").touch()
    monkeypatch.setattr(blocks, "_FLUSH_ROWS", 50)
    monkeypatch.setattr(blocks, "_TRANSACTION_ROWS", 50)
    kept_back = []

    class Writer(blocks._Writer):
        def _commit(self) -> None:
            super()._commit()
            with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
                _, written, written_back = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            kept_back.append(written - written_back)

    monkeypatch.setattr(blocks, "_Writer", Writer)
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    run_scan(database, parse_config(f'[[watch]]\npath = "{tmp_path}/w"'), source=None)
    database.close()
    assert len(kept_back) > 1
    assert not any(kept_back)


def test_the_policy_attributes_leaves_content_alone(tmp_path: Path) -> None:
    """Content is neither read nor compared; other changes of the file are still reported."""
    (tmp_path / "w").mkdir()
    file = tmp_path / "w" / "f"
    file.write_text("one")
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    config = parse_config(f'[[watch]]\npath = "{tmp_path}/w"\npolicy = "attributes"\n')
    assert run_scan(database, config, source=None).scan.counts["bytes"] == 0
    file.write_text("two")
    result = run_scan(database, config, source=None)
    (finding,) = result.diff.findings
    assert (result.scan.counts["bytes"], finding.change.changed) == (0, ("mtime", "ctime"))
    database.close()


def test_as_many_workers_as_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have only one processor to spare."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "f").touch()
    executor, wanted = scanner.ScanExecutor, []

    def count(workers: int, limits: Limits, *others: Keeping | None) -> scanner.ScanExecutor:
        wanted.append(workers)
        return executor(workers, limits, *others)

    monkeypatch.setattr(scanner, "ScanExecutor", count)
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    run_scan(database, parse_config(f'[scan]\nworkers = 3\n[[watch]]\npath = "{tmp_path}/w"\n'), source=None)
    database.close()
    assert wanted == [3]
