"""A power cut at any moment: synced data is on the disk; of the rest, any part is, torn at sectors.

writes.c, preloaded into real scans, records all their writes, so that each such disk can be made. The environment
variable ``FIMSCAN_CUTS`` sets the number of cuts.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.crash.ground import Ground

CUTS = int(os.environ.get("FIMSCAN_CUTS", "30"))
_HEADER = struct.Struct("=IIIIQ")
_WRITE, _TRUNCATE, _SYNC, _REMOVE, _PRINTED = 1, 2, 3, 4, 5
_SECTOR = 512


@dataclass(frozen=True)
class Note:
    """One recorded system call, in order."""

    kind: int
    path: str
    offset: int
    data: bytes


def notes(file: Path) -> list[Note]:
    data, at, found = file.read_bytes(), 0, []
    while at < len(data):
        kind, path_length, length, _, offset = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        path = data[at : at + path_length].decode()
        at += path_length
        found.append(Note(kind=kind, path=path, offset=offset, data=data[at : at + length]))
        at += length
    return found


def after_a_power_cut(begin: dict[str, bytes], calls: Sequence[Note], dice: random.Random) -> dict[str, bytes]:
    """Return what the files may contain: all up to the last sync, and any part of what was written after it."""
    synced = {note.path: number for number, note in enumerate(calls) if note.kind == _SYNC}
    disk = {path: bytearray(data) for path, data in begin.items()}
    # Independently for each file: all of its unsynced writes have arrived, none, or some.
    luck: dict[str, float] = defaultdict(lambda: dice.choice((0.0, 0.5, 1.0)))
    for number, note in enumerate(calls):
        if note.kind == _PRINTED:
            continue
        is_safe = number <= synced.get(note.path, -1)
        if is_safe or dice.random() < luck[note.path]:
            _apply(disk, note, dice, is_safe=is_safe)
    return {path: bytes(data) for path, data in disk.items()}


def _apply(disk: dict[str, bytearray], note: Note, dice: random.Random, *, is_safe: bool) -> None:
    if note.kind == _REMOVE:
        disk.pop(note.path, None)
        return
    content = disk.setdefault(note.path, bytearray())
    if note.kind == _TRUNCATE:
        content[:] = content[: note.offset].ljust(note.offset, b"\0")
    elif note.kind == _WRITE:
        data = note.data
        if not is_safe and dice.random() < 0.3:
            data = data[: _SECTOR * dice.randrange(len(data) // _SECTOR + 1)]
        if len(content) < note.offset:
            content.extend(bytes(note.offset - len(content)))
        content[note.offset : note.offset + len(data)] = data


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build the noting of writes with")
    library = tmp_path_factory.mktemp("shim") / "writes.so"
    source = Path(__file__).with_name("writes.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    yield library


def test_power_cuts(cli: Cli, shim: Path) -> None:
    """Whatever the disk contains afterwards, all reported scans are in the database, and the next scan works."""
    dice = random.Random(int(os.environ.get("FIMSCAN_SEED", "5")))
    ground = Ground(cli, 150)
    cli.scan()
    log = cli.root / "writes"
    begin = {str(cli.database): cli.database.read_bytes()}
    noting = {**os.environ, "LD_PRELOAD": str(shim), "WRITES_OF": str(cli.database), "WRITES_TO": str(log)}
    reported_at = []
    for number in range(3):
        begun = len(notes(log)) if number else 0
        for _ in range(40 if number == 1 else 2):
            ground.change_one()
        cli("scan", "--no-audit", code=4, env=noting)
        reported_at.append(next(i for i, note in enumerate(notes(log)) if i >= begun and note.kind == _PRINTED))
    calls = notes(log)
    assert sum(note.kind == _SYNC for note in calls) > 5 and sum(note.kind == _WRITE for note in calls) > 50
    disk = cli.root / "after"
    for number in range(CUTS):
        cut = dice.randrange(len(calls) + 1)
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir()
        for path, data in after_a_power_cut(begin, calls[:cut], dice).items():
            (disk / Path(path).name).write_bytes(data)
        last = ground.check_database(disk / cli.database.name)
        done = 1 + sum(cut > moment for moment in reported_at)
        assert last >= done, f"{done} scans were reported before call {cut}, and {last} are stored"
        if number % 20 == 0:
            _the_next_scan_works(cli, disk / cli.database.name, ground, was_reported=cut > reported_at[-1])


def _the_next_scan_works(cli: Cli, database: Path, ground: Ground, *, was_reported: bool) -> None:
    """The next scan reports what was not reported, found by it or before; it shows the interrupted scan.

    The mark that a scan was reported may be lost; then it is reported again, which is better than never.
    """
    url = f"sqlite:///{database}"
    done = cli("--db", url, "scan", "--no-audit")
    assert done.returncode in ((0, 4) if was_reported else (4,)), done.stderr
    assert "running" not in cli("--db", url, "status", code=0).stdout
    ground.check_database(database)
