"""What came of plans: which changes of a report are as planned, which are extra, and what did not happen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from fimscan.grouping import Grouping
from fimscan.grouping.plans import extra_rows, first_plan, is_changed_otherwise, missing_items
from fimscan.model import ChangePlan, Diff, Finding, PlanProgress, PlanState, Scan, ScanStatus
from fimscan.report.change_sets import commands_text
from fimscan.store import acceptance as acceptance_store
from fimscan.store import findings as finding_store
from fimscan.store import plans as plan_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

#: Adds the packages of files to a diff.
Packaged = Callable[[Diff], Diff]


def progress(
    database: Database, diff: Diff, grouping: Grouping, now_ns: int, packaged: Packaged, *, closed: bool = False
) -> tuple[PlanProgress, ...]:
    """What came of each plan, as of a diff from the baseline with its packages.

    Closed plans are left out if no change waits that is as they planned, unless ``closed``.
    """
    with database.read() as session:
        plans = plan_store.every(session)
        if not plans:
            return ()
        accepted = {plan.id: acceptance_store.records_of_plan(session, plan.id) for plan in plans}
        happened = _happened(session, min(plan.opened_ns for plan in plans), diff.end)
    if any(plan.packages for plan in plans):
        happened = packaged(replace(diff, findings=tuple(happened))).findings
    of_plan: dict[int, set[bytes]] = {}
    for row in grouping.rows:
        plan = first_plan(row.finding, plans)
        if plan is not None:
            of_plan.setdefault(plan.id, set()).add(row.finding.change.path)
    of_any = frozenset().union(*of_plan.values())
    found = []
    for plan in plans:
        planned = frozenset(of_plan.get(plan.id, ()))
        state = plan.state(now_ns)
        if state is PlanState.CLOSED and not (planned or closed):
            continue
        found.append(
            PlanProgress(
                plan=plan,
                state=state,
                planned=planned,
                extra=_extra(grouping, plan, planned, of_any),
                accepted=len({record.path for record in accepted[plan.id]}),
                missing=missing_items(plan, happened),
                deed=_deed(grouping, planned),
            )
        )
    return tuple(found)


def _extra(
    grouping: Grouping, plan: ChangePlan, planned: frozenset[bytes], of_any: frozenset[bytes]
) -> tuple[bytes, ...]:
    """What changed beside the plan: in the same sets, or planned paths that were changed otherwise as well."""
    otherwise = [row.finding.change.path for row in grouping.rows if is_changed_otherwise(row.finding, plan)]
    return tuple(sorted({*extra_rows(grouping, planned, of_any), *otherwise}))


def plans_of(database: Database, findings: Iterable[Finding]) -> dict[bytes, ChangePlan]:
    """The plan of each path that is as planned, whatever else a report has or leaves out."""
    with database.read() as session:
        plans = plan_store.every(session)
    found = ((row.change.path, first_plan(row, plans)) for row in findings if plans)
    return {path: plan for path, plan in found if plan is not None}


def planned_of(findings: Iterable[Finding], plan: ChangePlan, plans: Sequence[ChangePlan]) -> frozenset[bytes]:
    """The paths of the rows that are of this plan: it is the first one that they match."""
    return frozenset(row.change.path for row in findings if first_plan(row, plans) == plan)


def _happened(session: Session, since_ns: int, end: Scan) -> Sequence[Finding]:
    """All single changes since a time, also those that were accepted or undone since."""
    before = [
        scan.id
        for scan in scan_store.all_scans(session)
        if scan.status is ScanStatus.FINISHED and (scan.finished_ns or 0) < since_ns
    ]
    return finding_store.findings_between(session, before[-1] if before else 0, end.id)


def _deed(grouping: Grouping, planned: frozenset[bytes]) -> str | None:
    for item in grouping.sets:
        if item.roots and any(row.finding.change.path in planned for row in item.rows):
            return commands_text(item)
    return None
