"""``make run``: create a configuration if there is none, then scan: first the baseline, later what changed."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from fimscan.trust import trust_problem

FIRST_ERROR = 14  # exit codes below it are results, not errors
UNTRUSTED = 17  # as fimscan's for a configuration


def fimscan(arguments: list[str], options: list[str]) -> int:
    """Run one command of the fimscan installed beside this Python."""
    command = [sys.executable, "-m", "fimscan", *options, *arguments]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Set up, scan, report what is missing and what to do next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--db", required=True)
    parser.add_argument("--watch", required=True)
    arguments = parser.parse_args()
    options = ["--config", arguments.config]
    if os.path.exists(arguments.config):
        print(f"{arguments.config} exists and says what is monitored; WATCH counts only when it is created.")
    else:
        # With sudo in a user's checkout, a file of root's would be left behind that neither of them can use.
        if (problem := trust_problem(arguments.config)) is not None:
            print(f"{arguments.config} is not created: {problem}", file=sys.stderr)
            return UNTRUSTED
        code = fimscan(["init", "--watch", arguments.watch, "--quiet"], [*options, "--db", arguments.db])
        if code:
            return code
    code = fimscan(["scan", "--verbose"], options)
    if code >= FIRST_ERROR:
        return code
    print("\nChecks of the installation:")
    fimscan(["doctor"], options)
    command = f".venv/bin/fimscan --config {arguments.config}"
    steps = (
        ("make run", "again, after files have changed: what changed, and which process did it"),
        (f"{command} diff", "everything that differs from the accepted baseline"),
        (f"{command} accept PATH", "make an intended change part of the baseline"),
        ("make demo", "processes change files in a scratch directory, and fimscan names each process"),
        (f"$EDITOR {arguments.config}", "change what is monitored, and every other setting"),
    )
    width = max(len(step) for step, _ in steps)
    print("\nWhat to do next:")
    for step, what in steps:
        print(f"  {step:<{width}}  {what}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
