"""``make run``: a configuration if there is none, then a scan: the baseline at first, what changed afterwards."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

FIRST_ERROR = 14  # below it, exit codes say what was found


def fimscan(arguments: list[str], options: list[str]) -> int:
    """Run one command of the fimscan that is installed beside this Python."""
    command = [sys.executable, "-m", "fimscan", *options, *arguments]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Set up, scan, say what is missing and what to do next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--db", required=True)
    parser.add_argument("--watch", required=True)
    arguments = parser.parse_args()
    options = ["--config", arguments.config]
    if os.path.exists(arguments.config):
        print(f"{arguments.config} is there already and says what is monitored (WATCH is for the first run).")
    else:
        code = fimscan(["init", "--watch", arguments.watch, "--quiet"], [*options, "--db", arguments.db])
        if code:
            return code
    code = fimscan(["scan", "--verbose"], options)
    if code >= FIRST_ERROR:
        return code
    print("\nIs everything in place?")
    fimscan(["doctor"], options)
    command = f".venv/bin/fimscan --config {arguments.config}"
    steps = (
        ("make run", "again, after files have changed: what changed, and who did it"),
        (f"{command} diff", "everything that differs from the accepted baseline"),
        (f"{command} accept PATH", "what was changed on purpose"),
        ("make demo", "processes change files in a scratch directory, and each is named"),
        (f"$EDITOR {arguments.config}", "what is monitored, and every other setting"),
    )
    width = max(len(step) for step, _ in steps)
    print("\nWhat to do next:")
    for step, what in steps:
        print(f"  {step:<{width}}  {what}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
