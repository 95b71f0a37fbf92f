"""The changes of a period with their sets, packages and decisions, a bounded number at a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from fimscan.config import Config
from fimscan.evidence.inputs import FoundChange
from fimscan.grouping import Facts, set_members
from fimscan.model import ChangeKind, Diff, Scan, ScanStatus
from fimscan.packages import ListIndex, PackageSources
from fimscan.pipeline.history.change_sets import lineages_of
from fimscan.pipeline.history.dispositions import LastDecisions
from fimscan.pipeline.history.packaged import Packaged, default_sources, with_packages
from fimscan.pipeline.importance import Importance
from fimscan.store import acceptance as acceptance_store
from fimscan.store import findings as finding_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_MOST = 8_000  # changes at once


def found_changes(session: Session, database: Database, config: Config, scans: Sequence[Scan]) -> Iterator[FoundChange]:
    """Yield the changes that finished scans found, oldest first. Those of successive scans are grouped together.

    Changes and decisions are those of the ``session``: a bundle is made from one state of the database.
    """
    importance, later = Importance(config.watch), finding_store.later_scans(session)
    sources = replace(default_sources(config.database.url), index=ListIndex())
    for some in _parts([scan for scan in scans if scan.status is ScanStatus.FINISHED]):
        # In a function of its own, so that nothing of a part is left when the next one is loaded.
        yield from _of_scans(session, database, some, importance, sources, later)
        gc.collect(0)  # the caller may have paused it; SQLAlchemy leaves cycles


def _of_scans(
    session: Session,
    database: Database,
    scans: Sequence[Scan],
    importance: Importance,
    sources: PackageSources,
    later: Callable[[int], int | None],
) -> Iterator[FoundChange]:
    """Yield the changes of successive scans, grouped together. ``later``: see :func:`finding_store.later_scans`."""
    found = finding_store.answers_between(session, scans[0].id - 1, scans[-1].id, {})
    if not found:
        return
    diff = Diff(host=database.host, start=scans[0], end=scans[-1], findings=importance.on_all(found))
    del found
    diff, facts = _packaged(database, diff, sources)
    sets: dict[int, int] = {}  # the number of a change -> that of the first change of its set
    for members in set_members(diff.findings, facts):
        numbers = [finding.change.id for finding in members]
        sets.update(dict.fromkeys(numbers, min(numbers)))
    decisions = LastDecisions(acceptance_store.records_about_scans(session, scans[0].id, scans[-1].id))
    for row in diff.findings:
        decision = decisions.about(row, later(row.change.id))
        yield FoundChange(replace(row, disposition=decision), sets.get(row.change.id))


def _parts(scans: Sequence[Scan]) -> Iterator[list[Scan]]:
    """Divide scans into successive ones with at most :data:`_MOST` changes together, or into single ones with more."""
    part: list[Scan] = []
    total = 0
    for scan in scans:
        count = sum(scan.counts.get(kind.value, 0) for kind in ChangeKind)
        if part and total + count > _MOST:
            yield part
            part, total = [], 0
        part.append(scan)
        total += count
    if part:
        yield part


def _packaged(database: Database, diff: Diff, sources: PackageSources) -> tuple[Diff, Facts]:
    try:
        found = with_packages(database, diff, sources)
    except Exception:  # noqa: BLE001  # evidence is exported, whatever there is in a database of packages
        found = Packaged(diff, Facts())
    facts = found.facts
    return found.diff, facts if facts.lineages else replace(facts, lineages=lineages_of(database, diff.findings))
