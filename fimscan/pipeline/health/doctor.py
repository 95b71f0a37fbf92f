"""The checks of 'fimscan doctor': watched paths, database, audit and fanotify."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.errors import StoreError
from fimscan.model import Check, HostIdentity, ScanStatus, UnreadableReason
from fimscan.pipeline.audit.rules import rules_for
from fimscan.pipeline.health import coverage
from fimscan.pipeline.health.checks import critical, note, ok, warning
from fimscan.pipeline.health.outputs import output_checks
from fimscan.pipeline.health.remedies import commented
from fimscan.pipeline.health.started import started_checks
from fimscan.pipeline.record.absent import accepted_absent
from fimscan.pipeline.record.contents import QUOTA_TOO_SMALL, keeps_content, placement_problems
from fimscan.report.text_words import content_text
from fimscan.report.witness import extent_text
from fimscan.store import audit as audit_store
from fimscan.store import integrity, missed_runs
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store import witness as witness_store
from fimscan.store.contents import contents_file, permission_problem, usage_of
from fimscan.store.database import Database
from fimscan.timing import local_text, parse_timetable, zone_problem

#: A running fanotify reader stores at least this often up to which time it has read everything.
WITNESS_FRESH_NS = 150 * 10**9
_SEVEN_DAYS_NS = 7 * 86400 * 10**9  # PCI DSS v4.0.1, 11.5.2: at least once every seven days

_MOST_MISSED = 1000  # outages that are counted


def audit_checks(config: Config, database: Database | None = None) -> list[Check]:
    """Check whether audit covers the configured paths.

    Without ``database``, counters are not compared with earlier ones, and replaced directories are not noticed.
    """
    if not config.audit.enabled:
        detail = "[audit] enabled = false: no process can be named"
        return [critical("audit", detail, "set enabled = true in section [audit]")]
    return coverage.judge(coverage.gather(config, rules_for(config), database))


def rule_checks(config: Config, directory: str) -> list[Check]:
    """Check only the audit rules, loaded and in a directory of rules files."""
    return coverage.judge_rules(coverage.gather(config, rules_for(config), None, directory=directory))


def all_checks(config: Config, database: Database) -> list[Check]:
    """Run all checks of 'fimscan doctor', except that of opening the database (:func:`database_check`)."""
    return [
        *_watch_checks(config, database),
        *_store_checks(database),
        *_schedule_checks(config, database),
        *started_checks(config, database),
        *_content_checks(config, database),
        *audit_checks(config, database),
        *_witness_checks(config, database),
        *output_checks(config, database),
    ]


def _schedule_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check the time zone of [schedule]; say when it wants the next scans, and which ones were missed."""
    now = time.time()
    with database.read() as session:
        done = [scan_store.last_done_ns(session, full=full) for full in (False, True)]
        missed = [
            item
            for item in missed_runs.latest(session, _MOST_MISSED)
            if item.noted_ns > now * 1e9 - _SEVEN_DAYS_NS and item.job != "selftest"
        ]
    if (problem := zone_problem()) is not None:
        yield warning("schedule", problem)
    else:
        due = [
            local_text(parse_timetable(text).due(None if done_ns is None else done_ns / 1e9, now))
            for text, done_ns in zip((config.schedule.scan, config.schedule.full), done, strict=True)
        ]
        yield ok("schedule", f"by [schedule], the next scan is due {due[0]}, the next full scan {due[1]}")
    if missed:
        number = sum(item.count for item in missed)
        scans = "1 scan" if number == 1 else f"{number:,} scans"
        last = local_text(missed[-1].last_ns / 1e9)
        yield note("missed scans", f"{scans} in the last seven days, the last one {last}; one made up for them")


