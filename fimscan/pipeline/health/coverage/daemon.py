"""Checks of auditd, its log, and the time until a record is rotated away. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fimscan.audit import DaemonConfig
from fimscan.model import Check
from fimscan.pipeline.health.checks import critical, note, ok, warning
from fimscan.pipeline.health.coverage.facts import Daemon, Facts
from fimscan.pipeline.health.remedies import commented, set_in_auditd_conf
from fimscan.report.display import minute_text

_MEGABYTE = 1 << 20
_STOPPING = frozenset({"suspend", "single", "halt"})
_MOST_LOGS = 999  # auditd.conf(5)
_ADDRESS = re.compile(r"[\d.]{7,15}|[\da-fA-F:]*:[\da-fA-F:.]*")


def checks(facts: Facts) -> Iterator[Check]:
    """Check whether auditd runs, its configuration, and its log."""
    pid = facts.kernel.status.get("pid", 0)
    daemon = facts.daemon
    if not pid or daemon is None:
        yield critical("audit daemon", "not running: records are not stored", "systemctl enable --now auditd")
        yield from logs(facts)
        return
    yield ok("audit daemon", f"pid {pid}, configured by {daemon.path}")
    if daemon.config is None:
        yield warning(
            "auditd.conf",
            f"{daemon.error}: the time until the log is rotated away is unknown",
            "run this as root, on the host itself",
        )
        yield from logs(facts)
        return
    yield from _writing(daemon.config, daemon.path)
    yield from _names(facts, daemon.config, daemon.path)
    yield from logs(facts)
    yield from _last_read(facts)
    yield from _rotation(facts, daemon, daemon.config)
    yield from _disk(daemon, daemon.config)


def logs(facts: Facts) -> Iterator[Check]:
    """Check whether the configured logs can be read, and whether auditd writes to one of them."""
    # An unreadable log is only a warning if auditd's own log can be read.
    unreadable = warning if any(log.by_daemon and not log.error for log in facts.logs) else critical
    for log in facts.logs:
        if log.error:
            remedy = "run as root, or in the group that may read it (log_group in auditd.conf)"
            if log.missing:
                remedy = commented("systemctl start auditd", "or correct [audit] logs")
            yield unreadable("audit log", f"{log.path}: {log.error}", remedy)
        elif log.by_daemon is not False:
            yield ok("audit log", f"{log.path}, {log.size or 0:,} bytes")
    config = facts.daemon.config if facts.daemon else None
    if config is None or any(log.by_daemon is not False for log in facts.logs if not log.error):
        return
    yield critical(
        "audit log",
        f"auditd writes to {config.log_file}, which is not in [audit] logs, so its records are not read",
        f'set logs = ["{config.log_file}"] in section [audit]',
    )


def _writing(config: DaemonConfig, path: str) -> Iterator[Check]:
    if not config.local_events:
        detail = "local_events = no: auditd does not accept the kernel's records"
        yield critical("auditd.conf", detail, set_in_auditd_conf(path, local_events="yes"))
    if not config.write_logs or config.log_format == "nolog":
        detail = "write_logs = no: auditd writes no log"
        yield critical("auditd.conf", detail, set_in_auditd_conf(path, write_logs="yes", log_format="ENRICHED"))
    if config.log_format == "raw":
        yield note(
            "auditd.conf",
            "log_format = RAW: the log has users by number; their names are looked up on this host when it is read",
            set_in_auditd_conf(path, log_format="ENRICHED"),
        )


def _names(facts: Facts, config: DaemonConfig, path: str) -> Iterator[Check]:
    """Check the ``node=`` name in records: records with an unknown name are skipped as another host's."""
    if config.name_format == "user":
        name, known = config.name, config.name in facts.host_names
    elif config.name_format == "numeric":
        name, known = "(its address)", any(map(_ADDRESS.fullmatch, facts.host_names))
    else:
        return
    if known:
        return
    yield critical(
        "auditd.conf",
        f"name_format = {config.name_format}: records say node={name}, so they are skipped as another host's",
        commented(set_in_auditd_conf(path, name_format="none"), "or add that name to [audit] nodes"),
    )


def _last_read(facts: Facts) -> Iterator[Check]:
    if facts.previous is None or facts.scan_every is None:
        return
    age = (facts.now_ns - facts.previous.time_ns) / 1e9
    late = age > 2 * max(facts.scan_every, facts.read_every or 0)
    detail = f"{span(age)} ago ({minute_text(facts.previous.time_ns)})"
    remedy = commented("fimscan schedule", "as a service, or 'fimscan scan' from cron: see fimscan-schedule(8)")
    yield ok("last read", detail) if not late else warning("last read", detail, remedy)


def _reading_interval(facts: Facts) -> int | None:
    """Return how often the log is really read, in seconds.

    If the last look is much older than the schedule says, assume that only scans read the log.
    """
    if facts.previous is not None and facts.read_every is not None and facts.scan_every is not None:
        age = (facts.now_ns - facts.previous.time_ns) / 1e9
        if age > 3 * facts.read_every:
            return max(facts.read_every, facts.scan_every)
    return facts.read_every


