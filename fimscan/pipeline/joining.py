"""Changes against everything that was stored about who did what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from fimscan import join
from fimscan.model import Attribution, Change, FileState, Scan, UnmodifiedOpen, Window
from fimscan.pipeline.cores import core_pattern
from fimscan.pipeline.cycles import no_search_for_cycles
from fimscan.pipeline.processes import Processes
from fimscan.pipeline.readings import Readings
from fimscan.pipeline.users import user_name
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store

# By how much audit stamps and read times, each from its own coarse clock, may disagree.
_SLACK_NS = 2 * join.SLACK_NS
_NOWHERE = join.Known.of(())


class Joiner:
    """The changes between two neighbouring scans, against everything that was stored about who did what.

    ``logs`` are those that have to have been read for the coverage to be complete; with ``readings``, write-opens that
    changed nothing can be told. ``known`` are the directories of both scans, where somebody has them already.
    """

    def __init__(
        self,
        connection: Connection,
        host_id: int,
        previous: Scan,
        scan_id: int,
        logs: Sequence[bytes],
        readings: Readings | None = None,
        known: join.Known | None = None,
    ) -> None:
        self._known = known
        self._readings = readings
        self._cleared: dict[tuple[int, int], list[tuple[FileState, Window]]] = {}
        self._connection = connection
        self._logs = logs
        self._host_id = host_id
        self._previous = previous
        self._scan_id = scan_id
        self._span = (0, 0)
        self._changed: set[tuple[int, int]] = set()
        self._written: set[tuple[int, int]] = set()
        self._processes = Processes(connection, host_id)

    @no_search_for_cycles()
    def attribute(self, changes: Sequence[Change], since_ns: int | None = None) -> list[tuple[Change, Attribution]]:
        """An answer for each change.

        All accesses since ``since_ns`` are gone through: those that :meth:`opened_unmodified` is to know of.
        """
        connection, host_id = self._connection, self._host_id
        self._cleared = self._known_to_be_unmodified(changes)
        starts = [c.holders.as_of_ns for c in changes if c.holders is not None]
        starts += [window.after_ns for some in self._cleared.values() for _, window in some]
        starts += [c.window.after_ns for c in changes]
        start = min([self._previous.started_ns if since_ns is None else since_ns, *starts])
        end = max([time.time_ns(), *(c.window.before_ns for c in changes)])
        known = self._known
        if known is None:
            # Of many files without a change, the directories alone would take a second to read.
            known = directories_of(connection, host_id, self._previous.id, self._scan_id) if changes else _NOWHERE
        self._span = (start - _SLACK_NS, end)
        relevant = self._relevant(join.Relevance(changes, known))
        found = access_store.load(connection, relevant, user_name=user_name)
        accesses, changes = self._processes.told_apart(found, changes, self._span)
        index = join.AccessIndex(accesses, known)
        evidence = join.Evidence(
            index=index,
            prior=self._prior(changes),
            names=self._names(changes),
        )
        coverage = self._coverage(start, end)
        self._changed = {
            state.identity for c in changes if not join.content_kept(c) for state in (c.before, c.after) if state
        }
        answers = [(change, join.attribute(change, evidence, coverage)) for change in changes]
        return list(self._completed(answers, start, end))

    def _completed(
        self, answers: Sequence[tuple[Change, Attribution]], start: int, end: int
    ) -> Iterator[tuple[Change, Attribution]]:
        """The answers with what is known of their processes, and of files that the kernel wrote."""
        processes = self._processes
        processes.prepare({actor.pid for _, answer in answers for actor in answer.actors}, (start, end))
        crashes, pattern = processes.crashes(start, end), core_pattern()
        for change, answer in answers:
            told = join.dumped(change, answer, crashes, pattern) if crashes and pattern is not None else answer
            yield processes.completed_change(change), processes.completed_answer(told)

    def _coverage(self, start: int, end: int) -> join.CoverageMap:
        connection, host_id = self._connection, self._host_id
        seen = audit_store.observations(connection, host_id, start, end)
        times = [observation.time_ns for observation in seen]
        # Two observations are judged by all that was noticed between them, also before the span asked for.
        notices = audit_store.notices(connection, host_id, min([start, *times]), max([end, *times]))
        return join.CoverageMap(seen, notices, [audit_store.extents(connection, host_id, log) for log in self._logs])

    def opened_unmodified(self, clock: join.ReadClock | None = None) -> tuple[UnmodifiedOpen, ...]:
        """Write-opens of files whose content is what it was, after :meth:`attribute`, which looks at the accesses.

        Those of changed files were made before somebody looked at them, between two scans, and found them unchanged.
        Those of the others are told after a complete scan, whose ``clock`` says until when they were unchanged.
        """
        states = dict(self._cleared)
        if clock is not None:
            assert self._readings is not None, "whoever asks for these knows when the files were read"
            identities = self._written - self._changed
            for version in files.by_identity(self._connection, self._host_id, identities, self._scan_id):
                state = version.state
                window = Window(
                    after_ns=max(self._readings.full.clock.at(state.path) or 0, state.read_start_ns),
                    before_ns=clock.at(state.path) or 0,
                )
                states.setdefault(state.identity, []).append((state, window))
        if not states:
            return ()
        # A second look at the rows, rather than all of them kept in memory for the few that are needed.
        monitored = (r for r in self._references() if r.action in join.WRITES and r.identity in states)
        found = access_store.load(self._connection, monitored, user_name=user_name)
        return tuple(map(self._processes.completed_open, join.opened_unmodified(found, states)))

    def _known_to_be_unmodified(
        self, changes: Sequence[Change]
    ) -> dict[tuple[int, int], list[tuple[FileState, Window]]]:
        found: dict[tuple[int, int], list[tuple[FileState, Window]]] = {}
        for change in changes:
            stretch = self._readings.cleared(change) if self._readings is not None else None
            if stretch is not None and change.before is not None:
                window = Window(after_ns=stretch[0], before_ns=stretch[1])
                found.setdefault(change.before.identity, []).append((change.before, window))
        return found

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


def directories_of(connection: Connection, host_id: int, start: int, end: int) -> join.Known:
    """The directories of two scans."""
    return join.Known.of(files.directories(connection, host_id, start, end))


def attribute_again(connection: Connection, host_id: int, since_ns: int, logs: Sequence[bytes]) -> None:
    """Answer anew for the changes whose window reaches past ``since_ns``: later records may say more."""
    by_scan: dict[int, list[Change]] = {}
    for finding in finding_store.findings_since(connection, host_id, since_ns - _SLACK_NS):
        by_scan.setdefault(finding.scan, []).append(finding.change)
    for scan_id, changes in by_scan.items():
        earlier = scan_store.finished_before(connection, host_id, scan_id)
        if earlier is not None:
            joiner = Joiner(connection, host_id, earlier, scan_id, logs)
            answers = {change.id: attribution for change, attribution in joiner.attribute(changes)}
            finding_store.set_attributions(connection, host_id, answers)
