"""Measure how cost grows with files and with history.

    python benchmarks/growth.py [--files N,N,...] [--rounds N] [--scans N] [--scratch DIRECTORY]

First, trees of N small files: the bare prototype, first scan, rescan, rescan where ctime vouches. They alternate, and
the best of the rounds counts. Memory and database bytes per file are printed, too.

Then a tree of 100,000 files is scanned many times without a change. Printed are the growth of the database, the last
scan against the first rescan, and 'fimscan diff' between scans of that history.

A million files take 4 GB in the scratch directory. It must not be on a tmpfs: there, ctime does not vouch, and
everything is read twice. For a minute after its creation, ctime does not vouch for a file, so each tree rests for that
long.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import targets
from benchmarks.contest import HEAD, Contestant, Cost, best_of, fimscan, forget, make_tree, run, write_config
from fimscan.scan.reader import FRESH_NS

_HISTORY_FILES = 100_000
_MANY = 1_000_000  # the size that the targets are for: these seconds, where the prototype takes _PROTOTYPE_SECONDS
_PROTOTYPE_SECONDS = 10.2


def scan(config: str) -> Cost:
    return run(Contestant(fimscan(config, "scan", "--no-audit")))


def size_of(database: str) -> int:
    return sum(os.path.getsize(name) for name in (database, database + "-wal") if os.path.exists(name))


def grow(files: int, scratch: str, rounds: int) -> None:
    tree = f"{scratch}/tree"
    make_tree(tree, files)
    time.sleep(FRESH_NS / 1e9)
    name = f"files-{files}"
    config, database = write_config(scratch, name, tree)
    bare = Contestant([sys.executable, str(Path(__file__).with_name("prototype.py")), tree])
    run(bare)  # the first read of new files is slower for any program

    def begin() -> None:
        write_config(scratch, name, tree)
        forget(database)

    def trust() -> None:
        write_config(scratch, name, tree, 'reread = "ctime"')

    ours = fimscan(config, "scan", "--no-audit")
    costs = best_of(
        {
            "prototype": bare,
            "first scan": Contestant(ours, begin),
            "rescan": Contestant(ours),
            "rescan, ctime vouches": Contestant(ours, trust),
        },
        rounds,
    )
    for contestant, cost in costs.items():
        print(f"{f'{files:,} files, {contestant}':<44} {cost}")
    print(f"{size_of(database) / files:.0f} bytes of database for each file", flush=True)
    shutil.rmtree(tree)
    if files == _MANY:
        print()
        for contestant, seconds in (("first scan", 20), ("rescan", 20), ("rescan, ctime vouches", 10)):
            cost = costs[contestant]
            times = cost.wall / costs["prototype"].wall
            targets.slower(contestant, "the prototype", times, seconds / _PROTOTYPE_SECONDS)
            targets.at_most(f"{contestant}, resident", cost.memory / 1e6, 250, "MB")


def remember(scans: int, scratch: str) -> None:
    tree = f"{scratch}/tree"
    make_tree(tree, _HISTORY_FILES)
    time.sleep(FRESH_NS / 1e9)
    config, database = write_config(scratch, "history", tree)
    scan(config)
    first, size = scan(config), size_of(database)
    for _ in range(scans - 2):
        scan(config)
    last = scan(config)
    print(f"\n{_HISTORY_FILES:,} files, nothing changes, {scans} rescans")
    print(f"{'the first of them':<44} {first}")
    print(f"{'the last of them':<44} {last}")
    each = (size_of(database) - size) / (scans - 1)
    print(f"the database grew by {each:,.0f} bytes a scan, from {size:,} bytes")
    for start, end in ((1, scans + 1), (scans // 2, scans // 2 + 1), (2, scans)):
        cost = run(Contestant(fimscan(config, "diff", "--from", str(start), "--to", str(end))))
        targets.at_most(f"fimscan diff --from {start} --to {end}", cost.wall, 1, "s")
    shutil.rmtree(tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="10000,100000,1000000", help="sizes of the trees (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=2, help="of each, the best of so many counts (default: %(default)s)"
    )
    parser.add_argument("--scans", type=int, default=50, help="rescans of the unchanged tree (default: %(default)s)")
    parser.add_argument("--scratch", help="where it all is made (default: the system's temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
        print(HEAD)
        for files in map(int, options.files.split(",")):
            grow(files, scratch, options.rounds)
        if options.scans > 1:
            remember(options.scans, scratch)
    targets.print_what_was_tried("What it costs more than the prototype")


if __name__ == "__main__":
    main()
