"""Compare fimscan's answers with what the lab knows to be true."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from fimscan.attribution import SLACK_NS
from tests.lab.bench import Actor, Expected, Lab, Who
from tests.lab.noise import PREFIX

Row: TypeAlias = dict[str, Any]
"""A change as ``fimscan diff --format json`` prints it."""
Ruling: TypeAlias = dict[str, Any]
"""One entry of ``considered`` in ``fimscan explain --format json``."""
_ACCUSES = ("confirmed", "likely")


class Grade(StrEnum):
    """How an answer compares with the truth, worst last."""

    RIGHT = "right"
    SKIPPED = "skipped"
    MISSED = "missed"  # a row, a process or the right reason is missing, or the verdict is weaker than the evidence
    FALSE = "FALSE ACCUSATION"  # a confirmed or likely answer names a process that did not do it


@dataclass
class Judgement:
    """One scenario's result. ``problems`` are sentences; the table shows ``expected``, ``got`` and ``who``."""

    scenario: str
    group: str
    grade: Grade
    verdict: str = ""
    expected: str = ""
    got: str = ""
    who: str = ""
    problems: list[str] = field(default_factory=list)
    wrongly_cleared: int = 0


class Answers:
    """The rows of a diff by path. ``considered`` returns the considered processes of a row, as ``explain`` does."""

    def __init__(self, document: dict[str, Any], considered: Callable[[Row], list[Ruling]] = lambda row: []) -> None:
        self.considered = considered
        self.rows = {path_of(row): row for row in document["changes"]}
        self.unmodified = {path_of(item): item["actors"] for item in document["opened_unmodified"]}

    def below(self, directory: bytes) -> dict[bytes, Row]:
        """The rows of one scenario's directory by relative path, without the noise."""
        inside = directory + b"/"
        return {
            path.removeprefix(inside): row
            for path, row in self.rows.items()
            if path.startswith(inside) and not is_noise(path)
        }


def path_of(item: Row) -> bytes:
    """A row's path in bytes."""
    encoded = item["path_b64"]
    return os.fsencode(item["path"]) if encoded is None else base64.b64decode(encoded)


def is_noise(path: bytes) -> bool:
    """Whether a file belongs to the noise processes."""
    return os.path.basename(path).startswith(PREFIX.encode())


def skipped(scenario: str, group: str, reason: str) -> Judgement:
    """The judgement of a skipped scenario."""
    return Judgement(scenario, group, Grade.SKIPPED, got=reason)


def broken(scenario: str, group: str, error: BaseException) -> Judgement:
    """The judgement of a scenario whose own code failed: there is no answer to judge, so it does not pass."""
    return Judgement(scenario, group, Grade.MISSED, got="the scenario failed", problems=[repr(error)])


def judge(lab: Lab, group: str, answers: Answers) -> Judgement:
    """Compare every row of a scenario with the expected one; a row without one is an error."""
    rows = answers.below(os.fsencode(lab.here))
    found = Judgement(lab.name, group, Grade.RIGHT)
    bulk = next((e for e in lab.expected if e.path is None), None)
    for expected in lab.expected:
        if expected.path is None:
            continue
        outside = expected.path.startswith(b"/")
        row = answers.rows.get(expected.path) if outside else rows.pop(expected.path, None)
        if row is None:
            _note(found, Grade.MISSED, f"no row for {_shown(expected.path)}")
        else:
            _judge_row(found, expected, row)
            _judge_clearing(found, expected, row, answers.considered(row))
    for path, row in rows.items():
        if bulk is None:
            _note(found, Grade.MISSED, f"a row that the scenario did not cause: {_shown(path)}: {_summary(row)}")
        else:
            _judge_row(found, bulk, row)
    if bulk is not None and not rows:
        _note(found, Grade.MISSED, "no row at all for what was done")
    for path, who in lab.unmodified:
        actors = answers.unmodified.get(os.fsencode(lab.here) + b"/" + path, [])
        if len(actors) != 1 or not who.is_named_by(actors[0]):
            _note(found, Grade.MISSED, f"{_shown(path)}: opened by {who}, not by {_names(actors)}")
    first = lab.expected[0] if lab.expected else None
    found.verdict = first.verdict if first else "unmodified"
    found.expected = _answer(first.verdict, first.reason) if first else "opened, unmodified"
    if first is not None and not found.got:
        found.got, found.who = "no row", "-"
    elif first is None:
        found.got = found.expected if found.grade is Grade.RIGHT else "differs"
        found.who = ", ".join(str(who) for _, who in lab.unmodified)
    return found


def _judge_row(found: Judgement, expected: Expected, row: Row) -> None:
    attribution = row["attribution"]
    actors: list[Actor] = attribution["actors"]
    if not found.got:
        found.got, found.who = _answer(attribution["verdict"], attribution["reason"]), _names(actors) or "nobody"
    where = f"{_shown(path_of(row))}: {_summary(row)}"
    if attribution["verdict"] in _ACCUSES:
        for actor in actors:
            if not _is_one_of(actor, (*expected.doers, *expected.bystanders)):
                _note(found, Grade.FALSE, f"{where}; truth: {_people(expected.doers)}")
    for problem in _differences(expected, row):
        _note(found, Grade.MISSED, f"{where}; {problem}")


