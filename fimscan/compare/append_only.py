"""Logs that are only to be appended to: what is growth, what is rotation, and what was done to what was verified. Pure.

What this stands for: no byte that was verified once goes silently. A log may grow; its content may come to another name
(rename), be copied (copytruncate) or compressed, as long as all of it is found there. Anything else is a breach.

Each generation of a log counts on its own: two generations need two files that hold what was verified of them, also
where one of them begins with, or equals, the other. So a file stands for one generation only (:func:`assigned`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from fimscan.compare.states import change_of, differences, same_content
from fimscan.model import Breach, Change, Digest, FileKind, FileState, Window

#: What follows from appending, and from another file's being put in its place by a rotation.
GROWTH = frozenset({"content", "size", "mtime", "ctime"})
ROTATION = GROWTH | {"inode", "nlink"}

_COMPRESSED = re.compile(rb"\.(?:gz|bz2|xz|zst|lzma|Z)$")
_GENERATION = re.compile(rb"[-._]\d+(?=[-._]|$)")


_FAMILIES = 1 << 16  # names of logs that are remembered with their family


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """A log that is not what it was, or that is new or gone: more than growth, until its content is found elsewhere."""

    before: FileState | None
    after: FileState | None
    window: Window

    @property
    def path(self) -> bytes:
        """Where that is."""
        state = self.after or self.before
        assert state is not None, "a disruption has at least one side"
        return state.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a disruption turns out to be: ``change`` is what is left to be told, if anything."""

    path: bytes
    change: Change | None
    is_followed: bool  # what is there now is what the policy expects
    is_retired: bool  # nothing is there any more, as the policy expects


def has_grown(before: FileState, after: FileState) -> bool:
    """Whether this same file begins with all that was verified of it."""
    return before.identity == after.identity and begins_with(after, before)


def begins_with(after: FileState, before: FileState) -> bool:
    """Whether a file's own prefix, taken when it was read, is another state's whole content."""
    prefix = after.prefix
    if before.kind is not FileKind.FILE or after.kind is not FileKind.FILE or prefix is None:
        return False
    return prefix.size == before.size and are_of(prefix.digests, before)


def are_of(digests: Iterable[Digest], state: FileState) -> bool:
    """Whether these are digests of a state's whole content; a weak one alone does, where no other was taken."""
    known = {digest.algorithm: digest.value for digest in state.digests}
    common = [digest for digest in digests if digest.algorithm in known]
    return bool(common) and all(known[digest.algorithm] == digest.value for digest in common)


def is_copy(candidate: FileState, old: FileState) -> bool:
    """Whether one has just the content of the other, as far as is known without reading either."""
    both_files = candidate.kind is old.kind is FileKind.FILE
    return both_files and candidate.size == old.size and bool(old.digests) and same_content(old, candidate)


@lru_cache(maxsize=_FAMILIES)
def family(path: bytes) -> bytes:
    """What a log and its rotated predecessors have in common: the path without numbers, dates and compression.

    ``app.log``, ``app.log.1``, ``app.log-20261125.gz`` and ``app-20261125.log`` are one family. It says where to look
    and what to count; that two files have the same content is never concluded from their names.
    """
    directory, slash, name = path.rpartition(b"/")
    plain = _COMPRESSED.sub(b"", name)
    return directory + slash + (_GENERATION.sub(b"", plain) or plain)


def common_beginning(path: bytes) -> bytes:
    """What the paths of a log's whole family begin with."""
    directory, slash, name = path.rpartition(b"/")
    return directory + slash + re.split(rb"[-._]", name, maxsplit=1)[0]


def is_generation(path: bytes) -> bool:
    """Whether it is named as a rotated log."""
    return family(path) != path


def generation_numbers(path: bytes) -> tuple[int, ...]:
    """The numbers and dates in a rotated log's name, ``app.log.2.gz`` -> (2,); empty for a log that is written to."""
    plain = _COMPRESSED.sub(b"", path.rpartition(b"/")[2])
    return tuple(int(found[1:]) for found in _GENERATION.findall(plain))


def assigned(places: Sequence[Iterable[bytes]]) -> dict[int, bytes]:
    """Give as many old contents as possible a file of their own.

    Args:
        places: of each old content, the paths of the files that hold all of it.

    Returns:
        The number of an old content -> its path. No path is given twice (a maximum matching, by augmenting paths).
    """
    options = [list(some) for some in places]
    owner: dict[bytes, int] = {}
    for number in range(len(options)):
        _place(number, options, owner)
    return {number: path for path, number in owner.items()}


