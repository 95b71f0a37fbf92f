"""One change with the evidence about it: its window, the files that it is about, and who had to do with them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import NamedTuple

from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BINDS, BIRTHS, MOVES, WRITES, AccessIndex, Identity, KnownDirectories, time_of
from fimscan.model import Action, Actor, Change, EventId, FileAccess, FileState, Name, Testimony, Why, Window

_CALL_NS = 1_000_000_000  # a call that makes a file, or removes one, has ended by then

#: An access, or a process that was found holding a descriptor, with how it was judged.
Ruled = tuple[FileAccess | Actor, Why]
#: Why an access is left out, and the test for that.
Test = tuple[Why, Callable[[FileAccess], bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the claims are drawn from.

    ``prior`` gives the last known state of a file by its identity, whatever it was called: it tells whether a file that
    was moved into place brought new content with it. ``names`` counts, for files with several hard links, the names
    that the scans know (one that is missing counts as 1). ``testimony`` is that of fanotify, where there is one.
    ``doubtful`` events are of a file of which only the inode number is sure, which recurs in other subvolumes or layers
    (:mod:`fimscan.attribution.devices`). ``is_timed`` tells whether a file's ctime is set by everything that changes
    it, by this host's clock. ``directories`` are those that changed files are in, by path, as of both scans; they are
    there only where it matters who may write to them (:func:`fimscan.attribution.holes.without_needless`).
    """

    index: AccessIndex
    prior: Mapping[Identity, FileState]
    names: Mapping[Identity, int] = field(default_factory=dict)
    testimony: Testimony = field(default_factory=Testimony)
    doubtful: frozenset[EventId] = frozenset()
    directories: Mapping[bytes, Sequence[FileState]] = field(default_factory=dict)
    is_timed: Callable[[FileState], bool] = attrgetter("is_on_disk")


def sift(accesses: Iterable[FileAccess], *tests: Test) -> tuple[list[FileAccess], list[Ruled]]:
    """(the accesses that no test leaves out, the others with the first one that does): deciding is giving reasons."""
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


def inside(access: FileAccess, window: Window) -> bool:
    """Whether an access fell into the window, as far as two coarse clocks can tell."""
    return window.after_ns - SLACK_NS <= access.event.time_ns <= window.before_ns + SLACK_NS


def last_touched(state: FileState) -> int:
    """The latest moment that ctime can stand for.

    Some file systems keep whole seconds (ext4 with 128-byte inodes), or every second one (FAT).
    """
    return state.ctime_ns + (2 * 10**9 if state.ctime_ns % 10**9 == 0 else 0)


class Life(NamedTuple):
    """The present life of an inode number: what was done to the file that has it, and not to those that had it before.

    ``birth`` is its creation, where that was seen. ``reborn`` says that the file that was known by this number when
    the older observation was made is gone, so that what was known of it says nothing of this one. ``earlier`` is what
    was done to those that had the number before. ``doubtful`` is what was done to a file whose known names were all
    removed: with one name more, that nobody knew, it may be this very file.
    """

    birth: FileAccess | None
    accesses: tuple[FileAccess, ...]
    reborn: bool
    earlier: tuple[FileAccess, ...] = ()
    doubtful: tuple[FileAccess, ...] = ()

    @property
    def rulings(self) -> tuple[Ruled, ...]:
        """Who had to do with the earlier files is not to be named for this one."""
        return tuple([(access, Why.EARLIER_FILE) for access in self.earlier])


