"""What kind of difference a change is, from content down to times alone."""

from __future__ import annotations

from enum import IntEnum

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
    changed = set(change.changed)
    if changed & _CONTENT or (changed & _REWRITTEN and _is_content_unknown(before, after)):
        return Nature.CONTENT
    if changed & _ATTRIBUTES:
        return Nature.ATTRIBUTES
    return Nature.INODE if changed & _INODE else Nature.TIMES


def _is_content_unknown(before: FileState, after: FileState) -> bool:
    if before.kind is not FileKind.FILE:
        return False
    taken = {digest.algorithm for digest in before.digests}
    return all(digest.algorithm not in taken for digest in after.digests)