def _witness_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check whether fanotify watches. No answer rests on fanotify alone, so this never is more than a note."""
    if not config.witness.fanotify:
        yield note("fanotify", "off ([witness] fanotify = false): only audit tells which process wrote")
        return
    with database.read() as session:
        extents = witness_store.latest(session)
    if not extents:
        remedy = commented(
            "fimscan schedule",
            "as root, on Linux 5.15 or later, with files on ext4, xfs or tmpfs; it reports what is missing",
        )
        yield note("fanotify", "it has never watched: only 'fimscan schedule' uses it", remedy)
    for extent in extents:
        detail = extent_text(extent, time.time_ns(), WITNESS_FRESH_NS)
        is_off = extent.ended or time.time_ns() - extent.end_ns > WITNESS_FRESH_NS
        yield (
            note("fanotify", detail, commented("fimscan schedule", "it watches only while this runs"))
            if is_off
            else ok("fanotify", detail)
        )


def _watch_checks(config: Config, database: Database) -> Iterator[Check]:
    if os.geteuid() == 0:
        yield ok("privileges", "root")
    else:
        remedy = "run as root: other users can neither read every file nor list the audit rules"
        yield warning("privileges", f"uid {os.geteuid()}", remedy)
    absent = _absent_as_accepted(config, database)
    for path in (watch.path for watch in config.watch):
        can_appear = not os.path.lexists(path) and os.path.isdir(os.path.dirname(path))
        if can_appear and absent is None:
            detail = f"{path}: does not exist; the first scan records its absence, and its appearance will be reported"
            yield warning("directory", detail, "if it should exist, fix path in [[watch]]")
        elif can_appear and absent is not None and path in absent:
            yield ok("directory", f"{path}: absent, as in the accepted baseline; its appearance will be reported")
        elif not os.path.lexists(path):
            yield warning("directory", f"{path}: does not exist", "fix path in [[watch]]")
        elif os.path.islink(path):
            detail = f"{path}: is a symbolic link to {os.readlink(path)}; the link is recorded, and not followed"
            yield warning("directory", detail, "fix path in [[watch]]")
        else:
            yield ok("directory", path)


def _absent_as_accepted(config: Config, database: Database) -> frozenset[str] | None:
    """Return the configured paths that exist neither now nor in the accepted baseline; ``None`` if there is none."""
    missing = [os.fsencode(watch.path) for watch in config.watch if not os.path.lexists(watch.path)]
    with database.read() as session:
        if scan_store.last_full(session) is None:
            return None
        return frozenset(map(os.fsdecode, accepted_absent(session, missing)))


def _store_checks(database: Database) -> Iterator[Check]:
    with database.read() as session:
        scans = scan_store.all_scans(session)
        damaged = audit_store.damaged_count(session)
        finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED and not scan.is_partial]
        unreadable = scan_result_store.unreadable_in(session, finished[-1].id) if finished else ()
        altered = integrity.replayed(session)[1]
    if not finished:
        yield warning("last scan", "no scan has finished yet", commented("fimscan scan", "it records the baseline"))
        return
    age_ns = time.time_ns() - finished[-1].started_ns
    detail = f"scan {finished[-1].id}, {age_ns / 3600e9:.1f} hours ago"
    if age_ns < _SEVEN_DAYS_NS:
        yield ok("last scan", detail)
    else:
        often = "run it from cron, or run 'fimscan schedule': PCI DSS 11.5.2 requires a scan every seven days"
        remedy = commented("fimscan scan", often)
        yield warning("last scan", detail, remedy)
    if lost := [item for item in unreadable if item.reason is not UnreadableReason.VANISHED]:
        readable_before = [item.since_ns for item in lost if item.since_ns is not None]
        files = "1 file" if len(lost) == 1 else f"{len(lost):,} files"
        detail = f"the last scan could not read {files}"
        if readable_before:
            days = (time.time_ns() - min(readable_before)) / 86400e9
            detail += f"; {len(readable_before):,} readable before, unread for up to {days:.1f} days"
        yield warning("unreadable", detail, commented("fimscan diff", "it lists them, with reasons"))
    else:
        yield ok("unreadable", "the last scan could read every file")
    if altered:
        number = "1 problem" if len(altered) == 1 else f"{len(altered)} problems, first"
        yield critical("ledger", f"{number}: {altered[0]}", commented("fimscan verify --db", "it lists all"))
    else:
        yield ok("ledger", "both hash chains are intact; 'fimscan verify --db' checks every row")
    yield ok("audit lines", f"lines that could not be parsed: {damaged:,} (kept in the table damaged_line)")


def _content_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check the file with kept contents, if any content is to be kept, or was."""
    path = contents_file(database.file, config.contents.file)
    if not os.path.lexists(path):
        if keeps_content(config):
            detail = f"keep_content is set, and there is no {path}"
            yield warning("contents", detail, commented("fimscan scan --full", "it keeps what it reads"))
        return
    if (problem := permission_problem(path)) is not None:
        what, _, remedy = problem.partition("; ")
        yield critical("contents", f"kept contents: {what}", remedy)
        return
    try:
        usage = usage_of(path)
    except StoreError as error:
        yield warning("contents", str(error), f"remove {path}; the next scan begins a new one")
        return
    found = content_text(usage, path, config.contents.quota_bytes)
    with database.read() as session:
        last = scan_store.last_finished(session)
    if last is not None and QUOTA_TOO_SMALL in last.problems:
        what, _, remedy = QUOTA_TOO_SMALL.partition("; ")
        yield warning("contents", f"{what} ({found})", remedy)
    else:
        yield ok("contents", found)
    for problem in placement_problems(database, config):
        what, _, remedy = problem.rpartition("; ")
        yield warning("contents", what, remedy)


def database_check(url: str, host: HostIdentity, directory: str) -> tuple[Check, Database | None]:
    """Open the database: (the check, the database or ``None``)."""
    try:
        database = Database(url, host=host, create=False, writing=False, directory=directory)
    except StoreError as error:
        is_missing = str(error).startswith("no database at")
        first = commented("fimscan scan", "after the checks of audit below are fixed: it records the baseline")
        return warning("database", str(error), first if is_missing else ""), None
    if database.is_read_only:
        remedy = "run as its owner; if that is so, check its permissions, those of its directory, and mount options"
        return warning("database", f"{database.name}: can be read, but not written", remedy), database
    return ok("database", database.name), database
