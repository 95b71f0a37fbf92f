"""Look at a few paths: compare them with their stored states, find their writers, and decide what to do next.

Nothing is written here: see :mod:`fimscan.pipeline.live.partial_scan`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from fimscan import compare, linux
from fimscan.linux.filesystems import Devices, Numbers
from fimscan.linux.users import user_name
from fimscan.model import Actor, Doubt, FileKind, FileState, Holders, Unreadable, UnreadableReason
from fimscan.paths import as_prefix
from fimscan.pipeline.live.queue import Decision, LookRequest, Next
from fimscan.pipeline.record.contents import ContentRecorder
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.holders import Identity
from fimscan.pipeline.record.last_read import doubts_of
from fimscan.pipeline.settings import ScanPlan
from fimscan.store import devices as device_store
from fimscan.store import files
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_LOOK_SECONDS = 1.0  # of reading at most: the lock is held meanwhile
_PASSING = frozenset({UnreadableReason.UNSTABLE, UnreadableReason.VANISHED, UnreadableReason.LEASED})


class CheckedPath(Struct, frozen=True, kw_only=True):
    """What a look found at one path.

    Attributes:
        pair: the stored and the found state.
        version: the stored version.
        seen_ns: when the path was read.
        holders: the processes that could write to it when the reading began; ``None`` if unknown.
        has_only_grown: it is an append-only log that only grew.
    """

    pair: compare.Pair[FileState, FileState]
    version: files.Version | None
    seen_ns: int
    holders: Holders | None
    has_only_grown: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether this differs from what is stored. Growth of a log is left to the complete scans."""
        before, after = self.pair.before, self.pair.after
        return before is None or after is None or not (self.has_only_grown or compare.same_state(before, after))


class CheckResult(Struct, frozen=True, kw_only=True):
    """The result of a look.

    Attributes:
        seen: what was found, in order of path.
        decisions: what happens next to each request; one without a decision was not reached, and is still due.
        survey: the file systems at the watched paths.
    """

    seen: Sequence[CheckedPath]
    decisions: Sequence[Decision]
    survey: Survey

    @property
    def is_changed(self) -> bool:
        """Whether anything differs from what is stored."""
        return any(one.is_changed for one in self.seen)


class OpenWriters(Struct, frozen=True, kw_only=True):
    """Which processes could write to the requested files, just before the first of them was read.

    Attributes:
        as_of_ns: when the processes were asked.
        stats: ``lstat(2)`` of the requested paths.
        held: the processes that have a file open for writing, by recorded device and inode.
        doubts: processes that could not be inspected.
        everything: the processes were asked for all files, not only for those in ``stats``.
        numbers: the device numbers that are recorded.
    """

    as_of_ns: int
    stats: Mapping[bytes, os.stat_result]
    held: Mapping[Identity, list[Actor]]
    doubts: tuple[Doubt, ...]
    everything: bool
    numbers: Numbers

    @classmethod
    def ask(cls, stats: Mapping[bytes, os.stat_result], survey: Survey, *, everything: bool) -> OpenWriters:
        """Ask all processes which files they have open for writing."""
        of = None if everything else set(survey.kernel_ids_of(stats.items()))
        as_of_ns = time.time_ns()
        opened = linux.open_for_writing(os.getpid(), user_name=user_name, of=of, times=1, in_memory=survey.is_in_memory)
        held: dict[Identity, list[Actor]] = {}
        for holder in survey.holders(opened.holders):
            held.setdefault((holder.dev, holder.inode), []).append(holder.actor)
        return cls(
            as_of_ns=as_of_ns,
            stats=stats,
            held=held,
            doubts=opened.doubts,
            everything=everything,
            numbers=survey.numbers,
        )

    def identity(self, found: os.stat_result) -> Identity:
        """Return the recorded device and inode of a file."""
        return self.numbers[found.st_dev], found.st_ino

    def holders(self, state: FileState, writable: Set[Identity]) -> Holders | None:
        """Return the processes that could write to a file; ``None`` if it came to its path after they were asked.

        ``writable`` are the files that were open for writing when they were read.
        """
        here = self.stats.get(state.path)
        if not self.everything and (here is None or self.identity(here) != state.identity):
            return None
        actors = tuple(self.held.get(state.identity, ()))
        held = scan_result_store.HoldersAtScan(actors=dict(self.held), writable=frozenset(writable), doubts=self.doubts)
        doubts = doubts_of(held, state.identity, (state,), was_read=True)
        return Holders(as_of_ns=self.as_of_ns, actors=actors, doubts=doubts)


