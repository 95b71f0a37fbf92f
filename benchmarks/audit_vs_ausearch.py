"""Reading an audit log: fimscan's reader against ``ausearch --raw``, on the same log, one after the other.

``python benchmarks/audit_vs_ausearch.py [LOG]``. Without a log, about 30 MB are made of the recorded events in
tests/data/audit, with new serials and five events a millisecond, as a busy host writes them.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from fimscan.audit import read_stream  # noqa: E402

SIZE = 30_000_000
REPEATS = 3
_STAMP = re.compile(rb"audit\(([\d.]+:\d+)\)")


def made_log(path: str) -> None:
    """Write the recorded events again and again, each time as new ones."""
    lines: list[bytes] = []
    for name in sorted(glob.glob(f"{ROOT}/tests/data/audit/*.log")):
        with open(name, "rb") as file:
            lines += file.readlines()
    stamps = list(dict.fromkeys(match[1] for line in lines if (match := _STAMP.search(line))))
    pieces = [_STAMP.split(line, maxsplit=1) for line in lines]
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


def best(action: Callable[[], int]) -> tuple[float, int]:
    """(seconds of the fastest of three runs, what it counted)."""
    seconds, counted = float("inf"), 0
    for _ in range(REPEATS):
        start = time.perf_counter()
        counted = action()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, counted


def ausearch(path: str) -> int:
    """Lines that ausearch prints (through a pipe, as anything that used them would read them)."""
    with subprocess.Popen(["ausearch", "--raw", "-if", path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        return sum(1 for _ in process.stdout)


def events(path: str) -> int:
    """Events, parsed and assembled, without a look inside."""
    from fimscan.audit.collector import Collector
    from fimscan.audit.sources import Segment

    class Counter(Collector):
        counted = 0

        def _events(self, events):  # type: ignore[no-untyped-def]
            self.counted += len(events)

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
    """File accesses: what fimscan stores."""
    with open(path, "rb") as file:
        return sum(len(batch.accesses) for batch in read_stream(file))


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = sys.argv[1] if len(sys.argv) > 1 else f"{directory}/audit.log"
        if len(sys.argv) < 2:
            made_log(path)
        megabytes = os.path.getsize(path) / 1e6
        print(f"{megabytes:.1f} MB")
        reference = None
        if shutil.which("ausearch"):
            reference, lines = best(lambda: ausearch(path))
            print(f"ausearch --raw            {reference:6.2f} s {megabytes / reference:7.1f} MB/s  {lines} lines")
        for title, action in (("fimscan, to events", events), ("fimscan, to accesses", accesses)):
            seconds, counted = best(lambda action=action: action(path))  # type: ignore[misc]
            ratio = f"  {reference / seconds:.1f}x ausearch" if reference else ""
            print(f"{title:25} {seconds:6.2f} s {megabytes / seconds:7.1f} MB/s  {counted}{ratio}")


if __name__ == "__main__":
    main()
