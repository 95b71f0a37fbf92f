"""Attribute the changes between two neighbouring scans, from everything that is stored about processes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence, Set
from itertools import chain
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from fimscan import attribution
from fimscan.compact import Identities
from fimscan.config import Config
from fimscan.gc_pause import gc_paused
from fimscan.linux.users import user_name
from fimscan.model import (
    Actor,
    Attribution,
    Change,
    EventId,
    FileAccess,
    FileKind,
    FileState,
    RetentionKind,
    Scan,
    UnmodifiedOpen,
    Window,
    WitnessData,
)
from fimscan.paths import parent
from fimscan.pipeline.audit.core_pattern import core_pattern
from fimscan.pipeline.audit.prior import PriorStates
from fimscan.pipeline.audit.processes import Processes, access_of_life, change_of_lives, sightings
from fimscan.pipeline.record.last_read import Readings, is_at_or_below
from fimscan.spool import Mapped, Spool, in_pieces
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import devices as device_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store
from fimscan.store import witness as witness_store
from fimscan.store.session import Session

# Audit timestamps and read times come from coarse clocks; they may differ by this much.
_SLACK_NS = 2 * attribution.SLACK_NS
_FEW = 100_000  # accesses that stay in memory, some 100 MB. With more, which are on disk, the join takes twice as long
_TOGETHER = 4  # accesses: files are seldom answered in the order in which they were accessed
_NO_DIRECTORIES = attribution.KnownDirectories.of(())
Identity: TypeAlias = tuple[int, int]
#: A name as (identity of its directory, last component).
_NameKey: TypeAlias = tuple[tuple[int | None, int | None], bytes]
# Actions that bind a path to a file, or unbind it.
_BINDINGS = frozenset({*attribution.BINDS, *attribution.UNBINDS})


class _Seen(NamedTuple):
    """What is needed of all changes at once.

    Attributes:
        begins: the first and the last begin of a window; empty without changes.
        ends: the first and the last end of a window.
        first_ns: the first time that matters for any change.
        held: the processes that had changed files open.
        files: the files that are at changed paths now.
    """

    begins: list[int]
    ends: list[int]
    first_ns: int | None
    held: list[Actor]
    files: Identities


def _outer(span: list[int], time_ns: int) -> list[int]:
    """The earliest and the latest of these times."""
    return [min([*span, time_ns]), max([*span, time_ns])]


class Attributor:
    """Joins the changes between two neighbouring scans with accesses, holders, crashes and fanotify's events.

    Args:
        session: the store.
        previous: the earlier scan.
        scan_id: the later scan.
        logs: the audit logs that have to have been read for coverage to be complete.
        readings: when files were last read; needed for :meth:`opened_unmodified`.
        known: the directories of both scans, if the caller has them already.
    """

    def __init__(
        self,
        session: Session,
        previous: Scan,
        scan_id: int,
        logs: Sequence[bytes],
        readings: Readings | None = None,
        known: attribution.KnownDirectories | None = None,
    ) -> None:
        self._known = known
        self._readings = readings
        # By file: the old states, and the windows in which they are known to have stayed the same.
        self._unchanged_in: dict[tuple[int, int], list[tuple[FileState, Window]]] = {}
        self._session = session
        self._logs = logs
        self._previous = previous
        self._scan_id = scan_id
        self._span = (0, 0)
        # Blocks of records that were read after a window had begun, although they have events from before it.
        self._late: dict[int, access_store.LateBlock] = {}
        self._ended_by: dict[EventId, int] = {}
        self._changed = Identities()
        self._written = Identities()
        looks = [device_store.devices_at(session, number) for number in (previous.id, scan_id)]
        self._numbering = attribution.DeviceNumbers(looks)
        self._processes = Processes(session)

    def attribute(self, changes: Sequence[Change], since_ns: int | None = None) -> Iterator[tuple[Change, Attribution]]:
        """Yield each change with its answer. Both are made while they are taken: they need much memory.

        Reads all accesses since ``since_ns``, so that :meth:`opened_unmodified` knows them. It goes through the changes
        several times.
        """
        with gc_paused():
            yield from self._attribute(changes, since_ns)

    def _attribute(self, changes: Sequence[Change], since_ns: int | None) -> Iterator[tuple[Change, Attribution]]:
        session = self._session
        seen = self._look_through(changes)
        start = self._previous.started_ns if since_ns is None else since_ns
        if seen.first_ns is not None:
            start = min(start, seen.first_ns)
        end = max([time.time_ns(), *seen.ends])
        known = self._known
        if known is None:
            # Without a change they are not needed; on a large host, reading them takes a second.
            known = directories_of(session, self._previous.id, self._scan_id) if changes else _NO_DIRECTORIES
        self._span = (start - _SLACK_NS, end)
        if seen.begins:
            self._late = access_store.late_blocks(session, *seen.begins)
        coverage = self._coverage(start, end)
        links = self._other_links(changes)
        relevant = self._relevant(attribution.Relevance(changes, known, self._numbering.audited, links))
        found = access_store.load(session, relevant, user_name=user_name)
        loaded = Spool(found, session.directory, together=_TOGETHER, few=_FEW)
        lives = self._processes.distinguish_lives(loaded, seen.held, self._span)
        # They were loaded backwards in time.
        accesses: Sequence[FileAccess] = Mapped(lambda one: access_of_life(one, lives), loaded, backwards=True)
        changes = Mapped(lambda change: change_of_lives(change, lives), changes)
        if not self._numbering.is_plain:
            changes = list(changes)  # files are told apart by all that is known of them
        others, is_whole = self._files_with_same_inode(changes)
        others += links
        translated = attribution.translate_devices(
            accesses, changes, known, self._numbering, keys=coverage.keys, states=others, is_whole=is_whole
        )
        names, copied = self._copied_up(changes, translated.changes)
        prior = PriorStates(session, self._previous.id, seen.files, copied)
        evidence = attribution.Evidence(
            index=attribution.AccessIndex(translated.accesses, known),
            prior=prior,
            doubtful=translated.doubtful,
            ended_by=self._ended_by,
            is_timed=self._numbering.is_timed,
        )
        begin_ns = min(seen.begins, default=end)
        pairs: Iterator[tuple[Change, Change]] = ((change, change) for change in changes)
        if translated.changes is not changes:
            pairs = zip(changes, translated.changes, strict=True)
        for piece in in_pieces(pairs):
            mine = [change for change, _ in piece]
            prior.load(mine)
            of_piece = replace(
                evidence,
                names=self._names(mine) if names is None else names,
                witness=self._witness_data(mine, begin_ns, end),
                directories=self._directories_of(mine) if coverage.depends_on_permissions else {},
            )
            answers = []
            for change, same in piece:
                answers.append((change, attribution.attribute(same, of_piece, coverage)))
                evidence.index.forget()
            yield from self._completed(answers, start, end)

    def _look_through(self, changes: Iterable[Change]) -> _Seen:
        """Find what is needed of all changes at once; note which files changed, and when they were still unchanged."""
        held: list[Actor] = []
        found = Identities()
        times: list[int] = []
        begins: list[int] = []
        ends: list[int] = []
        for change in changes:
            window, holders = change.window, change.holders
            begins = _outer(begins, window.after_ns)
            ends = _outer(ends, window.before_ns)
            if holders is not None:
                times = _outer(times, holders.as_of_ns)
                held += sightings(holders)
            if (unchanged := self._known_to_be_unmodified(change)) is not None:
                times = _outer(times, unchanged[1].after_ns)
                self._unchanged_in.setdefault(unchanged[0].identity, []).append(unchanged)
            if change.after is not None:
                found.add(change.after.identity)
            if not attribution.content_kept(change):
                for state in change.sides:
                    self._changed.add(state.identity)
        return _Seen(begins=begins, first_ns=min([*begins, *times], default=None), ends=ends, held=held, files=found)

    def _copied_up(
        self, changes: Sequence[Change], translated: Sequence[Change]
    ) -> tuple[dict[Identity, int] | None, dict[Identity, FileState]]:
        """Find files that an overlay copied up, which have another identity now.

        Returns the number of names of each file with hard links, and the states of the copied files by their new
        identity; ``None`` for the names where no file can be copied.
        """
        copied: dict[Identity, FileState] = {}
        if translated is changes:
            return None, copied
        names = self._names(changes)
        for change, same in zip(changes, translated, strict=True):
            if change is not same and change.before is not None and same.before is not None:
                names[same.before.identity] = names.get(change.before.identity, 1)
                copied.setdefault(same.before.identity, same.before)
        return names, copied

    def _witness_data(self, changes: Sequence[Change], begin_ns: int, end_ns: int) -> WitnessData:
        """Load fanotify's events of some changed files; ``begin_ns`` is the begin of the first window of all."""
        if not self._numbering.is_plain:
            return WitnessData()  # fanotify reports the superblock's device number; here some recorded numbers differ
        wanted = {state.identity for change in changes for state in change.sides if state.kind is FileKind.FILE}
        left_ns = _records_since(self._session)
        return witness_store.load(self._session, wanted, begin_ns - _SLACK_NS, end_ns, left_ns=left_ns)

    def _completed(
        self, answers: Sequence[tuple[Change, Attribution]], start: int, end: int
    ) -> Iterator[tuple[Change, Attribution]]:
        """Add to the answers what is known of their processes, and of core dumps that the kernel wrote."""
        processes = self._processes
        processes.prepare({actor.pid for _, answer in answers for actor in answer.actors}, (start, end))
        crashes, pattern = processes.crashes(start, end), core_pattern()
        for change, answer in answers:
            final = answer
            if crashes and pattern is not None:
                final = attribution.attribute_core_dump(change, answer, crashes, pattern)
            yield processes.completed_change(change), processes.completed_answer(final)

    def _directories_of(self, changes: Sequence[Change]) -> dict[bytes, list[FileState]]:
        """Load the states of the changed files' directories, at both scans."""
        paths = {parent(state.path) for change in changes for state in change.sides}
        found: dict[bytes, list[FileState]] = {}
        for scan_id in (self._previous.id, self._scan_id):
            for path, version in files.at_paths(self._session, paths, scan_id).items():
                found.setdefault(path, []).append(version.state)
        return found

    def _files_with_same_inode(self, changes: Sequence[Change]) -> tuple[list[FileState], bool]:
        """Load files of other subvolumes with a changed file's inode number: (their states, whether all are known)."""
        if self._numbering.is_plain:
            return [], False
        wanted = self._numbering.identities_in_other_subvolumes(state for change in changes for state in change.sides)
        if not wanted:
            return [], False
        found = [
            state
            for scan_id in (self._previous.id, self._scan_id)
            for state in files.by_identity(self._session, wanted, scan_id)
        ]
        return found, self._monitors_everything()

    def _monitors_everything(self) -> bool:
        """Whether neither scan excluded anything from the watched directories, so that every file there is known."""
        digests = {self._previous.config_digest, scan_store.config_digest(self._session, self._scan_id)}
        texts = [scan_store.configuration_text(self._session, digest) for digest in digests]
        configs = [Config.from_canonical(text) for text in texts if text is not None]
        return len(configs) == len(digests) and not any(watch.exclude for config in configs for watch in config.watch)

    def _coverage(self, start: int, end: int) -> attribution.CoverageMap:
        session = self._session
        seen = audit_store.observations(session, start, end)
        # Where the clock was set back, some are of times that have not come yet. They show that it was.
        ahead = audit_store.observations_after(session, end)
        times = [observation.time_ns for observation in seen]
        # The time between two observations is judged by all notices in it, also by those before ``start``.
        since = min([start, *times])
        notices = audit_store.notices(session, since, max([end, *times]))
        notices += audit_store.user_mounts(session, since)
        return attribution.CoverageMap(
            {one.time_ns: one for one in (*seen, *ahead)}.values(),
            notices,
            # Records from before that were pruned: the log counts as not read then.
            [audit_store.extents(session, log, since_ns=_records_since(session)) for log in self._logs],
            superblocks=self._numbering.superblocks,
            unauditable=attribution.unauditable_paths(self._numbering.looks),
        )

    def opened_unmodified(
        self, clock: attribution.ReadClock | None = None, unread: Collection[bytes] = ()
    ) -> tuple[UnmodifiedOpen, ...]:
        """Return the write-opens that changed nothing. Call :meth:`attribute` first: it reads the accesses.

        A changed file may have been opened before a live look that found it unchanged. Opens of unchanged files are
        reported only after a complete scan.

        Args:
            clock: when the complete scan read each file; ``None`` after a partial scan.
            unread: paths that the scan could not read. Opens of these, and of what is below, are not reported: they
                may have changed the content.
        """
        states = dict(self._unchanged_in)
        if clock is not None:
            assert self._readings is not None, "a complete scan passes the readings"
            written = (recorded for identity in self._written for recorded in self._numbering.recorded(identity))
            identities = {identity for identity in written if identity not in self._changed}
            for state in files.by_identity(self._session, identities, self._scan_id):
                if is_at_or_below(state.path, unread):
                    continue
                window = Window(
                    after_ns=self._readings.full.last_verified(state.path, state.read_start_ns),
                    before_ns=clock.at(state.path) or 0,
                )
                states.setdefault(state.identity, []).append((state, window))
        if not states:
            return ()
        # Reads the rows a second time: few are needed, and keeping all would take much memory.
        wanted: set[tuple[int | None, int | None]] = {
            audited for identity in states for audited in self._numbering.audited(identity)
        }
        monitored = (r for r in self._references() if r.action in attribution.WRITES and r.identity in wanted)
        found = list(access_store.load(self._session, monitored, user_name=user_name))
        known = self._known or _NO_DIRECTORIES
        if not self._numbering.is_plain:
            known = directories_of(self._session, self._previous.id, self._scan_id)
        unchanged = [state for pairs in states.values() for state, _ in pairs]
        translated = attribution.translate_devices(found, (), known, self._numbering, states=unchanged)
        sure = (access for access in translated.accesses if access.event not in translated.doubtful)
        return tuple(map(self._processes.completed_open, attribution.opened_unmodified(sure, states)))

    def _known_to_be_unmodified(self, change: Change) -> tuple[FileState, Window] | None:
        """Find the time before a change in which the old content is known to have stayed the same."""
        stretch = self._readings.known_unchanged(change) if self._readings is not None else None
        if stretch is None or change.before is None:
            return None
        return change.before, Window(after_ns=stretch[0], before_ns=stretch[1])

    def _references(self, *, backwards: bool = False) -> Iterator[access_store.Reference]:
        return access_store.references(self._session, *self._span, backwards=backwards)

    def _relevant(self, relevance: attribution.Relevance) -> Iterator[access_store.Reference]:
        """Yield the accesses that concern the changes; note which files were opened for writing."""
        given_names: set[_NameKey] = set()
        selected: set[tuple[EventId, int]] = set()
        for found in chain(self._references(backwards=True), self._from_before()):
            dev, inode = found.identity
            if dev is not None and inode is not None and found.action in attribution.WRITES:
                self._written.add((dev, inode))
            by_name = relevance.by_name(found.parent, found.name)
            by_old_name = found.old_name is not None and relevance.by_name(found.old_parent, found.old_name)
            if by_name or by_old_name or relevance.by_identity(found.identity, found.replaced):
                if found.action in _BINDINGS and (by_name or by_old_name):
                    _follow(relevance, found)
                if (late := self._late.get(found.block_id)) is not None:
                    self._ended_by[found.event] = late.stored_ns
                if self._numbering.has_overlays:
                    selected.add((found.event, found.item))
                    if found.action in attribution.BINDS and found.name is not None:
                        given_names.add((found.parent, _base(found.name)))
                yield found
        if given_names:
            yield from self._removals(given_names, selected)

    def _from_before(self) -> Iterator[access_store.Reference]:
        """Yield the accesses that began before the first window, and may have ended in it: they were read later."""
        first_ns, until_ns = min((block.first_ns for block in self._late.values()), default=0), self._span[0] - 1
        if self._late and first_ns <= until_ns:
            for found in access_store.references(self._session, first_ns, until_ns, backwards=True):
                if found.block_id in self._late:
                    yield found

    def _removals(self, names: Set[_NameKey], selected: Set[tuple[EventId, int]]) -> Iterator[access_store.Reference]:
        """Yield the removals and replacements, not ``selected`` yet, of names that were given to the selected files.

        On an overlay, their records can have the file's identity in the upper layer. Without them, a file would seem to
        have kept its inode number, and the next file with that number would be taken for it.
        """
        for found in self._references():
            is_removal = found.action in attribution.UNBINDS and (found.event, found.item) not in selected
            if is_removal and found.name is not None and (found.parent, _base(found.name)) in names:
                yield found

    def _other_links(self, changes: Sequence[Change]) -> list[FileState]:
        """Load the other names that changed files had at the previous scan, where records may lack their identity.

        The removal of such a name changes the link count. The scan may have read that name before it was removed, so
        that it is no change.
        """
        if not self._numbering.has_overlays:
            return []
        linked = {c.before.identity for c in changes if c.before is not None and c.before.nlink > 1}
        states = files.by_identity(self._session, linked, self._previous.id)
        changed = {c.before.path for c in changes if c.before is not None}
        return [state for state in states if state.path not in changed]

    def _names(self, changes: Sequence[Change]) -> dict[tuple[int, int], int]:
        """Count the known names of each file with hard links, at the scan that knows more of them."""
        linked = {s.identity for c in changes for s in (c.before, c.after) if s is not None and s.nlink > 1}
        counts: dict[tuple[int, int], int] = {}
        for scan_id in (self._previous.id, self._scan_id):
            here = Counter(state.identity for state in files.by_identity(self._session, linked, scan_id))
            counts = {identity: max(here[identity], counts.get(identity, 0)) for identity in linked}
        return counts


