"""What a review goes through: first each change that stands out, then what else is in each change set. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fimscan.grouping.sets import ChangeSet, Grouping, RankedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """Changes that are decided together: one that stands out, or (``of`` is set) the others of a change set."""

    rows: tuple[RankedRow, ...]
    of: ChangeSet | None = None


def review_items(grouping: Grouping) -> tuple[ReviewItem, ...]:
    """All items of a report, most urgent first. Each row is in exactly one."""
    outstanding = [ReviewItem(rows=(row,)) for row in grouping.standing_out]
    others = ((item, tuple(row for row in item.rows if not row.rank.stands_out)) for item in grouping.sets)
    return (*outstanding, *(ReviewItem(rows=rows, of=item) for item, rows in others if rows))
