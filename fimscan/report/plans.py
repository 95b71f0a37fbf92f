"""Sentences about plans: ``ansible, CHG-17: 37 as planned, 1 extra, 2 that never happened``."""

from __future__ import annotations

from collections.abc import Iterator

from fimscan.model import ChangePlan, Diff, PlanProgress, PlanState
from fimscan.report.display import minute_text, show
from fimscan.report.words import plural

_NAMED = 3
_SHORTEST = 12  # cells of a shortened command
_EXPECTED = 5  # so many paths of a plan are named, and as many packages


def plans_by_path(diff: Diff) -> dict[bytes, ChangePlan]:
    """The plan of each path that is as planned."""
    return {**diff.planned, **{path: item.plan for item in diff.plans for path in item.planned}}


def planned_text(plan: ChangePlan) -> str:
    """``as planned: CHG-17``."""
    return f"as planned: {show(plan.ticket)}"


def progress_text(item: PlanProgress, width: int | None = None) -> str:
    """What came of a plan, in one line; a long command is shortened where there is a ``width``."""
    who = item.deed or show(item.plan.user or item.plan.exe or "")
    counts = [f"{len(item.planned) + item.accepted:,} as planned"]
    if item.extra:
        counts.append(f"{len(item.extra):,} extra")
    if item.missing:
        counts.append(f"{len(item.missing):,} {'not yet' if item.state is PlanState.OPEN else 'that never happened'}")
    rest = f", {show(item.plan.ticket)}: {', '.join(counts)}"
    if width is not None:
        from fimscan.report.console import shortened

        who = shortened(who, max(_SHORTEST, width - len(rest)))
    return who + rest


def plan_lines(item: PlanProgress, width: int | None = None) -> Iterator[str]:
    """A plan in a list: its number, time, what it expects, and what came of it."""
    plan = item.plan
    ended = f", closed by {show(plan.closed_by or '')} {minute_text(plan.closed_ns)}" if plan.closed_ns else ""
    yield (
        f"plan {plan.id}  {item.state}  {show(plan.ticket)}  {minute_text(plan.opened_ns)} to"
        f" {end_text(plan)}, opened by {show(plan.opened_by.name)}{ended}"
    )
    yield f"    expects {expected_text(plan)}"
    if plan.reason:
        yield f"    {show(plan.reason)}"
    accepted = f" ({plural(item.accepted, 'path')} accepted)" if item.accepted else ""
    yield f"    {progress_text(item, None if width is None else width - 4 - len(accepted))}{accepted}"
    for heading, names in (("extra", item.extra), ("missing", item.missing)):
        yield from (f"    {heading}: {show(name)}" for name in names[:_NAMED])
        if len(names) > _NAMED:
            yield f"    {heading}: and {len(names) - _NAMED:,} more"


def end_text(plan: ChangePlan) -> str:
    """When a plan ends; with seconds where it does not end with a minute."""
    minute = minute_text(plan.until_ns)
    seconds = plan.until_ns // 10**9 % 60
    return minute.replace(" UTC", f":{seconds:02} UTC") if seconds else minute


def expected_text(plan: ChangePlan) -> str:
    """``/etc/nginx, package nginx; by admin with /usr/bin/ansible``. Of many paths or packages, the first ones."""
    paths = [show(path) for path in plan.paths]
    packages = [f"package {show(name)}" for name in plan.packages]
    what = [*_first(paths, "path"), *_first(packages, "package")]
    by = f"by {show(plan.user)}" if plan.user is not None else ""
    using = f"with {show(plan.exe)}" if plan.exe is not None else ""
    return f"{', '.join(what)}; {' '.join(filter(None, (by, using)))}"


def _first(names: list[str], kind: str) -> list[str]:
    left = len(names) - _EXPECTED
    return names if left <= 1 else [*names[:_EXPECTED], f"{left:,} more {kind}s"]
