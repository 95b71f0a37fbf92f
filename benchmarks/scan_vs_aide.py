"""How long a first scan takes: fimscan, AIDE, and a floor in C, side by side on the same files.

    python benchmarks/scan_vs_aide.py [DIRECTORY] [--rounds N]

The floor is ``find | xargs -P CORES`` over ``xxhsum -H2`` where there is one, else ``openssl dgst -sha256``: reading
and one digest, nothing recorded. AIDE records the same attributes as fimscan and SHA-256. The best of N rounds counts,
and the rounds of the contestants alternate, so that all of them meet the same page cache and the same neighbours.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fimscan.model import FileState
from fimscan.scan import WatchSpec, scan

_AIDE_CONFIG = """\
database_out=file:{scratch}/aide.db
gzip_dbout=no
report_url=file:{scratch}/report
{directory} p+i+n+u+g+s+m+c+sha256
"""


def fimscan(directory: str, algorithms: tuple[str, ...], workers: int = 0) -> Callable[[], None]:
    def run() -> None:
        for _ in scan([WatchSpec(path=os.fsencode(directory), algorithms=algorithms)], workers=workers):
            pass

    return run


def aide(directory: str, scratch: str) -> Callable[[], None]:
    config = f"{scratch}/aide.conf"
    with open(config, "w") as file:
        file.write(_AIDE_CONFIG.format(scratch=scratch, directory=directory))

    def run() -> None:
        subprocess.run(["aide", "--init", "--config", config], check=True, stdout=subprocess.DEVNULL)

    return run


def floor(directory: str, cores: int) -> tuple[str, Callable[[], None]]:
    digest = ["xxhsum", "-H2"] if shutil.which("xxhsum") else ["openssl", "dgst", "-sha256"]

    def run() -> None:
        find = ["find", directory, "-xdev", "-type", "f", "-print0"]
        hash_all = ["xargs", "-0", "-r", "-P", str(cores), "-n", "500", *digest]
        with subprocess.Popen(find, stdout=subprocess.PIPE) as listing:
            subprocess.run(hash_all, stdin=listing.stdout, stdout=subprocess.DEVNULL, check=True)

    return f"find | xargs -P{cores} {' '.join(digest)}", run


def measure(contestants: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, run in contestants.items():
            begin = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="/usr/lib", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    watch = WatchSpec(path=os.fsencode(options.directory))
    # This reads everything into the page cache, too.
    files = [one.size for one in scan([watch]) if isinstance(one, FileState) and one.digests]
    print(
        f"{options.directory}: {len(files)} files, {sum(files) / 1e9:.2f} GB, {cores} cores, best of {options.rounds}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        floor_name, run_floor = floor(options.directory, cores)
        contestants = {
            "fimscan xxh3_128+sha256": fimscan(options.directory, ("xxh3_128", "sha256")),
            "fimscan xxh3_128+sha256, 1 process": fimscan(options.directory, ("xxh3_128", "sha256"), workers=1),
            "fimscan xxh3_128": fimscan(options.directory, ("xxh3_128",)),
            floor_name: run_floor,
        }
        if shutil.which("aide"):
            contestants["aide --init (sha256)"] = aide(options.directory, scratch)
        else:
            print("aide is not installed: no comparison with it")
        best = measure(contestants, options.rounds)
    reference = best["fimscan xxh3_128+sha256"]
    for name, seconds in best.items():
        print(f"{name:<40} {seconds:8.2f} s   {seconds / reference:6.2f} x")


if __name__ == "__main__":
    main()