def _rotation(facts: Facts, daemon: Daemon, config: DaemonConfig) -> Iterator[Check]:
    """Check how long a record stays in the log, against how often the log is read."""
    name, size = "rotation", config.max_log_file
    if config.max_log_file_action == "suspend" and size:
        yield _suspending(facts, daemon, config)
    elif config.max_log_file_action == "keep_logs":
        yield ok(name, f"a new file every {size // _MEGABYTE} MB; no file is deleted (keep_logs)")
    elif config.max_log_file_action != "rotate" or config.num_logs < 2 or not size:
        detail = f"auditd does not rotate (max_log_file_action = {config.max_log_file_action}): the log grows"
        yield note(
            name,
            detail + _a_day(daemon),
            set_in_auditd_conf(daemon.path, max_log_file_action="ROTATE", num_logs="10", max_log_file="50"),
        )
    else:
        yield _rotating(facts, daemon, config)


def _rotating(facts: Facts, daemon: Daemon, config: DaemonConfig) -> Check:
    kept = (config.num_logs - 1) * config.max_log_file
    every = _reading_interval(facts)
    read = f"; read every {span(every)}" if every else ""
    growth = daemon.growth
    if growth is None or growth.rate is None:
        room = f"{kept // _MEGABYTE:,} MB are kept; the log is too short to estimate for how long"
        return ok("rotation", room + read)
    rates = {"at the present rate": growth.rate}
    if growth.fastest and growth.fastest > 2 * growth.rate:
        rates["at the highest rate so far"] = growth.fastest
    left = [kept / max(rate, 1e-9) for rate in rates.values()]
    times = ", ".join(f"in {span(seconds)} {how}" for how, seconds in zip(rates, left, strict=True))
    # A margin of two: reading takes time, and the next burst can be larger than any before.
    enough = every is None or min(left) > 2 * every
    wanted = min(_MOST_LOGS, 2 + int(4 * (every or 0) * max(rates.values()) / config.max_log_file))
    detail = f"a record is rotated away {times}{read}"
    if enough:
        return ok("rotation", detail)
    more = set_in_auditd_conf(daemon.path, num_logs=str(wanted))
    remedy = commented(more, "or a larger max_log_file", "or read more often")
    return warning("rotation", detail, remedy)


def _suspending(facts: Facts, daemon: Daemon, config: DaemonConfig) -> Check:
    written = max((log.size or 0 for log in facts.logs if log.by_daemon), default=0)
    remedy = set_in_auditd_conf(daemon.path, max_log_file_action="ROTATE")
    detail = f"auditd stops writing at {config.max_log_file // _MEGABYTE} MB (max_log_file_action = suspend)"
    if written >= config.max_log_file:
        return critical("rotation", f"{detail}; the log has reached that size", remedy)
    if daemon.growth and daemon.growth.rate:
        detail += f", in {span((config.max_log_file - written) / daemon.growth.rate)} at the present rate"
    return warning("rotation", detail, remedy)


def _a_day(daemon: Daemon) -> str:
    rate = daemon.growth.rate if daemon.growth else None
    return f", by {rate * 86400 / _MEGABYTE:,.0f} MB a day at the present rate" if rate else ""


def _disk(daemon: Daemon, config: DaemonConfig) -> Iterator[Check]:
    """Check free space on the log's file system; say what auditd does when it is full."""
    if daemon.free is None:
        return
    low = config.space_bytes(config.space_left, daemon.total)
    lowest = config.space_bytes(config.admin_space_left, daemon.total)
    actions = {config.admin_space_left_action, config.disk_full_action}
    then = "stops writing" if "suspend" in actions else "halts the host" if actions & _STOPPING else "loses records"
    free = f"{daemon.free // _MEGABYTE:,} MB free"
    remedy = f"free space on the file system of {config.log_file}"
    if daemon.free <= lowest and config.admin_space_left_action == "suspend":
        detail = f"{free}, less than admin_space_left: auditd has stopped writing"
        resume = commented("kill -USR2 $(pidof auditd)", f"after this: {remedy}")
        yield critical("log disk", detail, resume)
    elif daemon.free <= max(low, 2 * lowest):
        yield warning("log disk", f"{free}, nearly full; when it is full, auditd {then}", remedy)
    else:
        yield ok("log disk", f"{free}; when it is full, auditd {then}")
    if config.disk_error_action in _STOPPING:
        yield note(
            "log disk",
            f"auditd stops after one write error (disk_error_action = {config.disk_error_action})",
            commented(
                set_in_auditd_conf(daemon.path, disk_error_action="SYSLOG"),
                "if losing single records is better than that",
            ),
        )


_UNITS = (("days", 86400), ("h", 3600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """Format seconds in the largest fitting unit, with at most one decimal: ``1.5 h``, ``40 days``."""
    for name, unit in _UNITS:
        if seconds >= unit * (2 if name == "days" else 1) or unit == 1:
            amount = seconds / unit
            return f"{amount:,.0f} {name}" if amount >= 10 or amount == int(amount) else f"{amount:.1f} {name}"
    raise AssertionError("the last unit is always large enough")
