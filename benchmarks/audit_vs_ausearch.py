"""Compare the speed of reading an audit log: fimscan and ``ausearch --raw``, alternating, on the same log.

``python benchmarks/audit_vs_ausearch.py [LOG] [--rounds N]``. ``benchmarks/make_audit_log.py`` makes the best LOG (300
MB from the real kernel). Without LOG, about 30 MB are generated from the recorded events in tests/data/audit, with new
serials and five events per millisecond.

Each measurement runs in a process of its own, so that its peak memory is its own, too; figures are medians.
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks import targets  # noqa: E402

SIZE = 30_000_000
_PEER = "ausearch --raw"
_TARGETS = {"events": 4.0, "database": 2.0}
_STAMP = re.compile(rb"audit\(([\d.]+:\d+)\)")


def made_log(path: str) -> None:
    """Write the recorded events repeatedly, each time with new times and serials."""
    lines: list[bytes] = []
    for name in sorted(glob.glob(f"{ROOT}/tests/data/audit/*.log")):
        with open(name, "rb") as file:
            lines += file.readlines()
    stamps = list(dict.fromkeys(match[1] for line in lines if (match := _STAMP.search(line))))
    pieces = [_STAMP.split(line, maxsplit=1) for line in lines if _STAMP.search(line)]
    number = {stamp: index for index, stamp in enumerate(stamps)}
    written = first = 0
    with open(path, "wb") as file:
        while written < SIZE:
            for before, stamp, after in pieces:
                serial = first + number[stamp]
                time_ms = 1_700_000_000_000 + serial // 5
                new = b"audit(%d.%03d:%d)" % (time_ms // 1000, time_ms % 1000, serial)
                written += file.write(before + new + after)
            first += len(stamps)


# --------------------------------------------------------------------------------------------------------------------
# The measured functions. Each runs in its own process, imports what it needs, and returns a count.


def events(path: str) -> int:
    """Count events that are parsed and assembled, without accesses."""
    from fimscan.audit.collector import Collector
    from fimscan.audit.parsed_call import ParsedCall
    from fimscan.audit.segments import Segment
    from fimscan.model import AuditEvent

    class Counter(Collector):
        counted = 0

        def _event(self, _event: AuditEvent, _said: ParsedCall | None = None) -> None:
            self.counted += 1

    counter = Counter(log=b"", batch_events=5000, user_name=None)
    counter.enter(Segment(path=b"", dev=0, inode=0, fingerprint=b"", live=False), 0)
    rest = b""
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            whole = chunk.rfind(b"\n") + 1
            for _ in counter.take(rest + chunk[:whole]):
                pass
            rest = chunk[whole:]
    counter.finish()
    return counter.counted


def accesses(path: str) -> int:
    """Count file accesses, as 'fimscan audit events' prints them."""
    from fimscan import audit

    with open(path, "rb") as file:
        return sum(len(batch.accesses) for batch in audit.read_stream(file))


def database(path: str) -> int:
    """Count file accesses stored in an SQLite database with their records, as a scan reads them."""
    from sqlalchemy import func, select

    from fimscan.pipeline import AuditSource, read_audit
    from fimscan.store import schema
    from fimscan.store.database import Database

    with tempfile.TemporaryDirectory() as directory:
        store = Database(f"sqlite:///{directory}/x.db", host=os.uname().nodename)
        read_audit(store, AuditSource(logs=(path,)))
        with store.read() as connection:
            counted = connection.execute(select(func.count()).select_from(schema.access)).scalar_one()
        store.close()
        return int(counted)


MEASURED: dict[str, Callable[[str], int]] = {"events": events, "accesses": accesses, "database": database}


# --------------------------------------------------------------------------------------------------------------------


class Figures(NamedTuple):
    """Wall clock seconds, CPU seconds, peak resident memory in MB, and what was counted."""

    seconds: float
    cpu_s: float
    memory_mb: float
    counted: str


def measured(command: list[str]) -> Figures:
    """Run a command and measure it."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    last = b""
    count = 0
    for line in process.stdout:
        last = line
        count += 1
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    counted = last.decode("utf-8", "replace").strip() if count == 1 else f"{count} lines"
    return Figures(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=sorted(MEASURED), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(MEASURED[options.measure](options.log), options.measure)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = options.log or f"{directory}/audit.log"
        if not options.log:
            made_log(path)
        report(path, options.rounds)


def report(path: str, rounds: int) -> None:
    megabytes = os.path.getsize(path) / 1e6
    print(f"{path}: {megabytes:.1f} MB")
    commands = {name: [sys.executable, __file__, "--measure", name, path] for name in MEASURED}
    if shutil.which("ausearch"):
        commands = {_PEER: ["ausearch", "--raw", "-if", path], **commands}
    figures: dict[str, list[Figures]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            figures[name].append(measured(command))
    medians = {
        name: (median(f.seconds for f in found), median(f.cpu_s for f in found)) for name, found in figures.items()
    }
    peer = medians.get(_PEER)
    for name, (seconds, cpu_s) in medians.items():
        ratio = f"{peer[0] / seconds:5.1f}x ausearch ({peer[1] / cpu_s:.1f}x in CPU time)" if peer else ""
        print(
            f"{name:15} {seconds:7.2f} s ({cpu_s:6.2f} s CPU) {megabytes / seconds:7.1f} MB/s"
            f" {max(f.memory_mb for f in figures[name]):6.0f} MB resident  {figures[name][0].counted:18} {ratio}"
        )
    if peer:
        for name, times in _TARGETS.items():
            targets.faster(name, _PEER, peer[0] / medians[name][0], times)


if __name__ == "__main__":
    main()
