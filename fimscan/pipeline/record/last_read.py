"""When each path was last read, and which processes could write to it then: the beginning of the next window."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from fimscan import attribution
from fimscan.linux import may_write
from fimscan.linux.mounts import Mount, is_in_memory, mount_of, own_mounts
from fimscan.model import (
    Actor,
    Change,
    Doubt,
    FileKind,
    FileState,
    Holders,
    Scan,
    Unreadable,
    UnreadableReason,
    Unseen,
)
from fimscan.paths import innermost, upwards
from fimscan.store import files
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.session import Session

_WITHOUT_DISK = frozenset({"tmpfs", "ramfs", "hugetlbfs", "overlay"})


class WritersAtScan(Struct, frozen=True, kw_only=True):
    """Which processes could write to which files when a complete scan began.

    Attributes:
        as_of_ns: when the scan began.
        held: the processes that had files open for writing, and those that could not be inspected.
        complete: every process could be inspected.
    """

    as_of_ns: int
    held: scan_result_store.HoldersAtScan
    complete: bool

    def holders(self, change: Change, read: Collection[tuple[int, int]] = ()) -> Holders:
        """Return the holders of a changed file, and of the file that it replaced.

        ``read`` are the files, by device and inode, that this scan read under any name.
        """
        identity, before, held = change.state.identity, change.before, self.held
        is_same_file = before is not None and before.identity == identity
        holders = Holders(
            as_of_ns=self.as_of_ns,
            actors=tuple(held.actors.get(identity, ())),
            complete=self.complete,
            doubts=doubts_of(held, identity, change.sides, was_read=is_same_file or identity in read),
        )
        if before is None or is_same_file:
            return holders
        return replace(
            holders,
            earlier_ns=self.as_of_ns,
            earlier=tuple(held.actors.get(before.identity, ())),
            earlier_doubts=doubts_of(held, before.identity, (before,), was_read=True),
        )


def doubts_of(
    held: scan_result_store.HoldersAtScan, identity: tuple[int, int], sides: Sequence[FileState], *, was_read: bool
) -> tuple[Doubt, ...]:
    """Return the processes that may have had a file open for writing unseen, when it was read.

    The kernel counts a file's writers. A count of zero clears all processes, except those of
    :func:`_doubts_despite_count`. Otherwise every process that could not be inspected is in doubt, if its rights
    suffice to write to the file. Without a count, processes of root that ended before they were inspected are not in
    doubt: on a busy host there are always some.

    Args:
        held: what is known of the processes at that time.
        identity: device and inode of the file.
        sides: its states; rights to write to one of them suffice.
        was_read: the file was read then, so the kernel's count is known.
    """
    if held.doubts is None:
        return ()
    was_counted = was_read and (identity[0], 0) not in held.writable
    able = [
        doubt for doubt in held.doubts if doubt.rights is None or any(may_write(doubt.rights, side) for side in sides)
    ]
    if was_counted and identity not in held.writable:
        return _doubts_despite_count(able, sides)
    suspects = [doubt for doubt in able if doubt.why not in _OF_MEMORY or _OF_MEMORY[doubt.why](sides)]
    if identity not in held.writable:
        suspects = [doubt for doubt in suspects if doubt.why is not Unseen.ENDED or not _is_of_root(doubt, sides)]
    elif not suspects:
        named = held.actors.get(identity)
        if not named:
            return (Doubt(Unseen.NO_PROCESS),)
        if any(_others_may_write(side, named) for side in sides):
            return (Doubt(Unseen.NOT_ALONE),)
    return tuple(doubt._replace(rights=None) for doubt in suspects)


def _doubts_despite_count(able: Iterable[Doubt], sides: Sequence[FileState]) -> tuple[Doubt, ...]:
    """Return the processes that can change a file although the kernel counts no writer.

    There are two ways. A descriptor of a removed name lets a process open the file without a record that names it; it
    may be on its way in a socket. And memory of a file without a disk stays registered with an io_uring after
    descriptor and mapping are gone. Processes of root are not in doubt.
    """
    found = []
    for doubt in able:
        if doubt.rights is None or _is_of_root(doubt, sides):
            continue
        if doubt.why is Unseen.SERVES:
            found.append(Doubt(doubt.why, doubt.actor))
        elif doubt.why not in _OF_MEMORY:
            found.append(Doubt(Unseen.NAME, doubt.actor))
        elif _OF_MEMORY[doubt.why](sides):
            found.append(Doubt(doubt.why, doubt.actor))
    return tuple(dict.fromkeys(found))


def _is_of_root(doubt: Doubt, sides: Iterable[FileState]) -> bool:
    """Whether a process is root's, or is unknown while no user except root may write to the file."""
    rights = doubt.rights
    if rights is None:
        return False
    return set(rights.uids) == {0} or (rights.any_file and not any(_others_may_write(side, ()) for side in sides))


