"""Compare what fimscan recorded with the truth. Pure: all that is judged is given.

What has to be recorded, exactly once:

- Each path is changed once, so each change is one row. A scan sees states: one that reads a file between its creation
  and its first write sees two changes, an addition and a modification. Such a step counts as the same change, if the
  window of the earlier step ended while the change was being made.
- A rename is one ``moved`` row, or, if a scan saw both names or none, an ``added`` and a ``removed`` row.

What has to be answered:

- Every row names the process that made the change with its program, users included, and no other one.
- It is ``confirmed``, unless audit was blind in its window: then every gap has to be one that this fault makes. If
  fimscan could not look when the fault began or ended (it slept, its database was locked ...), its gap begins with its
  last look before, and ends with its first look after that.
- A change that was made while audit was blind is never ``confirmed``.
- An innocent process that only opened the file may be listed beside the one that changed it. It is never named alone,
  unless it opened the file in the gap that the answer has, and fanotify saw nobody else: then it may be ``likely``.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import Any

from msgspec.structs import replace

from fimscan.model import (
    Actor,
    Attribution,
    ChangeKind,
    ControlFailure,
    ControlKind,
    Finding,
    GapReason,
    Reason,
    Verdict,
)
from tests.soak.truth import Fault, Made

_S = 10**9
_SLACK_NS = 50_000_000  # the clocks of audit and of files have steps of 4 ms; a call has a begin and an end

_KINDS = {
    "create": ChangeKind.ADDED,
    "modify": ChangeKind.MODIFIED,
    "remove": ChangeKind.REMOVED,
    "chmod": ChangeKind.ATTRIBUTES,
}
_HOLES_WITHOUT_RULES = {
    *(GapReason.IO_URING, GapReason.READ_ONLY_OPEN, GapReason.HANDLE_OPEN, GapReason.ATTRIBUTE_CALL),
    *(GapReason.OVERLAY, GapReason.EXTENT_MOVE),
}
#: The faults that make audit blind, with the gaps that they make.
BLIND: Mapping[str, frozenset[GapReason]] = {
    # While no auditd has the log open, nobody knows whether it has everything.
    "auditd killed": frozenset({GapReason.DAEMON_STOPPED, GapReason.EVENTS_LOST, GapReason.LOG_MISSING}),
    "rules removed": frozenset({GapReason.RULE_REMOVED, GapReason.NO_RULE, *_HOLES_WITHOUT_RULES}),
    "clock set": frozenset({GapReason.CLOCK_CHANGED}),
}
#: The faults that keep fimscan from looking at audit, or from storing what it saw.
HINDERING = frozenset({"asleep", "database locked", "disk full", "scheduler killed", "clock set"})
_NO_SCANS = ((ControlKind.SCAN, "scans"),)
#: The faults that are an outage of a control, with its kind and subject ("" stands for every subject).
OUTAGES: Mapping[str, tuple[tuple[ControlKind, str], ...]] = {
    "auditd killed": ((ControlKind.AUDIT, "auditd"),),
    "rules removed": ((ControlKind.AUDIT, ""),),
    "disk full": ((ControlKind.DISK, ""), *_NO_SCANS),
    "database locked": _NO_SCANS,
    "asleep": _NO_SCANS,
    "clock set": ((ControlKind.CLOCK, "clock"),),
}


@dataclass
class Judgement:
    """What is right and wrong. ``problems`` has a line for each error."""

    made: int = 0
    found: int = 0
    confirmed: int = 0
    excused: int = 0
    contested: int = 0
    lost: int = 0
    doubled: int = 0
    accused: int = 0
    wrong: int = 0
    undelivered: int = 0
    outages: int = 0
    outages_recorded: int = 0
    false_alarms: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class Span:
    """A fault that made audit blind. ``first_ns`` to ``last_ns`` is the time over which fimscan may not know it."""

    fault: Fault
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Waited:
    """When a message was made, and when its receiver had it."""

    made_ns: int
    done_ns: int


class Judge:
    """Judges one soak.

    Args:
        faults: all faults.
        interval_s: between two scans.
        scans: begin and end of each complete scan.
    """

    def __init__(self, faults: Sequence[Fault], interval_s: float, scans: Sequence[tuple[int, int]]) -> None:
        self._scans = scans
        self._faults = sorted(faults, key=lambda fault: fault.start_ns)
        self._tolerance_ns = int(interval_s * _S)
        self._blind = [self._span(fault) for fault in self._faults if fault.name in BLIND]
        self._innocent: dict[str, Made] = {}
        self.judgement = Judgement()

    def _span(self, fault: Fault) -> Span:
        """Extend a fault by the times around it in which fimscan could not look."""
        first_ns, last_ns = self._looked_ns(fault.start_ns), self._noticed_ns(fault.end_ns)
        has_grown = True
        while has_grown:
            has_grown = False
            for other in self._faults:
                if other.name in HINDERING and other.overlaps(first_ns, last_ns):
                    around = self._looked_ns(other.start_ns), self._noticed_ns(other.end_ns)
                    has_grown |= around[0] < first_ns or around[1] > last_ns
                    first_ns, last_ns = min(first_ns, around[0]), max(last_ns, around[1])
        return Span(fault, first_ns, last_ns)

    def _looked_ns(self, time_ns: int) -> int:
        """When fimscan looked last before something happened, at the latest: an interval ago, or when a scan began."""
        begun_ns = max((start for start, _ in self._scans if start <= time_ns), default=time_ns)
        return min(time_ns - self._tolerance_ns, begun_ns - _S)

    def _noticed_ns(self, time_ns: int) -> int:
        """When something is noticed, at the latest: after an interval, or after the first scan that began after it.

        On a loaded machine, a scan takes longer than an interval.
        """
        finished_ns = min((end for start, end in self._scans if start >= time_ns), default=time_ns)
        return max(time_ns, finished_ns) + self._tolerance_ns

    # ----------------------------------------------------------------------------------------------------------------
    # Changes

    def changes(self, made: Iterable[Made], findings: Sequence[Finding]) -> None:
        """Judge the rows of all changes."""
        by_path: dict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            for path in {state.path for state in finding.change.sides}:
                by_path[path.decode()].append(finding)
        known: set[int] = set()
        given = [*made]
        self._innocent = {one.path: one for one in given if one.what == "open"}
        for one in given:
            if one.what == "open":
                continue
            self.judgement.made += 1
            mine = {row.change.id: row for path in (one.path, one.other) for row in by_path.get(path, ())}
            known.update(mine)
            self._change(one, [mine[number] for number in sorted(mine)])
        for finding in findings:
            if finding.change.id not in known:
                self.judgement.accused += 1
                self._problem("invented", finding, None)

    def _change(self, made: Made, rows: Sequence[Finding]) -> None:
        judgement = self.judgement
        expected = _expected(made)
        kinds = [[(row.change.kind, _path(row)) for row in rows]]
        steps = [row for row, later in pairwise(rows) if _is_step(row, later, made)]
        if steps:
            kinds.append(kinds[0][: len(rows) - len(steps)])
        if not rows:
            judgement.lost += 1
            judgement.problems.append(f"lost: {made}")
            return
        judgement.found += 1
        if not any(sorted(some) in expected for some in kinds):
            best = min(len(one) for one in expected)
            if len(rows) < best:
                judgement.lost += 1
            else:
                judgement.doubled += 1
            judgement.problems.append(f"recorded as {kinds[0]}: {made}")
        answers = [self._answer(made, row, is_step=bool(steps) and row is not rows[0]) for row in rows]
        judgement.confirmed += all(answers)
        judgement.contested += any(row.attribution.verdict is Verdict.CONTESTED for row in rows)
        judgement.excused += not all(answers)

    def _answer(self, made: Made, row: Finding, *, is_step: bool) -> bool:
        """Judge an answer; return whether it is confirmed."""
        answer, judgement = row.attribution, self.judgement
        innocent = self._innocent.get(made.path)
        doers = [actor for actor in answer.actors if _is_doer(actor, made)]
        others = [actor for actor in answer.actors if not _is_doer(actor, made)]
        are_known = innocent is not None and all(_is_doer(actor, innocent) for actor in others)
        is_named = not doers and not (innocent is not None and _is_in_gap(answer, innocent))
        if others and (not are_known or is_named or answer.verdict is Verdict.CONFIRMED):
            judgement.accused += 1
            self._problem("accused wrongly", row, made)
        if answer.verdict is Verdict.CONFIRMED:
            if any(
                span.fault.start_ns + _SLACK_NS < made.began_ns and made.ended_ns < span.fault.end_ns - _SLACK_NS
                for span in self._blind
            ):
                judgement.wrong += 1
                self._problem("confirmed although audit was blind", row, made)
            return True
        if innocent is not None and answer.verdict is Verdict.CONTESTED:
            return False
        if not (self._is_excused(row) or (is_step and answer.reason is Reason.HELD_DESCRIPTOR)):
            judgement.wrong += 1
            self._problem("not confirmed without a reason", row, made)
        return False

    def _is_excused(self, row: Finding) -> bool:
        """Whether every gap of an answer is one that a fault around its window makes."""
        window, gaps = row.change.window, {gap.reason for gap in row.attribution.coverage.gaps}
        start_ns, end_ns = sorted((window.after_ns, window.before_ns))
        blind = [span for span in self._blind if span.first_ns <= end_ns and start_ns <= span.last_ns]
        allowed: set[GapReason] = set().union(*(BLIND[span.fault.name] for span in blind))
        return bool(gaps) and gaps <= allowed

    def _problem(self, what: str, row: Finding, made: Made | None) -> None:
        window, answer = row.change.window, row.attribution
        start, end = window.after_ns / _S, window.before_ns / _S
        named = ", ".join(f"{actor.exe!r}[{actor.pid}]" for actor in answer.actors)
        gaps = ", ".join(f"{gap.reason} {gap.start_ns / _S:.2f}-{gap.end_ns / _S:.2f}" for gap in answer.coverage.gaps)
        self.judgement.problems.append(
            f"{what}: {row.change.kind} {_path(row)} of scan {row.scan}, window {start:.2f}-{end:.2f}:"
            f" {answer.verdict} {answer.reason or ''} {named}; gaps: {gaps or 'none'}; {answer.notes}; truth: {made}"
        )

    # ----------------------------------------------------------------------------------------------------------------
    # Outages

    def outages(self, recorded: Sequence[ControlFailure]) -> None:
        """Judge the recorded failures of controls: each outage once, none without a fault."""
        judgement = self.judgement
        for fault in chain.from_iterable(map(_outages_of, self._faults)):
            if fault.name not in OUTAGES:
                continue
            judgement.outages += 1
            wanted = OUTAGES[fault.name]
            mine = [one for one in recorded if {(one.kind, one.subject), (one.kind, "")} & {*wanted}]
            if any(self._is_recorded(fault, one) for one in mine):
                judgement.outages_recorded += 1
            else:
                near = [one for one in mine if one.end_ns is None or fault.overlaps(one.start_ns, one.end_ns)]
                shown = [f"{one.cause} {one.start_ns / _S:.2f}-{(one.end_ns or 0) / _S:.2f}" for one in near or mine]
                times = f"{fault.start_ns / _S:.2f}-{fault.end_ns / _S:.2f}"
                judgement.problems.append(f"not recorded: {fault.name} {times}; recorded: {shown}")
        for one in recorded:
            if one.end_ns is None:
                judgement.problems.append(f"still failed: {one}")
            elif one.kind in (ControlKind.AUDIT, ControlKind.CLOCK) and not any(
                span.first_ns <= one.end_ns and one.start_ns <= span.last_ns for span in self._blind
            ):
                judgement.false_alarms += 1
                judgement.problems.append(f"an alarm without a fault: {one}")

    def _is_recorded(self, fault: Fault, one: ControlFailure) -> bool:
        """Whether begin and end of an outage are within a scan interval of the truth.

        Where fimscan could not look, also within the time in which it could not. A clock that was set back shows no
        later time than that of the last look before.
        """
        if one.end_ns is None:
            return False
        span = self._span(fault)
        ended_ns = self._looked_ns(fault.end_ns) if fault.ahead_ns else fault.end_ns - self._tolerance_ns
        return (
            span.first_ns <= one.start_ns <= self._noticed_ns(fault.start_ns) and ended_ns <= one.end_ns <= span.last_ns
        )

    def outages_of_outputs(
        self, recorded: Sequence[ControlFailure], messages: Mapping[str, Sequence[Waited]], late_s: float
    ) -> None:
        """Judge the recorded failures of outputs.

        An output has failed once if its receiver was down until a message was late, and a scan was run after that:
        from the making of the oldest message that waited, until those that waited were delivered.

        Args:
            recorded: failures of all controls.
            messages: by output, all of its messages.
            late_s: how long a message may wait.
        """
        late_ns = int(late_s * _S)
        for output, stored in messages.items():
            sent = [Waited(self._really_ns(one.made_ns), self._really_ns(one.done_ns)) for one in stored]
            mine = [
                replace(one, start_ns=self._really_ns(one.start_ns), end_ns=self._really_ns(one.end_ns or 0))
                for one in recorded
                if (one.kind, one.subject) == (ControlKind.OUTPUT, output)
            ]
            for fault in self._faults:
                if fault.name == "receivers down":
                    self._outage_of_output(output, fault, mine, sent, late_ns)
            for one in mine:
                self._late_message(one, sent, late_ns)

    def _really_ns(self, time_ns: int) -> int:
        """When it was at a time that a clock showed which was ahead."""
        for fault in self._faults:
            if fault.ahead_ns and fault.start_ns <= time_ns - fault.ahead_ns <= fault.end_ns + _SLACK_NS:
                return time_ns - fault.ahead_ns
        return time_ns

    def _outage_of_output(
        self, output: str, fault: Fault, recorded: Sequence[ControlFailure], sent: Sequence[Waited], late_ns: int
    ) -> None:
        held = [one for one in sent if one.made_ns <= fault.end_ns < one.done_ns]
        oldest_ns = min((one.made_ns for one in held), default=fault.end_ns)
        if not any(oldest_ns + late_ns < begun_ns and end_ns < fault.end_ns for begun_ns, end_ns in self._scans):
            return  # nobody could know it
        first_ns = min(one.made_ns for one in sent if one.done_ns >= self._span(fault).first_ns)
        end_ns, last_ns = fault.end_ns - self._tolerance_ns, self._noticed_ns(max(one.done_ns for one in held))
        self.judgement.outages += 1
        if any(first_ns <= one.start_ns <= oldest_ns and end_ns <= (one.end_ns or 0) <= last_ns for one in recorded):
            self.judgement.outages_recorded += 1
            return
        shown = [f"{one.start_ns / _S:.2f}-{(one.end_ns or 0) / _S:.2f}" for one in recorded]
        wanted = f"from {first_ns / _S:.2f} to {oldest_ns / _S:.2f}, until {end_ns / _S:.2f} to {last_ns / _S:.2f}"
        self.judgement.problems.append(f"not recorded: {fault.name}: {output} {wanted}; recorded: {shown}")

    def _late_message(self, failure: ControlFailure, sent: Sequence[Waited], late_ns: int) -> None:
        """Judge whether the message with which a failure of an output began was late."""
        clock = [span for span in self._blind if span.fault.ahead_ns]
        if any(span.first_ns <= (failure.end_ns or 0) and failure.start_ns <= span.last_ns for span in clock):
            return
        waited = [one.done_ns - one.made_ns for one in sent if one.made_ns == failure.start_ns]
        if max(waited, default=0) <= late_ns:
            self.judgement.false_alarms += 1
            self.judgement.problems.append(f"an alarm although no message was late: {failure}")

    # ----------------------------------------------------------------------------------------------------------------
    # Messages

    def messages(
        self,
        made: Mapping[str, Mapping[str, str]],
        received: Mapping[str, Sequence[str]],
        documents: Mapping[str, Mapping[str, Any]],
        changes: Collection[int],
    ) -> None:
        """Judge the messages.

        Args:
            made: by output, the ids of all messages with their states.
            received: by output, the ids that its receiver got.
            documents: the received messages of some of the outputs, by their ids.
            changes: the numbers of all changes.
        """
        judgement = self.judgement
        for output, states in made.items():
            for number, state in states.items():
                if state != "delivered" or number not in received[output]:
                    judgement.undelivered += 1
                    judgement.problems.append(f"undelivered: {output} {number} is {state}")
            for number in {*received[output]} - {*states}:
                judgement.doubled += 1
                judgement.problems.append(f"an id of no message: {output} {number}")
        for output, states in made.items():
            mine = [documents[number] for number in states if number in documents]
            if mine:
                self._contents(output, mine, changes)

    def _contents(self, output: str, mine: Sequence[Mapping[str, Any]], changes: Collection[int]) -> None:
        """Judge what one receiver was told: each change once, under one id."""
        judgement = self.judgement
        told = sum(document["summary"]["changes"] for document in mine)
        if told < len(changes):
            judgement.undelivered += len(changes) - told
            judgement.problems.append(f"{output} was told of {told} changes of {len(changes)}")
        if told > len(changes):
            judgement.doubled += told - len(changes)
            judgement.problems.append(f"{output} was told of {told} changes, but there are {len(changes)}")
        under: dict[int, set[str]] = defaultdict(set)
        for document in mine:
            for item in document["sets"]:
                for row in item["listed"]:
                    under[row["id"]].add(document["id"])
        for number, ids in under.items():
            if len(ids) > 1:
                judgement.doubled += 1
                judgement.problems.append(f"{output} was told of change {number} under {len(ids)} ids")
            if number not in changes:
                judgement.problems.append(f"{output} was told of change {number}, which is not recorded")


def _is_doer(actor: Actor, made: Made) -> bool:
    """Whether an actor is the process that made a change; fanotify's witness may not know its program and users."""
    return (
        actor.pid == made.pid
        and actor.exe in (made.exe.encode(), None)
        and actor.uid in (made.user, None)
        and (made.login is None or actor.auid in (made.login, None))
    )


