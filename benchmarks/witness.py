"""Measure what the second witness (fanotify) costs, what it loses, and how it improves answers.

    python -m benchmarks.witness cost [--directory DIR] [--files N]
    python -m benchmarks.witness truth [--directory DIR] [--all]

``cost`` writes many files in one file system, with and without a fanotify reader. It writes outside the monitored
directory, where each event is dropped, and inside, where each event is stored. The cases alternate, three times each;
medians are printed.

``truth`` runs the lab's scenarios with several writers, with and without fanotify, on the file system of DIR.

Both need root, and ``truth`` needs audit. Whether a process can be ruled out depends on the file system and on
fs.aio-max-nr: see docs/explanation/witness.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fimscan.pipeline.audit.witness import Witness
from fimscan.store import witness as store
from fimscan.store.database import Database

_ROUNDS = 3
_LOAD = """
import os, sys, time
begun, used = time.perf_counter(), time.process_time()
for number in range(int(sys.argv[2])):
    file = os.open(f"{sys.argv[1]}/{number % 1000}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, b"x" * 100); os.close(file)
print(time.perf_counter() - begun, time.process_time() - used)
"""
# Scenarios in which the lab, without fanotify, expects both processes to be named, but only one wrote; the other idled.
_ONE_WROTE = ("opened_before_by_one_who_wrote_nothing", "open_in_two_processes_at_once")


def main() -> None:
    """Parse the command line and run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "truth", "read"])
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--files", type=int, default=100_000, help="number of writes")
    parser.add_argument(
        "--all", action="store_true", help="run all scenarios that can share two scans, and show only differences"
    )
    parser.add_argument("--database", type=Path)
    options = parser.parse_args()
    if options.what == "read":
        read(options.directory, options.database)
    elif options.what == "cost":
        cost(options.directory, options.files)
    else:
        truth(options.directory, everything=options.all)


# --------------------------------------------------------------------------------------------------------------------
# Cost


def read(directory: Path, database: Path) -> None:
    """Run the fanotify reader until a line arrives on standard input; print its cost and what it lost."""
    opened = Database(f"sqlite:///{database}", host="h")
    witness = Witness([os.fsencode(directory)])
    witness.start()
    assert not witness.problems, witness.problems
    begun = time.process_time()
    print("ready", flush=True)
    sys.stdin.readline()
    witness.store(opened)
    used = time.process_time() - begun
    with opened.read() as session:
        extents = store.latest(session)
        every = session.connection.exec_driver_sql("SELECT ended FROM witness_extent").scalars().all()
        rows = session.connection.exec_driver_sql("SELECT count(*) FROM witness_event").scalar()
    assert extents
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu": used, "events": witness.events, "rows": rows, "memory": memory, "ended": every}))
    witness.end(opened)


