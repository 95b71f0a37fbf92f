"""A directory with very many entries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
# A million of them takes a minute of processor time.
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
    """All of them are recorded, in order; memory grows with their names alone."""
    directory = os.open(root, os.O_DIRECTORY)
    for number in range(_ENTRIES):
        os.mknod(b"entry-%07d" % number, dir_fd=directory)
    os.close(directory)
    done = subprocess.run([sys.executable, "-c", _SCRIPT, root], cwd=_CHECKOUT, capture_output=True, check=True)
    states, grown_kb = json.loads(done.stdout)
    assert states == _ENTRIES + 1
    # A name of 13 bytes takes 46, and its place in a list 8.
    assert grown_kb * 1024 < (8 << 20) + 100 * _ENTRIES
    print(f"{_ENTRIES:,} entries: {grown_kb:,} kB more")
