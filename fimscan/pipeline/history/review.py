"""Decide about the rows of one report, one after the other: each decision is stored at once."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fimscan.config import Config
from fimscan.grouping import RankedRow
from fimscan.grouping.own import is_own
from fimscan.grouping.selection import Selected, names_of
from fimscan.model import Approval, ChangePlan, DispositionStatus, Explanation, Reviewer
from fimscan.pipeline.history.accept import decided_states, undo
from fimscan.pipeline.history.explain_change import explain
from fimscan.pipeline.history.shown import Report
from fimscan.store import acceptance as acceptance_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a decision.

    ``act`` is its number, ``None`` if nothing was stored. ``rows`` are those that it is about. ``own`` counts the
    reviewer's own changes, ``refused`` those of them that were left for another person. ``gone`` counts rows that were
    accepted since the report.
    """

    act: int | None
    rows: tuple[RankedRow, ...]
    own: int = 0
    refused: int = 0
    gone: int = 0


class Desk:
    """The database as a review needs it: one report, one reviewer."""

    def __init__(self, database: Database, config: Config | None, report: Report, reviewer: Reviewer) -> None:
        self.report = report
        self._database, self._config, self._reviewer = database, config, reviewer
        self._refuses = config is not None and config.review.own_changes == "refuse"

    def decide(
        self,
        rows: Sequence[RankedRow],
        status: DispositionStatus,
        approval: Approval,
        plan: ChangePlan | None = None,
    ) -> Outcome:
        """Store a decision about rows, as of the scan of the report; ``plan`` is the one by which they are approved."""
        people = (self._reviewer,) if plan is None else (self._reviewer, plan.opened_by)
        own = [row for row in rows if any(is_own(row.finding, person) for person in people)]
        refused = {id(row) for row in own} if self._refuses else set()
        chosen = [Selected(row, row.finding) for row in rows if id(row) not in refused]
        with self._database.begin() as session:
            taken, states, _ = decided_states(session, self.report, chosen)
            act = None
            if states:
                paths = frozenset(path for row in own for path in names_of(row.finding))
                number = None if plan is None else plan.id
                act = acceptance_store.accept_paths(session, states, approval, status=status, own=paths, plan=number)
        return Outcome(
            act=act,
            rows=tuple(item.row for item in taken),
            own=len(own),
            refused=len(refused),
            gone=len(chosen) - len(taken),
        )

    def undo(self, act: int, approval: Approval) -> int:
        """Take a decision back; return the number of the decision that does."""
        return undo(self._database, act, approval)

    def explain(self, row: RankedRow) -> Explanation | None:
        """Explain the latest change of a row; ``None`` if it is no stored change."""
        number = (row.finding.steps or (row.finding,))[-1].change.id or row.finding.change.id
        return explain(self._database, number, self._config) if number else None

    def later_scan(self) -> int | None:
        """The last scan, if it finished after the one of the report."""
        with self._database.read() as session:
            last = scan_store.last_finished(session)
        return last.id if last is not None and last.id > self.report.diff.end.id else None
