"""Run the attempts, all between the same three scans, and check fimscan's answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from demo.auditd import remove_rules
from tests.framing.attempt import Attempt
from tests.framing.bench import ATTACKER, Bench, Steps, compiled, end_processes_of_the_user
from tests.lab.ground import Installation, Unavailable, load_rules
from tests.lab.runner import Ground, installed_on, settle

Row: TypeAlias = dict[str, Any]
_SOME_CHANGE = tuple(range(8))
_SCANS = 3
_FRAMED = "FRAMED"
_NAMES_A_HOLE = frozenset({"held-descriptor", "path-only", "several-writers"})


@dataclass
class Outcome:
    """The result of an attempt: ``problems`` are wrong answers; ``answers`` are all answers, one line for each row."""

    name: str
    skipped: str | None = None
    problems: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    is_framed: bool = False


@dataclass
class _Play:
    attempt: Attempt
    bench: Bench
    acting: Steps
    outcome: Outcome

    def step(self) -> None:
        """Run to the next scan."""
        if self.outcome.skipped or self.outcome.problems:
            return
        try:
            next(self.acting, None)
        except Unavailable as reason:
            self.outcome.skipped = str(reason)
        except Exception as error:
            self.outcome.problems.append(f"the attempt failed by itself: {error!r}")


def play(attempts: Sequence[Attempt], ground: Ground) -> list[Outcome]:
    """Run all attempts: those that weaken every answer of the host one by one, the others at once."""
    together = [attempt for attempt in attempts if not attempt.is_alone]
    rounds = [together] if together else []
    rounds += [[attempt] for attempt in attempts if attempt.is_alone]
    found = {outcome.name: outcome for some in rounds for outcome in _play_at_once(some, ground)}
    return [found[attempt.name] for attempt in attempts]


def _play_at_once(attempts: Sequence[Attempt], ground: Ground) -> list[Outcome]:
    """Run attempts between the same three scans, each in its own directory."""
    ground.forget_log()
    with ExitStack() as stack:
        installation, rules = stack.enter_context(installed_on(ground))
        stack.callback(end_processes_of_the_user)
        programs = compiled(installation.root)
        plays = [_play(attempt, installation, programs) for attempt in attempts]
        for each in plays:
            stack.callback(each.bench.clean_up)
        for number in range(_SCANS):
            early = number == 0 and any(each.attempt.is_early for each in plays)
            if early:
                remove_rules(rules)
            for each in plays:
                each.step()
            if early:
                rules[:] = load_rules(installation)
            if number == 0:
                if not any(each.bench.has_running for each in plays):
                    settle([], installation, ground, rules)
                for each in plays:
                    each.bench.note_looks()
            installation.run("scan", codes=_SOME_CHANGE, timeout=300)
        said = installation.run("diff", "--format", "json", codes=_SOME_CHANGE).stdout
        rows: dict[str, Row] = {row["path"]: row for row in json.loads(said)["changes"]}
        for each in plays:
            if not each.outcome.skipped and not each.outcome.problems:
                _judge(each.bench, rows, installation, each.outcome)
        return [each.outcome for each in plays]


def _play(attempt: Attempt, installation: Installation, programs: Path) -> _Play:
    here, elsewhere = installation.watched / attempt.name, installation.elsewhere / attempt.name
    for directory in (here, elsewhere):
        directory.mkdir()
        os.chown(directory, ATTACKER, ATTACKER)
    bench = Bench(attempt.name, here, elsewhere, programs)
    return _Play(attempt, bench, attempt.act(bench), Outcome(attempt.name))


def _judge(bench: Bench, rows: dict[str, Row], installation: Installation, outcome: Outcome) -> None:
    if not bench.has_worked():
        outcome.problems.append("the attempt changed nothing")
        return
    for path in bench.judged:
        row = rows.get(str(path))
        if row is None:
            outcome.problems.append(f"no change of {path.name} is reported")
            continue
        for part in (row, *row.get("steps", ())):
            outcome.answers.append(_line(part["attribution"]))
            problems = [f"{path.name}: {problem}" for problem in _wrongs(part["attribution"], bench)]
            outcome.problems += problems
            outcome.is_framed |= any(_FRAMED in problem for problem in problems)
        if bench.quoted:
            words = " ".join(installation.run("explain", str(path)).stdout.decode().split())
            outcome.problems += [f"explain says: {said}" for said in bench.quoted if said in words]


def _wrongs(answer: dict[str, Any], bench: Bench) -> Iterator[str]:
    """Yield the wrong statements of an answer. No process of root did anything, except the honest ones."""
    innocent = [a for a in answer["actors"] if a["uid"] != ATTACKER and a["pid"] not in bench.honest]
    guilty = [a for a in answer["actors"] if a["uid"] == ATTACKER]
    verdict, reason = answer["verdict"], answer["reason"]
    if verdict == "confirmed" and innocent:
        yield f"{_FRAMED}: confirmed against somebody who did nothing"
    if verdict == "likely" and innocent and not _says_which_hole(answer):
        yield "likely against somebody who did nothing, without saying what could not be excluded"
    if verdict == "contested" and not guilty and reason != "held-descriptor":
        yield "contested between processes none of which did it"
    if verdict == "unattributed" and reason == "no-event":
        yield "says that audit was watching and saw nobody, although audit could not have seen it"
    for actor in answer["actors"]:
        if actor["auid"] in bench.persons and not _login_is_doubted(actor):
            yield f"{_FRAMED}: names login user {actor['login_user'] or actor['auid']} as a fact"


def _says_which_hole(answer: dict[str, Any]) -> bool:
    return bool(answer["coverage"]["gaps"] or answer["notes"] or answer["reason"] in _NAMES_A_HOLE)


def _login_is_doubted(actor: dict[str, Any]) -> bool:
    """Whether the actor has ``login_origin``: who set the login user, or that no record shows it."""
    known = ("login_user", "auid")
    return any(value for name, value in actor.items() if "login" in name and name not in known)


def _line(answer: dict[str, Any]) -> str:
    who = ", ".join(
        f"{a['role']} {a['comm']}[{'user' if a['uid'] == ATTACKER else a['user'] or a['uid']}]"
        for a in answer["actors"]
    )
    gaps = ",".join(sorted({gap["reason"] for gap in answer["coverage"]["gaps"]}))
    reason = f" ({answer['reason']})" if answer["reason"] else ""
    return f"{answer['verdict']}{reason}: {who or 'nobody'}" + (f" [gaps: {gaps}]" if gaps else "")
