"""Other processes that write in the same directories: as many unrelated events as one likes, from files of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

PREFIX = "noise-"
# Each of these is one audited system call; what is left over at last are new files in the diff.
_CALLS_A_FILE = 6
_KEPT = 3


@contextmanager
def noise(directories: Sequence[Path], *, processes: int = 2, rate: int = 1500) -> Iterator[list[int]]:
    """That many processes with about ``rate`` audited calls a second each; gives their pids."""
    command = [sys.executable, "-m", "tests.lab.noise", str(rate), *map(str, directories)]
    started = [subprocess.Popen([*command[:3], str(number), *command[3:]]) for number in range(processes)]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def make_noise(number: int, rate: int, directories: Sequence[str]) -> None:
    """Create, write, rename, change, truncate and remove, round the directories, until stopped."""
    pause = _CALLS_A_FILE * len(directories) / rate
    began = time.monotonic()
    for turn in count():
        for directory in directories:
            name = f"{directory}/{PREFIX}{number}-{turn % _KEPT}"
            with suppress(OSError):  # some scenarios take whole directories away
                _one_life(name, turn)
        time.sleep(max(0.0, began + pause * (turn + 1) - time.monotonic()))


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
