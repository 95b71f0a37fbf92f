"""One change with its evidence: its window, and the accesses to each inode number, split by file. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from math import inf
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct, field

from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BINDS, BIRTHS, MOVES, WRITES, AccessIndex, Identity, KnownDirectories, time_of
from fimscan.model import Action, Actor, Change, EventId, FileAccess, FileState, Name, Why, Window, WitnessData

_CALL_NS = 1_000_000_000  # the longest time for which a call that makes or removes a file is taken to last

#: An access, or a process that held a descriptor, with its judgement.
Ruled = tuple[FileAccess | Actor, Why]
#: (the reason for leaving an access out, the test for it).
Test = tuple[Why, Callable[[FileAccess], bool]]


class Evidence(Struct, frozen=True, kw_only=True):
    """The evidence that claims are made from.

    Attributes:
        index: the accesses.
        prior: by identity, the last known state of a file under any name. It shows whether a file that was moved into
            place brought new content.
        names: for files with several hard links, how many of their names the scans know; a missing entry counts as 1.
        witness: what fanotify reported, if it watched.
        doubtful: events of which the inode number is known, but not the subvolume or layer
            (:mod:`fimscan.attribution.devices`).
        directories: by path, the states at both scans of the directories that changed files are in. Given only where
            it matters who may write to them (:func:`fimscan.attribution.holes.without_irrelevant`).
        ended_by: for an event, when its record was read: its call had ended by then. Only events are listed that were
            read after the window of some change had begun.
        is_timed: whether everything that changes a file sets its ctime, by this host's clock.
    """

    index: AccessIndex
    prior: Mapping[Identity, FileState]
    names: Mapping[Identity, int] = field(default_factory=dict)
    witness: WitnessData = field(default_factory=WitnessData)
    doubtful: frozenset[EventId] = frozenset()
    directories: Mapping[bytes, Sequence[FileState]] = field(default_factory=dict)
    ended_by: Mapping[EventId, int] = field(default_factory=dict)
    is_timed: Callable[[FileState], bool] = attrgetter("is_on_disk")


def sift(accesses: Iterable[FileAccess], *tests: Test) -> tuple[list[FileAccess], list[Ruled]]:
    """Return (the accesses that pass all tests, the others with the reason of the first test that they failed)."""
    kept: list[FileAccess] = []
    ruled: list[Ruled] = []
    for access in accesses:
        for why, leaves_out in tests:
            if leaves_out(access):
                ruled.append((access, why))
                break
        else:
            kept.append(access)
    return kept, ruled


def is_in_window(access: FileAccess, window: Window) -> bool:
    """Whether an access was inside the window, with slack for the coarse clocks of audit and of the scan."""
    return window.after_ns - SLACK_NS <= access.event.time_ns <= window.before_ns + SLACK_NS


def last_touched(state: FileState) -> int:
    """The latest time that the ctime can stand for.

    Some file systems keep whole seconds (ext4 with 128-byte inodes), or only even ones (FAT).
    """
    return state.ctime_ns + (2 * 10**9 if state.ctime_ns % 10**9 == 0 else 0)


class Life(NamedTuple):
    """The accesses to one file: the file that has an inode number at the end of the window.

    Attributes:
        birth: the creation of the file, if audit saw it.
        accesses: the accesses to this file, in order of time.
        reborn: the file that had the number at the older observation is gone. What was known of that file does not
            apply to this one.
        earlier: accesses to other files that had the number before.
        doubtful: accesses to a file of which all known names were removed. It is this file if it had one more name,
            which was not known.
    """

    birth: FileAccess | None
    accesses: tuple[FileAccess, ...]
    reborn: bool
    earlier: tuple[FileAccess, ...] = ()
    doubtful: tuple[FileAccess, ...] = ()

    @property
    def rulings(self) -> tuple[Ruled, ...]:
        """The rulings that leave out accesses to earlier files of this number."""
        return tuple([(access, Why.EARLIER_FILE) for access in self.earlier])


class Case:
    """A change and its evidence.

    The window is in ascending order, also if the clock was set back in it. Times in such a window do not compare, so
    the ctime clears nobody.

    ``last_change_ns`` is the time after which the file was not changed, by its ctime. A write and a change of
    attributes set the ctime, and no call can set it back. On a file system with a block device, so does the first store
    to a mapping. Elsewhere ``last_change_ns`` is ``None``: tmpfs leaves the ctime at such a store (seen on 6.18), and
    network file systems have the times of another clock.

    ``is_covered`` says that audit has no known gap in the window. ``is_same_file`` says that the old and the new
    state have the same inode number.
    """

    def __init__(
        self, change: Change, evidence: Evidence, *, clock_changed: bool = False, is_covered: bool = False
    ) -> None:
        self.change = change
        self.is_covered = is_covered
        self.evidence = evidence
        self.index = evidence.index
        after_ns, before_ns = change.window.after_ns, change.window.before_ns
        in_order = after_ns <= before_ns
        self.window = change.window if in_order else Window(after_ns=before_ns, before_ns=after_ns)
        before, after = change.before, change.after
        self.is_same_file = before is not None and after is not None and before.identity == after.identity
        timed = after is not None and evidence.is_timed(after) and not clock_changed
        self.last_change_ns = last_touched(after) if after is not None and timed else None
        self.unchanged_after_ns = inf if self.last_change_ns is None else self.last_change_ns + SLACK_NS
        self._lives: dict[Identity, Life] = {}
        #: Cache of ``history``: the accesses to an inode number, one list for each file that had it; and for the id of
        #: each access, what was done to its file.
        self.files_of: dict[Identity, tuple[list[list[FileAccess]], Mapping[int, Sequence[FileAccess]]]] = {}

    def is_inside(self, access: FileAccess) -> bool:
        """Whether an access was inside the window."""
        return is_in_window(access, self.window)

    def may_act_inside(self, access: FileAccess) -> bool:
        """Whether a call began before the window, and is not known to have ended by then."""
        event, after_ns = access.event, self.window.after_ns
        return event.time_ns < after_ns - SLACK_NS and self.evidence.ended_by.get(event, 0) > after_ns

    def is_too_late(self, access: FileAccess) -> bool:
        """Whether an access came after the last change of the file, by its ctime."""
        return access.event.time_ns > self.unchanged_after_ns

    def life_of(self, identity: Identity) -> Life:
        """Find the file that has an inode number at the end of the window, with the accesses to it."""
        life = self._lives.get(identity)
        if life is None:
            life = self._lives[identity] = _life_of(identity, self.window, self.evidence)
        return life

    def outside_since(self, state: FileState) -> int | None:
        """Since when the file had a name in a directory that no scan knows; ``None``: never.

        Audit rules for directories do not cover writes through such a name.
        """
        identity = state.identity
        life = self.life_of(identity)
        if life.reborn or identity not in self.evidence.prior:
            return None  # it came from outside: the placer answers for that
        if self.index.directories_went_outside(state.path, self.window):
            return self.window.after_ns
        moves = self.index.directory_moves(state.path) if self.evidence.ended_by else ()  # usually: no late calls
        if moves and any(self.may_act_inside(move) and self.index.is_outing(move) for move in moves):
            return self.window.after_ns
        if not self.index.turns_of(identity):
            return None
        holders = self.change.holders
        # A process may keep a name that the file got and lost after all processes were inspected for open files.
        since_ns = min(self.window.after_ns, holders.as_of_ns if holders and holders.as_of_ns else inf) - SLACK_NS
        until_ns = self.window.before_ns + SLACK_NS
        named = [a for a in life.accesses if a.action in (Action.RENAME, Action.LINK) and a.identity == identity]
        named = [a for a in named if since_ns <= a.event.time_ns <= until_ns or self.may_act_inside(a)]
        names = [(a.event.time_ns, n) for a in named for n in (a.name, a.old) if n is not None]
        return min((time_ns for time_ns, name in names if not self.index.known.is_inside(name)), default=None)


def _life_of(identity: Identity, window: Window, evidence: Evidence) -> Life:
    """Replay creations, links and removals: the kernel reuses an inode number at once.

    Without a known link count the first removal is taken for the end of the file. That may lose a lead; to follow the
    wrong file would accuse somebody.
    """
    found = evidence.index.of_file(identity)
    if found and found[-1].event.time_ns > window.before_ns + SLACK_NS:
        found = found[: bisect_right(found, window.before_ns + SLACK_NS, key=time_of)]
    if not evidence.index.turns_of(identity):  # usually
        return Life(birth=None, accesses=tuple(found), reborn=False)
    prior = evidence.prior.get(identity)
    names = prior.nlink if prior is not None else 1
    birth: FileAccess | None = None
    accesses: list[FileAccess] = []
    earlier: list[FileAccess] = []
    doubtful: list[FileAccess] = []
    reborn = False
    late: list[FileAccess] = []
    opens = LateOpens(window, evidence)
    for access in found:
        if access.action in BIRTHS:
            opened = [one for one in accesses if may_have_opened_created(one, access, evidence.index.known)]
            earlier += [*doubtful, *(one for one in accesses if one not in opened)]
            late = opens.ended_after(access)
            known = _ids(opened)
            opened += [one for one in late if id(one) not in known]
            doubtful = []
            birth, accesses, reborn = access, [access, *opened], True
            names = 0 if access.name.text is None else 1  # O_TMPFILE: no name yet
            opens.add(access)
            continue
        opens.add(access)
        if birth is not None and freed_number_before_creation(access, identity, accesses, evidence.index.known):
            earlier.append(access)
            continue
        accesses.append(access)
        if access.action is Action.LINK:
            names += 1
        elif access.action is Action.UNLINK or access.replaced == identity:
            names -= 1
            if names <= 0:
                # A file whose creation was seen has no unknown names; an older file may have names no scan counted.
                if birth is not None:
                    earlier += accesses
                else:
                    doubtful += accesses
                birth, accesses, reborn = None, [], True
    if reborn and birth is None and not _was_reused(identity, found, accesses):
        # No other file with that number was created or moved in. So this is the old file, which had one more name than
        # was known: for example, one of two names was removed before the older observation counted them.
        return Life(birth=None, accesses=tuple(found), reborn=False)
    if late and birth is not None:
        taken = _ids(late)
        earlier = [access for access in earlier if id(access) not in taken]
    return Life(
        birth=birth,
        accesses=tuple(accesses),
        reborn=reborn,
        earlier=tuple(earlier),
        doubtful=tuple(doubtful),
    )


def _was_reused(identity: Identity, found: Iterable[FileAccess], since: Iterable[FileAccess]) -> bool:
    """Whether another file can have got a freed number: one was created, or one was moved in among ``since``."""
    made = any(access.action in BIRTHS for access in found)
    return made or any(access.action in MOVES and access.identity == identity for access in since)


# The time of an event is that of its call's begin, by a clock that ticks every few milliseconds. The kernel assigns its
# serial when the call ends (auditsc_get_stamp in kernel/auditsc.c). So if two calls overlap, either event may come
# first.


class LateOpens:
    """The write-opens of an inode number so far, to find those that ended after a later creation.

    Such an open may have opened the created file, by any name: a call can wait for as long as its caller wants. If its
    serial is not that of its end (``FileAccess.serial_at_end``), only the reading of its record shows that it had
    ended. A call that began before the window had ended by then, unless ``evidence.ended_by`` lists it.
    """

    def __init__(self, window: Window, evidence: Evidence) -> None:
        self._since_ns = window.after_ns - SLACK_NS
        self._ended_by = evidence.ended_by
        self._latest_end_first: list[tuple[int, int, FileAccess]] = []
        self._of_unknown_end: list[FileAccess] = []

    def add(self, access: FileAccess) -> None:
        """Add the next access, in the order of events."""
        if access.action not in WRITES:
            return
        if access.serial_at_end:
            heappush(self._latest_end_first, (-access.event.serial, id(access), access))
        else:
            self._of_unknown_end.append(access)

    def ended_after(self, birth: FileAccess) -> list[FileAccess]:
        """List the opens that ended after a creation. Usually there are none."""
        heap, found = self._latest_end_first, []
        while heap and -heap[0][0] > birth.event.serial:
            found.append(heappop(heap))
        for item in found:
            heappush(heap, item)
        return [access for _, _, access in found] + [
            one for one in self._of_unknown_end if self._may_end_after(one, birth)
        ]

    def _may_end_after(self, access: FileAccess, birth: FileAccess) -> bool:
        inside = access.event.time_ns >= self._since_ns
        return inside or self._ended_by.get(access.event, 0) >= birth.event.time_ns


def _ids(accesses: Iterable[FileAccess]) -> set[int]:
    return {id(access) for access in accesses}


def may_have_opened_created(access: FileAccess, birth: FileAccess, known: KnownDirectories) -> bool:
    """Whether a write-open that precedes a creation in the order of events may have opened the created file.

    A file can be opened before the call that creates it has ended. The open must have the same name, and no removal
    may lie in between.
    """
    if access.action not in WRITES or time_of(birth) > time_of(access) + _CALL_NS:
        return False
    return not _keys(access.name, known).isdisjoint(_keys(birth.name, known))


def freed_number_before_creation(
    access: FileAccess, identity: Identity, life: Sequence[FileAccess], known: KnownDirectories
) -> bool:
    """Whether a removal that follows a creation in the order of events really preceded it and freed the number.

    The proof is the removed name: the created file never had it. ``life`` is the accesses to the created file, its
    creation first.
    """
    removes = access.action is Action.UNLINK or access.replaced == identity
    if not removes or time_of(access) > time_of(life[0]) + _CALL_NS:
        return False
    had = [_keys(one.name, known) for one in life if one.action in BINDS and one.identity == identity]
    taken = _keys(access.name, known)
    return bool(taken) and all(had) and taken.isdisjoint(frozenset().union(*had))


def _keys(name: Name, known: KnownDirectories) -> frozenset[object]:
    """Keys that two names share if they may be the same name; empty if a name cannot be placed."""
    own = {(name.parent, name.base)} if name.parent is not None and name.base is not None else set()
    return known.places(name) | own