def _judge_clearing(found: Judgement, expected: Expected, row: Row, considered: Iterable[Ruling]) -> None:
    """Each contributor is listed or, if no evidence shows it, at least not called cleared.

    A process that is cleared for one judgement and named for another counts as named.
    """
    actors: list[Actor] = row["attribution"]["actors"]
    wanted = [who for _, who in expected.named]
    for who in dict.fromkeys(expected.doers):
        if any(who.is_named_by(actor) for actor in actors):
            continue
        cleared = [r for r in considered if r["outcome"] == "cleared" and who.is_named_by(r["actor"])]
        for ruling in cleared[:1]:
            _note(found, Grade.MISSED, f"{_shown(path_of(row))}: {who} is cleared: {ruling['words']}")
        found.wrongly_cleared += bool(cleared or who in wanted)


def _differences(expected: Expected, row: Row) -> Iterable[str]:
    attribution = row["attribution"]
    actors: list[Actor] = attribution["actors"]
    if expected.kind is not None and row["kind"] != expected.kind:
        yield f"expected as {expected.kind}"
    answer = (attribution["verdict"], attribution["reason"])
    if answer not in expected.answers and not (answer == ("likely", "held-descriptor") and _was_placed_slowly(row)):
        yield f"expected {' or '.join(_answer(*one) for one in expected.answers)}"
    for role, who in expected.named:
        if not any(who.is_named_by(actor) and role in (None, actor["role"]) for actor in actors):
            yield f"does not name {who}" + (f" as {role}" if role else "")
    if attribution["reason"] == "several-writers" and not _latest_first(expected, actors):
        yield "those who wrote are not listed latest first"
    for actor in actors:
        if not _is_one_of(actor, [*(who for _, who in expected.named), *expected.bystanders]):
            yield f"names {_names([actor])} as well"
    if expected.moved_from is not None and not os.fsencode(row["moved_from"] or "").endswith(
        b"/" + expected.moved_from
    ):
        yield f"moved from {row['moved_from']}"
    if expected.gap is not None and expected.gap not in {gap["reason"] for gap in attribution["coverage"]["gaps"]}:
        yield f"no gap {expected.gap}"
    if attribution["verdict"] == "confirmed" and not attribution["coverage"]["complete"]:
        yield "coverage is not complete"
    known = {name: actors[0][name] for name in expected.facts} if actors else {}
    if known != expected.facts:
        yield f"knows {known}, not {expected.facts}"


def _was_placed_slowly(row: Row) -> bool:
    """Whether the call that put the file here took longer than the slack: a busy machine did not let it go on.

    A record has the time of the call's begin. So a later write by a descriptor would leave the same evidence.
    """
    actors: list[Actor] = row["attribution"]["actors"]
    if not actors or any(actor["role"] != "placer" for actor in actors):
        return False
    changed, *began = (datetime.fromisoformat(text) for text in (row["after"]["ctime"], *(a["time"] for a in actors)))
    return changed > max(began) + timedelta(microseconds=SLACK_NS // 1000)


def _latest_first(expected: Expected, actors: Sequence[Actor]) -> bool:
    """Whether the writers are listed in the order of the scenario, the latest first."""
    writers = [who for role, who in expected.named if role in ("writer", None)]
    places = [next((n for n, actor in enumerate(actors) if who.is_named_by(actor)), -1) for who in writers]
    return places == sorted(places)


def judge_noise(answers: Answers, pids: Iterable[int]) -> tuple[int, list[str]]:
    """Return (the number of rows of the noise processes, the false accusations among them)."""
    pids = frozenset(pids)
    rows = {path: row for path, row in answers.rows.items() if is_noise(path)}
    wrong = [
        f"{_shown(path)}: {_summary(row)}; truth: the noise"
        for path, row in rows.items()
        if row["attribution"]["verdict"] in _ACCUSES
        and not {actor["pid"] for actor in row["attribution"]["actors"]} <= pids
    ]
    return len(rows), wrong


def _note(found: Judgement, grade: Grade, problem: str) -> None:
    found.problems.append(problem)
    if grade is Grade.FALSE or found.grade is not Grade.FALSE:
        found.grade = grade


def _is_one_of(actor: Actor, people: Iterable[Who]) -> bool:
    return any(who.is_named_by(actor) for who in people)


def _answer(verdict: str, reason: str | None) -> str:
    return f"{verdict} ({reason})" if reason else verdict


def _summary(row: Row) -> str:
    attribution = row["attribution"]
    gaps = ",".join(gap["reason"] for gap in attribution["coverage"]["gaps"])
    answer = _answer(attribution["verdict"], attribution["reason"])
    return f"{row['kind']} {answer} by {_names(attribution['actors']) or 'nobody'}" + (
        f" [gaps: {gaps}]" if gaps else ""
    )


def _names(actors: Iterable[Actor]) -> str:
    return ", ".join(f"{a['comm']}[{a['pid']}] {a.get('role') or ''}".strip() for a in actors)


def _people(people: Iterable[Who]) -> str:
    return ", ".join(map(str, people)) or "nobody"


def _shown(path: bytes) -> str:
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()[-80:]


def figures(judgements: Iterable[Judgement], noise_wrong: int = 0) -> dict[str, int]:
    """The counts of the judgements."""
    judgements = list(judgements)
    right = Counter(j.verdict for j in judgements if j.grade is Grade.RIGHT)
    grades = Counter(j.grade for j in judgements)
    return {
        "scenarios": len(judgements) - grades[Grade.SKIPPED],
        "skipped": grades[Grade.SKIPPED],
        "rightly confirmed": right["confirmed"],
        "rightly likely": right["likely"],
        "rightly contested": right["contested"],
        "rightly unattributed": right["unattributed"],
        "rightly unmodified": right["unmodified"],
        "missed": grades[Grade.MISSED],
        "FALSE ACCUSATIONS": grades[Grade.FALSE] + noise_wrong,
        "WRONGLY CLEARED": sum(j.wrongly_cleared for j in judgements),
    }
