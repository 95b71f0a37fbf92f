"""What kind of difference a change is, from content down to times alone."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from fimscan.model import Change, ChangeKind, FileKind, FileState


class Nature(IntEnum):
    """What differs, by the weightiest difference. Smaller is weightier."""

    CONTENT = 0  # content, kind, target of a link, or the file itself appeared, disappeared or moved
    ATTRIBUTES = 1  # mode, owner, extended attributes, flags
    INODE = 2  # another inode, with the same content
    TIMES = 3


_CONTENT = frozenset({"kind", "content", "link_target", "size"})
_ATTRIBUTES = frozenset({"mode", "uid", "gid", "acl", "capabilities", "selinux", "xattr", "flags"})
_INODE = frozenset({"nlink", "dev", "inode"})
_REWRITTEN = frozenset({"inode", "mtime"})


def nature_of(change: Change) -> Nature:
    """The nature of a change. A file whose content was not read counts as changed if it can have been rewritten."""
    before, after = change.before, change.after
    if before is None or after is None or change.kind is ChangeKind.MOVED or change.breach is not None:
        return Nature.CONTENT
    nature, can_be_rewritten = _of_fields(change.changed)
    return Nature.CONTENT if can_be_rewritten and _is_content_unknown(before, after) else nature


@lru_cache(maxsize=1024)
def _of_fields(changed: tuple[str, ...]) -> tuple[Nature, bool]:
    """(the nature of a change of these fields, whether a file whose content was not read may have been rewritten)."""
    names = frozenset(changed)
    can_be_rewritten = bool(names & _REWRITTEN)
    if names & _CONTENT:
        return Nature.CONTENT, False
    if names & _ATTRIBUTES:
        return Nature.ATTRIBUTES, can_be_rewritten
    return (Nature.INODE if names & _INODE else Nature.TIMES), can_be_rewritten


def _is_content_unknown(before: FileState, after: FileState) -> bool:
    if before.kind is not FileKind.FILE:
        return False
    taken = {digest.algorithm for digest in before.digests}
    return all(digest.algorithm not in taken for digest in after.digests)