def _can_be_pinned(sides: Iterable[FileState]) -> bool:
    """Whether memory of the file can be pinned for long: since Linux 6.5 the kernel refuses that for files on a disk.

    See writable_file_mapping_allowed in mm/gup.c.
    """
    return any(mount is None or mount.kind in _WITHOUT_DISK for mount, _ in _mounts_without_disk(sides))


def _is_in_memory(sides: Iterable[FileState]) -> bool:
    """Whether the file is known to be on a file system in memory."""
    return any(mount is not None and is_in_memory(mount, mounts) for mount, mounts in _mounts_without_disk(sides))


def _mounts_without_disk(sides: Iterable[FileState]) -> Iterator[tuple[Mount | None, Sequence[Mount]]]:
    paths = [side.path for side in sides if not side.is_on_disk]
    if paths:
        mounts = own_mounts()
        yield from ((mount_of(mounts, path), mounts) for path in paths)


#: Doubts about memory of the file: whether they concern it. A ring that does not show is a doubt about every process of
#: a user, so on an overlay it has to be known that the upper layer is in memory.
_OF_MEMORY = {Unseen.BUFFERS: _can_be_pinned, Unseen.HIDDEN_RING: _is_in_memory}


def _others_may_write(state: FileState, holders: Iterable[Actor]) -> bool:
    """Whether owner and mode of a file let users write to it, other than root and the users of its holders."""
    users = {uid for actor in holders for uid in (actor.uid, actor.euid)}
    # A group with the owner's number usually has only the owner as a member (user private groups).
    of_group = state.mode & 0o020 and state.gid not in (0, state.uid)
    return bool(state.mode & 0o002 or of_group) or (state.uid != 0 and state.uid not in users)


class EarlierReading(Struct, frozen=True, kw_only=True):
    """The last complete scan that could read a path which later scans could not read.

    Attributes:
        clock: when it read each file.
        writers: which processes could write to files when it began.
        failed: what it could not read itself.
    """

    clock: attribution.ReadClock
    writers: WritersAtScan
    failed: Collection[bytes]


