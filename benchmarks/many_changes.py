"""Measure the reports of very many changes, and what packages, ranks and change sets add to them.

    python benchmarks/many_changes.py [--files N] [--rounds N] [--scratch DIRECTORY]

A tree of N small files (50,000) is scanned, every file is changed as a package manager does it, and the tree is scanned
again, with an audit log that names dpkg for each file. Then the texts of 'fimscan diff' are measured in turn, in
processor time, the median of the rounds: '--from 1 --flat --no-packages', which is all that there was before changes
were grouped and reports had names, and the first screen. The screen may take 2 seconds more.

The files are below the scratch directory, so no package owns them. What judging owned files costs is measured apart:
the digests of the same files are taken as a scan takes them, and then found as a report finds them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import targets
from benchmarks.contest import Contestant, fimscan, make_tree, run, write_config
from fimscan.packages.files import digest_recorded
from fimscan.packages.known_md5 import KnownMd5
from fimscan.packages.observe import Observer

_MORE_SECONDS = 2.0
_BEFORE = "diff --from 1 --flat --no-packages"
_CHANGED = frozenset({4})
_RECORDS = (
    "type=SYSCALL msg=audit({at}:{serial}): arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=7f a2=241 "
    "a3=1b6 items=2 ppid=4200 pid=4242 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 "
    'ses=3 comm="dpkg" exe="/usr/bin/dpkg" key="fimscan"\n'
    'type=PATH msg=audit({at}:{serial}): item=0 name="{directory}" inode={above} dev={dev} mode=040755 ouid=0 ogid=0 '
    "rdev=00:00 nametype=PARENT\n"
    'type=PATH msg=audit({at}:{serial}): item=1 name="{path}" inode={inode} dev={dev} mode=0100644 ouid=0 ogid=0 '
    "rdev=00:00 nametype=NORMAL\n"
    "type=EOE msg=audit({at}:{serial}): \n"
)


def paths_in(tree: str) -> Iterator[str]:
    for directory, _, names in os.walk(tree):
        yield from (os.path.join(directory, name) for name in names)


def change(tree: str, log: str) -> None:
    """Write to every file, and write what audit would record of it."""
    with open(log, "a") as records:
        for serial, path in enumerate(paths_in(tree), 1000):
            with open(path, "ab") as file:
                file.write(b"more\n")
            found, above = os.stat(path), os.stat(os.path.dirname(path))
            records.write(
                _RECORDS.format(
                    at=f"{found.st_mtime_ns / 1e9:.3f}",
                    serial=serial,
                    directory=os.path.dirname(path),
                    path=path,
                    inode=found.st_ino,
                    above=above.st_ino,
                    dev=f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}",
                )
            )


def reports(config: str, rounds: int) -> None:
    variants = {
        _BEFORE: ("diff", "--from", "1", "--flat", "--no-packages"),
        "diff": ("diff",),
        "diff --no-packages": ("diff", "--no-packages"),
        "diff --flat": ("diff", "--flat"),
        "diff --format json": ("diff", "--format", "json"),
    }
    costs: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, arguments in variants.items():
            costs[name].append(run(Contestant(fimscan(config, *arguments), success=_CHANGED)).cpu)
    medians = {name: statistics.median(found) for name, found in costs.items()}
    for name, seconds in medians.items():
        print(f"{name:<44} {seconds:8.2f} s", flush=True)
    more = medians["diff"] - medians[_BEFORE]
    targets.at_most("the first screen takes more than the flat text without packages", more, _MORE_SECONDS, "s")


def judge_owned(tree: str, scratch: str) -> None:
    """The cost of MD5 for files that a package owns."""
    observer = Observer(b"/")
    states = []
    for path in paths_in(tree):
        question = observer.question(os.fsencode(path))
        state = getattr(question, "state", None)
        assert state is not None, "the file is there"
        states.append(state)
    begin = time.process_time()
    known, digests = KnownMd5(os.fsencode(f"{scratch}/packages")), []
    for state in states:
        found = digest_recorded(b"/", state, state.path, ("md5", "sha256"))
        known.learn(found["sha256"], found["md5"])
        digests.append(found["sha256"])
    known.save()
    print(f"{f'scan: MD5 and SHA-256 of {len(states):,} owned files':<44} {time.process_time() - begin:8.2f} s")
    begin = time.process_time()
    later = KnownMd5(os.fsencode(f"{scratch}/packages"))
    assert all(map(later.of, digests))
    print(f"{f'diff: look up {len(states):,} of them':<44} {time.process_time() - begin:8.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        tree, log = f"{scratch}/tree", f"{scratch}/audit.log"
        make_tree(tree, given.files)
        config, _ = write_config(scratch, "many", tree)
        Path(log).touch()
        with open(config, "a") as file:
            file.write(f'[audit]\nlogs = ["{log}"]\n')
        run(Contestant(fimscan(config, "scan")))
        change(tree, log)
        cost = run(Contestant(fimscan(config, "scan"), success=_CHANGED))
        print(f"{f'scan of {given.files:,} changes':<44} {cost.cpu:8.2f} s", flush=True)
        reports(config, given.rounds)
        judge_owned(tree, scratch)


if __name__ == "__main__":
    main()