def decision_without_reading(
    request: LookRequest, writers: OpenWriters, max_size: int, stored: Callable[[bytes], FileState | None]
) -> Decision | None:
    """Decide about a file that is not read now: it is too large, or still being written. ``None`` if it is to be read.

    Args:
        request: the path.
        writers: the processes that have files open for writing.
        max_size: bytes; a larger file is left to the complete scans.
        stored: gives what is stored of a path.
    """
    path, found = request.path, writers.stats.get(request.path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    if found.st_size > max_size:
        return Decision(path=path, next=Next.DONE)
    identity = writers.identity(found)
    if identity not in writers.held:
        return None
    if not request.is_overdue:
        return Decision(path=path, next=Next.WAIT)
    known = stored(path)
    if known is not None and _is_untouched(known, identity, found):
        # Nothing reports when its holder writes or closes: ask again, as long as it is held.
        return Decision(path=path, next=Next.AGAIN)
    return None


class _Batch(Struct):
    """What a look has found so far. ``covered`` are prefixes of directories that were read with all that is below."""

    seen: dict[bytes, CheckedPath] = field(default_factory=dict)
    covered: list[bytes] = field(default_factory=list)
    writable: set[Identity] = field(default_factory=set)

    def has(self, path: bytes) -> bool:
        return path in self.seen or any(path.startswith(above) for above in self.covered)


class _Reading(Struct, frozen=True, kw_only=True):
    """What is stored of a path, and of the subtree there if ``below``, and what was found there now."""

    below: bool
    versions: Mapping[bytes, files.Version]
    found: Sequence[FileState | Unreadable]


class PathCheck:
    """Looks at the paths of requests. Needs the writer lock, so that what is stored does not change meanwhile."""

    def __init__(self, database: Database, plan: ScanPlan, clock: Callable[[], float]) -> None:
        self._database = database
        self._plan = plan
        self._clock = clock
        # No other scan can run meanwhile: a leased file is looked at again later, not waited for.
        self._path_scanner = plan.path_scanner(wait_for_leases=False)
        self._survey: Survey | None = None

    def check(self, due: Sequence[LookRequest]) -> CheckResult:
        """Look at what is due, as far as there is time. Contents are kept as by a scan."""
        with ContentRecorder(self._database, self._plan.config, is_look=True) as contents:
            self._path_scanner.keeping = contents.keeping
            found = self._check(due)
            contents.finish()
        return found

    def _check(self, due: Sequence[LookRequest]) -> CheckResult:
        survey = self._surveyed()
        writers = self._ask_holders(due, survey)
        begun = self._clock()
        batch = _Batch()
        decisions = []
        with self._database.read() as session:
            for request in due:
                if self._clock() - begun > _LOOK_SECONDS:
                    break
                decisions.append(self._look_at(session, request, batch, (writers, survey)))
        seen = sorted(batch.seen.values(), key=lambda one: one.pair.path)
        return CheckResult(seen=seen, decisions=decisions, survey=survey)

    def _surveyed(self) -> Survey:
        """Survey the file systems, anew only when something was mounted or unmounted."""
        if self._survey is None or self._survey.is_outdated():
            with self._database.read() as session:
                last = scan_store.last_finished(session)
                known = device_store.devices_at(session, last.id) if last is not None else Devices()
                self._survey = Survey.of(session, known, self._plan.roots)
            self._path_scanner.numbers = self._survey.numbers
        return self._survey

    def _ask_holders(self, due: Sequence[LookRequest], survey: Survey) -> OpenWriters:
        stats = {request.path: found for request in due if (found := self._path_scanner.stat(request.path)) is not None}
        # Which files lie in a directory is not known before it is read.
        everything = any(request.below for request in due) or any(stat.S_ISDIR(one.st_mode) for one in stats.values())
        return OpenWriters.ask(stats, survey, everything=everything)

    def _look_at(
        self, session: Session, request: LookRequest, batch: _Batch, asked: tuple[OpenWriters, Survey]
    ) -> Decision:
        """Look at one path, and add what is found to the batch."""
        writers, survey = asked
        done = Decision(path=request.path, next=Next.DONE)
        if batch.has(request.path):
            return done

        def stored(path: bytes) -> FileState | None:
            version = files.open_at(session, path)
            return None if version is None else version.state

        early = decision_without_reading(request, writers, self._plan.config.live.max_size_bytes, stored)
        if early is not None:
            return early
        is_settled = True
        reading = self._read(session, request, batch.writable)
        seen_ns = time.time_ns()
        if reading.below:
            batch.covered.append(as_prefix(request.path))
        for pair in compare.merge([version.state for version in reading.versions.values()], reading.found):
            if pair.unreadable is not None:
                is_settled &= pair.unreadable.reason not in _PASSING
                continue
            holders = writers.holders(pair.after, batch.writable) if pair.after is not None else None
            is_settled &= holders is None or not (holders.actors or holders.doubts)
            if pair.before is not None and pair.after is not None:
                pair = replace(pair, before=survey.with_new_identity(pair.before, pair.after))  # noqa: PLW2901
            one = CheckedPath(
                pair=pair,
                version=reading.versions.get(pair.path),
                seen_ns=seen_ns,
                holders=holders,
                has_only_grown=self._has_only_grown(pair),
            )
            batch.seen.setdefault(pair.path, one)
        return done if is_settled else Decision(path=request.path, next=Next.AGAIN, below=request.below)

    def _has_only_grown(self, pair: compare.Pair[FileState, FileState]) -> bool:
        before, after = pair.before, pair.after
        if before is None or after is None or not self._plan.scope.is_append_only(pair.path):
            return False
        return not compare.same_state(before, after) and compare.has_only_grown(before, after)

    def _read(self, session: Session, request: LookRequest, writable: set[Identity]) -> _Reading:
        """Read a path; with all below it if that is asked for, or if a directory came, went or was replaced.

        Files that a process has open for writing are added to ``writable``.
        """
        path, scope = request.path, self._plan.scope
        version = files.open_at(session, path)
        # Of a log, the part that was verified before is read again as such.
        sizes = dict(files.sizes(session, [path])) if scope.has_logs else {}
        look = partial(self._path_scanner.look, path, skip=self._plan.skip, verified=sizes.get, writable=writable)
        found = list(look(below=request.below))
        now = next((one for one in found if one.path == path and isinstance(one, FileState)), None)
        if now is not None and not scope.includes(path, is_directory=now.kind is FileKind.DIRECTORY):
            return _Reading(below=False, versions={}, found=())
        was_directory = _directory_identity(version.state) if version is not None else None
        is_directory = _directory_identity(now) if now is not None else None
        below = request.below or was_directory != is_directory
        if below and not request.below:
            found = list(look(below=True))
        stored = files.below(session, path) if below else iter(() if version is None else (version,))
        return _Reading(below=below, versions={one.state.path: one for one in stored}, found=found)


def _directory_identity(state: FileState) -> Identity | None:
    return state.identity if state.kind is FileKind.DIRECTORY else None


def _is_untouched(state: FileState, identity: Identity, found: os.stat_result) -> bool:
    """Whether the inode shows no change since the file was read."""
    known = (*state.identity, state.size, state.mtime_ns, state.ctime_ns)
    return known == (*identity, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
