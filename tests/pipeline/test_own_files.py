"""Changes of fimscan's own files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import fimscan
from fimscan.config import parse_config
from fimscan.pipeline import run_scan
from fimscan.pipeline.controls import own_files, record
from fimscan.store.database import Database


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A unit that counts as fimscan's own."""
    directory = tmp_path / "units"
    directory.mkdir()
    elsewhere = (pattern.replace("/etc/systemd/system", str(directory)) for pattern in own_files._PATTERNS)
    monkeypatch.setattr(
        own_files, "_PATTERNS", [pattern for pattern in elsewhere if pattern.startswith(str(directory))]
    )
    monkeypatch.setattr(fimscan, "__path__", [str(tmp_path / "program")])
    (directory / "fimscan.service").write_text("one")
    return directory / "fimscan.service"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{tmp_path}/x.db", host="h")) as opened:
        yield opened


def reported(database: Database, tmp_path: Path) -> list[str]:
    """Scan; return what is reported of fimscan's own files."""
    config = parse_config(f'[[watch]]\npath = "{tmp_path}/units"\npolicy = "attributes"\n')
    record.after_scan(database, config, None, run_scan(database, config, source=None))
    with record.report_once(database) as report:
        return [item.cause for item in report.began if item.kind == "program"]


def test_a_changed_unit_is_reported_once(unit: Path, database: Database, tmp_path: Path) -> None:
    """By name; so is a new one, and one that is gone. The first scan has nothing to compare with."""
    assert reported(database, tmp_path) == []
    unit.write_text("other")
    (cause,) = reported(database, tmp_path)
    assert cause == f"1 file changed since the scan before: {unit}"
    assert reported(database, tmp_path) == []
    unit.with_name("fimscan-x.timer").write_text("new")
    unit.unlink()
    (cause,) = reported(database, tmp_path)
    assert cause.startswith("2 files changed") and "fimscan-x.timer" in cause


def test_a_drop_in_belongs_to_its_unit(unit: Path, database: Database, tmp_path: Path) -> None:
    """It says how the unit runs as much as the unit itself."""
    reported(database, tmp_path)
    drop_in = unit.with_name("fimscan.service.d") / "local.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nExecStart=\n")
    (cause,) = reported(database, tmp_path)
    assert cause == f"1 file changed since the scan before: {drop_in}"


def test_the_same_content_is_no_change(unit: Path, database: Database, tmp_path: Path) -> None:
    """A package that is installed again writes all of it anew."""
    reported(database, tmp_path)
    unit.with_name("new").write_text("one")
    os.replace(unit.with_name("new"), unit)
    assert reported(database, tmp_path) == []


def test_what_is_known_is_not_read_again(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what cannot be read an error."""
    known = own_files.take_inventory({})
    assert list(known) == [str(unit)]
    monkeypatch.setattr(own_files, "_digest", lambda path: pytest.fail(f"{path} was read"))
    assert own_files.take_inventory(own_files.load(own_files.dump(known))) == known
    os.utime(unit, (1, 1))

    def refuse(_path: str) -> str:
        raise PermissionError

    monkeypatch.setattr(own_files, "_digest", refuse)
    assert own_files.take_inventory(known) == {}
