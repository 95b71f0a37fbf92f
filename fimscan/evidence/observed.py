"""What was observed for each requirement, and the exceptions, with file and line: the contents of the report.

Values pass through an :class:`Observer` on their way to the tables, so it knows in which line each one is. A cell has
no line break, so a line is a row; the header is line 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

from fimscan.evidence.continuity import Stretch, StretchStatus, largest_hours
from fimscan.evidence.inputs import BundleInput, FoundChange
from fimscan.model import DispositionStatus, Finding, MessageState, OutboxMessage, ScanStatus, StepState, Verdict
from fimscan.report.display import show, time_text
from fimscan.report.words import plural
from fimscan.timing import interval_seconds

_MOST = 50  # exceptions that are listed for a requirement
_FIRST = 2  # the line of the first row
_YEAR_S = 365 * 86400
_CHANGES, _ALERTS, _DECISIONS = "09-changes.csv", "10-alerts.csv", "11-dispositions.csv"


class Exceptional(NamedTuple):
    """Something that an assessor has to look at. Without a ``line``, it is about the whole file."""

    file: str
    line: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was observed for a requirement. ``more`` counts further exceptions that are not listed."""

    facts: tuple[str, ...]
    exceptions: tuple[Exceptional, ...]
    more: int = 0


@dataclass(slots=True)
class _Some:
    """The first of some exceptions, and the number of all."""

    listed: list[Exceptional] = field(default_factory=list)
    count: int = 0

    def add(self, line: int, text: str, file: str = _CHANGES) -> None:
        self.count += 1
        if len(self.listed) <= _MOST:
            self.listed.append(Exceptional(file, line, text))


class Observer:
    """Notes what passes by."""

    def __init__(self, alerts_since_ns: int = 0) -> None:
        self._alerts_since_ns = alerts_since_ns
        self.kinds: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.unnamed, self.pending, self.without_ticket = _Some(), _Some(), _Some()
        self.violations, self.unacknowledged = _Some(), _Some()
        self._lines: dict[int, int] = {}  # the number of a change -> its first line
        self._acknowledged: set[int] = set()

    def changes(self, found: Iterable[FoundChange]) -> Iterator[FoundChange]:
        """Pass changes on."""
        line = _FIRST
        for item in found:
            for step in item.finding.steps or (item.finding,):
                self._note(step, line)
                line += max(1, len(step.attribution.actors))
            yield item

    def _note(self, step: Finding, line: int) -> None:
        number = step.change.id
        change, answer, decided = step.change, step.attribution, step.disposition
        if change.window.before_ns >= self._alerts_since_ns:  # messages about earlier ones may have been pruned
            self._lines.setdefault(number, line)
        self.kinds[change.kind.value] += 1
        self.verdicts[answer.verdict.value] += 1
        what = f"change {number}, {show(change.path)}"
        if answer.verdict is Verdict.UNATTRIBUTED:
            self.unnamed.add(line, f"{what}: no process is named ({answer.reason or 'no reason'})")
        status = DispositionStatus.PENDING if decided is None else decided.status
        self.statuses[status.value] += 1
        if status is DispositionStatus.PENDING:
            self.pending.add(line, f"{what}: nothing was decided")
        elif status is DispositionStatus.VIOLATION:
            self.violations.add(line, f"{what}: found to be a violation")
        elif decided is not None and not decided.record.approval.ticket:
            self.without_ticket.add(line, f"{what}: approved without a ticket")

    def alerts(self, messages: Iterable[OutboxMessage]) -> Iterator[OutboxMessage]:
        """Pass messages on."""
        for line, message in enumerate(messages, _FIRST):
            self.states[message.state.value] += 1
            if message.state is MessageState.DELIVERED:
                self._acknowledged.update(number for part in message.changes for number in part)
            else:
                words = f"message {message.number} to {show(message.output)}: {message.state}, {show(message.answer)}"
                self.unacknowledged.add(line, words.removesuffix(", "), _ALERTS)
            yield message

    def unalerted(self) -> _Some:
        """The changes of which no message was acknowledged."""
        found = _Some()
        for number, line in self._lines.items():
            if number not in self._acknowledged:
                found.add(line, f"change {number}: no alert was acknowledged")
        return found


