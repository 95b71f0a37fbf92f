"""``17-sample.csv``: a random sample of the changes, each with all that an assessor asks about it.

The sample is reproducible: a change is drawn by the SHA-256 of the seed and its number. So nobody can choose which
changes are in it but by choosing the seed, which the assessor gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest

from msgspec import Struct
from msgspec.structs import replace

from fimscan.evidence.archive import Staged
from fimscan.evidence.continuity import NS_PER_HOUR
from fimscan.evidence.inputs import FoundChange, Sample
from fimscan.evidence.tables import Cell, Table, moment_cell, path_cells, text_cell, yes_no
from fimscan.model import Disposition, DispositionStatus, Finding, MessageState, OutboxMessage, Scan
from fimscan.report.display import time_text

_MOST_KEPT = 4  # times the size of the sample, before the others are forgotten
_COLUMNS = (
    *("sample", "change", "type", "object", "object_b64", "severity", "category"),
    *("window_after_utc", "window_before_utc", "detected_utc", "detected_within_hours"),
    *("verdict", "reason", "candidates", "login_user", "exe"),
    *("alerts", "alerted_utc", "receivers", "acknowledged_utc"),
    *("status", "reviewer", "reviewer_among_actors", "ticket", "decided_utc", "decided_within_hours"),
    *("audit_complete", "audit_gaps", "exceptions"),
)


def draw(seed: int, number: int) -> bytes:
    r"""The place of a change in the draw: those with the smallest ones are in the sample.

    By hand: ``printf '%s\n%s\n' SEED NUMBER | sha256sum``.
    """
    return hashlib.sha256(f"{seed}\n{number}\n".encode()).digest()


class SampleFacts(Struct, frozen=True, kw_only=True):
    """What the README says of the sample: its size, out of how many, and how many have an exception."""

    size: int
    population: int
    with_exception: int


class Sampler:
    """Draws from the changes as they pass by, then notes the alerts about the drawn ones as these pass by."""

    def __init__(self, sample: Sample, alerts_since_ns: int = 0) -> None:
        self.sample = sample
        self._alerts_since_ns = alerts_since_ns
        self.population = 0
        self._drawn: list[tuple[bytes, Finding]] = []
        self._alerts: dict[int, list[OutboxMessage]] = {}

    def changes(self, found: Iterable[FoundChange]) -> Iterator[FoundChange]:
        """Pass changes on."""
        for item in found:
            for step in item.finding.steps or (item.finding,):
                self.population += 1
                self._drawn.append((draw(self.sample.seed, step.change.id), step))
                if len(self._drawn) >= _MOST_KEPT * max(self.sample.size, 25):
                    self._drawn = self._smallest()
            yield item
        self._drawn = self._smallest()

    def _smallest(self) -> list[tuple[bytes, Finding]]:
        return nsmallest(self.sample.size, self._drawn, key=lambda pair: (pair[0], pair[1].change.id))

    def alerts(self, messages: Iterable[OutboxMessage]) -> Iterator[OutboxMessage]:
        """Pass messages on."""
        numbers = {finding.change.id for _, finding in self._drawn}
        for message in messages:
            for number in numbers:
                if any(number in part for part in message.changes):
                    self._alerts.setdefault(number, []).append(replace(message, changes=()))
            yield message

    def write(self, out: Staged, host: str, scans: Iterable[Scan]) -> SampleFacts:
        """Write the table, in the order of the draw."""
        ends = {scan.id: scan.finished_ns for scan in scans}
        excepted = 0
        with Table(out, host, _COLUMNS) as table:
            for place, (_, finding) in enumerate(self._drawn, 1):
                alerts = self._alerts.get(finding.change.id, [])
                cells = _cells(finding, alerts, ends)
                found = tuple(exceptions(finding, alerts, self._alerts_since_ns))
                excepted += bool(found)
                table.add(place, *cells, "; ".join(found))
        return SampleFacts(size=table.rows, population=self.population, with_exception=excepted)


def exceptions(finding: Finding, alerts: Iterable[OutboxMessage], alerts_since_ns: int) -> Iterator[str]:
    """What an assessor would ask about. Messages from before ``alerts_since_ns`` may have been pruned."""
    states = [alert.state for alert in alerts]
    if not states and finding.change.window.before_ns < alerts_since_ns:
        yield "messages of that time were pruned"
    elif not states:
        yield "no alert"
    elif MessageState.DELIVERED not in states:
        yield "no alert was acknowledged"
    decided = finding.disposition
    if decided is None or decided.status is DispositionStatus.PENDING:
        yield "not reviewed"
    else:
        if not decided.record.approval.ticket:
            yield "no ticket"
        if decided.record.is_own:
            yield "the reviewer is among the users of the named processes"
        if decided.status is DispositionStatus.VIOLATION:
            yield "found to be a violation"
    if not finding.attribution.actors:
        yield "no process is named"
    elif len(finding.attribution.actors) > 1:
        yield "several processes are possible"
    if not finding.attribution.coverage.complete:
        yield "audit did not cover the whole window"


def _cells(finding: Finding, alerts: list[OutboxMessage], ends: Mapping[int, int | None]) -> tuple[Cell, ...]:
    change, answer = finding.change, finding.attribution
    detected = ends.get(finding.scan)
    first = answer.actors[0] if answer.actors else None
    gaps = (f"{gap.reason} {time_text(gap.start_ns)}/{time_text(gap.end_ns)}" for gap in answer.coverage.gaps)
    made = min((alert.made_ns for alert in alerts), default=None)
    done = [alert.done_ns for alert in alerts if alert.state is MessageState.DELIVERED and alert.done_ns is not None]
    return (
        *(change.id, change.kind, *path_cells(change.path), finding.severity, text_cell(finding.category)),
        *(time_text(change.window.after_ns), time_text(change.window.before_ns), moment_cell(detected)),
        _hours(change.window.after_ns, detected),
        *(answer.verdict, answer.reason, len(answer.actors)),
        *((None, None) if first is None else (text_cell(first.login_user), text_cell(first.exe))),
        *(len(alerts), moment_cell(made), text_cell(" ".join(sorted({alert.output for alert in alerts})) or None)),
        moment_cell(min(done, default=None)),
        *_decision(finding.disposition, detected),
        *(yes_no(answer.coverage.complete), "; ".join(gaps)),
    )


def _decision(decided: Disposition | None, detected: int | None) -> tuple[Cell, ...]:
    if decided is None:
        return DispositionStatus.PENDING, None, None, None, None, None
    why = decided.record.approval
    hours = None if detected is None else _hours(detected, why.accepted_ns)
    who = text_cell(why.user), yes_no(decided.record.is_own), text_cell(why.ticket)
    return decided.status, *who, time_text(why.accepted_ns), hours


def _hours(from_ns: int, to_ns: int | None) -> str | None:
    """The hours between two times; ``None`` if they are not known, or the clock was set back."""
    return None if to_ns is None or to_ns < from_ns else f"{(to_ns - from_ns) / NS_PER_HOUR:.3f}"
