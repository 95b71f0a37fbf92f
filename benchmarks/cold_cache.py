"""Measure scans with a cold cache: fimscan, AIDE, and reading alone, on a file system of the benchmark's own.

    apt-get install aide e2fsprogs
    sudo python benchmarks/cold_cache.py [DIRECTORY] [--rounds N] [--scratch DIRECTORY]

DIRECTORY is copied to an ext4 file system in an image, on a loop device with direct I/O. It is unmounted and mounted
again before each run, so that nothing of it is in memory; the programs themselves and their databases are. (The ctime
of a file does not vouch for it after a mount, so that rescan is not measured here.)

For each run: its time, how many megabytes of the files it read per second, and what share of the device's throughput
that is. The latter is measured in the same round, by 'dd' over the whole image.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import targets
from benchmarks.contest import HEAD, Contestant, best_of
from benchmarks.scan_vs_aide import (
    AIDE_FIRST,
    AIDE_RESCAN,
    FIRST,
    RESCAN,
    VOUCHED,
    aide_contestants,
    fimscan_contestants,
    floor,
)

_FREE = 1.25  # an image is so much larger than the files in it
_DEVICE = "dd, the device in order"


def sh(*command: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True)
class Disk:
    """A file system that is mounted on ``directory``, from a device without a cache below it."""

    device: str
    directory: str

    def cool(self) -> None:
        """Let the kernel forget all of it."""
        sh("umount", self.directory)
        sh("mount", "-o", "ro,noatime", self.device, self.directory)


@contextmanager
def disk(source: str, scratch: str) -> Iterator[Disk]:
    """A new file system with a copy of a directory."""
    used = int(sh("du", "-s", "--block-size=1", source).split()[0])
    image, directory = f"{scratch}/image", f"{scratch}/mounted"
    os.mkdir(directory)
    with open(image, "wb") as file:
        file.truncate(int(used * _FREE) + (64 << 20))
    sh("mkfs.ext4", "-q", "-F", "-N", str(max(20_000, used // 8192)), image)
    loop = sh("losetup", "--find", "--show", "--direct-io=on", image)
    try:
        sh("mount", loop, directory)
        sh("cp", "-a", f"{source}/.", directory)
        sh("umount", directory)
        sh("mount", "-o", "ro,noatime", loop, directory)
        yield Disk(loop, directory)
    finally:
        subprocess.run(["umount", directory], check=False, capture_output=True)
        sh("losetup", "--detach", loop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="/usr/share", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", help="directory for image and databases (default: the system's temporary one)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(dir=options.scratch) as scratch,
        disk(options.directory, scratch) as mounted,
    ):
        contestants = fimscan_contestants(mounted.directory, scratch)
        del contestants[VOUCHED]
        if shutil.which("aide"):
            contestants |= aide_contestants(mounted.directory, scratch, cores)
        contestants |= floor(mounted.directory, cores)
        reading = ["dd", f"if={mounted.device}", "of=/dev/null", "bs=1M", "iflag=direct"]
        contestants[_DEVICE] = Contestant(reading)
        cold = {name: _cooled(contestant, mounted) for name, contestant in contestants.items()}
        megabytes = int(sh("du", "-s", "--apparent-size", "--block-size=1", mounted.directory).split()[0]) / 1e6
        device_mb = int(sh("blockdev", "--getsize64", mounted.device)) / 1e6
        files = sum(len(found) for _, _, found in os.walk(mounted.directory))
        print(f"{options.directory}: {files:,} files, {megabytes:,.0f} MB")
        print(f"{cores} cores, load {os.getloadavg()[0]:.1f}, best of {options.rounds}")
        costs = best_of(cold, options.rounds)
    throughput = device_mb / costs[_DEVICE].wall
    print(HEAD)
    for name, cost in costs.items():
        rate = throughput if name == _DEVICE else megabytes / cost.wall
        print(f"{name:<44} {cost}   {rate:7.0f} MB/s, {100 * rate / throughput:3.0f} % of the device")
    for name, other in ((FIRST, AIDE_FIRST), (RESCAN, AIDE_RESCAN)):
        if other in costs:
            targets.faster(f"cold: {name}", other, costs[other].wall / costs[name].wall, 1.0)


def _cooled(contestant: Contestant, mounted: Disk) -> Contestant:
    def prepare() -> None:
        contestant.prepare()
        mounted.cool()

    return Contestant(contestant.command, prepare, contestant.success)


if __name__ == "__main__":
    main()
