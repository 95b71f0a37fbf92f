"""The check of what starts scans: a unit of systemd, cron, or a container that runs 'fimscan schedule'."""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.model import Check, ScanStatus
from fimscan.pipeline.health.checks import ok, warning
from fimscan.pipeline.health.coverage.gather import longest_wait
from fimscan.pipeline.health.remedies import commented
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_NAME = "started by"
_UNITS = ("fimscan.service", "fimscan.timer")
_UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_WANTS = "/etc/systemd/system/*.wants"
_CRON_FILES = (
    "/etc/crontab",
    "/etc/cron.d/*",
    "/etc/cron.*ly/*",
    "/var/spool/cron/crontabs/root",
    "/var/spool/cron/root",
)
_CRON_DIRECTORY = "/etc/cron.d"
_RUNS_SCAN = re.compile(rb"^[^#\n]*\bfimscan\b[^\n]*\bscan\b", re.MULTILINE)
_MOST_BYTES = 1 << 20
_LATE = 3  # intervals after which a scan by itself is too long ago to prove anything


def started_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check whether anything starts scans: an enabled unit, cron, or recent scans that the schedule or cron started."""
    if units := _enabled_units():
        yield ok(_NAME, f"systemd: {' and '.join(units)} enabled")
    elif files := [path for path in _cron_files() if _runs_scan(path)]:
        yield ok(_NAME, f"cron: {files[0]}")
    elif trigger := _recent_trigger(config, database):
        yield ok(_NAME, f"scans of the last time were started by {trigger}")
    else:
        detail = "nothing starts scans: no unit of systemd is enabled, and no cron job is there"
        yield warning(_NAME, detail, _remedy())


def _enabled_units() -> list[str]:
    links = {os.path.basename(path) for path in glob.glob(f"{_WANTS}/fimscan*")}
    return [name for name in _UNITS if name in links]


def _cron_files() -> Iterator[str]:
    for pattern in _CRON_FILES:
        yield from sorted(glob.glob(pattern))


def _runs_scan(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _RUNS_SCAN.search(file.read(_MOST_BYTES)) is not None
    except OSError:
        return False


def _recent_trigger(config: Config, database: Database) -> str | None:
    """What started a scan by itself not long ago: ``schedule`` or ``cron``."""
    longest_s = max(longest_wait(config.schedule.scan) or 0, 86400)
    with database.read() as session:
        scans = scan_store.all_scans(session)
    since_ns = time.time_ns() - _LATE * longest_s * 10**9
    recent = [scan for scan in scans if scan.status is ScanStatus.FINISHED and scan.started_ns > since_ns]
    return next((scan.trigger for scan in reversed(recent) if scan.trigger in ("schedule", "cron")), None)


def _remedy() -> str:
    installed = any(os.path.exists(f"{directory}/{_UNITS[0]}") for directory in _UNIT_DIRECTORIES)
    if installed and os.path.isdir("/run/systemd/system"):
        return f"systemctl enable --now {_UNITS[0]}"
    if os.path.isdir(_CRON_DIRECTORY):
        line = "*/30 * * * * root fimscan scan --trigger cron"
        return commented(f'echo "{line}" >> {_CRON_DIRECTORY}/fimscan', "needs a cron daemon; see fimscan-schedule(8)")
    return commented("fimscan schedule", "as a service, or as the program of a container: see fimscan-schedule(8)")