def _base(name: bytes) -> bytes:
    return name.rstrip(b"/").rpartition(b"/")[2]


def _follow(relevance: attribution.Relevance, found: access_store.Reference) -> None:
    """Follow the file that an access bound to a changed path, or unbound from it, and the name that it came from."""
    is_bound_here = relevance.is_followed(found.parent, found.name)
    if is_bound_here or relevance.is_followed(found.old_parent, found.old_name):
        relevance.follow_file(found.identity, found.replaced)
    if is_bound_here and found.action in attribution.MOVES:
        relevance.follow_name(found.old_parent, found.old_name)


def directories_of(session: Session, start: int, end: int) -> attribution.KnownDirectories:
    """Load the directories of two scans."""
    return attribution.KnownDirectories.of(files.directories(session, start, end))


def _records_since(session: Session) -> int:
    """The time before which audit records were pruned; 0 if none were."""
    sealed = scan_store.checkpoint(session)
    return 0 if sealed is None else sealed.before_ns.get(RetentionKind.ACCESSES, 0)


def _evidence_since(change: Change) -> int:
    """The time of the first record on which the answer about a change can rest."""
    held = change.holders
    times = [change.window.after_ns] if held is None else [change.window.after_ns, held.as_of_ns]
    return min([*times, *([held.earlier_ns] if held is not None and held.earlier_ns else [])])


def attribute_again(session: Session, since_ns: int, logs: Sequence[bytes]) -> None:
    """Attribute again the changes whose window ends after ``since_ns``, since records came late.

    Answers stay as they are if records on which they may rest were pruned.
    """
    by_scan: dict[int, list[Change]] = {}
    left_ns = _records_since(session)
    for finding in finding_store.findings_since(session, since_ns - _SLACK_NS):
        if left_ns and _evidence_since(finding.change) - _SLACK_NS < left_ns:
            continue
        by_scan.setdefault(finding.scan, []).append(finding.change)
    for scan_id, changes in by_scan.items():
        earlier = scan_store.finished_before(session, scan_id)
        if earlier is not None:
            attributor = Attributor(session, earlier, scan_id, logs)
            answers = {change.id: attribution for change, attribution in attributor.attribute(changes)}
            finding_store.set_attributions(session, answers)
