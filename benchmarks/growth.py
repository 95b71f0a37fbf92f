"""How cost grows with files and with history.

    python benchmarks/growth.py [--files N,N,...] [--scans N] [--scratch DIRECTORY]

First, trees of so many small files: the bare prototype, first scan, rescan, rescan where ctime vouches, memory, bytes
of database for each file. Then a tree of 100,000 files that is scanned many times over and does not change: how much
the database grows, the last scan against the first rescan, and 'fimscan diff' between scans of that history. A
million files take 4 GB where they are made. That must not be a tmpfs: there, ctime vouches for nothing, and
everything is read twice. For a minute after it was made, a file is too fresh to be vouched for, so that each tree is
left alone for so long.
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
from benchmarks.contest import HEAD, Contestant, Cost, fimscan, make_tree, run, write_config
from fimscan.scan.reader import FRESH_NS

_HISTORY_FILES = 100_000
_MANY = 1_000_000  # where the targets are: so many seconds where the prototype takes
_PROTOTYPE_SECONDS = 10.2


def scan(config: str) -> Cost:
    return run(Contestant(fimscan(config, "scan", "--no-audit")))


def size_of(database: str) -> int:
    return sum(os.path.getsize(name) for name in (database, database + "-wal") if os.path.exists(name))


def grow(files: int, scratch: str) -> None:
    tree = f"{scratch}/tree"
    make_tree(tree, files)
    time.sleep(FRESH_NS / 1e9)
    config, database = write_config(scratch, f"files-{files}", tree)
    bare = Contestant([sys.executable, str(Path(__file__).with_name("prototype.py")), tree])
    run(bare)  # what was just written is slower to read the first time, whoever does
    prototype = run(bare)
    print(f"{f'{files:,} files, prototype':<44} {prototype}")
    first = scan(config)
    print(f"{f'{files:,} files, first scan':<44} {first}   {size_of(database) / files:.0f} bytes a file")
    rescan = scan(config)
    print(f"{f'{files:,} files, rescan':<44} {rescan}")
    write_config(scratch, f"files-{files}", tree, 'reread = "ctime"')
    vouched = scan(config)
    print(f"{f'{files:,} files, rescan, ctime vouches':<44} {vouched}", flush=True)
    shutil.rmtree(tree)
    if files == _MANY:
        print()
        for name, cost, seconds in (("first scan", first, 20), ("rescan", rescan, 20), ("ctime vouches", vouched, 10)):
            targets.slower(name, "the prototype", cost.wall / prototype.wall, seconds / _PROTOTYPE_SECONDS)
            targets.at_most(f"{name}, resident", cost.memory / 1e6, 250, "MB")


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
    parser.add_argument("--scans", type=int, default=50, help="rescans of the unchanged tree (default: %(default)s)")
    parser.add_argument("--scratch", help="where it all is made (default: the system's temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
        print(HEAD)
        for files in map(int, options.files.split(",")):
            grow(files, scratch)
        if options.scans > 1:
            remember(options.scans, scratch)
    targets.tell_what_was_tried("What it costs more than the prototype")


if __name__ == "__main__":
    main()
