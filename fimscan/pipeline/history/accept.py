"""Decide about changes: accept the last scan or single paths and changes, mark violations, take a decision back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.grouping.own import is_own
from fimscan.grouping.selection import ByNumber, Selected, Selection, is_named, names_of, select
from fimscan.model import Approval, ChangePlan, DispositionStatus, Reviewer
from fimscan.pipeline.history.plans import planned_of
from fimscan.pipeline.history.shown import (
    FactsOf,
    Report,
    Seen,
    no_facts,
    present_report,
    report_as_of,
    shown_report,
)
from fimscan.report.acceptance import unproved_lines
from fimscan.report.display import show
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import plans as plan_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_NAMED_PATHS = 3

#: path -> (row number of its version, ``None`` if absent; the scan as of which it is accepted)
States = Mapping[bytes, tuple[int | None, int]]


class Limits(Struct, frozen=True, kw_only=True):
    """What the reviewer was shown: the report of this name or, without a name, the one that was ``seen`` last.

    Without either, a selection whose extent depends on the report is refused, unless it is only printed.
    """

    shown: str | None = None
    seen: Seen | None = None
    is_dry_run: bool = False


_NO_LIMITS = Limits()


class Proposal(Struct, frozen=True, kw_only=True):
    """What would be accepted.

    ``states`` is ``None`` if it is everything as of ``scan``. ``left_out`` counts paths that were accepted since the
    report was shown, ``later`` changes that were found after the last report that the reviewer saw, ``withheld``
    changes that are marked as violations. ``latest`` is the number of the last acceptance before this one. ``unproved``
    are the changes that would be selected as well, but are not proved to be as their package shipped them.
    """

    changes: tuple[Selected, ...]
    scan: int
    shown: str
    host: str
    states: States | None
    left_out: int = 0
    later: int = 0
    withheld: int = 0
    latest: int
    by_plan: ChangePlan | None = None
    unproved: tuple[Selected, ...] = ()

    @property
    def paths(self) -> int:
        """The number of paths."""
        return len(self.changes) if self.states is None else len(self.states)

    @property
    def standing_out(self) -> int:
        """The number of changes that stand out."""
        return sum(item.row.rank.stands_out for item in self.changes)

    def own_of(self, reviewer: Reviewer) -> tuple[Selected, ...]:
        """The changes that a reviewer, or who opened the plan, may have made."""
        people = (reviewer,) if self.by_plan is None else (reviewer, self.by_plan.opened_by)
        return tuple(item for item in self.changes if any(is_own(item.row.finding, person) for person in people))


def propose_everything(
    database: Database,
    config: Config | None = None,
    limits: Limits = _NO_LIMITS,
    facts_of: FactsOf = no_facts,
    *,
    even_outstanding: bool = False,
) -> Proposal:
    """Take everything as of the last scan, or as of that of the report that was shown.

    Raises:
        UsageError: something stands out, and not ``even_outstanding``; or something later was accepted since.
    """
    report = _report(database, config, limits, facts_of)
    if not report.is_whole:
        raise UsageError("nothing was accepted: this report showed one change set, not all; use --set instead of --all")
    if not even_outstanding:
        _require_nothing_outstanding(report)
    with database.read() as session:
        latest = acceptance_store.last_number(session)
        whole, paths = acceptance_store.accepted_after(session, report.diff.accepted or 0)
        later = _found_after(session, report, limits, None)
        saw = limits.seen.accepted if limits.seen is not None else report.diff.accepted or 0
        if acceptance_store.is_reviewed_after(session, saw):
            raise UsageError(
                "nothing was accepted: since this report, something was marked as a violation or a decision was taken"
                " back; look at 'fimscan diff' again"
            )
    if max((whole, *paths.values())) > report.diff.end.id:
        raise UsageError(
            f"a state later than scan {report.diff.end.id} was accepted since this report, and --all would take it"
            " back; look at 'fimscan diff' again"
        )
    return Proposal(
        changes=tuple(Selected(row, row.finding) for row in report.grouping.rows),
        scan=report.diff.end.id,
        shown=report.name,
        host=report.diff.host,
        states=None,
        later=later,
        latest=latest,
    )


def propose_selected(
    database: Database,
    selection: Selection,
    config: Config | None = None,
    limits: Limits = _NO_LIMITS,
    facts_of: FactsOf = no_facts,
    *,
    status: DispositionStatus = DispositionStatus.APPROVED,
) -> Proposal:
    """Take paths as they were at the last scan or that of the report that was shown, or changes as they left them.

    Accepting the new name of a moved file also accepts that its old name is gone.

    Raises:
        UsageError: names have nothing to accept, nothing matches, or the name of a report is needed: for all that does
            not name paths or numbers.
    """
    is_unlimited = limits.shown is None and limits.seen is None and not limits.is_dry_run
    if selection.has_conditions and is_unlimited:
        raise _needs_shown()
    report = _report_for(database, config, limits, facts_of, selection)
    with database.read() as session:
        later = _found_after(session, report, limits, selection)
    try:
        chosen, by_pattern = select(report.grouping, selection)
    except UsageError as error:
        raise UsageError(f"{error}{_later_text(later, report)}") from None
    if by_pattern and is_unlimited:
        raise _needs_shown()
    by_plan = None
    if selection.plan is not None:
        with database.read() as session:
            by_plan, plans = plan_store.one(session, selection.plan), plan_store.every(session)
        paths = planned_of(report.diff.findings, by_plan, plans)
        chosen = [item for item in chosen if item.number is None and item.row.finding.change.path in paths]
    unproved = _unproved(report, selection, chosen)
    if not chosen:
        why = "".join(f". {line}" for line in unproved_lines(unproved))
        raise UsageError(
            f"nothing to accept: no change matches all options (see 'fimscan diff' for what differs){why}"
            + _later_text(later, report)
        )
    taken = [item for item in chosen if status is not DispositionStatus.APPROVED or _may_be_taken(item, selection)]
    if not taken:
        raise UsageError("nothing to accept: all of it is marked as a violation; accept single changes by number")
    with database.read() as session:
        latest = acceptance_store.last_number(session)
        changes, states, left_out = decided_states(session, report, taken)
    if not states:
        raise UsageError("nothing to accept: all of it was accepted since this report; look at 'fimscan diff' again")
    return Proposal(
        changes=changes,
        scan=report.diff.end.id,
        shown=report.name,
        host=report.diff.host,
        states=states,
        left_out=left_out,
        later=later,
        withheld=len(chosen) - len(taken),
        latest=latest,
        by_plan=by_plan,
        unproved=unproved,
    )


def accept(
    database: Database,
    plan: Proposal,
    approval: Approval,
    *,
    status: DispositionStatus = DispositionStatus.APPROVED,
    own: Sequence[Selected] = (),
) -> int:
    """Accept what was planned, or mark it as a violation; return the number of the decision.

    ``own`` are the changes that the reviewer may have made, which is stored.

    Raises:
        UsageError: something else was decided since the plan was made.
    """
    with database.begin() as session:
        if acceptance_store.last_number(session) != plan.latest:
            raise UsageError("something else was decided at the same time; nothing was stored here, so run it again")
        if plan.states is None:
            return acceptance_store.accept_scan(session, plan.scan, approval, is_own=bool(own))
        paths = frozenset(path for item in own for path in names_of(item.finding))
        number = None if plan.by_plan is None else plan.by_plan.id
        return acceptance_store.accept_paths(session, plan.states, approval, status=status, own=paths, plan=number)


def undo(database: Database, act: int, approval: Approval) -> int:
    """Take a decision back; return the number of the decision that does.

    Raises:
        UsageError: there is no such decision, or it cannot be taken back.
    """
    with database.begin() as session:
        return acceptance_store.undo(session, act, approval)


# --------------------------------------------------------------------------------------------------------------------


def _report(database: Database, config: Config | None, limits: Limits, facts_of: FactsOf) -> Report:
    if limits.shown is not None:
        return shown_report(database, config, limits.shown, facts_of)
    if limits.seen is not None:
        return report_as_of(database, config, limits.seen.scan, facts_of)
    return present_report(database, config, facts_of)


def _report_for(
    database: Database, config: Config | None, limits: Limits, facts_of: FactsOf, selection: Selection
) -> Report:
    """The report to select from: the one that was seen last, unless only numbers of changes are given.

    The number of a change means one state of one path, whatever was shown. The number of a set, and who made a change,
    mean what they meant in the report itself.
    """
    seen = limits.seen
    if limits.shown is None and seen is not None:
        if selection.names and all(isinstance(name, ByNumber) for name in selection.names):
            limits = replace(limits, seen=None)
        elif selection.has_conditions:
            if seen.name is None and not limits.is_dry_run:
                raise _needs_shown()
            limits = replace(limits, shown=seen.name)
    return _report(database, config, limits, facts_of)


def _found_after(session: Session, report: Report, limits: Limits, selection: Selection | None) -> int:
    """The number of paths with changes that were found after the report that was seen last, of those that are named."""
    if limits.shown is not None or limits.seen is None or (selection is not None and selection.number is not None):
        return 0
    last = scan_store.last_finished(session)
    end = report.diff.end.id
    found = finding_store.findings_between(session, end, last.id) if last is not None and last.id > end else []
    return len({row.change.path for row in found if selection is None or is_named(row, selection)})


def _later_text(later: int, report: Report) -> str:
    if not later:
        return ""
    changed = "1 path changed" if later == 1 else f"{later:,} paths changed"
    return (
        f". {changed} after scan {report.diff.end.id}, of which you saw the report last; look at 'fimscan diff' again"
    )


def _unproved(report: Report, selection: Selection, chosen: Sequence[Selected]) -> tuple[Selected, ...]:
    if not selection.as_shipped:
        return ()
    taken = {item.row.finding.change.path for item in chosen}
    found, _ = select(report.grouping, replace(selection, as_shipped=False))
    return tuple(item for item in found if item.row.finding.change.path not in taken)


def _may_be_taken(item: Selected, selection: Selection) -> bool:
    """What is marked as a violation is accepted only if it is named itself."""
    decided = item.row.finding.disposition
    if decided is None or decided.status is not DispositionStatus.VIOLATION:
        return True
    return any(
        item.number is not None if isinstance(name, ByNumber) else name.path in names_of(item.finding)
        for name in selection.names
    )


def _needs_shown() -> UsageError:
    return UsageError(
        "nothing was accepted: a selection also takes what was found since you looked. Add --shown REPORT, which"
        " 'fimscan diff' and --dry-run print"
    )


def _require_nothing_outstanding(report: Report) -> None:
    paths = [row.finding.change.path for row in report.grouping.standing_out]
    unread = [item.path for item in report.diff.unreadable if item.differs]
    found = []
    if paths:
        stand = "1 change stands out" if len(paths) == 1 else f"{len(paths):,} changes stand out"
        found.append(f"{stand} ({_first_of(paths)})")
    if unread:
        files = "1 changed file" if len(unread) == 1 else f"{len(unread):,} changed files"
        found.append(f"{files} could not be read ({_first_of(unread)})")
    if found:
        raise UsageError(
            f"nothing was accepted: {' and '.join(found)}, and --all would accept them unseen. Look at them with"
            " 'fimscan diff', then accept by path, number or --set, or add --even-outstanding"
        )


def _first_of(paths: Sequence[bytes]) -> str:
    more = f" and {len(paths) - _NAMED_PATHS:,} more" if len(paths) > _NAMED_PATHS else ""
    return f"{', '.join(map(show, paths[:_NAMED_PATHS]))}{more}"


def decided_states(
    session: Session, report: Report, chosen: Sequence[Selected]
) -> tuple[tuple[Selected, ...], States, int]:
    """What to accept of each path: the newest chosen state, unless as late a one was accepted since the report."""
    end = report.diff.end.id
    whole, since = acceptance_store.accepted_after(session, report.diff.accepted or 0)
    wanted: dict[bytes, int] = {}
    for item in chosen:
        scan, paths = _as_of(session, item, end)
        for path in paths:
            wanted[path] = max(wanted.get(path, 0), scan)
    left = {path: scan for path, scan in wanted.items() if scan > max(whole, since.get(path, 0))}
    states: dict[bytes, tuple[int | None, int]] = {}
    for scan in sorted(set(left.values())):
        as_of_scan = [path for path, as_of in left.items() if as_of == scan]
        versions = files.at_paths(session, as_of_scan, scan)
        states |= {path: (versions[path].id if path in versions else None, scan) for path in as_of_scan}
    taken = tuple(item for item in chosen if any(path in left for path in names_of(item.finding)))
    return taken, states, len(wanted) - len(left)


def _as_of(session: Session, item: Selected, end: int) -> tuple[int, tuple[bytes, ...]]:
    """As of which scan a change is accepted, and for which paths: those that a single change had when it was found."""
    if item.number is None:
        return end, names_of(item.finding)
    found = finding_store.one_finding(session, item.number)
    return (end, names_of(item.finding)) if found is None else (found.scan, names_of(found))
