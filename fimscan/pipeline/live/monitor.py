"""Look at single files as soon as the audit log reports them, between the complete scans.

    the log grows -> which paths may have changed (affected_paths) -> when to look at each (queue)
    -> which processes hold them open, and their present state (path_check)
    -> a partial scan if something changed, otherwise a new window (partial_scan)

If a file is found unchanged, the processes that had opened it until then, and no longer hold it open, are cleared.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fimscan import audit
from fimscan.config import Config
from fimscan.errors import LockedError
from fimscan.linux.users import user_name
from fimscan.model import FileAccess, Scan
from fimscan.pipeline.audit.reading import AuditReader, AuditSource
from fimscan.pipeline.audit.witness import Witness
from fimscan.pipeline.live.affected_paths import concerned, look_requests
from fimscan.pipeline.live.partial_scan import PartialScans
from fimscan.pipeline.live.path_check import PathCheck
from fimscan.pipeline.live.queue import LookQueue, LookRequest
from fimscan.pipeline.record.last_read import FullReading
from fimscan.pipeline.result import ScanResult
from fimscan.pipeline.settings import ScanPlan
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

# After each piece of work, rest nine times as long as its CPU time: it takes a tenth of one CPU at most.
_REST = 9
_LEAST_REST_S, _LONGEST_REST_S = 0.2, 60.0
# After a start: what was read just before the last run ended may not have been looked at.
_LOOK_BACK_NS = 150 * 10**9


class Live:
    """Follows the audit log and looks at what it reports; call :meth:`step` several times a second.

    Args:
        clock: seconds, as :func:`time.monotonic`.
        witness: see :class:`AuditReader`.
    """

    def __init__(
        self,
        database: Database,
        config: Config,
        source: AuditSource,
        *,
        clock: Callable[[], float] = time.monotonic,
        witness: Witness | None = None,
    ) -> None:
        self._database = database
        self._source = source
        self._clock = clock
        self._observer = audit.Observer()
        self._socket = audit.EventSocket(source.socket.encode()) if source.socket is not None else None
        stream = None
        if self._socket is not None and source.is_stream:
            stream = audit.EventStream(self._socket, user_name=user_name)
        self.reader = AuditReader(
            database, source, observe=self._observer.observe, on_accesses=self._note, stream=stream, witness=witness
        )
        self._watch = audit.LogWatch(() if source.is_stream else source.paths)
        self._plan = ScanPlan.of(config, skip=database.own_files)
        self._queue = LookQueue(quiet=config.live.debounce_s, max_delay=config.live.max_delay_s, clock=clock)
        self._check = PathCheck(database, self._plan, clock)
        self._partial_scans = PartialScans(database, self._plan, source.paths)
        self._full = FullReading()
        self._is_started = False
        self._unread = False
        self._next_read = self._next_look = 0.0
        self._reported: set[str] = set()

    def close(self) -> None:
        """Close the sockets."""
        self._observer.close()
        if self._socket is not None:
            self._socket.close()

    def wait(self, seconds: float) -> None:
        """Sleep until the time is up, or the socket has data."""
        if self._socket is None:
            time.sleep(seconds)
            return
        self._socket.connect()
        if self._socket.wait(seconds):
            self._unread = True
            if not self._source.is_stream:
                self._socket.receive()  # the log has the same, and loses nothing

    def step(self) -> tuple[ScanResult | None, tuple[str, ...]]:
        """Read what is new and look at what is due; return what was found, and the new problems, a line each."""
        if not self._is_started:
            if not self._has_baseline():
                return None, ()
            self._is_started = True
            self._look_back()
        problems: tuple[str, ...] = ()
        self._unread |= self._watch.grown()
        if self._unread and self._clock() >= self._next_read:
            self._unread = False
            with self._resting("_next_read"):
                problems = self.reader.read_new()
        result = None
        if self._clock() >= self._next_look and (due := self._queue.due()):
            with self._resting("_next_look"):
                result, more = self._look(due)
            problems += more
        if self._queue.overflowed:
            problems += (f"too many paths changed at once: {self._queue.overflowed:,} are left to the next scan",)
            self._queue.overflowed = 0
        return result, tuple(self._new(problems))

    def is_in_scope(self) -> bool:
        """Whether the last complete scan covered what is configured now; otherwise a file may only seem new."""
        with self._database.read() as session:
            return has_scope_of(session, self._plan.config, scan_store.last_full(session))

    # ----------------------------------------------------------------------------------------------------------------

    def _note(self, accesses: Sequence[FileAccess]) -> None:
        """Queue looks at the files that were accessed."""
        with self._database.read() as session:
            last = scan_store.last_finished(session)
            if last is not None:
                self._queue.add(look_requests(session, accesses, self._plan.scope, last.id))

    def _has_baseline(self) -> bool:
        with self._database.read() as session:
            return scan_store.last_full(session) is not None

    def _look_back(self) -> None:
        with self._database.read() as session:
            ends = [e.end_ns for path in self._source.paths for e in audit_store.extents(session, path)]
            if not ends:
                return
            recent = list(access_store.references(session, max(ends) - _LOOK_BACK_NS, time.time_ns()))
            last = scan_store.last_finished(session)
            assert last is not None, "there is a baseline"
            ours = concerned(session, recent, self._plan.scope, last.id)
            found = list(access_store.load(session, ours))
        self._note(found)

    def _look(self, due: Sequence[LookRequest]) -> tuple[ScanResult | None, tuple[str, ...]]:
        try:
            with self._database.scan_lock():
                full = self._full_reading()
                if full is not None:
                    return self._look_and_record(due, full)
        except LockedError:
            for request in due:  # a complete scan is running
                self._queue.wait(request.path)
            return None, ()
        for request in due:
            self._queue.done(request.path)
        return None, ()

    def _look_and_record(
        self, due: Sequence[LookRequest], full: FullReading
    ) -> tuple[ScanResult | None, tuple[str, ...]]:
        """Look at what is due: (the partial scan if something changed, problems with the audit log)."""
        checked = self._check.check(due)
        self._queue.apply(checked.decisions)  # before the log is read: what it reports then is queued again
        if not checked.is_changed:
            self._partial_scans.record_unchanged(checked)
            return None, ()
        # What was done before the look has to be in the log by now.
        problems = self.reader.read_new(settle=True)
        return self._partial_scans.record(checked, full), problems

    def _full_reading(self) -> FullReading | None:
        """Return the last complete scan; ``None`` if it covered something else."""
        with self._database.begin() as session:
            scan_store.interrupt_unfinished(session)
            scan = scan_store.last_full(session)
            known = self._full.scan
            if scan is None or not has_scope_of(session, self._plan.config, scan):
                return None
            if known is None or known.id != scan.id:
                self._full = FullReading.load(session)
        return self._full

    @contextmanager
    def _resting(self, until: str) -> Iterator[None]:
        begun = time.process_time()
        try:
            yield
        finally:
            rest = min(max((time.process_time() - begun) * _REST, _LEAST_REST_S), _LONGEST_REST_S)
            setattr(self, until, self._clock() + rest)

    def _new(self, problems: Sequence[str]) -> Iterator[str]:
        """Yield each problem that was not reported before, whatever numbers it contains."""
        for problem in problems:
            kind = re.sub(r"\d", "", problem)
            if kind not in self._reported:
                self._reported.add(kind)
                yield problem


def has_scope_of(session: Session, config: Config, scan: Scan | None) -> bool:
    """Whether a scan covered what ``config`` covers."""
    if scan is None:
        return False
    if scan.config_digest == config.digest:
        return True
    text = scan_store.configuration_text(session, scan.config_digest)
    then = None if text is None else Config.from_canonical(text)
    return then is not None and (then.watch, then.scan.cross_mounts) == (config.watch, config.scan.cross_mounts)
