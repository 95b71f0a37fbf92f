"""A scan stores the answers of very many changes in pieces: where one ends and the next begins must not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from fimscan import spool
from fimscan.config import parse_config
from fimscan.pipeline import run_scan
from fimscan.store import findings
from fimscan.store.database import Database


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_each_change_is_stored_once_whatever_the_pieces(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Added, modified and removed files: each with its states, in order of path, and counted."""
    for name in ("PIECE", "MANY", "_TOGETHER", "_KEPT"):
        monkeypatch.setattr(spool, name, size)
    monkeypatch.setattr(findings, "_MANY", size)
    watched = tmp_path / "watched"
    watched.mkdir()
    for number in range(10):
        (watched / f"f{number}").write_text("old")
    config = parse_config(f'[[watch]]\npath = "{watched}"\n')
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    try:
        run_scan(database, config, source=None)
        for number in range(4):
            (watched / f"f{number}").write_text("other")
            (watched / f"f{number + 4}").unlink()
            (watched / f"g{number}").write_text("new")
        diff = run_scan(database, config, source=None).diff
    finally:
        database.close()
    found = [
        (
            row.change.kind.value,
            Path(row.change.path.decode()).name,
            row.change.before is None,
            row.change.after is None,
        )
        for row in diff.findings
        if row.change.path != str(watched).encode()
    ]
    assert found == [
        *[("modified", f"f{number}", False, False) for number in range(4)],
        *[("removed", f"f{number}", False, True) for number in range(4, 8)],
        *[("added", f"g{number}", True, False) for number in range(4)],
    ]
    assert {kind: diff.end.counts[kind] for kind in ("modified", "removed", "added")} == dict.fromkeys(
        ("modified", "removed", "added"), 4
    )
