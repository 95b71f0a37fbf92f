"""Whether change detection itself worked: files 12, 13, 14 and 16, and the coverage of audit."""

from __future__ import annotations

from collections.abc import Iterable

from fimscan.evidence.archive import Staged
from fimscan.evidence.continuity import NS_PER_HOUR
from fimscan.evidence.inputs import ClockAtScan, MonitoredLog
from fimscan.evidence.tables import (
    ACTOR,
    Cell,
    Table,
    actor_cells,
    moment_cell,
    path_cells,
    seconds_cell,
    text_cell,
    yes_no,
)
from fimscan.model import AuditNotice, ControlFailure, ControlNote, Gap, Selftest
from fimscan.report.display import time_text


def write_audit_coverage(out: Staged, host: str, gaps: Iterable[tuple[bytes, Gap]]) -> int:
    """``08-audit-coverage.csv``: when audit missed events at each monitored path, why, and who caused it."""
    columns = ("path", "path_b64", "from_utc", "to_utc", "hours", "cause", "lost_events")
    with Table(out, host, (*columns, *ACTOR)) as table:
        for path, gap in gaps:
            hours = f"{(gap.end_ns - gap.start_ns) / NS_PER_HOUR:.3f}"
            times = time_text(gap.start_ns), time_text(gap.end_ns), hours
            table.add(*path_cells(path), *times, gap.reason, gap.lost, *actor_cells(gap.actor))
    return table.rows


def write_control_failures(out: Staged, host: str, failures: Iterable[ControlFailure]) -> int:
    """``12-control-failures.csv``: the failures of controls in the period, with the newest note about each."""
    columns = ("failure", "kind", "subject", "cause", "start_utc", "detected_utc", "end_utc", "seconds", "remedy")
    noted = ("notes", "remediation", "root_cause", "ticket", "noted_by", "noted_utc")
    with Table(out, host, (*columns, *ACTOR, *noted)) as table:
        for item in failures:
            about = item.kind, text_cell(item.subject), text_cell(item.cause)
            times = time_text(item.start_ns), time_text(item.detected_ns), moment_cell(item.end_ns)
            lasted = seconds_cell(item.start_ns, item.end_ns)
            newest = _note_cells(item.notes[-1]) if item.notes else (None,) * 5
            known = text_cell(item.remedy), *actor_cells(item.actor)
            table.add(item.id, *about, *times, lasted, *known, len(item.notes), *newest)
    return table.rows


def write_control_notes(out: Staged, host: str, failures: Iterable[ControlFailure]) -> int:
    """``12-control-notes.csv``: what people did about the failures of the period, a row for each note."""
    columns = ("note", "failure", "remediation", "root_cause", "ticket", "noted_by", "noted_utc")
    with Table(out, host, columns) as table:
        for item in failures:
            for note in item.notes:
                table.add(note.id, note.failure, *_note_cells(note))
    return table.rows


def _note_cells(note: ControlNote) -> tuple[Cell, ...]:
    texts = (note.remediation, note.root_cause, note.ticket, note.user)
    return (*(text_cell(text) for text in texts), time_text(note.noted_ns))


def write_log_integrity(out: Staged, host: str, logs: Iterable[MonitoredLog]) -> int:
    """``13-log-integrity.csv``: each log whose content may only grow, and what happened to it in the period."""
    columns = ("path", "path_b64", "pattern", "pattern_b64", "monitored_since_utc", "verified_utc", "verified_bytes")
    with Table(out, host, (*columns, "sha256", "grown_or_rotated", "rotated_away", "breaches", "status")) as table:
        for log in logs:
            seen = log.history
            breaches = " ".join(f"{kind}:{count}" for kind, count in seen.breaches)
            status = "breached" if seen.breaches else "gone" if log.size is None else "ok"
            known = moment_cell(log.verified_ns), log.size, log.sha256
            counts = seen.followed, seen.retired, breaches, status
            table.add(*path_cells(seen.path), *path_cells(log.pattern), time_text(seen.first_ns), *known, *counts)
    return table.rows


def write_audit_events(out: Staged, host: str, notices: Iterable[AuditNotice]) -> int:
    """``13-audit-events.csv``: what the audit log says of audit itself."""
    with Table(out, host, ("time_utc", "event", "kind", "rule_key", *ACTOR)) as table:
        for notice in notices:
            about = time_text(notice.event.time_ns), text_cell(str(notice.event)), notice.kind
            table.add(*about, text_cell(notice.key), *actor_cells(notice.actor))
    return table.rows


def write_time_sync(out: Staged, host: str, looks: Iterable[ClockAtScan]) -> int:
    """``14-time-sync.csv``: whether the clock was synchronized at each scan, and by what."""
    columns = ("scan", "started_utc", "synchronized", "kernel_error_bound_us", "service", "source", "stratum")
    with Table(out, host, (*columns, "offset_us")) as table:
        for item in looks:
            look = item.look
            is_synchronized = None if look.synchronized is None else yes_no(look.synchronized)
            offset = None if look.offset_ns is None else round(look.offset_ns / 1000)
            by = text_cell(look.service or None), text_cell(look.source or None), look.stratum
            table.add(item.scan, time_text(item.started_ns), is_synchronized, look.error_us, *by, offset)
    return table.rows


def write_selftests(out: Staged, host: str, selftests: Iterable[Selftest]) -> int:
    """``16-selftest.csv``: the selftests of the period, a row for each step."""
    columns = ("selftest", "passed", "started_utc", "finished_utc", "path", "path_b64", "pid", "exe", "exe_b64", "scan")
    with Table(out, host, (*columns, "step", "state", "seconds", "output", "detail")) as table:
        for item in selftests:
            times = time_text(item.started_ns), time_text(item.finished_ns)
            who = (*path_cells(item.path), item.pid, *path_cells(item.exe), item.scan)
            for step in item.steps:
                seconds = None if step.seconds is None else f"{step.seconds:.3f}"
                said = step.output, text_cell(step.detail)
                table.add(item.id, yes_no(item.has_passed), *times, *who, step.step, step.state, seconds, *said)
    return table.rows
