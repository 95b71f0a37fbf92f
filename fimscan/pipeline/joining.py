"""Changes against everything that was stored about who did what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from sqlalchemy import Connection

from fimscan import join
from fimscan.model import Attribution, Change, FileState, Holders, Scan, ScanStatus, UnmodifiedOpen, Window
from fimscan.pipeline.users import user_name
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import files
from fimscan.store import scans as scan_store

# By how much audit stamps and read times, each from its own coarse clock, may disagree.
_SLACK_NS = 2 * join.SLACK_NS


class Joiner:
    """The changes between two neighbouring scans, against everything that was stored about who did what.

    ``logs`` are those that have to have been read for the coverage to be complete.
    """

    def __init__(
        self, connection: Connection, host_id: int, previous: Scan, scan_id: int, logs: Sequence[bytes]
    ) -> None:
        self._connection = connection
        self._logs = logs
        self._host_id = host_id
        self._previous = previous
        self._scan_id = scan_id
        self._span = (0, 0)
        self._changed: set[tuple[int, int]] = set()
        self._written: set[tuple[int, int]] = set()

    def attribute(self, changes: Sequence[Change]) -> list[tuple[Change, Attribution]]:
        """An answer for each change."""
        connection, host_id = self._connection, self._host_id
        start = min([self._previous.started_ns, *(c.holders.as_of_ns for c in changes if c.holders is not None)])
        start = min([start, *(c.window.after_ns for c in changes)])
        end = max([time.time_ns(), *(c.window.before_ns for c in changes)])
        known = join.Known.of(files.directories(connection, host_id, self._previous.id, self._scan_id))
        self._span = (start - _SLACK_NS, end)
        relevant = self._relevant(join.Relevance(changes, known))
        index = join.AccessIndex(access_store.load(connection, relevant, user_name=user_name), known)
        evidence = join.Evidence(
            index=index,
            prior=self._prior(changes),
            names=self._names(changes),
        )
        coverage = self._coverage(start, end)
        self._changed = {
            state.identity for c in changes if not join.content_kept(c) for state in (c.before, c.after) if state
        }
        return [(change, join.attribute(change, evidence, coverage)) for change in changes]

    def _coverage(self, start: int, end: int) -> join.CoverageMap:
        connection, host_id = self._connection, self._host_id
        seen = audit_store.observations(connection, host_id, start, end)
        times = [observation.time_ns for observation in seen]
        # Two observations are judged by all that was noticed between them, also before the span asked for.
        notices = audit_store.notices(connection, host_id, min([start, *times]), max([end, *times]))
        return join.CoverageMap(seen, notices, [audit_store.extents(connection, host_id, log) for log in self._logs])

    def opened_unmodified(self, clock: join.ReadClock) -> tuple[UnmodifiedOpen, ...]:
        """Write-opens of files whose content is what it was; after :meth:`attribute`, which looks at the accesses."""
        identities = self._written - self._changed
        before = join.ReadClock.load(scan_store.read_clock(self._connection, self._previous.id))
        states: dict[tuple[int, int], list[tuple[FileState, Window]]] = {}
        for version in files.by_identity(self._connection, self._host_id, identities, self._scan_id):
            path = version.state.path
            window = Window(after_ns=before.at(path) or 0, before_ns=clock.at(path) or 0)
            states.setdefault(version.state.identity, []).append((version.state, window))
        if not states:
            return ()
        # A second look at the rows, rather than all of them kept in memory for the few that are needed.
        monitored = (r for r in self._references() if r.action in join.WRITES and r.identity in states)
        return join.opened_unmodified(access_store.load(self._connection, monitored, user_name=user_name), states)

    def _references(self) -> Iterator[access_store.Reference]:
        return access_store.references(self._connection, self._host_id, *self._span)

    def _relevant(self, relevance: join.Relevance) -> Iterator[access_store.Reference]:
        """What the changes need; which other files were opened for writing is noted on the way."""
        for found in self._references():
            dev, inode = found.identity
            if found.action in join.WRITES and dev is not None and inode is not None:
                self._written.add((dev, inode))
            if (
                relevance.by_identity(found.identity, found.replaced)
                or relevance.by_name(found.parent, found.name)
                or relevance.by_name(found.old_parent, found.old_name)
            ):
                yield found

    def _names(self, changes: Sequence[Change]) -> dict[tuple[int, int], int]:
        """How many names of each file with hard links are known, at the scan that knows more of them."""
        linked = {s.identity for c in changes for s in (c.before, c.after) if s is not None and s.nlink > 1}
        counts: dict[tuple[int, int], int] = {}
        for scan_id in (self._previous.id, self._scan_id):
            versions = files.by_identity(self._connection, self._host_id, linked, scan_id)
            here = Counter(version.state.identity for version in versions)
            counts = {identity: max(here[identity], counts.get(identity, 0)) for identity in linked}
        return counts

    def _prior(self, changes: Sequence[Change]) -> dict[tuple[int, int], FileState]:
        """What each file concerned was at the previous scan, under whatever name."""
        wanted = {change.after.identity for change in changes if change.after is not None}
        versions = files.by_identity(self._connection, self._host_id, wanted, self._previous.id)
        return {version.state.identity: version.state for version in versions}


def with_holders(connection: Connection, previous: Scan, running: Scan, changes: Sequence[Change]) -> list[Change]:
    """The changes between two scans, with who held each file open when either began."""
    held = scan_store.holders_at(connection, previous.id)
    later = scan_store.holders_at(connection, running.id)
    complete = previous.counts.get("unexamined_processes", 0) == 0
    return [
        replace(
            change,
            holders=Holders(
                as_of_ns=previous.started_ns,
                actors=tuple(held.get(change.state.identity, ())),
                complete=complete,
                later_ns=running.started_ns,
                later=tuple(later.get(change.state.identity, ())),
            ),
        )
        for change in changes
    ]


def attribute_again(connection: Connection, host_id: int, since_ns: int, logs: Sequence[bytes]) -> None:
    """Answer anew for the changes whose window reaches past ``since_ns``: later records may say more."""
    finished = [s for s in scan_store.all_scans(connection, host_id) if s.status is ScanStatus.FINISHED]
    by_scan: dict[int, list[Change]] = {}
    for finding in scan_store.findings_since(connection, host_id, since_ns - _SLACK_NS):
        by_scan.setdefault(finding.scan, []).append(finding.change)
    for earlier, later in pairwise(finished):
        if later.id in by_scan:
            joiner = Joiner(connection, host_id, earlier, later.id, logs)
            for change, attribution in joiner.attribute(by_scan[later.id]):
                scan_store.set_attribution(connection, change.id, attribution)