class FullReading(Struct, frozen=True, kw_only=True):
    """What later scans need of the last complete scan.

    Attributes:
        scan: that scan; ``None`` before the first.
        first_scan_ns: when the very first scan began.
        clock: when it read each file.
        blocked: the paths that it could not read.
        earlier: for each of these paths, the last scan that could read it, if any.
        writers: of that scan, and of those before it, back to the one that read the files vouched for since. Latest
            first.
    """

    scan: Scan | None = None
    first_scan_ns: int = 0
    clock: attribution.ReadClock = field(default_factory=attribution.ReadClock)
    blocked: Collection[bytes] = ()
    earlier: Mapping[bytes, EarlierReading] = field(default_factory=dict)
    writers: tuple[WritersAtScan, ...] = ()

    @classmethod
    def load(cls, session: Session) -> FullReading:
        """Load it from the store."""
        scan = scan_store.last_full(session)
        if scan is None:
            return cls()
        clock = attribution.ReadClock.load(scan_store.read_clock(session, scan.id))
        failed = _failed(session, scan.id)
        return cls(
            scan=scan,
            first_scan_ns=scan_store.first_started_ns(session) or 0,
            clock=clock,
            blocked=frozenset(item.path for item in failed),
            earlier=_earlier(session, failed),
            writers=tuple(
                _writers_at(session, one)
                # Files that ctime vouched for were read by an earlier scan.
                for one in scan_store.full_back_to(session, scan.id, clock.earliest or scan.started_ns)
            ),
        )

    @property
    def since_ns(self) -> int:
        """When the oldest of the scans began on whose readings the present state rests."""
        return min((writers.as_of_ns for writers in self.writers), default=0)

    def is_blocked(self, path: bytes) -> bool:
        """Whether that scan could not read this path, or a directory above it."""
        return is_at_or_below(path, self.blocked)

    def last_verified(self, path: bytes, read_start_ns: int) -> int:
        """Return when a file was last read and found as stored; at least ``read_start_ns``, when it was first so."""
        clock = self._clock_of(path)
        return max((clock.at(path) if clock is not None else None) or 0, read_start_ns)

    def last_read(self, path: bytes, before: FileState | None) -> int:
        """Return when a path was last seen in its old state; with ``before`` ``None``, when it was last seen absent."""
        if before is not None:
            return self.last_verified(path, before.read_start_ns)
        # Of a blocked path it is not known at which earlier scan it was absent.
        absent = None if self.is_blocked(path) else self.clock.absent_at(path)
        return self.first_scan_ns if absent is None else absent

    def writers_of(self, path: bytes) -> tuple[WritersAtScan, ...]:
        """Return the possible writers, for each scan that may have read this path last; latest first."""
        earlier = self._earlier_of(path)
        return self.writers if earlier is None else (*self.writers, earlier.writers)

    def resumed_since(self, failed: Collection[bytes]) -> Iterator[int]:
        """Yield, for each blocked path that can be read again (not in ``failed``), when its last reading began."""
        return (one.writers.as_of_ns for path, one in self.earlier.items() if not is_at_or_below(path, failed))

    def _clock_of(self, path: bytes) -> attribution.ReadClock | None:
        """Return the read times of the last complete scan that read this path; ``None`` if unknown."""
        if not self.is_blocked(path):
            return self.clock
        earlier = self._earlier_of(path)
        return None if earlier is None or is_at_or_below(path, earlier.failed) else earlier.clock

    def _earlier_of(self, path: bytes) -> EarlierReading | None:
        """Return the last reading of a blocked path; the earliest one if directories above it were blocked as well."""
        found = [self.earlier.get(place) for place in upwards(path) if place in self.blocked]
        known = [one for one in found if one is not None]
        return min(known, key=lambda one: one.writers.as_of_ns) if known and len(known) == len(found) else None


def is_at_or_below(path: bytes, failed: Collection[bytes]) -> bool:
    """Whether a path is one of the failed paths, or below one."""
    return bool(failed) and innermost(path, failed) is not None


def identities_read_before(session: Session, scan_id: int, changes: Iterable[Change]) -> set[tuple[int, int]]:
    """Return the regular files, by device and inode, that came to changed paths and that a scan had read elsewhere."""
    moved = {
        c.after.identity
        for c in changes
        if c.after is not None and (c.before is None or c.before.identity != c.after.identity)
    }
    states = files.by_identity(session, moved, scan_id)
    return {state.identity for state in states if state.kind is FileKind.FILE}


def _failed(session: Session, scan_id: int) -> list[Unreadable]:
    """Load what a scan could not read, except missing configured paths: those were observed to be absent."""
    found = scan_result_store.unreadable_in(session, scan_id)
    return [item for item in found if item.reason is not UnreadableReason.MISSING]


