"""Logs that are only to be appended to: what is growth, what is rotation, and what was done to what was verified. Pure.

What this stands for: no byte that was verified once goes silently. A log may grow; its content may come to another name
(rename), be copied (copytruncate) or compressed, as long as all of it is found there. Anything else is a breach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from fimscan.join.compare import change_of, differences, same_content
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


def judge(one: Disruption, *, is_kept: bool, is_home: bool, is_expired: bool) -> Judgement:
    """What a disruption is.

    Args:
        one: the disruption.
        is_kept: all that was verified of the old content is found in another file, or there was none.
        is_home: what is there now holds the content that another log had.
        is_expired: it was the oldest generation, and as many newer ones are left as are to be kept.
    """
    before, after = one.before, one.after
    change = change_of(before, after, one.window)
    if before is None:
        return Judgement(path=one.path, change=None if is_home else change, is_followed=is_home, is_retired=False)
    if after is None:
        gone = is_kept or is_expired
        told = None if gone else _breached(change, Breach.LOST)
        return Judgement(path=one.path, change=told, is_followed=False, is_retired=gone)
    if is_kept or (is_home and is_expired):
        rest = change_of(before, after, one.window, expected=ROTATION)
        return Judgement(path=one.path, change=rest, is_followed=True, is_retired=False)
    if begins_with(after, before):
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
