"""What a review goes through: what stands out, then what is as planned, then the rest of each change set. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fimscan.grouping.sets import ChangeSet, Grouping, RankedRow
from fimscan.model import PlanProgress


class ReviewItem(Struct, frozen=True, kw_only=True):
    """Changes that are decided together.

    One that stands out; or those as planned, with their ``plan``; or the others ``of`` a change set.
    """

    rows: tuple[RankedRow, ...]
    of: ChangeSet | None = None
    plan: PlanProgress | None = None


def review_items(grouping: Grouping, plans: Sequence[PlanProgress] = ()) -> tuple[ReviewItem, ...]:
    """All items of a report, most urgent first. Each row is in exactly one."""
    outstanding = [ReviewItem(rows=(row,)) for row in grouping.standing_out]
    waved = [row for item in grouping.sets for row in item.rows if not row.rank.stands_out]
    of_plan = {path: plan.plan.id for plan in plans for path in plan.planned}
    planned = [
        ReviewItem(rows=rows, plan=plan)
        for plan in plans
        if (rows := tuple(row for row in waved if of_plan.get(row.finding.change.path) == plan.plan.id))
    ]
    unplanned = {id(row) for row in waved if row.finding.change.path not in of_plan}
    others = [
        ReviewItem(rows=rows, of=item)
        for item in grouping.sets
        if (rows := tuple(row for row in item.rows if id(row) in unplanned))
    ]
    return (*outstanding, *planned, *others)