def observed(data: BundleInput, stretches: Sequence[Stretch], seen: Observer) -> Mapping[str, Observed]:
    """What was observed, by requirement. ``seen`` has noted what is iterated only once."""
    unalerted = seen.unalerted()
    changes = f"{plural(sum(seen.kinds.values()), 'change')}: {_counted(seen.kinds)}"
    return {
        "11.5.2": _detection(data, stretches, seen, unalerted),
        "10.2.2": _made([changes, f"verdicts: {_counted(seen.verdicts)}"], [seen.unnamed]),
        "10.3.4": _logs(data),
        "10.4": _made(
            [
                f"{plural(len(data.decisions), 'decision')} since the beginning of the period",
                f"changes of the period: {_counted(seen.statuses)}",
            ],
            [seen.violations, seen.pending, _own(data)],
        ),
        "10.5.1": _retention(data),
        "10.6": _clock(data),
        "10.7.2, 10.7.3": _failures(data),
        "6.5.1": _made([f"changes of the period: {_counted(seen.statuses)}"], [seen.without_ticket, seen.pending]),
        "12.10.5": _made(
            [f"configured receivers: {len(data.routes)}", f"messages: {_counted(seen.states)}", *_pruned_alerts(data)],
            [_no_route(data), seen.unacknowledged, unalerted],
        ),
    }


def _made(facts: Iterable[str], some: Iterable[_Some]) -> Observed:
    parts = list(some)
    listed = tuple(islice(chain.from_iterable(part.listed for part in parts), _MOST))
    return Observed(facts=tuple(facts), exceptions=listed, more=sum(part.count for part in parts) - len(listed))


def _of(file: str, rows: Iterable[tuple[int, str]]) -> _Some:
    found = _Some()
    for line, text in rows:
        found.add(line, text, file)
    return found


def _whole(file: str, text: str) -> _Some:
    return _Some(listed=[Exceptional(file, None, text)], count=1)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _no_route(data: BundleInput) -> _Some:
    if data.routes:
        return _Some()
    return _whole("04-policy/alert-routes.csv", "no receiver is configured: nobody is alerted")


def _pruned_alerts(data: BundleInput) -> list[str]:
    since = data.alerts_since_ns
    return [f"messages from before {time_text(since)} were pruned"] if since > data.start_ns else []


def _detection(data: BundleInput, stretches: Sequence[Stretch], seen: Observer, unalerted: _Some) -> Observed:
    complete = [scan for scan in data.scans if scan.status is ScanStatus.FINISHED and not scan.is_partial]
    inside = [scan for scan in complete if (scan.finished_ns or 0) >= data.start_ns]
    hours = largest_hours(stretches)
    gaps = (
        (line, f"{'unknown' if one.hours is None else f'{one.hours:.3f}'} hours: {one.note or one.status}")
        for line, one in enumerate(stretches, _FIRST)
        if one.status is not StretchStatus.OK
    )
    missed = (
        (n, f"{plural(one.count, 'run')} of {one.job} missed: {one.cause}") for n, one in enumerate(data.missed_runs, 2)
    )
    unread = ((n, f"{show(one.path)}: {one.reason}") for n, one in enumerate(data.unreadable, 2))
    facts = [
        "monitoring has not begun" if data.began_ns is None else f"monitoring began {time_text(data.began_ns)}",
        f"{plural(len(data.critical), 'pattern')} of critical files",
        f"{plural(len(inside), 'complete comparison')} in the period",
        "the largest gap between comparisons is unknown: the clock was set back"
        if hours is None
        else f"the largest gap between comparisons was {hours:.3f} hours, {data.max_gap_days * 24:g} are allowed",
        f"{plural(sum(seen.kinds.values()), 'change')}; messages: {_counted(seen.states)}",
    ]
    altered = _Some()
    for text in data.failed_checks or ():
        altered.count += 1
        altered.listed.append(Exceptional("00-README.txt", None, f"the database does not verify: {show(text)}"))
    parts = [altered, _of("08-continuity.csv", gaps), _no_route(data), unalerted, _of("08-missed-runs.csv", missed)]
    return _made(facts, [*parts, _of("08-not-compared.csv", unread), _selftests(data)])


