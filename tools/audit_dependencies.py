"""Check the locked libraries against known advisories, with pip-audit.

``python -m tools.audit_dependencies PIP_AUDIT`` (``make audit-dependencies``) exits with 0 if none is known, with 1 if
one is. Where the service of advisories does not answer, nothing was checked: it says so, and exits with 0, or with 2 if
FIMSCAN_REQUIRE_ADVISORIES is 1. pip-audit itself exits with 0 then.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.lock_dependencies import LOCKS

_SECONDS = 600
_SKIPPED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A known weakness of a locked version."""

    package: str
    version: str
    id: str
    fixed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run of pip-audit found; ``unchecked`` are the packages that it could not ask about, with the reason."""

    checked: tuple[str, ...] = ()
    advisories: tuple[Advisory, ...] = ()
    unchecked: tuple[str, ...] = ()


def parse(text: str) -> Report:
    """Parse the JSON of pip-audit."""
    checked, advisories, unchecked = [], [], []
    for package in json.loads(text)["dependencies"]:
        if "skip_reason" in package:
            unchecked.append(f"{package['name']}: {package['skip_reason']}")
            continue
        checked.append(package["name"])
        for found in package["vulns"]:
            fixed = ", ".join(found.get("fix_versions", ())) or "no version"
            advisories.append(
                Advisory(package=package["name"], version=package["version"], id=found["id"], fixed=fixed)
            )
    return Report(checked=tuple(checked), advisories=tuple(advisories), unchecked=tuple(unchecked))


def audit(program: str, lock: Path) -> Report:
    """Ask about one lock file; a failure is a report in which nothing was checked."""
    options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(
            [program, *options, "--requirement", str(lock)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        return parse(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Report(unchecked=(f"{lock.name}: {error}",))
    except (ValueError, KeyError):
        last = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")
        return Report(unchecked=(f"{lock.name}: {last}",))


def lines(reports: list[Report]) -> Iterator[str]:
    """What to print."""
    for report in reports:
        for one in report.advisories:
            yield f"{one.package} {one.version}: {one.id}, fixed in {one.fixed}"
    unchecked = [text for report in reports for text in report.unchecked]
    checked = sum(len(report.checked) for report in reports)
    if unchecked:
        yield f"SKIPPED: {len(unchecked)} not checked, the first is {unchecked[0]}"
    if checked and not any(report.advisories for report in reports):
        yield f"{checked} checked, no advisory known"


def main(arguments: list[str]) -> int:
    """Check all lock files."""
    reports = [audit(arguments[0], lock) for lock in sorted(LOCKS.glob("*.lock"))]
    print("\n".join(lines(reports)))
    if any(report.advisories for report in reports):
        return 1
    is_incomplete = any(report.unchecked for report in reports)
    return _SKIPPED if is_incomplete and os.environ.get("FIMSCAN_REQUIRE_ADVISORIES") == "1" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
