"""What was decided about changes: for the rows of a report, the history of a path, and one change."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from heapq import merge
from operator import itemgetter

from msgspec.structs import replace

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
    decisions = Decisions(session, [path])
    return tuple(replace(row, disposition=in_effect(decisions.about(row, path))) for row in history)


def in_effect(decided: Sequence[Disposition]) -> Disposition | None:
    """The last of some decisions, oldest first, that was not taken back."""
    return next((item for item in reversed(decided) if not item.record.is_undone), None)


class Decisions:
    """All decisions about the changes of some paths, also those that were taken back; read at once."""

    def __init__(self, session: Session, paths: Iterable[bytes]) -> None:
        paths = set(paths)
        self._about: dict[bytes | None, list[tuple[int, AcceptanceRecord]]] = {}
        for place, record in enumerate(acceptance_store.records_of(session, paths)):
            self._about.setdefault(record.path, []).append((place, record))
        self._scans = finding_store.scans_of(session, paths) if self._about else {}

    def about(self, finding: Finding, path: bytes | None = None) -> tuple[Disposition, ...]:
        """The decisions about one change, oldest first; ``path`` is that of the change, or the one it moved from.

        A decision as of a scan is about the last change of the path up to that scan.
        """
        path = finding.change.path if path is None else path
        scans = self._scans.get(path, [])
        records = merge(self._about.get(None, ()), self._about.get(path, ()), key=itemgetter(0))
        return tuple(
            Disposition(record=record, is_current=finding.scan == scans[-1])
            for _, record in records
            if (place := bisect_left(scans, record.scan + 1)) and scans[place - 1] == finding.scan
        )


class LastDecisions:
    """The last decision about each of many changes that is in effect, without looking at all decisions about it."""

    def __init__(self, records: Iterable[AcceptanceRecord]) -> None:
        """Take all decisions about the changes' paths and about everything, oldest first."""
        self._about: dict[bytes | None, list[tuple[int, AcceptanceRecord]]] = {}
        for place, record in enumerate(records):
            if not record.is_undone:
                self._about.setdefault(record.path, []).append((place, record))

    def about(self, finding: Finding, later: int | None) -> Disposition | None:
        """The decision about a change; ``later`` is the next scan that found a change of its path, if any did."""
        found: tuple[int, AcceptanceRecord] | None = None
        for records in (self._about.get(finding.change.path, ()), self._about.get(None, ())):
            for item in reversed(records):
                if found is not None and item[0] < found[0]:
                    break
                if finding.scan <= item[1].scan and (later is None or item[1].scan < later):
                    found = item
                    break
        return None if found is None else Disposition(record=found[1], is_current=later is None)