def _is_in_gap(answer: Attribution, innocent: Made) -> bool:
    """Whether an answer says no more than that audit saw the innocent process only, in a gap."""
    return (
        (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.COVERAGE_GAP)
        and not any("fanotify" in note for note in answer.notes)
        and any(
            gap.start_ns - _SLACK_NS <= innocent.ended_ns and innocent.began_ns <= gap.end_ns + _SLACK_NS
            for gap in answer.coverage.gaps
        )
    )


def _outages_of(fault: Fault) -> list[Fault]:
    """A fault as outages: a clock that was set has two, each from one time that it showed to the other."""
    if not fault.ahead_ns:
        return [fault]
    times = (fault.start_ns, fault.end_ns)
    return [dataclasses.replace(fault, start_ns=time_ns, end_ns=time_ns + fault.ahead_ns) for time_ns in times]


def _path(row: Finding) -> str:
    return row.change.path.decode()


def _expected(made: Made) -> list[list[tuple[ChangeKind, str]]]:
    if made.what == "rename":
        return [
            [(ChangeKind.MOVED, made.path)],
            sorted([(ChangeKind.ADDED, made.path), (ChangeKind.REMOVED, made.other)]),
        ]
    return [[(_KINDS[made.what], made.path)]]


def _is_step(row: Finding, later: Finding, made: Made) -> bool:
    """Whether a scan read a file while it was being made: ``row`` is the first step, ``later`` the second."""
    kinds = row.change.kind, later.change.kind
    ended_ns = row.change.window.before_ns
    return (
        made.what == "create"
        and kinds[0] is ChangeKind.ADDED
        and kinds[1] in (ChangeKind.MODIFIED, ChangeKind.ATTRIBUTES)
        and made.began_ns - _SLACK_NS <= ended_ns <= made.ended_ns + _SLACK_NS
    )
