"""What was decided about changes: for the rows of a report, the history of a path, and one change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fimscan.model import AcceptanceRecord, Disposition, Finding
from fimscan.store import acceptance as acceptance_store
from fimscan.store import findings as finding_store
from fimscan.store.session import Session


def with_violations(session: Session, findings: Iterable[Finding], until: int) -> tuple[Finding, ...]:
    """Mark the rows of a diff from the baseline that were found to be violations, as of an event."""
    marked = acceptance_store.violations(session, until)
    return tuple(_marked(row, marked.get(row.change.path)) for row in findings) if marked else tuple(findings)


def _marked(row: Finding, record: AcceptanceRecord | None) -> Finding:
    if record is None:
        return row
    last = max(step.scan for step in (row, *row.steps))
    return replace(row, disposition=Disposition(record=record, is_current=last <= record.scan))


def with_decisions(session: Session, history: Sequence[Finding], path: bytes) -> tuple[Finding, ...]:
    """Add to all changes of a path, oldest first, the last decision about each that is in effect."""
    found = [_decisions(session, history, row, path) for row in history]
    return tuple(
        replace(row, disposition=next((item for item in reversed(decided) if not item.record.is_undone), None))
        for row, decided in zip(history, found, strict=True)
    )


def decisions_about(session: Session, finding: Finding) -> tuple[Disposition, ...]:
    """All decisions about one change, oldest first, also those that were taken back."""
    path = finding.change.path
    return _decisions(session, finding_store.history_of(session, path), finding, path)


def _decisions(session: Session, history: Sequence[Finding], finding: Finding, path: bytes) -> tuple[Disposition, ...]:
    """A decision as of a scan is about the last change of the path up to that scan."""
    scans = [row.scan for row in history]
    return tuple(
        Disposition(record=record, is_current=finding.scan == scans[-1])
        for record in acceptance_store.records_of(session, [path])
        if (place := bisect_left(scans, record.scan + 1)) and scans[place - 1] == finding.scan
    )