def _earlier(session: Session, failed: Iterable[Unreadable]) -> dict[bytes, EarlierReading]:
    scans: dict[int, Scan | None] = {}
    readings: dict[int, EarlierReading] = {}
    found: dict[bytes, EarlierReading] = {}
    for item in failed:
        if item.since_ns is None:
            continue
        if item.since_ns not in scans:
            scans[item.since_ns] = scan_store.last_full_begun(session, item.since_ns)
        scan = scans[item.since_ns]
        if scan is None:
            continue
        if scan.id not in readings:
            readings[scan.id] = EarlierReading(
                clock=attribution.ReadClock.load(scan_store.read_clock(session, scan.id)),
                writers=_writers_at(session, scan),
                failed=frozenset(one.path for one in _failed(session, scan.id)),
            )
        found[item.path] = readings[scan.id]
    return found


def _writers_at(session: Session, scan: Scan) -> WritersAtScan:
    return WritersAtScan(
        as_of_ns=scan.started_ns,
        held=scan_result_store.holders_at(session, scan.id),
        complete=scan.counts.get("unexamined_processes", 0) == 0,
    )


class Readings(Struct, frozen=True, kw_only=True):
    """The last complete scan, and the live looks since then (``rechecks``, by path)."""

    full: FullReading
    rechecks: Mapping[bytes, scan_result_store.Recheck]

    def last_read(self, before: FileState | None, after: FileState | None) -> int:
        """Return when the old state was last seen.

        A live look counts only if it was at the same file (device and inode). If the file was replaced, the new one may
        have been written before the look, under another name.
        """
        path = (after or before).path  # type: ignore[union-attr]  # one side is always there
        read = self.full.last_read(path, before)
        recheck = self._recheck(before, after)
        return read if recheck is None else max(read, recheck.read_start_ns)

    def with_holders(
        self,
        change: Change,
        later_ns: int = 0,
        later: Iterable[Actor] = (),
        read: Collection[tuple[int, int]] = (),
    ) -> Change:
        """Add to a change the processes that could write to the file.

        Args:
            change: the change.
            later_ns: when the processes in ``later`` had the file open.
            later: processes that had it open before the window ended.
            read: files, by device and inode, that the last complete scan read under any name.
        """
        recheck = self._recheck(change.before, change.after)
        # Not a time after the window began: a process may have written and closed the file in between.
        candidates = self.full.writers_of(change.path if change.before is None else change.before.path)
        writers = next((writers for writers in candidates if writers.as_of_ns <= change.window.after_ns), None)
        if recheck is not None and recheck.holders is not None and recheck.read_start_ns <= change.window.after_ns:
            held = recheck.holders
        elif writers is not None:
            held = self._with_earlier(writers.holders(change, read), change)
        else:
            return change
        return replace(change, holders=replace(held, later_ns=later_ns, later=tuple(later)))

    def _with_earlier(self, held: Holders, change: Change) -> Holders:
        """Take the replaced file's holders from a live look at it, if that is later than the last scan."""
        recheck = self.rechecks.get(change.before.path) if held.earlier_ns and change.before is not None else None
        seen = recheck.holders if recheck is not None else None
        if seen is None or not held.earlier_ns < seen.as_of_ns <= change.window.before_ns:
            return held
        return replace(
            held,
            complete=held.complete and seen.complete,
            earlier_ns=seen.as_of_ns,
            earlier=seen.actors,
            earlier_doubts=seen.doubts,
        )

    def known_unchanged(self, change: Change) -> tuple[int, int] | None:
        """Return the time before the window in which the old content is known to be unchanged: (start, end) in ns.

        A process that opened the file in that time, and did not keep it open, has written nothing. ``None`` if there
        is no such time.
        """
        before = change.before
        recheck = self._recheck(before, change.after)
        if before is None or recheck is None:
            return None
        start = self.full.last_read(before.path, before)
        return (start, recheck.read_start_ns) if start < recheck.read_start_ns else None

    def _recheck(self, before: FileState | None, after: FileState | None) -> scan_result_store.Recheck | None:
        if before is None or (after is not None and after.identity != before.identity):
            return None
        return self.rechecks.get(before.path)
