"""The memory of a scan does not grow with what a user changes: some hundred bytes a change, not kilobytes."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import pytest

from fimscan import compact, spool
from fimscan.attribution import index
from fimscan.config import Config, parse_config
from fimscan.grouping import Grouping
from fimscan.model import Diff
from fimscan.pipeline import AuditSource, run_scan
from fimscan.pipeline.audit.reading import read_audit
from fimscan.pipeline.history import packaged
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.packaged import default_sources, with_packages
from fimscan.pipeline.record import blocks
from fimscan.report.words import headline, verdict_counts
from fimscan.store import findings
from fimscan.store.database import Database

_FEW, _MANY = 700, 1_700
_IN_MEMORY = 200  # what is kept in memory of anything: fewer than usual, so that the test need not take minutes
# A change. It is 1,700, since with so few changes, pieces and caches are still being filled, and 3,200 if what is to
# wait on disk stays in memory.
_MOST_BYTES = 2_300
_RECORDS = (
    "type=SYSCALL msg=audit({at}:{serial}): arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=7f a2=241 "
    "a3=1b6 items=2 ppid=42 pid=4242 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 "
    'ses=3 comm="tool" exe="/usr/bin/tool" key="fimscan"\n'
    'type=PATH msg=audit({at}:{serial}): item=0 name="{directory}" inode={above} dev={dev} mode=040755 ouid=0 ogid=0 '
    "rdev=00:00 nametype=PARENT\n"
    'type=PATH msg=audit({at}:{serial}): item=1 name="{path}" inode={inode} dev={dev} mode=0100644 ouid=0 ogid=0 '
    "rdev=00:00 nametype=CREATE\n"
    "type=EOE msg=audit({at}:{serial}): \n"
)


def test_memory_of_a_scan_grows_little_with_its_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New files with their records: scanned, attributed, asked for their packages, ranked and counted."""
    for module, name in (
        *((spool, "PIECE"), (spool, "MANY"), (compact, "_FEW"), (index, "_LOADED"), (packaged, "_AT_ONCE")),
        *((findings, "_MANY"), (blocks, "_BATCH"), (blocks, "_FLUSH_ROWS")),
    ):
        monkeypatch.setattr(module, name, _IN_MEMORY)
    monkeypatch.setattr(spool, "_KEPT", 4)
    _peak(tmp_path / "warm", _IN_MEMORY)
    few, many = (_peak(tmp_path / str(count), count) for count in (_FEW, _MANY))
    grown = (many - few) / (_MANY - _FEW)
    assert grown < _MOST_BYTES, f"{grown:.0f} bytes a change"


def _peak(place: Path, count: int) -> int:
    """The most memory that a scan and its report take, in bytes."""
    watched, log = place / "watched", place / "audit.log"
    watched.mkdir(parents=True)
    log.touch()
    config = parse_config(f'[[watch]]\npath = "{watched}"\nseverity = "high"\n')
    database = Database(f"sqlite:///{place}/x.db", host=os.uname().nodename)
    source = AuditSource(logs=(str(log),))
    try:
        run_scan(database, config, source=source)
        _make_files(watched, log, count)
        read_audit(database, source)  # in batches of a fixed size, which are more than these
        gc.collect()
        tracemalloc.start()
        try:
            diff, grouping = _reported(database, config, source)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert len(grouping.rows) == len(diff.findings) >= count
        assert sum(bool(row.attribution.actors) for row in diff.findings) == count, "each record was found"
    finally:
        database.close()
    return peak


def _reported(database: Database, config: Config, source: AuditSource) -> tuple[Diff, Grouping]:
    diff = run_scan(database, config, source=source).diff
    found = with_packages(database, diff, default_sources(config.database.url))
    grouping = grouping_of(database, found.diff, found.facts)
    assert headline(found.diff) and verdict_counts(found.diff)
    return found.diff, grouping


def _make_files(watched: Path, log: Path, count: int) -> None:
    directory, serial = watched, 1000
    with log.open("a") as records:
        for number in range(count):
            if number % 500 == 0:
                directory = watched / f"d{number}"
                directory.mkdir()
                above = os.stat(directory)
            path = directory / f"f{number}"
            path.write_text("x")
            found = path.stat()
            serial += 1
            records.write(
                _RECORDS.format(
                    at=f"{found.st_mtime_ns / 1e9:.3f}",
                    serial=serial,
                    directory=directory,
                    path=path,
                    inode=found.st_ino,
                    above=above.st_ino,
                    dev=f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}",
                )
            )
