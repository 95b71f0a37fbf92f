r"""Read fanotify in a thread: which process wrote to which monitored file, and over which time no event was missed.

    the kernel's queue (limited) --drain--> events of monitored directories -> the store, at the next look at the log
                                       \-> extents: the time over which all events were read

The kernel calls fsnotify within the system call, after the content was changed. So once the queue is empty, every write
through a descriptor that has since been closed is known. An overflow, a clock that is set, an unmount and a failed
write to the store each end an extent. Between two extents nothing is claimed.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from fimscan.attribution import SLACK_NS
from fimscan.linux import fanotify, fanotify_holes, handles, lineage
from fimscan.linux.fanotify import Event
from fimscan.linux.mounts import own_mounts, path_may_hang
from fimscan.linux.users import user_name
from fimscan.model import Actor, WitnessEvent, WitnessExtent, WitnessMask
from fimscan.pipeline.audit.marks import Marked, is_in_place, mark, reason
from fimscan.store import witness as witness_store
from fimscan.store.database import Database

_READ_BYTES = 16 * 1024  # some 150 events; each has a pidfd, and a process may have 1,024 descriptors
_POLL_MS = 500
# After each drain, rest as long as it took, within these limits. Meanwhile the kernel merges events of a process.
_LEAST_REST_S, _LONGEST_REST_S = 0.005, 0.05
_CHECK_S, _MARK_S = 1.0, 10.0  # how often to check marks and holes, and to try roots that are not marked yet
_MOST_READS = 500  # in one drain
_MOST_PENDING = 20_000  # events that wait to be stored
_MOST_PLACES = 100_000  # directories that are remembered
_MERGED_NS = 10 * 10**9  # equal events within this time are merged
_STORED_EVERY_S = 60.0
_STORED_AT = 2_000  # waiting events that are stored earlier than that


class Witness:
    """Reads fanotify for the monitored paths.

    Attributes:
        events: how many events were read.
        kept: how many of them concern monitored files.
        problems: what does not work, a line each.

    Args:
        roots: the monitored directories or files.
        clock: nanoseconds, as :func:`time.time_ns`.
    """

    def __init__(self, roots: Sequence[bytes], *, clock: Callable[[], int] = time.time_ns) -> None:
        self._roots = tuple(roots)
        self._clock = clock
        self._group = -1
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._marked: dict[bytes, Marked] = {}  # by the file system's id in events
        self._places: dict[bytes, bool] = {}  # by directory (file handle): whether it is monitored
        self._pending: dict[tuple[object, ...], WitnessEvent] = {}
        self._ready: list[WitnessEvent] = []
        self._ended: list[WitnessExtent] = []
        self._drained_ns = 0
        self._offset_ns = 0
        self._next_check = self._next_mark = self._next_store = 0.0
        self._processes: dict[int, lineage.Process] = {}
        self.events = self.kept = 0
        self.problems: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the thread. Problems are no error: they are listed in :attr:`problems`."""
        if not lineage.sees_all():
            self.problems = ("fanotify is not used: fimscan runs in a pid namespace, so it cannot see the host's pids",)
            return
        try:
            self._group = fanotify.open_group()
        except OSError as error:
            self.problems = (f"fanotify is not used: {reason(error)}; only audit tells which process wrote",)
            return
        self._offset_ns = self._clock() - time.monotonic_ns()
        self._drained_ns = self._clock()
        self.problems = tuple(self._mark())
        self._thread = threading.Thread(target=self._run, name="fanotify", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; closing the descriptor removes the marks."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            if self._group >= 0:
                os.close(self._group)
                self._group = -1
            self._marked.clear()

    def store(self, database: Database, *, now: bool = True) -> None:
        """Read all waiting events and store what is new; without ``now``, only every minute or when many are waiting.

        One transaction stores the events together with the time up to which they are complete.
        """
        is_due = now or time.monotonic() >= self._next_store or len(self._pending) + len(self._ready) >= _STORED_AT
        if self._group < 0 or not is_due:
            return
        self._next_store = time.monotonic() + _STORED_EVERY_S
        with self._lock:
            self._drain_all()
            self._flush()
            events, self._ready = self._ready, []
            extents = [*self._ended, *map(self._extent, self._marked.values())]
            self._ended = []
        try:
            with database.begin() as session:
                witness_store.add(session, events)
                for extent in extents:
                    witness_store.extend(session, extent)
        except BaseException:
            with self._lock:
                self._end_extents("not-stored")
                self._ended = []  # their events are lost
            raise

    def end(self, database: Database) -> None:
        """Store everything that was read, then stop."""
        if self._group < 0:
            return
        with self._lock:
            self._drain_all()
            self._end_extents("stopped")
            self._marked.clear()
        with suppress(Exception):
            self.store(database)
        self.close()

    # ----------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._group, select.POLLIN)
        while not self._stop.is_set():
            poll.poll(_POLL_MS)
            begun = time.thread_time()
            with self._lock:
                self._drain_all()
            used = time.thread_time() - begun
            self._stop.wait(min(max(used, _LEAST_REST_S), _LONGEST_REST_S))

    def _drain_all(self) -> None:
        """Drain the queue; an error ends the extents and is not raised."""
        try:
            self._drain()
        except OSError:
            self._end_extents("read-error")

    def _drain(self) -> None:
        """Read until the queue is empty: only then is no event missing."""
        if time.monotonic() >= self._next_check:
            self._check()
        self._processes.clear()
        for _ in range(_MOST_READS):
            before_ns = self._clock()
            try:
                data = os.read(self._group, _READ_BYTES)
            except BlockingIOError:
                self._reach(before_ns)
                return
            for at, length in fanotify.offsets(data):
                self.events += 1
                if self._is_unmonitored(fanotify.place_of(data, at)):
                    if (pidfd := fanotify.pidfd_of(data, at, length)) >= 0:
                        os.close(pidfd)
                    continue
                self._take(fanotify.decode(data, at))

    def _reach(self, now_ns: int) -> None:
        """Note that all events before ``now_ns`` were read. If the clock was set, end the extents."""
        offset = now_ns - time.monotonic_ns()
        if abs(offset - self._offset_ns) > SLACK_NS:
            self._offset_ns = offset
            self._drained_ns = now_ns
            self._end_extents("clock-changed")
        self._drained_ns = now_ns

    def _is_unmonitored(self, place: bytes | None) -> bool:
        """Whether the directory of an event is not monitored; an event without a directory may concern any."""
        if place is None:
            return False
        known = self._places.get(place)
        if known is None:
            known = self._find_if_monitored(place)
        return not known

    def _find_if_monitored(self, place: bytes) -> bool:
        directory = fanotify.handle_of(place)
        marked = self._marked.get(directory.fsid)
        if marked is None:
            return False
        try:
            inside = any(root.has(directory) for root in marked.roots)
        except OSError:
            self._end_extents("unknown-directory")
            return False
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[place] = inside
        return inside

    def _take(self, event: Event) -> None:
        """Keep an event of a directory that is monitored or unknown."""
        try:
            if event.is_overflow:
                self._end_extents("overflow")
                return
            if event.is_about_directory and event.mask & int(WitnessMask.MOVED_FROM | WitnessMask.MOVED_TO):
                self._places.clear()  # all directories below it were moved, too
            if event.pid == os.getpid() or event.file is None or event.is_about_directory:
                return
            marked = self._marked.get(event.file.fsid)
            if marked is None:
                return
            inode = handles.inode_of(event.file, marked.kind)
            if inode is None:
                self._end_extents("unknown-file")  # the event cannot be stored
                return
            self._keep(marked.dev, inode, event)
        finally:
            if event.pidfd >= 0:
                os.close(event.pidfd)

    def _keep(self, dev: int, inode: int, event: Event) -> None:
        assert event.file is not None, "the caller has checked it"
        self.kept += 1
        if len(self._pending) + len(self._ready) >= _MOST_PENDING:
            self._end_extents("too-many")
            self._pending.clear()
            self._ready.clear()
        process = self._process_of(event)
        found = WitnessEvent(
            dev=dev,
            inode=inode,
            handle=event.file.data,
            mask=WitnessMask(event.mask & fanotify.MASK),
            since_ns=self._drained_ns,
            until_ns=self._clock(),
            name=event.name,
            actor=Actor(pid=event.pid) if process is None else process.actor,
            started_ns=None if process is None else process.started_ns,
            ancestors=() if process is None else process.ancestors,
        )
        key = (dev, inode, found.handle, event.pid, found.started_ns, found.mask, found.name)
        last = self._pending.get(key)
        if last is not None and found.until_ns - last.since_ns <= _MERGED_NS:
            found = last._replace(until_ns=found.until_ns)
        elif last is not None:
            self._ready.append(last)
        self._pending[key] = found

    def _process_of(self, event: Event) -> lineage.Process | None:
        """Look at the process of an event; ``None`` if it has ended. Its pidfd shows that the pid was not reused."""
        if event.pidfd < 0:
            return None
        known = self._processes.get(event.pid)
        if known is None:
            known = lineage.read_process(event.pid, user_name)
            poll = select.poll()
            poll.register(event.pidfd, select.POLLIN)
            if known is None or poll.poll(0):  # it has ended: the pid that was looked at may be another process's
                return None
            self._processes[event.pid] = known
        return known

    def _flush(self) -> None:
        self._ready += self._pending.values()
        self._pending.clear()

    # ---- extents

    def _extent(self, marked: Marked) -> WitnessExtent:
        end_ns = max(self._drained_ns, marked.start_ns)
        return WitnessExtent(dev=marked.dev, start_ns=marked.start_ns, end_ns=end_ns, holes=marked.holes)

    def _end_extents(self, why: str) -> None:
        """End all extents at the last time up to which all events were read; begin new ones now."""
        now_ns = self._clock()
        for marked in self._marked.values():
            self._ended.append(replace(self._extent(marked), ended=why))
            marked.start_ns = now_ns

    def _check(self) -> None:
        """Check that file systems are still marked and directories still in place, and which holes there are now."""
        self._next_check = time.monotonic() + _CHECK_S
        devices, mounts = fanotify.marked_devices(self._group), own_mounts()
        for fsid, marked in list(self._marked.items()):
            if marked.dev not in devices or not all(is_in_place(root, mounts) for root in marked.roots):
                why = "replaced" if marked.dev in devices else "unmounted"
                self._ended.append(replace(self._extent(marked), ended=why))
                del self._marked[fsid]
            elif (now := fanotify_holes.open_holes(marked.kind)) != marked.holes:
                self._ended.append(replace(self._extent(marked), ended="holes"))
                marked.holes, marked.start_ns = now, self._clock()
        if time.monotonic() >= self._next_mark:
            self.problems = tuple(self._mark())

    def _mark(self) -> list[str]:
        """Mark the file systems of roots that are not marked yet; return the problems, a line each."""
        self._next_mark = time.monotonic() + _MARK_S
        known = {root.path for marked in self._marked.values() for root in marked.roots}
        problems = []
        for path in self._roots:
            if path in known or path_may_hang(path):
                continue
            try:
                self._mark_one(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                problems.append(f"fanotify: {os.fsdecode(path)}: {reason(error)}")
        return problems

    def _mark_one(self, path: bytes) -> None:
        fsid, mount, root = mark(self._group, path)
        marked = self._marked.get(fsid)
        if marked is None:
            marked = Marked(mount.dev, mount.kind, [], fanotify_holes.open_holes(mount.kind), self._clock())
            self._marked[fsid] = marked
        else:
            self._ended.append(replace(self._extent(marked), ended="new-directory"))
            marked.start_ns = self._clock()
        marked.roots.append(root)
        self._places.clear()
