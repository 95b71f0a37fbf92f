"""Append-only logs: tell growth and rotation from breaches. Pure.

The promise: no byte that was verified once is lost without a report. A log may grow. Its content may be renamed, copied
(copytruncate) or compressed, as long as all of it is found at the new place. Anything else is a breach.

Each generation of a log counts on its own: two generations need two files with their verified content, even if one
begins with or equals the other. So a file stands for one generation only (:func:`assign_files`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from fimscan.compare.states import change_of, differences, same_content
from fimscan.model import Breach, Change, Digest, FileKind, FileState, Window

#: The fields that appending changes, and those that a rotation changes by putting another file in place.
GROWTH = frozenset({"content", "size", "mtime", "ctime"})
ROTATION = GROWTH | {"inode", "nlink"}

_COMPRESSED = re.compile(rb"\.(?:gz|bz2|xz|zst|lzma|Z)$")
_GENERATION = re.compile(rb"[-._]\d+(?=[-._]|$)")


_FAMILIES = 1 << 16  # log paths in the cache of :func:`family`


class Disruption(Struct, frozen=True, kw_only=True):
    """A log that changed by more than growth, is new or is gone; it is judged when its content was looked for."""

    before: FileState | None
    after: FileState | None
    window: Window

    @property
    def path(self) -> bytes:
        """The path of the log."""
        state = self.after or self.before
        assert state is not None, "a disruption has at least one side"
        return state.path


class Judgement(Struct, frozen=True, kw_only=True):
    """The judgement of a disruption; ``change`` is what remains to be reported, if anything."""

    path: bytes
    change: Change | None
    is_followed: bool  # the present file is what the policy expects
    is_retired: bool  # the file is gone, as the policy expects


def has_grown(before: FileState, after: FileState) -> bool:
    """Whether it is the same file and begins with all content that was verified of it."""
    return before.identity == after.identity and begins_with(after, before)


def begins_with(after: FileState, before: FileState) -> bool:
    """Whether ``after`` begins with the whole content of ``before``, by the prefix digested when it was read."""
    prefix = after.prefix
    if before.kind is not FileKind.FILE or after.kind is not FileKind.FILE or prefix is None:
        return False
    return prefix.size == before.size and digests_match(prefix.digests, before)


def digests_match(digests: Iterable[Digest], state: FileState) -> bool:
    """Whether these are digests of a state's whole content; a non-cryptographic one suffices if it is the only one."""
    known = {digest.algorithm: digest.value for digest in state.digests}
    common = [digest for digest in digests if digest.algorithm in known]
    return bool(common) and all(known[digest.algorithm] == digest.value for digest in common)


def is_copy(candidate: FileState, old: FileState) -> bool:
    """Whether ``candidate`` has the same content as ``old``, by their recorded sizes and digests."""
    both_files = candidate.kind is old.kind is FileKind.FILE
    return both_files and candidate.size == old.size and bool(old.digests) and same_content(old, candidate)


@lru_cache(maxsize=_FAMILIES)
def family(path: bytes) -> bytes:
    """Return the path without numbers, dates and compression: a log has it in common with its rotated generations.

    ``app.log``, ``app.log.1``, ``app.log-20261125.gz`` and ``app-20261125.log`` are one family. The family only shows
    where to look and what to count: that two files have the same content is never inferred from their names.
    """
    directory, slash, name = path.rpartition(b"/")
    plain = _COMPRESSED.sub(b"", name)
    return directory + slash + (_GENERATION.sub(b"", plain) or plain)


def common_beginning(path: bytes) -> bytes:
    """The common prefix of all paths of a log's family."""
    directory, slash, name = path.rpartition(b"/")
    return directory + slash + re.split(rb"[-._]", name, maxsplit=1)[0]


def is_generation(path: bytes) -> bool:
    """Whether a path has the name of a rotated log."""
    return family(path) != path


def generation_numbers(path: bytes) -> tuple[int, ...]:
    """The numbers and dates in a rotated log's name, ``app.log.2.gz`` -> (2,); empty for the active log."""
    plain = _COMPRESSED.sub(b"", path.rpartition(b"/")[2])
    return tuple(int(found[1:]) for found in _GENERATION.findall(plain))


