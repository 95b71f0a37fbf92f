"""Noise: processes that write to their own files in the same directories, to create unrelated events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

PREFIX = "noise-"
# Each of these is one audited system call. The files that remain are additions in the diff.
_CALLS_A_FILE = 6
_KEPT = 3
RATE = 1500


class Noise:
    """One process that makes it."""

    def __init__(self, number: int, rate: int, directories: Sequence[Path]) -> None:
        command = [sys.executable, __file__, str(number), str(rate), *map(str, directories)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._calls = 0

    @property
    def pid(self) -> int:
        """The process to which its files must be attributed."""
        return self._process.pid

    def stop(self) -> int:
        """End the process; return how many audited calls it made."""
        if self._process.poll() is None:
            self._process.terminate()
            said, _ = self._process.communicate()
            self._calls = int(said or 0)
        return self._calls


@contextmanager
def noise(directories: Sequence[Path], *, processes: int = 2, rate: int = RATE) -> Iterator[list[Noise]]:
    """Run noise processes, each with up to ``rate`` audited calls per second."""
    sources = [Noise(number, rate, directories) for number in range(processes)]
    try:
        yield sources
    finally:
        for source in sources:
            source.stop()


def make_noise(number: int, rate: int, directories: Sequence[str]) -> None:
    """Create, write, rename, change, truncate and remove files in all directories, until stopped."""
    pause = _CALLS_A_FILE * len(directories) / rate
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    calls = 0
    with suppress(KeyboardInterrupt):
        for turn in count():
            for directory in directories:
                calls += _CALLS_A_FILE
                with suppress(OSError):  # some scenarios remove whole directories
                    _one_life(f"{directory}/{PREFIX}{number}-{turn % _KEPT}", turn)
            time.sleep(max(0.0, began + pause * (turn + 1) - time.monotonic()))
    print(calls)


def _one_life(name: str, turn: int) -> None:
    with open(name + ".new", "wb") as file:
        file.write(b"%d" % turn)
    os.rename(name + ".new", name)
    with open(name, "ab") as file:
        file.write(b"more")
    os.chmod(name, 0o600 + turn % 2 * 0o40)
    os.truncate(name, 1)
    if turn % 4 == 3:
        os.unlink(name)


if __name__ == "__main__":
    make_noise(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
