"""Accept changes: make the last scan the baseline, or add single paths and changes to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fimscan.errors import UsageError
from fimscan.model import Approval, Change, Diff
from fimscan.paths import is_within
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store.database import Database
from fimscan.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """How many paths were accepted, and as of which scan."""

    paths: int
    scan: int


def accept_everything(database: Database, approval: Approval) -> Acceptance:
    """Make the last finished scan the baseline."""
    waiting = diff_from_baseline(database)
    with database.begin() as session:
        acceptance_store.accept_scan(session, waiting.end.id, approval)
    return Acceptance(paths=len(waiting.findings), scan=waiting.end.id)


def accept_named(database: Database, names: Sequence[bytes | int], approval: Approval) -> Acceptance:
    """Accept single paths as they are now, or changes by number, as they left their paths.

    Accepting the new name of a moved file also accepts that its old name is gone.

    Raises:
        UsageError: some names have nothing to accept; the message lists them, and nothing is accepted.
    """
    waiting = diff_from_baseline(database)
    with database.begin() as session:
        states: dict[bytes, tuple[int | None, int]] = {}
        unknown = []
        for name in names:
            found = _acceptable(session, waiting, name)
            if not found:
                unknown.append(f"change {name}" if isinstance(name, int) else name.decode("utf-8", "backslashreplace"))
            states.update(found)
        if unknown:
            raise UsageError(f"nothing to accept: {', '.join(unknown)} (see 'fimscan diff' for what differs)")
        acceptance_store.accept_paths(session, states, approval)
    return Acceptance(paths=len(states), scan=waiting.end.id)


def _acceptable(session: Session, waiting: Diff, name: bytes | int) -> dict[bytes, tuple[int | None, int]]:
    if isinstance(name, int):
        finding = finding_store.one_finding(session, name)
        open_changes = {step.change.id for row in waiting.findings for step in (row, *row.steps)}
        if finding is None or name not in open_changes:
            return {}
        scan_id, paths = finding.scan, _names(finding.change)
    else:
        # A directory includes everything below it.
        rows = [row.change for row in waiting.findings if any(is_within(path, name) for path in _names(row.change))]
        scan_id, paths = waiting.end.id, {path for change in rows for path in _names(change)}
    versions = files.at_paths(session, paths, scan_id)
    return {path: (versions[path].id if path in versions else None, scan_id) for path in paths}


def _names(change: Change) -> set[bytes]:
    return {path for path in (change.path, change.moved_from) if path is not None}
