"""Name a report, so that a reviewer can accept no more than what it showed.

The name has the scan, the last acceptance and a digest of the rows with their answers and change sets: ``7.3.0a1b...``.
A report that showed one change set alone has its number behind that.
Acceptances are never altered, so the same report can be made again later, whatever was found or accepted since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

from fimscan.by_pattern import ByPattern
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.grouping import Facts, Grouping
from fimscan.model import Attribution, Diff
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.store import acceptance as acceptance_store
from fimscan.store.database import Database

_DIGITS = 16
_AT_ONCE = 1000  # rows: one call of the digest for each takes twice as long
_FORM = re.compile(rf"([0-9]{{1,18}})\.([0-9]{{1,18}})\.([0-9a-f]{{{_DIGITS}}})(?:\.([0-9]{{1,18}}))?", re.ASCII)


#: Adds to a diff what is known of its rows beside the database (packages), and returns the facts of it. These order
#: change sets, so they have to be what ``diff`` had.
FactsOf = Callable[[Diff], tuple[Diff, Facts | None]]


def no_facts(diff: Diff) -> tuple[Diff, Facts | None]:
    """Nothing is known beside the database."""
    return diff, None


class Seen(NamedTuple):
    """The report that a reviewer saw last: its scan, the last acceptance then, and its name, if it has one."""

    scan: int
    accepted: int
    name: str | None


class Report(NamedTuple):
    """A diff from the baseline with its change sets, or with one of them: then ``is_whole`` is not set."""

    diff: Diff
    grouping: Grouping
    name: str
    is_whole: bool = True


def report_name(diff: Diff, grouping: Grouping, number: int | None = None) -> str | None:
    """The name of a whole diff from the baseline, or of its change set ``number``; ``None`` of any other diff."""
    if diff.accepted is None or diff.unfiltered is not None:
        return None
    name = f"{diff.end.id}.{diff.accepted}.{_digest(diff, grouping)}"
    return name if number is None else f"{name}.{number}"


def present_report(database: Database, config: Config | None, facts_of: FactsOf = no_facts) -> Report:
    """The report that ``fimscan diff`` shows now."""
    return _report(database, config, None, facts_of)


def report_as_of(database: Database, config: Config | None, scan: int, facts_of: FactsOf = no_facts) -> Report:
    """What differs from the present baseline as of a scan."""
    with database.read() as session:
        last = acceptance_store.last_number(session)
    return _report(database, config, (scan, last), facts_of)


def shown_report(database: Database, config: Config | None, name: str, facts_of: FactsOf = no_facts) -> Report:
    """The report of this name.

    Raises:
        UsageError: it is no name of a report, or the report would be another one now.
    """
    parts = _FORM.fullmatch(name)
    if parts is None:
        raise UsageError(f"--shown {name!r} names no report; take the one that 'fimscan diff' prints")
    at = int(parts[1]), int(parts[2])
    number = None if parts[4] is None else int(parts[4])
    for facts in (facts_of, no_facts):  # it may have been shown with --no-packages
        report = _one_set(_report(database, config, at, facts), number)
        if report.name == name:
            return report
    raise UsageError(
        f"the report {name} would be another one now: answers were revised, or change sets are ordered differently;"
        " look at 'fimscan diff' again"
    )


def _one_set(report: Report, number: int | None) -> Report:
    one = None if number is None else report.grouping.only(number)
    return report if one is None else Report(report.diff, one, f"{report.name}.{number}", is_whole=False)


def _report(database: Database, config: Config | None, at: tuple[int, int] | None, facts_of: FactsOf) -> Report:
    diff, facts = facts_of(diff_from_baseline(database, config, at))
    grouping = grouping_of(database, diff, facts)
    name = report_name(diff, grouping)
    assert name is not None, "a diff from the baseline, without a filter"
    return Report(diff, grouping, name)


def _digest(diff: Diff, grouping: Grouping) -> str:
    """Of all that a selection can depend on."""
    digest = hashlib.sha256(repr((diff.host, diff.end.id, diff.accepted)).encode())
    answer_text = ByPattern(lambda answer: repr(_answer(answer)))
    for begin in range(0, len(grouping.rows), _AT_ONCE):
        texts: list[str] = []
        for row in grouping.rows[begin : begin + _AT_ONCE]:
            finding = row.finding
            change = finding.change
            texts.append(f"{row.number} {change.kind} {change.path!r} {change.moved_from!r} {change.id}")
            texts += [
                f"({part.change.id}, {part.scan}, {answer_text(part.attribution)})"
                for part in ((finding, *finding.steps) if finding.steps else (finding,))
            ]
        digest.update("".join(texts).encode())
    digest.update(repr(sorted(item.path for item in diff.unreadable if item.differs)).encode())
    return digest.hexdigest()[:_DIGITS]


def _answer(attribution: Attribution) -> tuple[object, ...]:
    actors = tuple([(*actor.process, actor.login_user, actor.user) for actor in attribution.actors])
    return attribution.verdict.value, attribution.reason and attribution.reason.value, actors
