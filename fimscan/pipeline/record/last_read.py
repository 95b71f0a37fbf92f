"""When each path was last read, and who could write to it then: where the window of its next change begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fimscan import attribution
from fimscan.linux import may_write
from fimscan.linux.mounts import mount_of, own_mounts
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
from fimscan.store import scans as scan_store
from fimscan.store import sightings as sighting_store
from fimscan.store.session import Session

_WITHOUT_DISK = frozenset({"tmpfs", "ramfs", "hugetlbfs", "overlay"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Who could write to which file when a complete scan began; ``complete`` if every process could be examined."""

    as_of_ns: int
    held: sighting_store.Held
    complete: bool

    def holders(self, change: Change, read: Collection[tuple[int, int]] = ()) -> Holders:
        """Those of the file that a change is about. ``read`` are files that this scan read, under any name."""
        identity, before, held = change.state.identity, change.before, self.held
        is_the_same = before is not None and before.identity == identity
        holders = Holders(
            as_of_ns=self.as_of_ns,
            actors=tuple(held.actors.get(identity, ())),
            complete=self.complete,
            doubts=doubts_of(held, identity, change.sides, was_read=is_the_same or identity in read),
        )
        if before is None or is_the_same:
            return holders
        return replace(
            holders,
            earlier_ns=self.as_of_ns,
            earlier=tuple(held.actors.get(before.identity, ())),
            earlier_doubts=doubts_of(held, before.identity, (before,), was_read=True),
        )


def doubts_of(
    held: sighting_store.Held, identity: tuple[int, int], sides: Sequence[FileState], *, was_read: bool
) -> tuple[Doubt, ...]:
    """Who may have had a file open for writing without showing it, when it was read.

    A file that was not open for writing then, by the kernel's count, was not so for anybody. Of another one, or where
    the kernel could not be asked (``was_read`` is not set: of a file that was not there), everybody is in doubt whose
    rights suffice for one of the file's states, ``sides``.

    The count leaves open who keeps a removed name of the file, or memory of it (:func:`_past_the_count`).
    """
    if held.doubts is None:
        return ()
    was_asked = was_read and (identity[0], 0) not in held.writable
    able = [
        doubt for doubt in held.doubts if doubt.rights is None or any(may_write(doubt.rights, side) for side in sides)
    ]
    if was_asked and identity not in held.writable:
        return _past_the_count(able, sides)
    suspects = [doubt for doubt in able if doubt.why is not Unseen.BUFFERS or _can_be_pinned(sides)]
    if identity in held.writable and not suspects:
        named = held.actors.get(identity)
        if not named:
            return (Doubt(Unseen.NO_PROCESS),)
        if any(_others_may_write(side, named) for side in sides):
            return (Doubt(Unseen.NOT_ALONE),)
    return tuple(doubt._replace(rights=None) for doubt in suspects)


def _past_the_count(able: Iterable[Doubt], sides: Sequence[FileState]) -> tuple[Doubt, ...]:
    """Who can change a file that the kernel counts no writer of; root's processes are not taken to hide anything.

    By the descriptor of a removed name, which can be in a socket, it is opened without a record that says so. Memory of
    a file without a disk stays registered with an io_uring when descriptor and mapping are gone.
    """
    found = []
    for doubt in able:
        rights = doubt.rights
        if rights is None or set(rights.uids) == {0}:
            continue
        if rights.any_file and not any(_others_may_write(side, ()) for side in sides):
            continue  # not known whose it is, and no user may write to the file
        if doubt.why is not Unseen.BUFFERS:
            found.append(Doubt(Unseen.NAME, doubt.actor))
        elif _can_be_pinned(sides):
            found.append(Doubt(Unseen.BUFFERS, doubt.actor))
    return tuple(dict.fromkeys(found))


def _can_be_pinned(sides: Iterable[FileState]) -> bool:
    """Whether memory of the file can be registered for long: the kernel refuses that for what is written to a disk.

    That is so since Linux 6.5 (writable_file_mapping_allowed in mm/gup.c).
    """
    paths = [side.path for side in sides if not side.is_on_disk]
    if not paths:
        return False
    mounts = own_mounts()
    on = [mount_of(mounts, path) for path in paths]
    return any(mount is None or mount.kind in _WITHOUT_DISK for mount in on)


