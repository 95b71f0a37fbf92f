"""Which changes are as planned: in the paths or packages of a plan, and confirmed as done by whom it says. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from fimscan.grouping.selection import names_of, ran, was
from fimscan.grouping.sets import Grouping
from fimscan.model import ChangePlan, Finding, PackageClass, Verdict
from fimscan.paths import is_within

_PATTERN = frozenset(b"*?[")


def is_planned(finding: Finding, plan: ChangePlan) -> bool:
    """Whether a row is as planned: each of its steps is confirmed, by a planned user and program, within the time."""
    return (_is_of_package(finding, plan) or _is_in_paths(finding, plan)) and all(
        _is_as_said(step, plan) for step in finding.steps or (finding,)
    )


def first_plan(finding: Finding, plans: Iterable[ChangePlan]) -> ChangePlan | None:
    """The first plan that a row matches."""
    return next((plan for plan in plans if is_planned(finding, plan)), None)


def extra_rows(grouping: Grouping, planned: frozenset[bytes], of_any: frozenset[bytes]) -> tuple[bytes, ...]:
    """The paths that changed in the same sets as ``planned`` ones, and are not ``of_any`` plan."""
    paths: list[bytes] = []
    for item in grouping.sets:
        found = [row.finding.change.path for row in item.rows]
        if not planned.isdisjoint(found):
            paths += (path for path in found if path not in of_any)
    return tuple(sorted(paths))


def is_changed_otherwise(finding: Finding, plan: ChangePlan) -> bool:
    """Whether a row has a step as planned, and another one that is not: somebody changed it again, or later."""
    steps = finding.steps or (finding,)
    return not is_planned(finding, plan) and any(is_planned(replace(step, steps=()), plan) for step in steps)


def missing_items(plan: ChangePlan, happened: Sequence[Finding]) -> tuple[bytes, ...]:
    """The paths and packages of a plan of which no finding is as planned. A pattern cannot be missing."""
    as_planned = [finding for finding in happened if is_planned(finding, plan)]
    names = {name for finding in as_planned for name in names_of(finding)}
    owners = {finding.package.owner.name for finding in as_planned if finding.package and finding.package.owner}
    paths = [path for path in plan.paths if not is_pattern(path) and not any(is_within(name, path) for name in names)]
    return (*paths, *(b"package " + name.encode() for name in plan.packages if name not in owners))


def is_pattern(path: bytes) -> bool:
    """Whether a planned path is a pattern."""
    return not _PATTERN.isdisjoint(path)


def _is_in_paths(finding: Finding, plan: ChangePlan) -> bool:
    """Of a moved file, both names."""
    return all(any(_covers(planned, name) for planned in plan.paths) for name in names_of(finding))


def _covers(planned: bytes, name: bytes) -> bool:
    return is_within(name, planned) or (is_pattern(planned) and fnmatch.fnmatchcase(name, planned))


def _is_of_package(finding: Finding, plan: ChangePlan) -> bool:
    answer = finding.package
    return (
        answer is not None
        and answer.owner is not None
        and answer.owner.name in plan.packages
        and answer.kind is PackageClass.AS_SHIPPED
        and not answer.loud
    )


def _is_as_said(step: Finding, plan: ChangePlan) -> bool:
    answer = step.attribution
    if answer.verdict is not Verdict.CONFIRMED or not answer.actors:
        return False
    return all(
        actor.time_ns is not None
        and plan.opened_ns <= actor.time_ns <= plan.end_ns
        and (plan.user is None or was(plan.user)(actor))
        and (plan.exe is None or ran(plan.exe)(actor))
        for actor in answer.actors
    )