def _selftests(data: BundleInput) -> _Some:
    rows = enumerate(((item, step) for item in data.selftests for step in item.steps), _FIRST)
    failed = (
        (line, f"selftest {item.id}: {step.step} failed, {show(step.detail)}")
        for line, (item, step) in rows
        if step.state is StepState.FAILED
    )
    return _of("16-selftest.csv", failed)


def _logs(data: BundleInput) -> Observed:
    logs = list(data.logs)
    breached = (
        (line, f"{show(log.history.path)}: {', '.join(kind for kind, _ in log.history.breaches)}")
        for line, log in enumerate(logs, _FIRST)
        if log.history.breaches
    )
    facts = [f"{plural(len(logs), 'monitored log')}, {sum(log.size or 0 for log in logs):,} bytes verified"]
    none = _Some() if logs else _whole("05-critical-files.csv", "no log has the policy append-only")
    return _made(facts, [none, _of("13-log-integrity.csv", breached)])


def _own(data: BundleInput) -> _Some:
    own = (
        (line, f"decision {item.act} by {show(item.approval.user)}: the reviewer is among the users of the processes")
        for line, item in enumerate(data.decisions, _FIRST)
        if item.is_own
    )
    return _of(_DECISIONS, own)


def _retention(data: BundleInput) -> Observed:
    short, facts = [], []
    for line, kind in enumerate(data.retention, _FIRST):
        seconds = interval_seconds(kind.age)
        if seconds is not None and seconds < _YEAR_S:
            short.append((line, f"{kind.kind}: kept for {kind.age} only ({kind.what})"))
        if kind.oldest_ns is not None:
            facts.append(f"{kind.kind}: the oldest is of {time_text(kind.oldest_ns)[:10]}, kept for {kind.age}")
            if kind.oldest_ns > data.generated_ns - _YEAR_S * 10**9:
                short.append((line, f"{kind.kind}: none is older than twelve months"))
    return _made(facts, [_of("15-retention.csv", short)])


def _clock(data: BundleInput) -> Observed:
    looks = list(data.clocks)
    words = {True: "synchronized", False: "not synchronized", None: "unknown"}
    states = Counter(words[x.look.synchronized] for x in looks)
    services = sorted({x.look.service for x in looks if x.look.service})
    wrong = (
        (line, f"scan {x.scan}: {'unknown' if x.look.synchronized is None else 'not synchronized'}")
        for line, x in enumerate(looks, _FIRST)
        if not x.look.synchronized
    )
    none = _Some() if looks else _whole("14-time-sync.csv", "no scan of the period recorded it")
    facts = [f"scans: {_counted(states)}", f"time services: {', '.join(map(show, services)) or 'none answered'}"]
    return _made(facts, [none, _of("14-time-sync.csv", wrong)])


def _failures(data: BundleInput) -> Observed:
    failed = (
        (line, f"{item.kind} {show(item.subject)}: {show(item.cause)}, {_span(item.start_ns, item.end_ns)}")
        for line, item in enumerate(data.failures, _FIRST)
    )
    gaps = (
        (line, f"{show(path)}: audit missed events ({gap.reason}), {_span(gap.start_ns, gap.end_ns)}")
        for line, (path, gap) in enumerate(data.audit_gaps, _FIRST)
    )
    lasting = sum(item.is_open for item in data.failures)
    passed = sum(item.has_passed for item in data.selftests)
    facts = [
        f"{plural(len(data.failures), 'failure')} of controls, lasting: {lasting}",
        f"stretches of time in which audit missed events at a monitored path: {len(data.audit_gaps)}",
        f"{plural(len(data.selftests), 'selftest')}, passed: {passed}",
    ]
    parts = [_of("12-control-failures.csv", failed), _of("08-audit-coverage.csv", gaps), _selftests(data)]
    return _made(facts, parts)


def _span(start_ns: int, end_ns: int | None) -> str:
    return f"{time_text(start_ns)} to {'now' if end_ns is None else time_text(end_ns)}"
