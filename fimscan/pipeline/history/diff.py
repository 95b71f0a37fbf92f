"""Compare scans with each other and with the accepted baseline; list all changes of one path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from msgspec.structs import replace

from fimscan import compare
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.model import Diff, Finding, Scan, ScanStatus, UnreadableReason, Window
from fimscan.pipeline.config_changes import reconfigurations
from fimscan.pipeline.history.dispositions import with_decisions, with_violations
from fimscan.pipeline.history.explain_change import suspects
from fimscan.pipeline.history.path_history import PathHistory, is_certainly_new
from fimscan.pipeline.history.stored_path import load_path
from fimscan.pipeline.importance import Importance
from fimscan.pipeline.record.last_read import is_at_or_below
from fimscan.pipeline.texts import with_facts
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session


def diff_from_baseline(database: Database, config: Config | None = None, at: tuple[int, int] | None = None) -> Diff:
    """Compare the last finished scan with the accepted baseline; severities come from ``config``.

    ``at`` gives an earlier report again: (its scan, the last acceptance at that time).

    Raises:
        UsageError: there is no finished scan yet, or none of ``at``.
    """
    with database.read() as session:
        end = _last(session) if at is None else _finished(session, at[0])
        if at is not None:
            _require_left(session, end.id, at[1])
        accepted = acceptance_store.last_number(session) if at is None else at[1]
        baseline = acceptance_store.baseline(session, accepted)
        if baseline is None or baseline.scan > end.id:
            # The first finished scan is the first baseline, so this is no present one.
            raise UsageError(f"there was no baseline for scan {end.id} then; 'fimscan diff' shows what differs now")
        start = _finished(session, baseline.scan)
        found = _diff(session, database, (start, end), baseline.overrides, config)
        findings = with_violations(session, found.findings, accepted)
        return replace(found, accepted=accepted, findings=findings)


def diff_of_scans(database: Database, start: int | None, end: int | None, config: Config | None = None) -> Diff:
    """Compare two scans; ``None`` stands for the first and the last finished scan.

    Severities come from ``config`` or, without one, from the configuration of the newer scan.

    Raises:
        UsageError: there is no such finished scan, or ``start`` is later than ``end``.
    """
    with database.read() as session:
        last = _last(session)
        to = last if end is None else _finished(session, end)
        if start is None:
            first = _first_left(session)
            finished = (s for s in scan_store.all_scans(session) if s.status is ScanStatus.FINISHED)
            origin = next((scan for scan in finished if scan.id >= first), last)
        else:
            origin = _finished(session, start)
        _require_left(session, min(origin.id, to.id))
        if origin.id > to.id:
            raise UsageError(f"--from {origin.id} is later than --to {to.id}; exchange them")
        return _diff(session, database, (origin, to), {}, config)


def count_older(database: Database, reported: Diff, config: Config) -> int:
    """Count the differences from the accepted baseline that are older than those in ``reported``."""
    with database.read() as session:
        baseline = acceptance_store.baseline(session)
        since = None if baseline is None or baseline.overrides else baseline.scan
        if since is not None and not finding_store.has_any_between(session, since, reported.start.id):
            return 0  # the usual case
    return sum(row.scan <= reported.start.id for row in diff_from_baseline(database, config).findings)


def history_of(database: Database, path: bytes, config: Config | None = None) -> Diff:
    """Return all changes of a path that scans have found, oldest first; without any, what else is stored of it."""
    whole = diff_of_scans(database, None, None)
    with database.read() as session:
        importance = Importance.current(config, session, _last(session))
        history = with_decisions(session, finding_store.history_of(session, path), path)
        found = with_facts(database, config, importance.on_all(history))
        unchanged = None if found else load_path(session, path)
    return replace(whole, findings=found, unchanged=unchanged)


# --------------------------------------------------------------------------------------------------------------------


def _diff(
    session: Session,
    database: Database,
    span: tuple[Scan, Scan],
    overrides: Mapping[bytes, tuple[files.Version | None, int]],
    config: Config | None,
) -> Diff:
    start, end = span
    window = Window(after_ns=start.started_ns, before_ns=end.finished_ns or end.started_ns)
    loaded = files.versions_between(session, start.id, end.id)
    touched = _by_path(loaded)
    steps = [
        step
        for step in finding_store.answers_between(session, start.id, end.id, {item.id: item for item in loaded})
        if step.scan > overrides.get(step.change.path, (None, 0))[1]
    ]
    steps_of = compare.steps_by_path(steps)
    rows, changes = [], []
    logs = Counter[bool]()  # how many logs were only appended to (True), and how many were rotated (False)
    for path in sorted({*touched, *overrides}):
        versions = touched.get(path, [])
        row = None if path in overrides else _as_found(versions, steps_of.get(path, ()), (start.id, end.id))
        if row is not None:
            rows.append(row)
            continue
        versions = [version for version in versions if version.first_scan <= end.id]
        after = _at(versions, end.id)
        if not versions:
            after = files.at_paths(session, [path], end.id).get(path)
        accepted = overrides[path][0] if path in overrides else _at(versions, start.id) or _adopted(versions)
        if after is None and _was_dropped(versions, end.id):
            continue
        path_history = PathHistory.of(accepted, versions, after, end.id)
        if path_history.is_followed:
            logs[path_history.is_same_file] += 1
        change = path_history.change(window)
        if change is not None:
            changes.append(change)
    rows += compare.rows_with_steps(compare.with_moves(changes), steps_of)
    rows.sort(key=attrgetter("change.path"))
    findings = Importance.current(config, session, end).on_all(rows)
    findings = with_facts(database, config, findings)
    actors = [actor for row in findings for actor in row.attribution.actors]
    complete = scan_store.last_full(session, until=end.id)
    unreadable = scan_result_store.unreadable_in(session, complete.id) if complete is not None else ()
    # An unreadable file may have been changed since, so its write-opens are not reported as harmless.
    unread = frozenset(item.path for item in unreadable if item.reason is not UnreadableReason.MISSING)
    opened = scan_result_store.unmodified_opens(session, start.id, end.id)
    return Diff(
        host=database.host,
        start=start,
        end=end,
        findings=findings,
        unreadable=unreadable,
        opened_unmodified=tuple(item for item in opened if not is_at_or_below(item.path, unread)),
        suspect_programs=suspects(session, actors, end.id),
        logs_grown=logs[True],
        logs_rotated=logs[False],
        reconfigurations=reconfigurations(session, start.id, end.id),
    )


def _as_found(versions: Sequence[files.Version], steps: Sequence[Finding], span: tuple[int, int]) -> Finding | None:
    """The finding of a scan that is the row of its path as it is: it alone leads from one end of the span to the other.

    ``None`` if the row takes more than that. Most rows take no more.
    """
    if len(versions) != 2 or not steps:
        return None
    (before, after), (start, end) = versions, span
    is_whole = before.first_scan <= start and after.first_scan <= end
    is_valid = after.end_scan is None or after.end_scan > end
    if not (is_whole and is_valid and before.end_scan == after.first_scan) or not is_certainly_new(before, after):
        return None
    return compare.only_step(steps, before.state, after.state)


def _by_path(versions: Iterable[files.Version]) -> dict[bytes, list[files.Version]]:
    found: dict[bytes, list[files.Version]] = {}
    for version in versions:
        found.setdefault(version.state.path, []).append(version)
    return found


def _at(versions: Iterable[files.Version], scan_id: int) -> files.Version | None:
    for version in versions:
        if version.first_scan <= scan_id and (version.end_scan is None or version.end_scan > scan_id):
            return version
    return None


def _adopted(versions: Sequence[files.Version]) -> files.Version | None:
    """Return the first state of a path that a new configuration added: it counts as accepted."""
    return versions[0] if versions and versions[0].adopted else None


def _was_dropped(versions: Sequence[files.Version], scan_id: int) -> bool:
    ended = [v for v in versions if v.end_scan is not None and v.end_scan <= scan_id]
    return bool(ended) and ended[-1].dropped


def _first_left(session: Session) -> int:
    """The first scan whose complete state was not pruned."""
    sealed = scan_store.checkpoint(session)
    return 0 if sealed is None else sealed.states_from


def _require_left(session: Session, scan_id: int, accepted: int | None = None) -> None:
    """Refuse a scan or decision of whose time versions of files were pruned: a comparison would lack rows.

    Raises:
        UsageError: with the first scan that can be compared.
    """
    sealed = scan_store.checkpoint(session)
    if sealed is not None and (scan_id < sealed.states_from or (accepted or sealed.decided) < sealed.decided):
        raise UsageError(
            f"what there was before scan {sealed.states_from} was pruned ([retention] findings); choose a later one"
        )


def _last(session: Session) -> Scan:
    last = scan_store.last_finished(session)
    if last is None:
        raise UsageError("no scan has been finished yet; 'fimscan scan' records the baseline")
    return last


def _finished(session: Session, scan_id: int) -> Scan:
    found = scan_store.one_scan(session, scan_id)
    if found is None or found.status is not ScanStatus.FINISHED:
        raise UsageError(f"there is no finished scan {scan_id}; 'fimscan status' lists them")
    return found