def _place(first: int, options: Sequence[Sequence[bytes]], owner: dict[bytes, int]) -> None:
    """Find a path for one more, moving others to another of their options where that frees one."""
    came_by: dict[bytes, int] = {}
    waiting = [first]
    while waiting:
        number = waiting.pop()
        for path in options[number]:
            if path in came_by:
                continue
            came_by[path] = number
            if path in owner:
                waiting.append(owner[path])
                continue
            _hand_down(path, first, came_by, owner)
            return


def _hand_down(free: bytes, first: int, came_by: Mapping[bytes, int], owner: dict[bytes, int]) -> None:
    """Each on the way to the free path takes the path that it was asked to leave its own for."""
    if came_by[free] == first:
        owner[free] = first
        return
    had = {number: path for path, number in owner.items()}
    path = free
    while True:
        number = came_by[path]
        owner[path] = number
        if number == first:
            return
        path = had[number]


def out_of_order(moves: Sequence[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The old paths of generations that no rotation brings to where they are.

    A rotation keeps the order of a log's generations, whether the newest one has the lowest number (logrotate) or the
    highest (log4j), and never brings one back to the name of the log that is written to.

    Args:
        moves: (old path, new path) of what was verified; those that stayed where they are may be among them.
    """
    wrong: set[bytes] = set()
    families: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for old, new in moves:
        if old == new or not is_generation(old) or family(old) != family(new):
            continue
        if not is_generation(new):
            wrong.add(old)
        families.setdefault(family(old), []).append((old, new))
    for some in families.values():
        in_order = sorted(some, key=lambda move: generation_numbers(move[0]))
        for earlier, later in pairwise(in_order):
            was, now = [[generation_numbers(move[side]) for move in (earlier, later)] for side in (0, 1)]
            if was[0] < was[1] and now[0] > now[1]:
                wrong |= {earlier[0], later[0]}
    return frozenset(wrong)


def has_only_grown(before: FileState, after: FileState) -> bool:
    """Whether growth is all that there is to it."""
    return has_grown(before, after) and GROWTH.issuperset(differences(before, after))


def is_next_generation(candidate: FileState, old: FileState) -> bool:
    """Whether a file is named as what became of a log that was empty: then there is no content to know it by."""
    same = old.path != candidate.path and family(old.path) == family(candidate.path)
    return old.size == 0 and same and is_generation(candidate.path)


def growth(before: FileState, after: FileState, window: Window) -> Change | None:
    """What is left to be told of a log that has grown: an attribute that growing does not explain."""
    return change_of(before, after, window, expected=GROWTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where the content of a log is now; all ``False``: nowhere.

    ``is_kept``: in another file, or there was none. ``is_misplaced``: that is where no rotation brings it
    (:func:`out_of_order`). ``is_in_place``: what is at its path now begins with it.
    """

    is_kept: bool = False
    is_misplaced: bool = False
    is_in_place: bool = False


def judge(one: Disruption, old: Whereabouts, *, is_home: bool, is_expired: bool) -> Judgement:
    """What a disruption is.

    Args:
        one: the disruption.
        old: where all that was verified of the old content is found.
        is_home: what is there now holds the content that another log had.
        is_expired: it was the oldest generation, and as many newer ones are left as are to be kept.
    """
    before, after = one.before, one.after
    change = change_of(before, after, one.window)
    if old.is_misplaced:
        told = _breached(change, Breach.REORDERED)
        return Judgement(path=one.path, change=told, is_followed=False, is_retired=False)
    if before is None:
        return Judgement(path=one.path, change=None if is_home else change, is_followed=is_home, is_retired=False)
    if after is None:
        gone = old.is_kept or is_expired
        told = None if gone else _breached(change, Breach.LOST)
        return Judgement(path=one.path, change=told, is_followed=False, is_retired=gone)
    if old.is_kept or (is_home and is_expired):
        rest = change_of(before, after, one.window, expected=ROTATION)
        return Judgement(path=one.path, change=rest, is_followed=True, is_retired=False)
    if old.is_in_place:
        # Nothing was lost, but whoever writes to the file that was there does not write to this one.
        return Judgement(path=one.path, change=growth(before, after, one.window), is_followed=False, is_retired=False)
    breach = Breach.LOST if is_home else _breach(before, after)
    return Judgement(path=one.path, change=_breached(change, breach), is_followed=False, is_retired=False)


def _breach(before: FileState, after: FileState) -> Breach:
    if before.identity != after.identity or after.kind is not FileKind.FILE:
        return Breach.REPLACED
    return Breach.TRUNCATED if after.size < before.size else Breach.REWRITTEN


def _breached(change: Change | None, breach: Breach) -> Change | None:
    return None if change is None else replace(change, breach=breach)