@contextmanager
def reading(directory: Path, root: Path) -> Iterator[dict[str, Any]]:
    """Run a reader in another process within the context; the dictionary is filled at its end."""
    found: dict[str, Any] = {}
    command = [sys.executable, "-m", "benchmarks.witness", "read"]
    command += ["--directory", str(directory), "--database", str(root / f"{time.monotonic_ns()}.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield found
        found.update(json.loads(process.communicate("\n")[0]))


def load(directory: Path, files: int) -> tuple[float, float]:
    """(wall clock, CPU) seconds for opening, writing and closing so many times."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    said = subprocess.run(
        [sys.executable, "-ISc", _LOAD, str(directory), str(files)], check=True, capture_output=True, text=True
    ).stdout
    wall, cpu = map(float, said.split())
    return wall, cpu


def cost(directory: Path, files: int) -> None:
    """Measure and print the cost of the reader."""
    root = Path(tempfile.mkdtemp(dir=directory, prefix="fimscan-witness-"))
    (root / "watched").mkdir()
    rows: dict[str, list[dict[str, Any]]] = {"without": [], "outside": [], "inside": []}
    for _ in range(_ROUNDS):
        for name, some in rows.items():
            with ExitStack() as stack:
                found = {} if name == "without" else stack.enter_context(reading(root / "watched", root))
                where = root / "watched" / "load" if name == "inside" else root / "load"
                wall, cpu = load(where, files)
            some.append({"wall": wall, "load": cpu, **found})
    shutil.rmtree(root)
    head = ("", "load, wall", "load, cpu", "reader, cpu", "share", "events", "events/s", "rows", "overflows", "MB")
    print(("{:<10}" + "{:>12}" * 9).format(*head))
    for name, some in rows.items():

        def middle(key: str, some: list[dict[str, Any]] = some) -> float:
            return statistics.median(float(one.get(key, 0)) for one in some)

        wall = middle("wall")
        lost = sum(one.get("ended", []).count("overflow") + one.get("ended", []).count("too-many") for one in some)
        values = (f"{wall:.2f} s", f"{middle('load'):.2f} s", f"{middle('cpu'):.2f} s", f"{middle('cpu') / wall:.0%}")
        counts = (middle("events"), middle("events") / wall, middle("rows"), lost, middle("memory") / 1024)
        print(("{:<10}" + "{:>12}" * 4 + "{:>12,.0f}" * 5).format(name, *values, *counts))


# --------------------------------------------------------------------------------------------------------------------
# Truth


def truth(directory: Path, *, everything: bool = False) -> None:
    """Run the scenarios with several writers, or all, without and with fanotify."""
    from tests.lab.scenario import all_scenarios

    scenarios = [one for one in all_scenarios("ext4") if (everything and not one.alone) or one.group == "e_writers"]
    tempfile.tempdir = str(directory)
    without, with_it = play(scenarios, ask=False), play(scenarios, ask=True)
    print(f"{'scenario':<44} {'without':<24} {'with fanotify':<24} wrong")
    for name, before in without.items():
        after = with_it[name]
        if everything and before == after:
            continue
        print(f"{name:<44} {before[0]:<24} {after[0]:<24} {'; '.join(after[1]) or '-'}")
    print(f"{len(without)} scenarios")


def play(scenarios: list[Any], *, ask: bool) -> dict[str, tuple[str, list[str]]]:
    """For each scenario: its verdicts, each with the number of named processes, and what is wrong with them."""
    from tests.lab import runner
    from tests.lab.ground import installed
    from tests.lab.judge import Answers

    found = {}
    with runner.open_ground() as ground, ExitStack() as stack:
        installation, rules = stack.enter_context(installed(ground.daemon.log))
        plays = [runner._play(scenario, installation, ground, rules) for scenario in scenarios]  # noqa: SLF001
        for one in plays:
            stack.callback(one.clean_up)
            one.step()
        installation.run("scan")
        database = Database(f"sqlite:///{installation.root}/fimscan.db", host=os.uname().nodename)
        witness = Witness([os.fsencode(installation.watched)])
        if ask:
            witness.start()
            assert not witness.problems, witness.problems
        for one in plays:
            one.step()
        witness.store(database)
        installation.run("scan", codes=tuple(range(8)))
        document = json.loads(installation.run("diff", "--format", "json", codes=tuple(range(8))).stdout)
        witness.end(database)
        answers = Answers(document)
        for one in plays:
            rows = answers.below(os.fsencode(one.lab.here))
            found[one.scenario.name] = summary(one, rows)
        database.close()
    return found


def summary(one: Any, rows: dict[bytes, Any]) -> tuple[str, list[str]]:
    """The verdicts, and what is wrong: a process accused that did not write, or a writer that is not named."""
    said, wrong = [], []
    for expected in one.lab.expected:
        row = rows.get(expected.path)
        if row is None:
            wrong.append("no row")
            continue
        actors = row["attribution"]["actors"]
        said.append(f"{row['attribution']['verdict']} {len(actors)}")
        doers = list(expected.doers)
        if one.scenario.name in _ONE_WROTE:
            doers = [who for role, who in expected.named if role == "writer" and not _is_idler(one, who)]
        if row["attribution"]["verdict"] in ("confirmed", "likely"):
            wrong += [f"accuses {a['pid']}" for a in actors if not any(who.is_named_by(a) for who in doers)]
        wrong += [f"clears {who}" for who in doers if not any(who.is_named_by(a) for a in actors)]
    return ", ".join(said), wrong


def _is_idler(one: Any, who: Any) -> bool:
    """Whether a process is the idler, which both scenarios name last."""
    return bool(who is one.lab.expected[0].named[-1][1])


if __name__ == "__main__":
    main()
