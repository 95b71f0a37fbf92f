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
    if not os.path.exists(arguments.config):
        code = fimscan(["init", "--watch", arguments.watch, "--quiet"], [*options, "--db", arguments.db])
        if code:
            return code
    code = fimscan(["scan", "--verbose"], options)
    if code >= FIRST_ERROR:
        return code
    print("\nIs everything in place?")
    fimscan(["doctor"], options)
    command = f".venv/bin/fimscan --config {arguments.config}"
    print(
        "\nWhat to do next:\n"
        f"  edit {arguments.config}, then 'make run' again     what changed since, and who did it\n"
        f"  {command} diff        everything that differs from the accepted baseline\n"
        f"  {command} accept ...  what was changed on purpose\n"
        "  make demo                                     see processes named, on a scratch directory"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
