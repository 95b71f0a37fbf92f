"""The judge of the soak finds what is wrong: without these tests, its zeros would mean nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.model import Attribution, ControlFailure, ControlKind, Coverage, Finding, Gap, GapReason, Reason, Verdict
from tests.soak.judge import Judge, Judgement, Waited
from tests.soak.truth import Fault, Made
from tests.support import SECOND, actor, change, changed_state, state

WHO = actor(77)
MADE = Made(
    what="modify",
    path="/w/f",
    other="",
    pid=77,
    exe="/usr/bin/tool",
    user=0,
    login=1000,
    began_ns=1500 * SECOND,
    ended_ns=1500 * SECOND + 1000,
)
SCANS = [(990 * SECOND, 1010 * SECOND), (1990 * SECOND, 2010 * SECOND)]
COMPLETE = Coverage(complete=True)
REMOVED = Fault(name="rules removed", start_ns=1490 * SECOND, end_ns=1510 * SECOND)


def row(number: int = 1, verdict: Verdict = Verdict.CONFIRMED, **values: Any) -> Finding:
    given = {"verdict": verdict, "actors": (WHO,), "coverage": COMPLETE, **values}
    found = replace(change(state(), changed_state()), id=number)
    return Finding(change=found, attribution=Attribution(**given), scan=2)


def in_gap(reason: GapReason) -> Finding:
    gap = Gap(start_ns=1490 * SECOND, end_ns=1510 * SECOND, reason=reason)
    seen = Coverage(complete=False, gaps=(gap,))
    return row(verdict=Verdict.LIKELY, reason=Reason.COVERAGE_GAP, coverage=seen)


def judged(*rows: Finding, faults: tuple[Fault, ...] = (), made: tuple[Made, ...] = (MADE,)) -> Judgement:
    judge = Judge(faults, 5, SCANS)
    judge.changes(made, rows)
    return judge.judgement


def test_a_change_is_recorded_once() -> None:
    """Not never, not twice; and none that nobody made."""
    assert judged(row()).is_right
    assert judged().lost == 1
    assert judged(row(1), row(2)).doubled == 1
    assert judged(row(), made=()).accused == 1


def test_nobody_else_is_named() -> None:
    """Neither another process, nor another user. Who only opened the file may be listed, but not alone."""
    other = actor(78)
    opened = dataclasses.replace(MADE, what="open", pid=78)
    assert judged(row(actors=(other,))).accused == 1
    assert judged(row(actors=(WHO._replace(auid=1001),))).accused == 1
    both = row(verdict=Verdict.CONTESTED, actors=(WHO, other))
    assert judged(both).accused == 1
    assert judged(both, made=(MADE, opened)).is_right
    assert judged(row(actors=(other,)), made=(MADE, opened)).accused == 1
    assert judged(row(actors=(WHO, other)), made=(MADE, opened)).accused == 1
    alone = in_gap(GapReason.RULE_REMOVED)
    alone = replace(alone, attribution=alone.attribution._replace(actors=(other,)))
    assert judged(alone, made=(MADE, opened), faults=(REMOVED,)).is_right
    saw = replace(alone, attribution=alone.attribution._replace(notes=("fanotify saw process 77 write to it.",)))
    assert judged(saw, made=(MADE, opened), faults=(REMOVED,)).accused == 1
    before = dataclasses.replace(opened, began_ns=1400 * SECOND, ended_ns=1400 * SECOND)
    assert judged(alone, made=(MADE, before), faults=(REMOVED,)).accused == 1


def test_an_answer_that_is_not_confirmed_has_the_gap_of_a_fault() -> None:
    """And one about a time in which audit was blind is not confirmed."""
    assert judged(in_gap(GapReason.RULE_REMOVED)).wrong == 1
    assert judged(in_gap(GapReason.RULE_REMOVED), faults=(REMOVED,)).is_right
    assert judged(in_gap(GapReason.LOG_MISSING), faults=(REMOVED,)).wrong == 1
    assert judged(row(), faults=(REMOVED,)).wrong == 1
    assert judged(row(verdict=Verdict.UNATTRIBUTED, reason=Reason.NO_EVENT, actors=()), faults=(REMOVED,)).wrong == 1


@pytest.mark.parametrize(
    ("start", "end", "recorded"), [(1490, 1510, 1), (1488, 1514, 1), (1490, 2030, 0), (900, 1510, 0), (1520, 1530, 0)]
)
def test_an_outage_has_its_times(start: int, end: int, recorded: int) -> None:
    """Within an interval of the truth, or a scan."""
    judge = Judge([REMOVED], 5, [(1480 * SECOND, 1485 * SECOND), (1512 * SECOND, 1516 * SECOND)])
    judge.outages([outage(start, end)])
    assert (judge.judgement.outages, judge.judgement.outages_recorded) == (1, recorded)
    assert judge.judgement.is_right == bool(recorded)


def test_an_alarm_without_a_fault_is_wrong() -> None:
    judge = Judge([], 5, SCANS)
    judge.outages([outage(1490, 1510)])
    assert judge.judgement.false_alarms == 1


def outage(start: int, end: int) -> ControlFailure:
    return ControlFailure(
        kind=ControlKind.AUDIT,
        subject="/w",
        start_ns=start * SECOND,
        end_ns=end * SECOND,
        detected_ns=end * SECOND,
        cause="its audit rules were removed",
    )


DOWN = Fault(name="receivers down", start_ns=1490 * SECOND, end_ns=1510 * SECOND)
HELD, QUICK = Waited(1492 * SECOND, 1520 * SECOND), Waited(1480 * SECOND, 1481 * SECOND)


@pytest.mark.parametrize(
    ("start", "end", "recorded"),
    [
        (1492, 1520, 1),
        (1492, 1524, 1),
        (1491, 1520, 0),
        (1493, 1520, 0),
        (1492, 1500, 0),
        (1492, 1540, 0),
        (1492, 0, 0),
    ],
)
def test_an_output_failed_from_its_oldest_message_until_all_are_delivered(start: int, end: int, recorded: int) -> None:
    """It is judged if a scan could know it: one that ran after a message was late, while the receiver was down."""
    failure = replace(outage(start, end), kind=ControlKind.OUTPUT, subject="log", end_ns=end * SECOND or None)
    judge = Judge([DOWN], 5, [(1498 * SECOND, 1499 * SECOND)])
    judge.outages_of_outputs([failure], {"log": [QUICK, HELD]}, 3)
    assert (judge.judgement.outages, judge.judgement.outages_recorded) == (1, recorded)
    assert judge.judgement.is_right == bool(recorded)
    ahead = Fault(name="clock set", start_ns=1400 * SECOND, end_ns=1420 * SECOND, ahead_ns=3600 * SECOND)
    judge = Judge([ahead, DOWN], 5, [(1498 * SECOND, 1499 * SECOND)])
    judge.outages_of_outputs([], {"log": [Waited(1399 * SECOND, 5001 * SECOND)]}, 3)
    assert judge.judgement.outages == 0
    judge = Judge([DOWN], 5, [(1488 * SECOND, 1489 * SECOND)])
    judge.outages_of_outputs([], {"log": [QUICK, HELD]}, 3)
    assert judge.judgement.outages == 0


def test_an_output_that_fails_although_nothing_is_late_is_a_false_alarm() -> None:
    failure = replace(outage(1480, 1490), kind=ControlKind.OUTPUT, subject="log")
    judge = Judge([], 5, SCANS)
    judge.outages_of_outputs([failure], {"log": [QUICK]}, 3)
    assert judge.judgement.false_alarms == 1


def told(states: dict[str, str], received: list[str], documents: list[dict[str, Any]]) -> Judgement:
    judge = Judge([], 5, SCANS)
    judge.messages({"hook": states}, {"hook": received}, {item["id"]: item for item in documents}, {1, 2})
    return judge.judgement


def message(number: str, *changes: int) -> dict[str, Any]:
    return {
        "id": number,
        "summary": {"changes": len(changes)},
        "sets": [{"listed": [{"id": change} for change in changes]}],
    }


def test_a_message_arrives_under_one_id() -> None:
    """It may arrive twice. It may not be missing, be of another id, or be the second about a change."""
    whole = message("a", 1, 2)
    assert told({"a": "delivered"}, ["a", "a"], [whole]).is_right
    assert told({"a": "waiting"}, ["a"], [whole]).undelivered == 1
    assert told({"a": "delivered"}, [], [whole]).undelivered == 1
    assert told({"a": "delivered"}, ["a", "b"], [whole]).doubled == 1
    assert told({"a": "delivered"}, ["a"], [message("a", 1)]).undelivered == 1
    twice = {"a": "delivered", "b": "delivered"}
    assert told(twice, ["a", "b"], [message("a", 1), message("b", 1)]).doubled == 1
