"""One look at a few paths: what is there, who could write to it, and, if something changed, a partial scan of it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Connection

from fimscan import attribution, compare, linux
from fimscan.linux.filesystems import Devices, Numbers
from fimscan.linux.users import user_name
from fimscan.model import (
    LIVE,
    Actor,
    Change,
    Diff,
    Doubt,
    FileKind,
    FileState,
    Finding,
    Holders,
    Unreadable,
    UnreadableReason,
)
from fimscan.paths import as_prefix
from fimscan.pipeline.audit.joining import Joiner, directories_of
from fimscan.pipeline.audit.reading import AuditReader
from fimscan.pipeline.live.queue import LookQueue, LookRequest
from fimscan.pipeline.record import scan_entry
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.last_read import FullReading, Readings, doubts_of, read_before
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.record.rotation import LogJudge
from fimscan.pipeline.result import ScanResult
from fimscan.pipeline.settings import ScanPlan
from fimscan.state_row import pack
from fimscan.store import devices as device_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store
from fimscan.store import sightings as sighting_store
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest

_LOOK_SECONDS = 1.0  # of reading at most: the lock is held meanwhile
_PASSING = frozenset({UnreadableReason.UNSTABLE, UnreadableReason.VANISHED, UnreadableReason.LEASED})

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One path as it was found, beside what is stored of it. ``holders`` could write to it when its reading began."""

    pair: compare.Pair[FileState, FileState]
    version: files.Version | None
    seen_ns: int
    holders: Holders | None
    has_only_grown: bool = False

    @property
    def is_news(self) -> bool:
        """Whether what is stored does not say this. Growth of a log is left to the complete scans."""
        before, after = self.pair.before, self.pair.after
        return before is None or after is None or not (self.has_only_grown or compare.says_the_same(before, after))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """Who could write to which of the files that are to be looked at, before the first of them is read."""

    as_of_ns: int
    stats: Mapping[bytes, os.stat_result]
    held: Mapping[Identity, list[Actor]]
    doubts: tuple[Doubt, ...]
    everything: bool
    numbers: Numbers

    def identity(self, found: os.stat_result) -> Identity:
        """Device and inode of a file, as they are recorded."""
        return self.numbers[found.st_dev], found.st_ino

    def holders(self, state: FileState, writable: Set[Identity]) -> Holders | None:
        """Those of a file, ``None`` where nobody asked for it: it came to its path only after that.

        ``writable`` are the files that were open for writing when they were read.
        """
        here = self.stats.get(state.path)
        if not self.everything and (here is None or self.identity(here) != state.identity):
            return None
        actors = tuple(self.held.get(state.identity, ()))
        held = sighting_store.Held(actors=dict(self.held), writable=frozenset(writable), doubts=self.doubts)
        doubts = doubts_of(held, state.identity, (state,), was_read=True)
        return Holders(as_of_ns=self.as_of_ns, actors=actors, doubts=doubts)


@dataclass(slots=True)
class _Batch:
    seen: dict[bytes, Seen] = field(default_factory=dict)
    covered: list[bytes] = field(default_factory=list)
    writable: set[Identity] = field(default_factory=set)

    def has(self, path: bytes) -> bool:
        """Whether it was seen already, with the directory above it."""
        return path in self.seen or any(path.startswith(above) for above in self.covered)


