"""A directory with very many entries, and a scan that must not keep all of them in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from fimscan.scan import scanner
from fimscan.scan.batches import Feed, WalkBatch
from fimscan.scan.block import answer_of
from fimscan.scan.dir_stack import Descriptors
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.limits import Limits
from fimscan.scan.pool import Hangs, Pool
from fimscan.scan.walk import Walk
from fimscan.scan.watch import WatchSpec

_CHECKOUT = Path(__file__).parents[2]
# A million entries take a minute of processor time.
_ENTRIES = int(os.environ.get("FIMSCAN_ENTRIES", "50000"))
_SCRIPT = """\
import json, os, sys
from fimscan.scan.scanner import scan_blocks
from fimscan.scan.watch import WatchSpec
def peak():  # of this program alone: getrusage(2) remembers the one that started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
before, states, last = peak(), 0, b""
for block in scan_blocks([WatchSpec(path=os.fsencode(sys.argv[1]), algorithms=())], workers=2):
    assert all(a < b for a, b in zip([last, *block.paths], block.paths))
    last = block.paths[-1]
    states += block.states
print(json.dumps([states, peak() - before]))
"""


@pytest.mark.timeout(600)
def test_a_directory_with_very_many_entries(root: bytes) -> None:
    """All are recorded in order; memory grows with their names only."""
    directory = os.open(root, os.O_DIRECTORY)
    for number in range(_ENTRIES):
        os.mknod(b"entry-%07d" % number, dir_fd=directory)
    os.close(directory)
    done = subprocess.run([sys.executable, "-c", _SCRIPT, root], cwd=_CHECKOUT, capture_output=True, check=True)
    states, grown_kb = json.loads(done.stdout)
    assert states == _ENTRIES + 1
    # A name of 13 bytes takes 46 bytes, and its place in a list 8.
    assert grown_kb * 1024 < (8 << 20) + 100 * _ENTRIES
    print(f"{_ENTRIES:,} entries: {grown_kb:,} kB more")


class _Stuck:
    """A pool whose first batch is not answered for a long time, while later ones are."""

    has_room = True

    def __init__(self) -> None:
        self.given: list[WalkBatch] = []
        self.beside_the_first = 0
        self._looks = 0

    def submit(self, batch: WalkBatch) -> None:
        self.given.append(batch)

    def collect(self, *, wait: bool) -> None:
        self._looks += wait
        for batch in self.given if self._looks > 20 else self.given[1:]:
            if batch.answer is None:
                batch.answer = answer_of(1, [("vanished", "")] * sum(len(task.names) for task in batch.tasks), [])
                batch.release()
        if self.given[0].answer is None:
            self.beside_the_first = len(self.given)


def test_results_after_a_slow_file_are_limited(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results after a huge file wait in memory until it is read: their number is limited."""
    for number in range(200):
        Path(os.fsdecode(root), str(number)).touch()
    monkeypatch.setattr(scanner, "_BATCH_NAMES", 1)
    stuck = _Stuck()
    walk = Walk(
        WatchSpec(path=root),
        others=(),
        hidden={},
        cross_mounts=False,
        descriptors=Descriptors(100, 8),
        hang_guard=HangGuard(Limits(), Hangs()),
    )
    shares = list(scanner._read_by_workers(Feed(walk.found(), scanner.nothing_verified), cast("Pool", stuck)))
    assert len(shares) > 200
    assert stuck.beside_the_first < 64  # batches, usually of 256 names
