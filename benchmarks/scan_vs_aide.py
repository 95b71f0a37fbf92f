"""Measure the cost of a scan with its database: fimscan, AIDE, a bare Python prototype, C programs, on the same files.

    apt-get install aide xxhash
    python benchmarks/scan_vs_aide.py [DIRECTORY] [--rounds N] [--scratch DIRECTORY]

- fimscan: 'fimscan scan --no-audit', as a user runs it: first scan, rescan that reads every byte again, and rescan
  where ctime vouches (reread = "ctime").
- AIDE: --init and --check, with the same attributes and SHA-256, and one worker per core.
- prototype: benchmarks/prototype.py, without database and comparison.
- floor: find | xargs -P CORES with 'xxhsum -H2', else 'openssl dgst -sha256': one digest, nothing stored.

All files are read once before, so the page cache is warm. The contestants' rounds alternate, and the best of N counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import targets
from benchmarks.contest import HEAD, Contestant, Cost, best_of, fimscan, forget, run, write_config

_AIDE_CONFIG = """\
database_in=file:{scratch}/aide.db
database_out=file:{scratch}/{out}
gzip_dbout=no
num_workers={cores}
report_url=file:{scratch}/report
{directory} p+i+n+u+g+s+m+c+acl+xattrs+sha256
"""
_AIDE_FOUND = frozenset(range(8))  # a sum of what differs; 14 and above are errors
FIRST, RESCAN, VOUCHED = "fimscan, first scan", "fimscan, rescan", "fimscan, rescan, ctime vouches"
AIDE_FIRST, AIDE_RESCAN, _PROTOTYPE = "aide --init", "aide --check", "prototype"
# (name, other, minimum speed as a multiple of the other's)
_TARGETS = ((FIRST, AIDE_FIRST, 6.5), (RESCAN, AIDE_RESCAN, 15.0))
_MAX_VS_PROTOTYPE = 1.5  # maximum time of the first scan, as a multiple of the prototype's


def fimscan_contestants(directory: str, scratch: str) -> dict[str, Contestant]:
    config, database = write_config(scratch, "fimscan", directory)
    vouched, vouched_database = write_config(scratch, "vouched", directory, 'reread = "ctime"')

    def prepare_vouched() -> None:
        if not os.path.exists(vouched_database):
            run(Contestant(fimscan(vouched, "scan", "--no-audit")))

    result_codes = frozenset(range(8))
    return {
        FIRST: Contestant(fimscan(config, "scan", "--no-audit"), lambda: forget(database)),
        RESCAN: Contestant(fimscan(config, "scan", "--no-audit"), success=result_codes),
        VOUCHED: Contestant(fimscan(vouched, "scan", "--no-audit"), prepare_vouched, success=result_codes),
    }


def aide_contestants(directory: str, scratch: str, cores: int) -> dict[str, Contestant]:
    commands = {}
    for name, out in (("init", "aide.db"), ("check", "unused")):
        config = f"{scratch}/aide-{name}.conf"
        text = _AIDE_CONFIG.format(scratch=scratch, out=out, cores=cores, directory=directory)
        Path(config).write_text(text)
        commands[f"aide --{name}"] = Contestant(["aide", f"--{name}", "--config", config], success=_AIDE_FOUND)
    return commands


def floor(directory: str, cores: int) -> dict[str, Contestant]:
    digest = "xxhsum -H2" if shutil.which("xxhsum") else "openssl dgst -sha256"
    pipeline = f'find "$0" -xdev -type f -print0 | xargs -0 -r -P {cores} -n 500 {digest}'
    return {f"find | xargs -P{cores} {digest}": Contestant(["sh", "-c", pipeline, directory])}


def print_targets(costs: dict[str, Cost]) -> None:
    for name, other, times in _TARGETS:
        if other in costs:
            targets.faster(name, other, costs[other].wall / costs[name].wall, times)
    targets.slower(FIRST, f"the {_PROTOTYPE}", costs[FIRST].wall / costs[_PROTOTYPE].wall, _MAX_VS_PROTOTYPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default="/usr", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", help="directory for the databases (default: the system's temporary directory)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    prototype = [sys.executable, str(Path(__file__).with_name("prototype.py")), options.directory]
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        read = subprocess.run(prototype, check=True, capture_output=True, text=True).stdout.strip()
        contestants = fimscan_contestants(options.directory, scratch)
        if shutil.which("aide"):
            contestants |= aide_contestants(options.directory, scratch, cores)
        else:
            print("aide is not installed: it is left out of the comparison")
        contestants[_PROTOTYPE] = Contestant(prototype)
        contestants |= floor(options.directory, cores)
        print(f"{options.directory}: {read}, {cores} cores, load {os.getloadavg()[0]:.1f}, best of {options.rounds}")
        costs = best_of(contestants, options.rounds)
    print(HEAD)
    for name, cost in costs.items():
        print(f"{name:<44} {cost}   {cost.wall / costs[FIRST].wall:6.2f} x the first scan")
    print_targets(costs)
    targets.print_what_was_tried("What it costs more than the prototype")


if __name__ == "__main__":
    main()
