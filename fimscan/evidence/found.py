"""The changes of a period with their sets, packages and decisions, a bounded number at a time."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from fimscan.config import Config
from fimscan.evidence.inputs import FoundChange
from fimscan.grouping import Facts, set_members
from fimscan.model import ChangeKind, Diff, Scan, ScanStatus
from fimscan.pipeline.history.change_sets import lineages_of
from fimscan.pipeline.history.dispositions import Decisions
from fimscan.pipeline.history.packaged import Packaged, default_sources, with_packages
from fimscan.pipeline.importance import Importance
from fimscan.store import findings as finding_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_MOST = 8_000  # changes at once


def found_changes(session: Session, database: Database, config: Config, scans: Sequence[Scan]) -> Iterator[FoundChange]:
    """Yield the changes that finished scans found, oldest first. Those of successive scans are grouped together.

    Changes and decisions are those of the ``session``: a bundle is made from one state of the database.
    """
    importance = Importance(config.watch)
    for some in _parts([scan for scan in scans if scan.status is ScanStatus.FINISHED]):
        found = finding_store.answers_between(session, some[0].id - 1, some[-1].id, {})
        if not found:
            continue
        diff = Diff(host=database.host, start=some[0], end=some[-1], findings=importance.on_all(found))
        diff, facts = _packaged(database, config, diff)
        sets: dict[int, int] = {}  # the number of a change -> that of the first change of its set
        for members in set_members(diff.findings, facts):
            numbers = [finding.change.id for finding in members]
            sets.update(dict.fromkeys(numbers, min(numbers)))
        decisions = Decisions(session, {finding.change.path for finding in diff.findings})
        gc.collect(0)  # the caller may have paused it; SQLAlchemy leaves cycles
        for row in diff.findings:
            yield FoundChange(replace(row, disposition=decisions.last_about(row)), sets.get(row.change.id))


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


def _packaged(database: Database, config: Config, diff: Diff) -> tuple[Diff, Facts]:
    try:
        found = with_packages(database, diff, default_sources(config.database.url))
    except Exception:  # noqa: BLE001  # evidence is exported, whatever there is in a database of packages
        found = Packaged(diff, Facts())
    facts = found.facts
    return found.diff, facts if facts.lineages else replace(facts, lineages=lineages_of(database, diff.findings))
