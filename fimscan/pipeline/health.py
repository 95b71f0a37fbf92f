"""Is everything in place? Checks that say what is wrong and how to mend it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from fimscan import audit
from fimscan.config import Config
from fimscan.errors import FimscanError
from fimscan.join import Need, covers
from fimscan.model import AuditObservation, ScanStatus, UnreadableReason
from fimscan.store import audit as audit_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_SEVEN_DAYS_NS = 7 * 86400 * 10**9  # PCI DSS v4.0.1, 11.5.2: at least once every seven days
_BACKLOG_WANTED = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that should be so. ``remedy`` says what to do when it isn't."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def rules_for(config: Config) -> str:
    """The audit rules that cover the configured directories, as text for /etc/audit/rules.d."""
    there = [watch.path for watch in config.watch if os.path.lexists(watch.path)]
    watched = [(os.fsencode(path), os.path.isdir(path)) for path in there]
    rules = audit.rules_for(watched, config.audit.key, machine=os.uname().machine)
    # auditctl stops at the first rule that it cannot load: one for a missing directory would keep out all after it.
    missing = [watch.path for watch in config.watch if watch.path not in there]
    return rules + "".join(
        f"# NOT COVERED: {path} does not exist; make these rules again when it does\n" for path in missing
    )


def audit_checks(config: Config) -> list[Check]:
    """Whether the kernel's audit system watches what the configuration watches."""
    if not config.audit.enabled:
        return [Check(name="audit", ok=False, detail="[audit] enabled = false", remedy="nobody will be named")]
    observation = audit.observe(time.time_ns())
    checks = [_log_check(log) for log in config.audit.logs]
    if observation.error:
        return [Check(name="kernel audit", ok=False, detail=observation.error), *checks]
    return [*_kernel_checks(observation), *checks, *_coverage_checks(config, observation)]


def _kernel_checks(observation: AuditObservation) -> list[Check]:
    state = {0: "disabled", 1: "enabled", 2: "enabled, rules locked until reboot (-e 2)"}
    on_command_line = _audit_on_command_line()
    return [
        Check(
            name="kernel audit",
            ok=bool(observation.enabled),
            detail=state.get(observation.enabled or 0, "unknown"),
            remedy="auditctl -e 1, and see that auditd is started at boot",
        ),
        Check(
            name="audit daemon",
            ok=bool(observation.daemon_pid),
            detail=f"pid {observation.daemon_pid}" if observation.daemon_pid else "not running",
            remedy="start auditd (apt-get install auditd; systemctl enable --now auditd)",
        ),
        Check(
            name="lost events",
            ok=not observation.lost,
            detail=f"{observation.lost or 0} since boot",
            remedy="raise the backlog (auditctl -b 8192), then reset the counter (auditctl --reset-lost)",
        ),
        Check(
            name="backlog limit",
            ok=(observation.backlog_limit or 0) >= _BACKLOG_WANTED,
            detail=f"{observation.backlog_limit}, {observation.backlog} waiting now",
            remedy=f"auditctl -b {_BACKLOG_WANTED}, and '-b {_BACKLOG_WANTED}' in /etc/audit/rules.d: bursts get lost",
        ),
        Check(
            name="since boot",
            ok=on_command_line,
            detail="audit=1 on the kernel's command line" if on_command_line else "audit=1 is not on the command line",
            remedy="boot with audit=1: processes older than auditd leave no records at all",
        ),
    ]


def _audit_on_command_line() -> bool:
    try:
        with open("/proc/cmdline", encoding="utf-8", errors="replace") as file:
            return "audit=1" in file.read().split()
    except OSError:
        return False


def _log_check(log: str) -> Check:
    try:
        with open(log, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        remedy = "run as root, or in the group that may read it (log_group in auditd.conf)"
        if isinstance(error, FileNotFoundError):
            remedy = "start auditd, or name the right file in [audit] logs"
        return Check(name="audit log", ok=False, detail=f"{log}: {error.strerror}", remedy=remedy)
    return Check(name="audit log", ok=True, detail=f"{log}, {size:,} bytes")


def _coverage_checks(config: Config, observation: AuditObservation) -> list[Check]:
    checks = []
    remedy = "fimscan audit rules > /etc/audit/rules.d/50-fimscan.rules && augenrules --load"
    if observation.enabled == 2:
        remedy += " (then reboot: the rules are locked)"
    for watch in config.watch:
        if not audit.can_be_watched(os.fsencode(watch.path)):
            detail = f"{watch.path}: auditctl takes no such path (white space, control characters, not UTF-8)"
            checks.append(Check(name="rules", ok=False, detail=detail, remedy="watch a directory above it"))
            continue
        covered = covers(observation.rules, os.fsencode(watch.path), Need(writes=True, attributes=True))
        detail = watch.path if covered else f"{watch.path}: no loaded rules cover it (for 64 and 32 bit, perm=wa)"
        checks.append(Check(name="rules", ok=covered, detail=detail, remedy=remedy))
    checks += [
        Check(name="rules", ok=False, detail=f"events are suppressed by: {rule}", remedy="delete that rule")
        for rule in observation.suppressed
    ]
    return checks


def all_checks(config: Config, database: Database) -> list[Check]:
    """Everything that 'fimscan doctor' looks at."""
    return [*_watch_checks(config), *_store_checks(database), *audit_checks(config)]


def _watch_checks(config: Config) -> list[Check]:
    checks = [
        Check(
            name="privileges",
            ok=os.geteuid() == 0,
            detail="root" if os.geteuid() == 0 else f"uid {os.geteuid()}",
            remedy="run as root: other users can't read every file, nor see audit's rules",
        )
    ]
    for watch in config.watch:
        there = os.path.lexists(watch.path)
        link = os.path.islink(watch.path)
        detail = watch.path
        if not there:
            detail += ": does not exist"
        elif link:
            detail += f": is a symbolic link to {os.readlink(watch.path)}, which is recorded and not followed"
        checks.append(Check(name="directory", ok=there and not link, detail=detail, remedy="mend path in [[watch]]"))
    return checks


def _store_checks(database: Database) -> list[Check]:
    with database.read() as connection:
        scans = scan_store.all_scans(connection, database.host_id)
        damaged = audit_store.damaged_count(connection, database.host_id)
        finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED and not scan.is_partial]
        unreadable = scan_store.unreadable_in(connection, finished[-1].id) if finished else ()
    if not finished:
        return [Check(name="last scan", ok=False, detail="there is none", remedy="fimscan scan records the baseline")]
    age_ns = time.time_ns() - finished[-1].started_ns
    lost = [item for item in unreadable if item.reason is not UnreadableReason.VANISHED]
    return [
        Check(
            name="last scan",
            ok=age_ns < _SEVEN_DAYS_NS,
            detail=f"scan {finished[-1].id}, {age_ns / 3600e9:.1f} hours ago",
            remedy="PCI DSS 11.5.2 asks for one every seven days: see conf/fimscan.cron, or 'fimscan schedule'",
        ),
        Check(
            name="unreadable",
            ok=not lost,
            detail=f"{len(lost)} files at the last scan",
            remedy="'fimscan diff' lists them, with reasons",
        ),
        Check(
            name="audit lines",
            ok=True,
            detail=f"{damaged:,} could not be understood; they are kept in the table damaged_line",
        ),
    ]


def database_check(url: str, host: str) -> tuple[Check, Database | None]:
    """Whether the database can be opened."""
    try:
        database = Database(url, host=host, create=False)
    except FimscanError as error:
        return Check(name="database", ok=False, detail=str(error)), None
    return Check(name="database", ok=True, detail=database.name), database
