"""Measure reports of very many files that packages own, and accepting those that are as shipped.

    python -m benchmarks.owned [--files N] [--rounds N] [--scratch DIRECTORY]

A tree of N small files (50,000) is scanned, every file is changed as a package manager does it, and the tree is scanned
again, with an audit log that names dpkg for each file. A database of dpkg's, made here, says that each hundred files
are a package, with the MD5 of what is there now; every hundredth file differs from it. Packages are looked up below the
scratch directory, which no command has an option for: the commands run in a process of this module, which sets it.
'accept --package-as-shipped' has to leave exactly the files that differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from benchmarks.contest import Contestant, Cost, make_tree, run, write_config
from benchmarks.many_changes import change, paths_in

_CHANGED = frozenset({4})
_ADMIN = "var/lib/dpkg"
_IN_PACKAGE = 100
_EVERY = 100
"""Each file with such a number is not as shipped."""
_STATUS = """\
Package: package-{number}
Status: install ok installed
Maintainer: Benchmark <benchmark@example.org>
Architecture: all
Version: 1.0-1
Description: files of a benchmark

"""


def below_root(root: str, arguments: list[str]) -> None:
    """Run fimscan as its command does, with the packages of another root directory."""
    from fimscan.cli.main import main
    from fimscan.packages import PackageSources
    from fimscan.pipeline.history import packaged

    vars(packaged)["PackageSources"] = partial(PackageSources, root=os.fsencode(root), archives=())
    sys.argv = ["fimscan", *arguments]
    main()


def command(root: str, config: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.owned", "--root", root, "--", "--config", config, *arguments]


def make_packages(root: str, tree: str) -> int:
    """Write a database of dpkg's for the files of the tree; return how many are not as shipped."""
    info = Path(root, _ADMIN, "info")
    info.mkdir(parents=True)
    paths = sorted(paths_in(tree))
    names = [status for number in range(0, len(paths), _IN_PACKAGE) for status in [f"package-{number // _IN_PACKAGE}"]]
    for number, name in enumerate(names):
        owned = paths[number * _IN_PACKAGE : (number + 1) * _IN_PACKAGE]
        inside = [path.removeprefix(root) for path in owned]
        (info / f"{name}.list").write_text("/.\n" + "".join(f"{path}\n" for path in inside))
        sums = (
            f"{_md5(path, number * _IN_PACKAGE + place)}  {path.removeprefix(root + '/')}\n"
            for place, path in enumerate(owned)
        )
        (info / f"{name}.md5sums").write_text("".join(sums))
    Path(root, _ADMIN, "status").write_text("".join(_STATUS.format(number=number) for number in range(len(names))))
    return len(range(0, len(paths), _EVERY))


def _md5(path: str, number: int) -> str:
    content = b"another" if number % _EVERY == 0 else Path(path).read_bytes()
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def measure(root: str, config: str, rounds: int) -> dict[str, list[Cost]]:
    variants = {
        "diff --flat --no-packages": ("diff", "--flat", "--no-packages"),
        "diff": ("diff",),
        "diff --format html": ("diff", "--format", "html"),
        "diff --format json": ("diff", "--format", "json"),
        "accept --package-as-shipped --dry-run": ("accept", "--package-as-shipped", "--dry-run"),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, arguments in variants.items():
            success = frozenset({0}) if arguments[0] == "accept" else _CHANGED
            costs[name].append(run(Contestant(command(root, config, *arguments), success=success)))
    return costs


def left(root: str, config: str) -> list[str]:
    """The classes of the files that are still changes."""
    found = subprocess.run(command(root, config, "diff", "--format", "json"), capture_output=True, check=False)
    return [row["package"]["class"] for row in json.loads(found.stdout)["changes"]]


def shown(name: str, costs: Iterable[Cost]) -> None:
    print(f"{name:<44} {statistics.median(cost.cpu for cost in costs):8.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch")
    parser.add_argument("--root", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.root is not None:
        below_root(given.root, given.command)
        return
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        root, log = f"{scratch}/root", f"{scratch}/audit.log"
        tree = f"{root}/usr/share"
        make_tree(tree, given.files)
        config, _ = write_config(scratch, "owned", tree)
        Path(log).touch()
        with open(config, "a") as file:
            file.write(f'[audit]\nlogs = ["{log}"]\n')
        run(Contestant(command(root, config, "scan")))
        change(tree, log)
        differing = make_packages(root, tree)
        shown("scan", [run(Contestant(command(root, config, "scan"), success=_CHANGED))])
        for name, costs in measure(root, config, given.rounds).items():
            shown(name, costs)
        shown("accept --package-as-shipped", [run(Contestant(command(root, config, "accept", "--package-as-shipped")))])
        found = left(root, config)
        assert set(found) <= {"not-as-shipped"}, "what is as shipped was accepted"
        assert len(found) == differing, "what is not as shipped is left"
        print(f"left: the {differing:,} files that are not as shipped")


if __name__ == "__main__":
    main()