def assign_files(places: Sequence[Iterable[bytes]]) -> dict[int, bytes]:
    """Assign a file of its own to as many old contents as possible (a maximum matching, by augmenting paths).

    Args:
        places: for each old content, the paths of the files that contain all of it.

    Returns:
        The position of an old content in ``places`` -> its path. No path is assigned twice.
    """
    options = [list(some) for some in places]
    owner: dict[bytes, int] = {}
    for number in range(len(options)):
        _place(number, options, owner)
    return {number: path for path, number in owner.items()}


def _place(first: int, options: Sequence[Sequence[bytes]], owner: dict[bytes, int]) -> None:
    """Assign a path to one more content; contents that have a path may move to another of their options."""
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
            _augment(path, first, came_by, owner)
            return


def _augment(free: bytes, first: int, came_by: Mapping[bytes, int], owner: dict[bytes, int]) -> None:
    """Apply an augmenting path that ends at a free path: each content on it moves to the next path."""
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
    """Return the old paths of generations that no rotation can have moved to their present paths.

    A rotation keeps the order of a log's generations, whether the newest has the lowest number (logrotate) or the
    highest (log4j). It never moves a generation back to the name of the active log.

    Args:
        moves: (old path, new path) of each verified content; contents that did not move may be included.
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
    """Whether a log differs only by growth."""
    return has_grown(before, after) and GROWTH.issuperset(differences(before, after))


def is_next_generation(candidate: FileState, old: FileState) -> bool:
    """Whether a file has the name of a rotated generation of an empty log, which no content can identify."""
    same = old.path != candidate.path and family(old.path) == family(candidate.path)
    return old.size == 0 and same and is_generation(candidate.path)


def growth(before: FileState, after: FileState, window: Window) -> Change | None:
    """The change to report of a log that has grown: attributes that growth does not explain, if any."""
    return change_of(before, after, window, expected=GROWTH)


class ContentLocation(Struct, frozen=True, kw_only=True):
    """Where the old content of a log is now. All ``False``: it was not found.

    Attributes:
        is_kept: another file has it, or the log was empty.
        is_misplaced: no rotation can have moved it to that file (:func:`out_of_order`).
        is_in_place: the present file at its path begins with it.
    """

    is_kept: bool = False
    is_misplaced: bool = False
    is_in_place: bool = False


def judge(one: Disruption, old: ContentLocation, *, is_home: bool, is_expired: bool) -> Judgement:
    """Decide whether a disruption is a rotation or a breach.

    Args:
        one: the disruption.
        old: where all verified old content was found.
        is_home: the present file at the path has the content of another log.
        is_expired: it was the oldest generation, and as many newer ones exist as the policy keeps.
    """
    before, after = one.before, one.after
    change = change_of(before, after, one.window)
    if old.is_misplaced:
        reordered = _breached(change, Breach.REORDERED)
        return Judgement(path=one.path, change=reordered, is_followed=False, is_retired=False)
    if before is None:
        return Judgement(path=one.path, change=None if is_home else change, is_followed=is_home, is_retired=False)
    if after is None:
        gone = old.is_kept or is_expired
        lost = None if gone else _breached(change, Breach.LOST)
        return Judgement(path=one.path, change=lost, is_followed=False, is_retired=gone)
    if old.is_kept or (is_home and is_expired):
        rest = change_of(before, after, one.window, expected=ROTATION)
        return Judgement(path=one.path, change=rest, is_followed=True, is_retired=False)
    if old.is_in_place:
        # Nothing was lost, but a process that still writes to the old file does not write to this one.
        return Judgement(path=one.path, change=growth(before, after, one.window), is_followed=False, is_retired=False)
    breach = Breach.LOST if is_home else _breach(before, after)
    return Judgement(path=one.path, change=_breached(change, breach), is_followed=False, is_retired=False)


def _breach(before: FileState, after: FileState) -> Breach:
    if before.identity != after.identity or after.kind is not FileKind.FILE:
        return Breach.REPLACED
    return Breach.TRUNCATED if after.size < before.size else Breach.REWRITTEN


def _breached(change: Change | None, breach: Breach) -> Change | None:
    return None if change is None else replace(change, breach=breach)