class SpotCheck:
    """Looks at the paths of an agenda. Needs the writer lock while it does.

    Args:
        max_size: bytes; files that are larger are left to the complete scans.
    """

    def __init__(
        self, database: Database, plan: ScanPlan, reader: AuditReader, queue: LookQueue, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._plan = plan
        self._reader = reader
        self._queue = queue
        self._clock = clock
        # No other scan can run meanwhile: a leased file is looked at again later, not waited for.
        self._path_scanner = plan.path_scanner(wait_for_leases=False)
        self._known: tuple[int, attribution.KnownDirectories] | None = None  # the directories, as of a scan
        self._survey: Survey | None = None

    def look(self, due: Sequence[LookRequest], full: FullReading) -> tuple[ScanResult | None, tuple[str, ...]]:
        """Look at what is due; gives the partial scan, if something changed, and the problems with the audit log."""
        survey = self._surveyed()
        seen = self._see(due, survey)
        if not any(one.is_news for one in seen):
            if kept := [one for one in map(_recheck, seen) if one is not None]:
                with self._database.begin() as connection:
                    sighting_store.set_rechecks(connection, self._database.host_id, kept)
            return None, ()
        # What was done before the reading has to be in the log by now.
        problems = self._reader.look(settle=True)
        with self._database.begin() as connection:
            return self._record(connection, seen, full, survey), problems

    def _surveyed(self) -> Survey:
        """What file systems there are: asked anew only when something was mounted or unmounted."""
        if self._survey is None or self._survey.is_outdated():
            with self._database.read() as connection:
                host_id = self._database.host_id
                last = scan_store.last_finished(connection, host_id)
                known = device_store.devices_at(connection, host_id, last.id) if last is not None else Devices()
                self._survey = Survey.of(connection, host_id, known, self._plan.roots)
            self._path_scanner.numbers = self._survey.numbers
        return self._survey

    # ----------------------------------------------------------------------------------------------------------------

    def _see(self, due: Sequence[LookRequest], survey: Survey) -> list[Seen]:
        moment = self._ask_who_holds(due, survey)
        begun = self._clock()
        batch = _Batch()
        with self._database.read() as connection:
            for request in due:
                if self._clock() - begun > _LOOK_SECONDS:
                    break  # the others are still due
                if batch.has(request.path):
                    self._queue.done(request.path)
                elif not self._is_left(connection, request, moment):
                    self._see_one(connection, request, batch, (moment, survey))
        return sorted(batch.seen.values(), key=lambda one: one.pair.path)

    def _ask_who_holds(self, due: Sequence[LookRequest], survey: Survey) -> _Moment:
        stats = {request.path: found for request in due if (found := self._path_scanner.stat(request.path)) is not None}
        # Which files lie in a directory is not known before it is read.
        everything = any(request.below or _is_directory(stats.get(request.path)) for request in due)
        of = None if everything else set(survey.as_asked(stats.items()))
        as_of_ns = time.time_ns()
        opened = linux.open_for_writing(os.getpid(), user_name=user_name, of=of, times=1)
        held: dict[Identity, list[Actor]] = {}
        for holder in survey.holders(opened.holders):
            held.setdefault((holder.dev, holder.inode), []).append(holder.actor)
        return _Moment(
            as_of_ns=as_of_ns,
            stats=stats,
            held=held,
            doubts=opened.doubts,
            everything=everything,
            numbers=survey.numbers,
        )

    def _is_left(self, connection: Connection, request: LookRequest, moment: _Moment) -> bool:
        """Whether a path is not looked at now: it is too large, or still being written."""
        found = moment.stats.get(request.path)
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        if found.st_size > self._plan.config.live.max_size_bytes:
            self._queue.done(request.path)
            return True
        if moment.identity(found) not in moment.held:
            return False
        if not self._queue.is_overdue(request.path):
            self._queue.wait(request.path)
            return True
        version = files.open_at(connection, self._database.host_id, request.path)
        if version is not None and _is_untouched(version.state, moment.identity(found), found):
            # Nothing says when its holder writes or closes, so it is asked again, for as long as it is held.
            self._queue.again(request.path)
            return True
        return False

    def _see_one(
        self, connection: Connection, request: LookRequest, batch: _Batch, looked: tuple[_Moment, Survey]
    ) -> None:
        moment, survey = looked
        retry = False
        below, versions, found = self._found(connection, request, batch.writable)
        seen_ns = time.time_ns()
        if below:
            batch.covered.append(as_prefix(request.path))
        for pair in compare.merge([version.state for version in versions.values()], found):
            if pair.unreadable is not None:
                retry |= pair.unreadable.reason in _PASSING
                continue
            if pair.before is not None and pair.after is not None:
                pair = replace(pair, before=survey.aligned(pair.before, pair.after))  # noqa: PLW2901
            holders = moment.holders(pair.after, batch.writable) if pair.after is not None else None
            retry |= holders is not None and bool(holders.actors or holders.doubts)
            version = versions.get(pair.path)
            grown = self._has_only_grown(pair)
            one = Seen(pair=pair, version=version, seen_ns=seen_ns, holders=holders, has_only_grown=grown)
            batch.seen.setdefault(pair.path, one)
        if retry:
            self._queue.again(request.path, below=request.below)
        else:
            self._queue.done(request.path)

    def _has_only_grown(self, pair: compare.Pair[FileState, FileState]) -> bool:
        before, after = pair.before, pair.after
        if before is None or after is None or not self._plan.scope.is_append_only(pair.path):
            return False
        return not compare.says_the_same(before, after) and compare.has_only_grown(before, after)

    def _found(
        self, connection: Connection, request: LookRequest, writable: set[Identity]
    ) -> tuple[bool, dict[bytes, files.Version], list[FileState | Unreadable]]:
        """(was the subtree taken in, what is stored of it by path, what is there).

        ``writable`` takes in which files somebody has open for writing.
        """
        host_id, path, skip = self._database.host_id, request.path, self._plan.skip
        version = files.open_at(connection, host_id, path)
        # Of logs, what was verified before is read again as such.
        sizes = dict(files.sizes(connection, host_id, [path])) if self._plan.scope.has_logs else {}
        look = partial(self._path_scanner.look, path, skip=skip, verified=sizes.get, writable=writable)
        found = list(look(below=request.below))
        now = next((one for one in found if one.path == path and isinstance(one, FileState)), None)
        if now is not None and not self._plan.scope.includes(path, is_directory=now.kind is FileKind.DIRECTORY):
            return False, {}, []
        was_identity = _directory_identity(version.state) if version is not None else None
        is_identity = _directory_identity(now) if now is not None else None
        below = request.below or was_identity != is_identity
        if below and not request.below:
            found = list(look(below=True))
        stored = files.below(connection, host_id, path) if below else iter(() if version is None else (version,))
        return below, {one.state.path: one for one in stored}, found

    # ----------------------------------------------------------------------------------------------------------------

    def _record(self, connection: Connection, seen: Sequence[Seen], full: FullReading, survey: Survey) -> ScanResult:
        host_id, config = self._database.host_id, self._plan.config
        previous = scan_store.last_finished(connection, host_id)
        assert previous is not None, "there is a complete scan"
        started_ns = min(one.holders.as_of_ns if one.holders is not None else one.seen_ns for one in seen)
        scan_id = scan_entry.begin(connection, host_id, config, trigger=LIVE, started_ns=started_ns)
        paths = [one.pair.path for one in seen]
        readings = Readings(full=full, rechecks=sighting_store.rechecks(connection, host_id, paths))
        recorder = Recorder(host_id, scan_id, readings, self._plan.scope, self._plan.scope, survey)
        for one in seen:
            _record(recorder, one)
        recorder.flush(connection)
        device_store.add_devices(connection, host_id, scan_id, survey.result())
        assert full.scan is not None, "there is a complete scan"
        judge = LogJudge(connection, host_id, full.scan.id, self._path_scanner, self._plan.generations_to_keep)
        recorder.settle(connection, judge.judge(recorder.disruptions))
        source = self._reader.source
        known = self._directories(connection, previous.id, scan_id, recorder.changes)
        joiner = Joiner(connection, host_id, previous, scan_id, source.paths if source else (), readings, known)
        held = {one.pair.path: one.holders for one in seen if one.holders is not None}
        looked_at = compare.with_moves(recorder.changes)
        read = read_before(connection, host_id, full.scan.id, looked_at)
        changes = [
            readings.with_holders(change, now.as_of_ns, now.actors, read)
            if (now := held.get(change.path)) is not None
            else readings.with_holders(change, read=read)
            for change in looked_at
        ]
        findings = [Finding(change=c, attribution=a, scan=scan_id) for c, a in joiner.attribute(changes)]
        opened = joiner.opened_unmodified()
        digest = StateDigest()
        for some in files.state_digests(connection, host_id):
            digest.add(some)
        sealed = scan_entry.seal(connection, host_id, recorder, findings, opened, digest)
        sighting_store.set_rechecks(connection, host_id, [r for r in map(_recheck, seen) if r is not None])
        found = finding_store.findings_between(connection, host_id, scan_id - 1, scan_id)
        return ScanResult(
            diff=Diff(
                host=self._database.host,
                start=previous,
                end=sealed,
                findings=tuple(sorted(found, key=lambda f: f.change.path)),
                opened_unmodified=opened,
                logs_grown=sealed.counts.get("logs_grown", 0),
                logs_rotated=sealed.counts.get("logs_rotated", 0),
            ),
            is_baseline=False,
        )

    def _directories(
        self, connection: Connection, previous: int, scan_id: int, changes: Sequence[Change]
    ) -> attribution.KnownDirectories:
        """All directories of both scans: read anew only when there may be others, since they may be very many."""
        states = (state for change in changes for state in (change.before, change.after) if state is not None)
        if any(state.kind is FileKind.DIRECTORY for state in states):
            self._known = None
            return directories_of(connection, self._database.host_id, previous, scan_id)
        if self._known is None or self._known[0] != previous:
            self._known = previous, directories_of(connection, self._database.host_id, previous, scan_id)
        self._known = scan_id, self._known[1]
        return self._known[1]


def _record(recorder: Recorder, seen: Seen) -> None:
    after, version = seen.pair.after, seen.version
    if after is None:
        assert version is not None, "a pair without a new side has an old one"
        recorder.record_gone(version, seen.seen_ns)
        return
    recorder.count_one(after)
    if version is None:
        recorder.record_new(pack(after))
    else:
        recorder.record_seen(version, pack(after))


def _recheck(seen: Seen) -> sighting_store.Recheck | None:
    after = seen.pair.after
    if after is None or seen.holders is None or seen.has_only_grown:
        return None
    return sighting_store.Recheck(path=after.path, read_start_ns=after.read_start_ns, holders=seen.holders)


def _is_directory(found: os.stat_result | None) -> bool:
    return found is not None and stat.S_ISDIR(found.st_mode)


def _directory_identity(state: FileState) -> Identity | None:
    return state.identity if state.kind is FileKind.DIRECTORY else None


def _is_untouched(state: FileState, identity: Identity, found: os.stat_result) -> bool:
    """Whether nothing was done to a file since it was read, as far as its inode tells."""
    known = (*state.identity, state.size, state.mtime_ns, state.ctime_ns)
    return known == (*identity, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
