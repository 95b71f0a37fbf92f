r"""Reads fanotify in a thread: which process wrote to which monitored file, and over which time nothing was missed.

    the kernel's queue (limited) --drain--> events of monitored directories -> the store, with the audit log's next look
                                       \-> extents: the time over which all events were read

The kernel calls fsnotify within the system call, after the content was changed. So once the queue is empty, everything
that any process wrote and whose descriptor it has closed is known. An overflow, a clock that is set, an unmount and a
store that fails each end an extent: over what lies between two, nothing is claimed.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from fimscan.attribution import SLACK_NS
from fimscan.linux import fanotify, handles, lineage, unseen
from fimscan.linux.fanotify import Event
from fimscan.linux.mounts import leads_where_it_may_hang, own_mounts
from fimscan.linux.users import user_name
from fimscan.model import Actor, WitnessEvent, WitnessExtent, WitnessMask
from fimscan.pipeline.audit.marks import Marked, is_in_place, mark, reason
from fimscan.store import witness as witness_store
from fimscan.store.database import Database

_READ_BYTES = 16 * 1024  # some 150 events: each brings a descriptor, of which a process has 1,024
_POLL_MS = 500
# After each drain, rest as long as it took, within these: the kernel merges what a process does to a file meanwhile.
_LEAST_REST_S, _LONGEST_REST_S = 0.005, 0.05
_CHECK_S, _MARK_S = 1.0, 10.0  # how often the marks and the holes are looked at, and what is not marked yet
_MOST_READS = 500  # in one drain
_MOST_PENDING = 20_000  # events that wait for the store
_MOST_PLACES = 100_000  # directories that are remembered
_MERGED_NS = 10 * 10**9  # a file that is written to all the time is one event for so long
_STORED_EVERY_S = 60.0
_STORED_AT = 2_000  # events, or sooner


class Witness:
    """The reader of fanotify for some directories (or files).

    Args:
        roots: what is monitored.
        clock: nanoseconds, as :func:`time.time_ns`.
    """

    def __init__(self, roots: Sequence[bytes], *, clock: Callable[[], int] = time.time_ns) -> None:
        self._roots = tuple(roots)
        self._clock = clock
        self._group = -1
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._marked: dict[bytes, Marked] = {}  # by what events call the file system
        self._places: dict[bytes, bool] = {}  # by directory: whether it is monitored
        self._pending: dict[tuple[object, ...], WitnessEvent] = {}
        self._ready: list[WitnessEvent] = []
        self._ended: list[WitnessExtent] = []
        self._drained_ns = 0
        self._offset_ns = 0
        self._next_check = self._next_mark = self._next_store = 0.0
        self._people: dict[int, lineage.Process] = {}
        self.events = self.kept = 0
        self.problems: tuple[str, ...] = ()

    def start(self) -> None:
        """Begin; what does not work is in :attr:`problems`, a line each, and is no error."""
        if not lineage.sees_all():
            self.problems = ("fanotify: in a process namespace of its own, fimscan learns no process ids of the host",)
            return
        try:
            self._group = fanotify.open_group()
        except OSError as error:
            self.problems = (f"fanotify: {reason(error)}; who wrote is known from audit alone",)
            return
        self._offset_ns = self._clock() - time.monotonic_ns()
        self._drained_ns = self._clock()
        self.problems = tuple(self._mark())
        self._thread = threading.Thread(target=self._run, name="fanotify", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; the kernel takes the marks away with the descriptor."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            if self._group >= 0:
                os.close(self._group)
                self._group = -1
            self._marked.clear()

    def store(self, database: Database, *, now: bool = True) -> None:
        """Read all that is there, and write what is news to the database; not each time, unless it has to be ``now``.

        One transaction takes the events together with the time up to which they are complete.
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
                self._break("not-stored")
                self._ended = []  # their events are lost
            raise

    def end(self, database: Database) -> None:
        """Stop, with all that was read in the database."""
        if self._group < 0:
            return
        with self._lock:
            self._drain_all()
            self._break("stopped")
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
        """Read; what goes wrong ends what is known, and disturbs nobody else."""
        try:
            self._drain()
        except OSError:
            self._break("read-error")

    def _drain(self) -> None:
        """Read until there is nothing left: only then is it known that nothing is missing."""
        if time.monotonic() >= self._next_check:
            self._check()
        self._people.clear()
        for _ in range(_MOST_READS):
            before_ns = self._clock()
            try:
                data = os.read(self._group, _READ_BYTES)
            except BlockingIOError:
                self._reach(before_ns)
                return
            for at, length in fanotify.offsets(data):
                self.events += 1
                if self._is_elsewhere(fanotify.place_of(data, at)):
                    if (pidfd := fanotify.pidfd_of(data, at, length)) >= 0:
                        os.close(pidfd)
                    continue
                self._take(fanotify.decode(data, at))

    def _reach(self, now_ns: int) -> None:
        """All that was done before this was read; where the clock was set, times before and after do not compare."""
        offset = now_ns - time.monotonic_ns()
        if abs(offset - self._offset_ns) > SLACK_NS:
            self._offset_ns = offset
            self._drained_ns = now_ns
            self._break("clock-changed")
        self._drained_ns = now_ns

    def _is_elsewhere(self, place: bytes | None) -> bool:
        """Whether nobody monitors the directory of an event; without one, it may be any."""
        if place is None:
            return False
        known = self._places.get(place)
        if known is None:
            known = self._find(place)
        return not known

    def _find(self, place: bytes) -> bool:
        directory = fanotify.handle_of(place)
        marked = self._marked.get(directory.fsid)
        if marked is None:
            return False
        try:
            inside = any(root.has(directory) for root in marked.roots)
        except OSError:
            self._break("unknown-directory")
            return False
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[place] = inside
        return inside

    def _take(self, event: Event) -> None:
        """Keep an event of a monitored directory, or of an unknown one."""
        try:
            if event.is_overflow:
                self._break("overflow")
                return
            if event.is_about_directory and event.mask & int(WitnessMask.MOVED_FROM | WitnessMask.MOVED_TO):
                self._places.clear()  # what lies below is somewhere else now
            if event.pid == os.getpid() or event.file is None or event.is_about_directory:
                return
            marked = self._marked.get(event.file.fsid)
            if marked is None:
                return
            inode = handles.inode_of(event.file, marked.kind)
            if inode is None:
                self._break("unknown-file")  # an event that cannot be kept
                return
            self._keep(marked.dev, inode, event)
        finally:
            if event.pidfd >= 0:
                os.close(event.pidfd)

    def _keep(self, dev: int, inode: int, event: Event) -> None:
        assert event.file is not None, "its caller has looked"
        self.kept += 1
        if len(self._pending) + len(self._ready) >= _MOST_PENDING:
            self._break("too-many")
            self._pending.clear()
            self._ready.clear()
        who = self._who(event)
        found = WitnessEvent(
            dev=dev,
            inode=inode,
            handle=event.file.data,
            mask=WitnessMask(event.mask & fanotify.MASK),
            since_ns=self._drained_ns,
            until_ns=self._clock(),
            name=event.name,
            actor=Actor(pid=event.pid) if who is None else who.actor,
            started_ns=None if who is None else who.started_ns,
            ancestors=() if who is None else who.ancestors,
        )
        key = (dev, inode, found.handle, event.pid, found.started_ns, found.mask, found.name)
        last = self._pending.get(key)
        if last is not None and found.until_ns - last.since_ns <= _MERGED_NS:
            found = last._replace(until_ns=found.until_ns)
        elif last is not None:
            self._ready.append(last)
        self._pending[key] = found

    def _who(self, event: Event) -> lineage.Process | None:
        """The process, if it lives: only its pidfd says for sure that the number is still its own."""
        if event.pidfd < 0:
            return None
        known = self._people.get(event.pid)
        if known is None:
            known = lineage.look_at(event.pid, user_name)
            poll = select.poll()
            poll.register(event.pidfd, select.POLLIN)
            if known is None or poll.poll(0):  # it has ended: what was looked at may be another one
                return None
            self._people[event.pid] = known
        return known

    def _flush(self) -> None:
        self._ready += self._pending.values()
        self._pending.clear()

    # ---- extents

    def _extent(self, marked: Marked) -> WitnessExtent:
        end_ns = max(self._drained_ns, marked.start_ns)
        return WitnessExtent(dev=marked.dev, start_ns=marked.start_ns, end_ns=end_ns, holes=marked.holes)

    def _break(self, why: str) -> None:
        """End all extents where everything was known, and begin others now."""
        now_ns = self._clock()
        for marked in self._marked.values():
            self._ended.append(replace(self._extent(marked), ended=why))
            marked.start_ns = now_ns

    def _check(self) -> None:
        """Whether all file systems are still marked and all directories still in place, and what is not seen there."""
        self._next_check = time.monotonic() + _CHECK_S
        devices, mounts = fanotify.marked_devices(self._group), own_mounts()
        for fsid, marked in list(self._marked.items()):
            if marked.dev not in devices or not all(is_in_place(root, mounts) for root in marked.roots):
                why = "replaced" if marked.dev in devices else "unmounted"
                self._ended.append(replace(self._extent(marked), ended=why))
                del self._marked[fsid]
            elif (now := unseen.holes(marked.kind)) != marked.holes:
                self._ended.append(replace(self._extent(marked), ended="holes"))
                marked.holes, marked.start_ns = now, self._clock()
        if time.monotonic() >= self._next_mark:
            self.problems = tuple(self._mark())

    def _mark(self) -> list[str]:
        """Mark the file systems of those roots that are not marked; gives why some could not be."""
        self._next_mark = time.monotonic() + _MARK_S
        known = {root.path for marked in self._marked.values() for root in marked.roots}
        problems = []
        for path in self._roots:
            if path in known or leads_where_it_may_hang(path):
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
            marked = Marked(mount.dev, mount.kind, [], unseen.holes(mount.kind), self._clock())
            self._marked[fsid] = marked
        else:
            self._ended.append(replace(self._extent(marked), ended="new-directory"))
            marked.start_ns = self._clock()
        marked.roots.append(root)
        self._places.clear()
