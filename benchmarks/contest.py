"""Shared by the benchmarks: measure commands side by side, and create trees of small files.

For each command, three costs are measured: the wall clock, the CPU time of all its processes, and the peak of their
resident memory together. Memory is sampled; shared pages count once per process. On a busy machine, CPU time says more
than the wall clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SAMPLE_SECONDS = 0.1
_FILES_IN_DIRECTORY = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a command: wall clock seconds, CPU seconds, peak resident bytes."""

    wall: float
    cpu: float
    memory: int

    def __str__(self) -> str:
        """The columns of a table."""
        return f"{self.wall:8.2f} s {self.cpu:8.2f} s {self.memory / 1e6:7.0f} MB"


HEAD = f"{'':<44} {'wall':>10} {'processor':>10} {'resident':>10}"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A command, its preparation, and the exit codes that count as success."""

    command: Sequence[str]
    prepare: Callable[[], None] = lambda: None
    success: frozenset[int] = frozenset({0})


def run(contestant: Contestant) -> Cost:
    """Prepare, run and measure a command once."""
    contestant.prepare()
    begin, used = time.perf_counter(), os.times()
    memory = 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(contestant.command, stdout=subprocess.DEVNULL, stderr=errors, cwd=ROOT)
        while process.poll() is None:
            memory = max(memory, sum(map(_resident, _tree(process.pid))))
            time.sleep(_SAMPLE_SECONDS)
        wall, now = time.perf_counter() - begin, os.times()
        if process.returncode not in contestant.success:
            errors.seek(0)
            message = errors.read().decode(errors="replace")
            raise SystemExit(f"{' '.join(contestant.command)} ended with {process.returncode}: {message}")
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    return Cost(wall, cpu, memory)


def best_of(contestants: dict[str, Contestant], rounds: int) -> dict[str, Cost]:
    """The best round of each command, by wall clock; rounds alternate, so that load affects all alike."""
    found: dict[str, list[Cost]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            found[name].append(run(contestant))
    return {name: min(costs, key=lambda cost: cost.wall) for name, costs in found.items()}


def fimscan(config: str, *arguments: str) -> list[str]:
    """The command as a user runs it."""
    return [sys.executable, "-m", "fimscan", "--config", config, *arguments]


def write_config(scratch: str, name: str, directory: str, watch: str = "") -> tuple[str, str]:
    """Write the configuration for one directory; return (configuration, database)."""
    config, database = f"{scratch}/{name}.toml", f"{scratch}/{name}.db"
    Path(config).write_text(f'[database]\nurl = "sqlite:///{database}"\n[[watch]]\npath = "{directory}"\n{watch}\n')
    return config, database


def forget(database: str) -> None:
    """Remove an SQLite database, so that the next scan is the first."""
    for suffix in ("", "-wal", "-shm", ".lock", ".head"):
        Path(database + suffix).unlink(missing_ok=True)


def make_tree(root: str, files: int) -> None:
    """Create files of 20 to 160 bytes, 100 per directory."""
    for number in range(files):
        if number % _FILES_IN_DIRECTORY == 0:
            directory = f"{root}/{number // 10_000:03d}/{number // _FILES_IN_DIRECTORY % 100:02d}"
            os.makedirs(directory)
        with open(f"{directory}/file-{number:07d}.conf", "wb") as file:
            file.write(b"%d\n" % number * 20)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                found += map(int, Path(f"/proc/{parent}/task/{task}/children").read_text().split())
        except OSError:
            continue
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0
