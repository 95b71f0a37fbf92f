"""Helpers of the scanner's tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fimscan.model import FileState, Unreadable
from fimscan.scan import reader, scanner
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec

Results = dict[bytes, FileState | Unreadable]
Scanned = Callable[..., Results]


@pytest.fixture
def root(tmp_path: Path) -> bytes:
    """An empty directory to watch."""
    path = tmp_path / "watched"
    path.mkdir()
    return os.fsencode(path)


@pytest.fixture
def scanned() -> Scanned:
    """Scan paths (or watches), check the order, and return the results by full path."""

    def run(*watches: bytes | WatchSpec, **options: object) -> Results:
        specs = [watch if isinstance(watch, WatchSpec) else WatchSpec(path=watch) for watch in watches]
        results = list(scan(specs, **{"workers": 1, **options}))  # type: ignore[arg-type]
        paths = [result.path for result in results]
        assert paths == sorted(set(paths))
        return {result.path: result for result in results}

    return run


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the workers after the first few files, even in a small scan."""
    monkeypatch.setattr(scanner, "_ALONE_SECONDS", 0)


@pytest.fixture
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat files as settled as soon as they are made, on any file system; in this process only."""
    monkeypatch.setattr(reader, "FRESH_NS", 0)
    monkeypatch.setattr(reader, "own_mounts", list)


@pytest.fixture(params=["fresh", "settled"])
def whether_settled(request: pytest.FixtureRequest) -> None:
    """Run the test twice: with files made just now, and as if they were older."""
    if request.param == "settled":
        request.getfixturevalue("settled")
