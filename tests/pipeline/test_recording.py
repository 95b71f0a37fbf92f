"""How a scan writes what it finds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.config import parse_config
from fimscan.pipeline import recording, run_scan
from fimscan.store.database import Database


def test_a_first_scan_does_not_keep_back_what_it_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's log would be as large as the database, and all of it be written back at the end, while nobody reads."""
    (tmp_path / "w").mkdir()
    for number in range(200):
        (tmp_path / "w" / f"{number}").touch()
    monkeypatch.setattr(recording, "_FLUSH_ROWS", 50)
    monkeypatch.setattr(recording, "_TRANSACTION_ROWS", 50)
    kept_back = []

    class Writer(recording._Writer):
        def _commit(self) -> None:
            super()._commit()
            with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
                _, written, written_back = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            kept_back.append(written - written_back)

    monkeypatch.setattr(recording, "_Writer", Writer)
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    run_scan(database, parse_config(f'[[watch]]\npath = "{tmp_path}/w"'), source=None)
    database.close()
    assert len(kept_back) > 1
    assert not any(kept_back)
