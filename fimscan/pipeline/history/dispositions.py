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

    def last_about(self, finding: Finding) -> Disposition | None:
        """The last decision about a change that is in effect: of :meth:`about`, without looking at each of them."""
        path = finding.change.path
        scans: Sequence[int] = self._scans.get(path, [])
        place = bisect_left(scans, finding.scan)
        if place == len(scans) or scans[place] != finding.scan:
            return None
        until = scans[bisect_left(scans, finding.scan + 1)] if scans[-1] > finding.scan else None
        found: tuple[int, AcceptanceRecord] | None = None
        for records in (self._about.get(path, ()), self._about.get(None, ())):
            for item in reversed(records):
                if found is not None and item[0] < found[0]:
                    break
                record = item[1]
                if finding.scan <= record.scan and (until is None or record.scan < until) and not record.is_undone:
                    found = item
                    break
        return None if found is None else Disposition(record=found[1], is_current=finding.scan == scans[-1])

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
