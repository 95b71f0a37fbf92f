"""Any number of changes in one scan are stored and loaded in pieces; what waits from earlier scans is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from fimscan.config import parse_config
from fimscan.model import Approval
from fimscan.pipeline import run_scan
from fimscan.pipeline.history.diff import count_older, diff_from_baseline
from fimscan.store import acceptance as acceptance_store
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_changes_are_stored_and_loaded_in_pieces(at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven changes of four kinds, each with both of its states, whatever fits into one piece."""
    monkeypatch.setattr(finding_store, "_MANY", at_once)
    watched = tmp_path / "w"
    watched.mkdir()
    for number in range(5):
        (watched / f"old{number}").write_text(f"{number}\n")
    config = parse_config(f'[scan]\nworkers = 1\n[[watch]]\npath = "{watched}"\n')
    database = Database(f"sqlite:///{tmp_path}/f.db", host="h")
    run_scan(database, config, source=None)
    (watched / "old0").write_text("changed\n")
    (watched / "old1").unlink()
    (watched / "old2").rename(watched / "moved2")
    (watched / "old3").chmod(0o600)
    for number in range(3):
        (watched / f"new{number}").write_text("new\n")
    result = run_scan(database, config, source=None)
    found = {
        row.change.path.rpartition(b"/")[2].decode(): (
            row.change.kind.value,
            *(None if side is None else side.size for side in (row.change.before, row.change.after)),
        )
        for row in result.diff.findings
        if row.change.path != bytes(watched)
    }
    assert found == {
        "old0": ("modified", 2, 8),
        "old1": ("removed", 2, None),
        "moved2": ("moved", 2, 2),
        "old3": ("attributes", 2, 2),
        "new0": ("added", None, 4),
        "new1": ("added", None, 4),
        "new2": ("added", None, 4),
    }
    again = diff_from_baseline(database).findings
    assert [row.change.sides for row in again] == [row.change.sides for row in result.diff.findings]
    database.close()


def test_what_waits_from_earlier_scans_is_counted(tmp_path: Path) -> None:
    """Whether nothing was found before, something waits, something was accepted, or all was."""
    watched = tmp_path / "w"
    watched.mkdir()
    (watched / "a").write_text("a\n")
    config = parse_config(f'[scan]\nworkers = 1\n[[watch]]\npath = "{watched}"\n')
    database = Database(f"sqlite:///{tmp_path}/f.db", host="h")

    def older() -> int:
        return count_older(database, run_scan(database, config, source=None).diff, config)

    run_scan(database, config, source=None)
    (watched / "a").write_text("changed\n")
    assert older() == 0
    (watched / "b").write_text("b\n")
    assert older() == 1
    assert older() == 2
    with database.begin() as session:
        last = scan_store.last_finished(session)
        assert last is not None
        acceptance_store.accept_scan(session, last.id, Approval(accepted_ns=1, user="u"))
    assert older() == 0
    (watched / "a").write_text("changed again\n")
    assert older() == 0
    assert older() == 1
    database.close()
