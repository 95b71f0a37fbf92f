"""Checks of the kernel's audit system: switches, counters and queue. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fimscan.model import Check
from fimscan.pipeline.health.checks import critical, note, ok, warning
from fimscan.pipeline.health.coverage.facts import Facts
from fimscan.pipeline.health.remedies import SET_AT_BOOT, commented, set_in_rules_file
from fimscan.report.display import minute_text

BACKLOG_WANTED = 8192
_HALF_FULL, _NEARLY_FULL = 0.5, 0.8
_KERNEL_DEFAULT = "64"  # records; AUDIT_BACKLOG_LIMIT of the kernel, unless audit_backlog_limit= is on its command line
_STATES = {0: "disabled", 1: "enabled", 2: "enabled; rules are locked until the next boot (-e 2)"}


def unavailable(error: str) -> Check:
    """The check if the kernel cannot be asked. That is critical: no coverage can be shown."""
    return critical("kernel audit", f"cannot be queried: {error}", "run this as root, on the host itself")


def checks(facts: Facts) -> Iterator[Check]:
    """Check everything in the kernel's answer except the rules."""
    yield switch(facts)
    yield _since_boot(facts)
    yield _lost(facts)
    yield from _queue(facts)
    yield from _settings(facts)


def switch(facts: Facts) -> Check:
    """Check whether audit is enabled."""
    enabled = facts.kernel.status.get("enabled", 0)
    state = _STATES.get(enabled, f"enabled {enabled}")
    if enabled:
        return ok("kernel audit", state)
    remedy = commented("auditctl -e 1", "also remove -e 0 from /etc/audit/rules.d")
    return critical("kernel audit", f"{state}: the kernel writes no records", remedy)


def _since_boot(facts: Facts) -> Check:
    if facts.command_line & {"audit=1", "audit=on"}:
        return ok("since boot", "audit=1 is on the kernel's command line")
    older = "" if facts.older is None else f" ({facts.older} running processes are older than auditd)"
    return warning(
        "since boot",
        "audit=1 is not on the kernel's command line: processes started before audit was first enabled leave no"
        f" records{older}",
        commented(SET_AT_BOOT, "then reboot"),
    )


def _lost(facts: Facts) -> Check:
    name, lost, before = "lost events", facts.kernel.status.get("lost", 0), facts.previous
    more = commented(f"auditctl -b {_larger(facts)}", "or narrow other rules")
    reset = "auditctl --reset-lost"
    if not lost:
        return ok(name, "none")
    if before is None or before.lost is None or before.boot_id != facts.boot_id or before.lost > lost:
        return warning(name, f"{lost:,} since boot or the last reset", commented(more, f"after investigating: {reset}"))
    since = minute_text(before.time_ns)
    if lost > before.lost:
        return warning(name, f"{lost - before.lost:,} since the last look at {since}, {lost:,} in total", more)
    return note(name, f"{lost:,}, none since the last look at {since}", commented(reset, "after investigating"))


def _larger(facts: Facts) -> int:
    return max(2 * facts.kernel.status.get("backlog_limit", 0), BACKLOG_WANTED)


def _queue(facts: Facts) -> Iterator[Check]:
    status = facts.kernel.status
    waiting, limit = status.get("backlog", 0), status.get("backlog_limit", 0)
    detail = f"{waiting:,} of {limit:,} records wait for auditd"
    # A limit of 0 means no limit.
    fill = waiting / limit if limit else 0
    if fill < _HALF_FULL:
        yield ok("queue", detail)
    else:
        grade = note if fill < _NEARLY_FULL else warning
        remedy = commented(f"auditctl -b {_larger(facts)}", "aureport --summary shows what causes so many events")
        yield grade("queue", detail, remedy)
    if delayed := status.get("backlog_wait_time_actual"):
        detail = f"it has been full: processes had to wait for {delayed:,} clock ticks in total"
        remedy = f"auditctl -b {_larger(facts)} && auditctl --reset_backlog_wait_time_actual"
        yield note("queue", detail, remedy)
    if status.get("backlog_wait_time") == 0:
        detail = "when it is full, records are dropped at once (backlog_wait_time 0)"
        wait = "--backlog_wait_time 15000"
        yield warning("queue", detail, f"auditctl {wait} && {set_in_rules_file(wait)}")
    yield _limit(facts, limit)


def _limit(facts: Facts, limit: int) -> Check:
    """Check the length of the queue, now and after the next boot."""
    line = set_in_rules_file(f"-b {BACKLOG_WANTED}")
    if 0 < limit < BACKLOG_WANTED:
        detail = f"{limit:,} records: a longer burst loses records"
        return warning("queue limit", detail, f"auditctl -b {BACKLOG_WANTED} && {line}")
    if facts.boot is not None and not facts.boot.error:
        at_boot = facts.boot.settings.get("-b", _KERNEL_DEFAULT)
        if at_boot.isdecimal() and 0 < int(at_boot) < BACKLOG_WANTED:
            source = facts.boot.source
            origin = f"-b in {source}" if "-b" in facts.boot.settings else f"the kernel's default: no -b in {source}"
            detail = f"{limit:,} records, but {at_boot} after the next boot ({origin})"
            return warning("queue limit", detail, line)
    return ok("queue limit", f"{limit:,} records" if limit else "none")


def _settings(facts: Facts) -> Iterator[Check]:
    status = facts.kernel.status
    if rate := status.get("rate_limit"):
        detail = f"{rate:,} records a second; the kernel drops all beyond that"
        yield warning("rate limit", detail, f"auditctl -r 0 && {set_in_rules_file('-r 0')}")
    match status.get("failure"):
        case 0:
            detail = "0: the kernel does not report lost records"
            yield note("failure flag", detail, f"auditctl -f 1 && {set_in_rules_file('-f 1')}")
        case 2:
            detail = "2: the kernel panics when it loses records"
            yield note("failure flag", detail, commented("auditctl -f 1", "if the host matters more than its records"))