class Case:
    """A change and its evidence.

    The window is in ascending order, also where the clock was set back in it. Then no time in it compares with
    another, so that the ctime clears nobody.

    ``last_change_ns`` is the time after which, by its ctime, the file was not changed: a write, a change of attributes
    and, where the file system has a block device, the first store to a mapping of it set the ctime, which no call can
    set back. Elsewhere it is ``None``: tmpfs leaves the ctime at such a store (seen on 6.18), and network file systems
    have the times of another clock.

    ``is_covered`` says that audit missed nothing in the window, as far as is known.
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
        after = change.after
        timed = after is not None and evidence.is_timed(after) and not clock_changed
        self.last_change_ns = last_touched(after) if after is not None and timed else None
        self.unchanged_after_ns = inf if self.last_change_ns is None else self.last_change_ns + SLACK_NS
        self._lives: dict[Identity, Life] = {}
        #: Kept for ``history``, whose every tenant asks for it: the accesses to an inode number, file by file, and by
        #: the id of each what was done to its file.
        self.files_of: dict[Identity, tuple[list[list[FileAccess]], Mapping[int, Sequence[FileAccess]]]] = {}

    def is_inside(self, access: FileAccess) -> bool:
        """Whether an access fell into the window."""
        return inside(access, self.window)

    def is_too_late(self, access: FileAccess) -> bool:
        """Whether the file was not changed any more when this happened."""
        return access.event.time_ns > self.unchanged_after_ns

    def life_of(self, identity: Identity) -> Life:
        """Follow one inode number up to the end of the window."""
        life = self._lives.get(identity)
        if life is None:
            life = self._lives[identity] = _life_of(identity, self.window.before_ns, self.evidence)
        return life

    def elsewhere_since(self, state: FileState) -> int | None:
        """Since when the file had a name in a directory that no scan knows (rules go by directory); ``None``: never."""
        life, identity = self.life_of(state.identity), state.identity
        if life.reborn or identity not in self.evidence.prior:
            return None  # it came from there: that is the placer's deed
        if self.index.directories_went_outside(state.path, self.window):
            return self.window.after_ns
        if not self.index.turns_of(identity):
            return None
        holders = self.change.holders
        # A name that it got and lost after everybody was looked at can be kept unseen.
        since_ns = min(self.window.after_ns, holders.as_of_ns if holders and holders.as_of_ns else inf) - SLACK_NS
        until_ns = self.window.before_ns + SLACK_NS
        moves = [a for a in life.accesses if a.action in (Action.RENAME, Action.LINK) and a.identity == identity]
        moves = [a for a in moves if since_ns <= a.event.time_ns <= until_ns]
        names = [(a.event.time_ns, n) for a in moves for n in (a.name, a.old) if n is not None]
        return min((time_ns for time_ns, name in names if not self.index.known.is_inside(name)), default=None)


def _life_of(identity: Identity, until_ns: int, evidence: Evidence) -> Life:
    """Through creations, links and removals: the kernel gives the number away again at once."""
    prior = evidence.prior.get(identity)
    # Without a known link count the first removal is taken as the end: better to lose a lead than to follow a dead one.
    names = prior.nlink if prior is not None else 1
    birth: FileAccess | None = None
    accesses: list[FileAccess] = []
    earlier: list[FileAccess] = []
    doubtful: list[FileAccess] = []
    reborn = False
    found = evidence.index.of_file(identity)
    found = found[: bisect_right(found, until_ns + SLACK_NS, key=time_of)]
    if not evidence.index.turns_of(identity):
        return Life(birth=None, accesses=tuple(found), reborn=False)
    for access in found:
        if access.action in BIRTHS:
            opened = [one for one in accesses if opened_what_was_made(one, access, evidence.index.known)]
            earlier += [*doubtful, *(one for one in accesses if one not in opened)]
            doubtful = []
            birth, accesses, reborn = access, [access, *opened], True
            names = 0 if access.name.text is None else 1  # O_TMPFILE: no name yet
            continue
        if birth is not None and took_the_one_before(access, identity, accesses, evidence.index.known):
            earlier.append(access)
            continue
        accesses.append(access)
        if access.action is Action.LINK:
            names += 1
        elif access.action is Action.UNLINK or access.replaced == identity:
            names -= 1
            if names <= 0:
                # Of a file whose creation was seen, all names are known; of an older one, those that a scan counted.
                if birth is not None:
                    earlier += accesses
                else:
                    doubtful += accesses
                birth, accesses, reborn = None, [], True
    if reborn and birth is None and not _came_back(identity, found, accesses):
        # Nothing made another file of that number or moved one in: what is there now is the file that had one more name
        # than was known, as when one of two was removed before the older observation counted them.
        return Life(birth=None, accesses=tuple(found), reborn=False)
    return Life(
        birth=birth,
        accesses=tuple(accesses),
        reborn=reborn,
        earlier=tuple(earlier),
        doubtful=tuple(doubtful),
    )


def _came_back(identity: Identity, found: Iterable[FileAccess], since: Iterable[FileAccess]) -> bool:
    """Whether a number that was given up can have been given to another file, which was made, or moved in ``since``."""
    made = any(access.action in BIRTHS for access in found)
    return made or any(access.action in MOVES and access.identity == identity for access in since)


# An event has the time at which its call began, by a clock that ticks every few milliseconds, and a serial that it gets
# when the call ends (auditsc_get_stamp in kernel/auditsc.c): of two calls that overlap, either may come first.


def opened_what_was_made(access: FileAccess, birth: FileAccess, known: KnownDirectories) -> bool:
    """Whether a write-open before a creation in the order of events may have been of the file that was made.

    It has the name, no removal lies in between, and a file can be opened before the call that makes it has ended.
    """
    if access.action not in WRITES or time_of(birth) > time_of(access) + _CALL_NS:
        return False
    return not _keys(access.name, known).isdisjoint(_keys(birth.name, known))


def took_the_one_before(
    access: FileAccess, identity: Identity, life: Sequence[FileAccess], known: KnownDirectories
) -> bool:
    """Whether a removal after a creation in the order of events went before it, and freed the number that this got.

    That what was made is still there then shows in the name that was taken away: it never had that. ``life`` is what
    was done to it, its creation first.
    """
    removes = access.action is Action.UNLINK or access.replaced == identity
    if not removes or time_of(access) > time_of(life[0]) + _CALL_NS:
        return False
    had = [_keys(one.name, known) for one in life if one.action in BINDS and one.identity == identity]
    taken = _keys(access.name, known)
    return bool(taken) and all(had) and taken.isdisjoint(frozenset().union(*had))


def _keys(name: Name, known: KnownDirectories) -> frozenset[object]:
    """What one name has in common with another that is the same one; empty where it may be any."""
    own = {(name.parent, name.base)} if name.parent is not None and name.base is not None else set()
    return known.places(name) | own