def _others_may_write(state: FileState, holders: Iterable[Actor]) -> bool:
    """Whether a file's owner and mode let users write to it, root apart, other than those who hold it."""
    users = {uid for actor in holders for uid in (actor.uid, actor.euid)}
    # A group with the number of the owner is the owner's alone, as a rule (user private groups).
    of_group = state.mode & 0o020 and state.gid not in (0, state.uid)
    return bool(state.mode & 0o002 or of_group) or (state.uid != 0 and state.uid not in users)


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierReading:
    """The complete scan at which something was read last that later ones could not read.

    ``failed`` is what that one could not read itself.
    """

    clock: attribution.ReadClock
    look: Look
    failed: Collection[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class FullReading:
    """The last complete scan, as far as later ones need it; ``scan`` is ``None`` before the first.

    ``looks`` are its own and those of the scans before it, back to the one that read what it took on trust; latest
    first. ``blocked`` is what it could not read; ``earlier`` has the last reading of each of these, if any.
    """

    scan: Scan | None = None
    first_scan_ns: int = 0
    clock: attribution.ReadClock = field(default_factory=attribution.ReadClock)
    blocked: Collection[bytes] = ()
    earlier: Mapping[bytes, EarlierReading] = field(default_factory=dict)
    looks: tuple[Look, ...] = ()

    @classmethod
    def load(cls, session: Session) -> FullReading:
        """From the store."""
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
            looks=tuple(
                _look(session, one)
                # What was vouched for since was read by an earlier one.
                for one in scan_store.full_back_to(session, scan.id, clock.earliest or scan.started_ns)
            ),
        )

    @property
    def since_ns(self) -> int:
        """When the oldest of the readings began that the present state rests on."""
        return min((look.as_of_ns for look in self.looks), default=0)

    def is_blocked(self, path: bytes) -> bool:
        """Whether that scan could not read this path, or a directory above it."""
        return is_among(path, self.blocked)

    def read_again(self, path: bytes, read_start_ns: int) -> int:
        """When a file was last really read that is stored as it was read at that time."""
        clock = self._clock_of(path)
        return max((clock.at(path) if clock is not None else None) or 0, read_start_ns)

    def last_read(self, path: bytes, before: FileState | None) -> int:
        """When this path was last seen as it was: at that scan or, where it could not be read, at the last that did."""
        if before is not None:
            return self.read_again(path, before.read_start_ns)
        # That nothing was there is known of no earlier scan for sure.
        absent = None if self.is_blocked(path) else self.clock.absent_at(path)
        return self.first_scan_ns if absent is None else absent

    def looks_at(self, path: bytes) -> tuple[Look, ...]:
        """Who could write, at each scan that may be the last one to have read this path; latest first."""
        earlier = self._earlier_of(path)
        return self.looks if earlier is None else (*self.looks, earlier.look)

    def read_again_since(self, failed: Collection[bytes]) -> Iterator[int]:
        """When the last reading before this one began of everything that is read again, which is not in ``failed``."""
        return (one.look.as_of_ns for path, one in self.earlier.items() if not is_among(path, failed))

    def _clock_of(self, path: bytes) -> attribution.ReadClock | None:
        """The read times of the last complete scan that read this path, ``None`` where none is known."""
        if not self.is_blocked(path):
            return self.clock
        earlier = self._earlier_of(path)
        return None if earlier is None or is_among(path, earlier.failed) else earlier.clock

    def _earlier_of(self, path: bytes) -> EarlierReading | None:
        """The last reading of a path that was blocked; the earliest where that, and a directory above it, were."""
        found = [self.earlier.get(place) for place in upwards(path) if place in self.blocked]
        known = [one for one in found if one is not None]
        return min(known, key=lambda one: one.look.as_of_ns) if known and len(known) == len(found) else None


def is_among(path: bytes, failed: Collection[bytes]) -> bool:
    """Whether a path is one of these, or below one."""
    return bool(failed) and innermost(path, failed) is not None


def read_before(session: Session, scan_id: int, changes: Iterable[Change]) -> set[tuple[int, int]]:
    """Return the regular files, by device and inode, that came to changed paths and that a scan had read elsewhere."""
    moved = {
        c.after.identity
        for c in changes
        if c.after is not None and (c.before is None or c.before.identity != c.after.identity)
    }
    versions = files.by_identity(session, moved, scan_id)
    return {version.state.identity for version in versions if version.state.kind is FileKind.FILE}


def _failed(session: Session, scan_id: int) -> list[Unreadable]:
    """What a scan could not read, but for configured paths that were not there: that is an observation."""
    found = sighting_store.unreadable_in(session, scan_id)
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
                look=_look(session, scan),
                failed=frozenset(one.path for one in _failed(session, scan.id)),
            )
        found[item.path] = readings[scan.id]
    return found


def _look(session: Session, scan: Scan) -> Look:
    return Look(
        as_of_ns=scan.started_ns,
        held=sighting_store.held_at(session, scan.id),
        complete=scan.counts.get("unexamined_processes", 0) == 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """A complete scan and the looks at single files since then."""

    full: FullReading
    rechecks: Mapping[bytes, sighting_store.Recheck]

    def last_read(self, before: FileState | None, after: FileState | None) -> int:
        """When the old state was last seen.

        A look in between counts only where it was at the very file that changed. When another one was put in its
        place, that one may have been written before the look, at leisure and under another name.
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
        """The change, with who could write to the file when its window began, and ``later``, before its end.

        ``read`` are the files, by device and inode, that the last complete scan read under any name.
        """
        recheck = self._recheck(change.before, change.after)
        # A later look would clear those who had it open, wrote and closed it between the window's beginning and then.
        looks = self.full.looks_at(change.path if change.before is None else change.before.path)
        look = next((look for look in looks if look.as_of_ns <= change.window.after_ns), None)
        if recheck is not None and recheck.holders is not None and recheck.read_start_ns <= change.window.after_ns:
            held = recheck.holders
        elif look is not None:
            held = self._with_earlier(look.holders(change, read), change)
        else:
            return change
        return replace(change, holders=replace(held, later_ns=later_ns, later=tuple(later)))

    def _with_earlier(self, held: Holders, change: Change) -> Holders:
        """With who held the replaced file when it was read by itself, where that is later than the last scan."""
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

    def cleared(self, change: Change) -> tuple[int, int] | None:
        """The stretch before the window over which the old content is known to have stayed as it was, if there is one.

        Whoever opened the file in that time, and did not keep it open, has written nothing.
        """
        before = change.before
        recheck = self._recheck(before, change.after)
        if before is None or recheck is None:
            return None
        start = self.full.last_read(before.path, before)
        return (start, recheck.read_start_ns) if start < recheck.read_start_ns else None

    def _recheck(self, before: FileState | None, after: FileState | None) -> sighting_store.Recheck | None:
        if before is None or (after is not None and after.identity != before.identity):
            return None
        return self.rechecks.get(before.path)
