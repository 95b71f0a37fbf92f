"""Is everything in place? Checks that say what is wrong and how to mend it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.errors import FimscanError
from fimscan.model import Check, ScanStatus, UnreadableReason
from fimscan.pipeline.audit.rules import rules_for
from fimscan.pipeline.health import coverage
from fimscan.pipeline.health.checks import critical, note, ok, warning
from fimscan.pipeline.record.absent import accepted_absent
from fimscan.report.testimony import extent_text
from fimscan.store import audit as audit_store
from fimscan.store import integrity
from fimscan.store import scans as scan_store
from fimscan.store import sightings as sighting_store
from fimscan.store import witness as witness_store
from fimscan.store.database import Database

#: The time up to which all was read is written at least so often, while it watches.
WITNESS_FRESH_NS = 150 * 10**9
_SEVEN_DAYS_NS = 7 * 86400 * 10**9  # PCI DSS v4.0.1, 11.5.2: at least once every seven days


def audit_checks(config: Config, database: Database | None = None) -> list[Check]:
    """Whether the kernel's audit system watches what the configuration watches; the database tells what rose since."""
    if not config.audit.enabled:
        detail = "[audit] enabled = false: nobody can be named"
        return [critical("audit", detail, "enabled = true in section [audit]")]
    return coverage.judge(coverage.gather(config, rules_for(config), database))


def all_checks(config: Config, database: Database) -> list[Check]:
    """Everything that 'fimscan doctor' looks at."""
    return [
        *_watch_checks(config, database),
        *_store_checks(database),
        *audit_checks(config, database),
        *_witness_checks(config, database),
    ]


def _witness_checks(config: Config, database: Database) -> Iterator[Check]:
    """Whether fanotify is asked who writes. Nothing rests on that alone, so there is nothing to be alarmed of."""
    if not config.witness.fanotify:
        yield note("fanotify", "off ([witness] fanotify = false): who wrote is known from audit alone")
        return
    with database.read() as session:
        extents = witness_store.latest(session)
    if not extents:
        remedy = (
            "it needs root and Linux 5.15, and tells of ext4, xfs and tmpfs; 'fimscan schedule' says what is missing"
        )
        yield note("fanotify", "never on; 'fimscan schedule' asks it while it runs", remedy)
    for extent in extents:
        detail = extent_text(extent, time.time_ns(), WITNESS_FRESH_NS)
        is_off = extent.ended or time.time_ns() - extent.end_ns > WITNESS_FRESH_NS
        yield note("fanotify", detail, "it watches while 'fimscan schedule' runs") if is_off else ok("fanotify", detail)


def _watch_checks(config: Config, database: Database) -> Iterator[Check]:
    if os.geteuid() == 0:
        yield ok("privileges", "root")
    else:
        remedy = "run as root: other users can't read every file, nor see audit's rules"
        yield warning("privileges", f"uid {os.geteuid()}", remedy)
    absent = _absent_as_accepted(config, database)
    for path in (watch.path for watch in config.watch):
        if path in absent and os.path.isdir(os.path.dirname(path)):
            yield ok("directory", f"{path}: absent, as in the accepted baseline; its appearance will be reported")
        elif not os.path.lexists(path):
            yield warning("directory", f"{path}: does not exist", "mend path in [[watch]]")
        elif os.path.islink(path):
            detail = f"{path}: is a symbolic link to {os.readlink(path)}, which is recorded and not followed"
            yield warning("directory", detail, "mend path in [[watch]]")
        else:
            yield ok("directory", path)


def _absent_as_accepted(config: Config, database: Database) -> frozenset[str]:
    """The configured paths that do not exist, and that the accepted baseline has not either."""
    missing = [os.fsencode(watch.path) for watch in config.watch if not os.path.lexists(watch.path)]
    with database.read() as session:
        if not missing or scan_store.last_full(session) is None:
            return frozenset()
        return frozenset(map(os.fsdecode, accepted_absent(session, missing)))


def _store_checks(database: Database) -> Iterator[Check]:
    with database.read() as session:
        scans = scan_store.all_scans(session)
        damaged = audit_store.damaged_count(session)
        finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED and not scan.is_partial]
        unreadable = sighting_store.unreadable_in(session, finished[-1].id) if finished else ()
        altered = integrity.replayed(session)[1]
    if not finished:
        yield warning("last scan", "there is none", "fimscan scan records the baseline")
        return
    age_ns = time.time_ns() - finished[-1].started_ns
    detail = f"scan {finished[-1].id}, {age_ns / 3600e9:.1f} hours ago"
    if age_ns < _SEVEN_DAYS_NS:
        yield ok("last scan", detail)
    else:
        remedy = "PCI DSS 11.5.2 asks for one every seven days: see conf/fimscan.cron, or 'fimscan schedule'"
        yield warning("last scan", detail, remedy)
    if lost := [item for item in unreadable if item.reason is not UnreadableReason.VANISHED]:
        once = [item.since_ns for item in lost if item.since_ns is not None]
        detail = f"{len(lost)} files at the last scan"
        if once:
            days = (time.time_ns() - min(once)) / 86400e9
            detail += f"; {len(once)} could be read before, the longest not for {days:.1f} days"
        yield warning("unreadable", detail, "'fimscan diff' lists them, with reasons")
    else:
        yield ok("unreadable", "no file at the last scan")
    if altered:
        yield critical("ledger", f"{len(altered)} problems; the first: {altered[0]}", "'fimscan verify --db' names all")
    else:
        yield ok("ledger", "the chains hold; 'fimscan verify --db' checks every row")
    yield ok("audit lines", f"{damaged:,} could not be understood; they are kept in the table damaged_line")


def database_check(url: str, host: str) -> tuple[Check, Database | None]:
    """Whether the database can be opened."""
    try:
        database = Database(url, host=host, create=False)
    except FimscanError as error:
        return warning("database", str(error)), None
    return ok("database", database.name), database
