"""Accept changes: make the last scan the baseline, or add single paths and changes to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.grouping.selection import Selected, Selection, names_of, select
from fimscan.model import Approval
from fimscan.pipeline.history.shown import FactsOf, Report, no_facts, present_report, shown_report
from fimscan.report.display import show
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_NAMED_PATHS = 3

#: path -> (row number of its version, ``None`` if absent; the scan as of which it is accepted)
States = Mapping[bytes, tuple[int | None, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be accepted.

    ``states`` is ``None`` if it is everything as of ``scan``. ``left_out`` counts paths that were accepted since the
    report was shown. ``latest`` is the number of the last acceptance before this one.
    """

    changes: tuple[Selected, ...]
    scan: int
    shown: str
    host: str
    states: States | None
    left_out: int = 0
    latest: int

    @property
    def paths(self) -> int:
        """The number of paths."""
        return len(self.changes) if self.states is None else len(self.states)

    @property
    def standing_out(self) -> int:
        """The number of changes that stand out."""
        return sum(item.row.rank.stands_out for item in self.changes)

    def made_by(self, user: str) -> int:
        """The number of changes of which a named process has this login user."""
        return sum(any(user == actor.login_user for actor in item.finding.attribution.actors) for item in self.changes)


def plan_everything(
    database: Database,
    config: Config | None = None,
    shown: str | None = None,
    facts_of: FactsOf = no_facts,
    *,
    even_outstanding: bool = False,
) -> Plan:
    """Take everything as of the last scan, or as of that of the report ``shown``.

    Raises:
        UsageError: something stands out, and not ``even_outstanding``; or something later was accepted since.
    """
    report = _report(database, config, shown, facts_of)
    if not report.is_whole:
        raise UsageError("nothing was accepted: this report showed one change set, not all; use --set instead of --all")
    if not even_outstanding:
        _require_nothing_outstanding(report)
    with database.read() as session:
        latest = acceptance_store.last_number(session)
        whole, paths = acceptance_store.accepted_after(session, report.diff.accepted or 0)
    if max((whole, *paths.values())) > report.diff.end.id:
        raise UsageError(
            f"a state later than scan {report.diff.end.id} was accepted since this report, and --all would take it"
            " back; look at 'fimscan diff' again"
        )
    return Plan(
        changes=tuple(Selected(row, row.finding) for row in report.grouping.rows),
        scan=report.diff.end.id,
        shown=report.name,
        host=report.diff.host,
        states=None,
        latest=latest,
    )


def plan_selected(
    database: Database,
    selection: Selection,
    config: Config | None = None,
    shown: str | None = None,
    facts_of: FactsOf = no_facts,
    *,
    dry_run: bool = False,
) -> Plan:
    """Take paths as they were at the last scan or that of the report ``shown``, or changes as they left their paths.

    Accepting the new name of a moved file also accepts that its old name is gone.

    Raises:
        UsageError: names have nothing to accept, nothing matches, or ``shown`` is needed: for all that does not name
            paths or numbers.
    """
    if selection.has_conditions and shown is None and not dry_run:
        raise _needs_shown()
    report = _report(database, config, shown, facts_of)
    chosen, by_pattern = select(report.grouping, selection)
    if by_pattern and shown is None and not dry_run:
        raise _needs_shown()
    if not chosen:
        raise UsageError("nothing to accept: no change matches all options (see 'fimscan diff' for what differs)")
    with database.read() as session:
        latest = acceptance_store.last_number(session)
        changes, states, left_out = _states(session, report, chosen)
    if not states:
        raise UsageError("nothing to accept: all of it was accepted since this report; look at 'fimscan diff' again")
    return Plan(
        changes=changes,
        scan=report.diff.end.id,
        shown=report.name,
        host=report.diff.host,
        states=states,
        left_out=left_out,
        latest=latest,
    )


def accept(database: Database, plan: Plan, approval: Approval) -> None:
    """Accept what was planned.

    Raises:
        UsageError: something else was accepted since the plan was made.
    """
    with database.begin() as session:
        if acceptance_store.last_number(session) != plan.latest:
            raise UsageError("something else was accepted at the same time; nothing was accepted here, so run it again")
        if plan.states is None:
            acceptance_store.accept_scan(session, plan.scan, approval)
        else:
            acceptance_store.accept_paths(session, plan.states, approval)


# --------------------------------------------------------------------------------------------------------------------


def _report(database: Database, config: Config | None, shown: str | None, facts_of: FactsOf) -> Report:
    if shown is None:
        return present_report(database, config, facts_of)
    return shown_report(database, config, shown, facts_of)


def _needs_shown() -> UsageError:
    return UsageError(
        "nothing was accepted: a selection also takes what was found since you looked. Add --shown REPORT, which"
        " 'fimscan diff' and --dry-run print"
    )


def _require_nothing_outstanding(report: Report) -> None:
    paths = [row.finding.change.path for row in report.grouping.standing_out]
    paths += [item.path for item in report.diff.unreadable if item.differs]
    if not paths:
        return
    named = ", ".join(map(show, paths[:_NAMED_PATHS]))
    more = f" and {len(paths) - _NAMED_PATHS:,} more" if len(paths) > _NAMED_PATHS else ""
    stand = "1 change stands out" if len(paths) == 1 else f"{len(paths):,} changes stand out"
    raise UsageError(
        f"nothing was accepted: {stand} ({named}{more}), and --all would accept them unseen. Look at them with"
        " 'fimscan diff', then accept by path, number or --set, or add --even-outstanding"
    )


def _states(session: Session, report: Report, chosen: Sequence[Selected]) -> tuple[tuple[Selected, ...], States, int]:
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
