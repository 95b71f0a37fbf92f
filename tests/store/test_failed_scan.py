"""The note of a scan that failed and could not be stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from fimscan.store.failed_scan import FailedScan, forget, note, noted

FULL = FailedScan(began_ns=7, error="no space left")


def test_the_first_failure_is_kept_until_it_is_stored(tmp_path: Path) -> None:
    """It is overwritten in place, in a block that stays: a full disk has no room for a new one."""
    path = tmp_path / "failed"
    forget(str(path))
    assert noted(str(path)) is None
    before = path.stat()
    note(str(path), FULL)
    note(str(path), FailedScan(began_ns=9, error="later"))
    assert noted(str(path)) == FULL
    forget(str(path))
    assert noted(str(path)) is None
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)
    assert after.st_size and after.st_mode & 0o077 == 0


def test_what_cannot_be_written_is_remembered(tmp_path: Path) -> None:
    """The service goes on, and stores it when the file system can be written to again."""
    path = str(tmp_path / "gone" / "failed")
    note(path, FULL)
    assert noted(path) == FULL
    with pytest.raises(OSError, match="gone"):
        forget(path)
    assert noted(path) is None


def test_a_damaged_note_still_says_that_a_scan_failed(tmp_path: Path) -> None:
    path = tmp_path / "failed"
    path.write_text("{")
    found = noted(str(path))
    assert found is not None and "damaged" in found.error and found.began_ns == path.stat().st_mtime_ns


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "failed"
    target.write_text("mine")
    path.symlink_to(target)
    note(str(path), FULL)
    assert target.read_text() == "mine"
    assert noted(str(path)) == FULL
