"""Compare two states of a path: the fields that differ, and the change that this makes."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from operator import attrgetter, ne

from fimscan.model import Change, ChangeKind, FileKind, FileState, Window

#: The names that :attr:`Change.changed` may hold, in the order in which they are listed.
FIELDS = (
    "kind",
    "content",
    "link_target",
    "size",
    "mode",
    "uid",
    "gid",
    "acl",
    "capabilities",
    "selinux",
    "xattr",
    "flags",
    "nlink",
    "dev",
    "inode",
    "mtime",
    "ctime",
)

# A directory's size, link count and times follow from its entries, each of which is compared by itself.
_OF_DIRECTORIES = frozenset({"kind", "mode", "uid", "gid", "dev", "inode", "flags"})
_OF_XATTRS = frozenset({"acl", "capabilities", "selinux", "xattr"})
_OF_CONTENT = frozenset({"kind", "content", "link_target"})
_PLAIN = (
    ("kind", "kind"),
    ("link_target", "link_target"),
    ("size", "size"),
    ("mode", "mode"),
    ("uid", "uid"),
    ("gid", "gid"),
    ("xattr", "xattr_digest"),
    ("flags", "flags"),
    ("nlink", "nlink"),
    ("dev", "dev"),
    ("inode", "inode"),
    ("mtime", "mtime_ns"),
    ("ctime", "ctime_ns"),
)
_NAMES, _VALUES = [name for name, _ in _PLAIN], attrgetter(*(attribute for _, attribute in _PLAIN))


def same_content(before: FileState, after: FileState) -> bool:
    """Whether every digest that both states have is equal (and, without a common one, whether the sizes are)."""
    old = {digest.algorithm: digest.value for digest in before.digests}
    common = [digest.value == old[digest.algorithm] for digest in after.digests if digest.algorithm in old]
    return all(common) if common else before.size == after.size


def differences(before: FileState, after: FileState) -> tuple[str, ...]:
    """List the names of :data:`FIELDS` in which two states differ; read times and the path itself do not count.

    Flags differ only if both states have them recorded.
    """
    differing = tuple(map(ne, _VALUES(before), _VALUES(after)))
    is_file = before.kind is after.kind is FileKind.FILE
    named = _listed(differing, is_content=is_file and not same_content(before, after))
    if "xattr" in named:
        found = {*named} - {"xattr"} | _named_xattrs(before, after)
        named = tuple([name for name in FIELDS if name in found])
    if "flags" in named and (before.flags is None or after.flags is None):
        named = tuple([name for name in named if name != "flags"])
    if before.kind is after.kind is FileKind.DIRECTORY:
        return tuple([name for name in named if name in _OF_DIRECTORIES or name in _OF_XATTRS])
    return named


@lru_cache(maxsize=1024)  # most files of an upgrade differ in the same fields
def _listed(differing: tuple[bool, ...], *, is_content: bool) -> tuple[str, ...]:
    """The names of :data:`FIELDS` in order: those of :data:`_PLAIN` that differ, and the content."""
    found = {name for name, differs in zip(_NAMES, differing, strict=True) if differs}
    return tuple([name for name in FIELDS if name in found or (is_content and name == "content")])


def _named_xattrs(before: FileState, after: FileState) -> set[str]:
    """The kinds of extended attributes that differ; only ``xattr`` if the attributes themselves were not recorded."""
    if before.xattrs is None or after.xattrs is None:
        return {"xattr"}
    return {xattr.field for xattr in set(before.xattrs) ^ set(after.xattrs)} or {"xattr"}


def same_state(before: FileState, after: FileState) -> bool:
    """Whether a recorded state equals another one and was recorded as completely (digests, flags, attributes)."""
    return (
        not differences(before, after)
        and (before.flags is None) == (after.flags is None)
        and (before.xattrs is None) == (after.xattrs is None)
        and {digest.algorithm for digest in before.digests} == {digest.algorithm for digest in after.digests}
    )


def change_of(
    before: FileState | None, after: FileState | None, window: Window, expected: Collection[str] = ()
) -> Change | None:
    """Return the change from one state to the other, or ``None`` if nothing differs.

    A state of ``None`` means that the path does not exist. Differences in ``expected`` fields are ignored.
    """
    if before is None or after is None:
        if before is after:
            return None
        kind = ChangeKind.ADDED if before is None else ChangeKind.REMOVED
        return Change(kind=kind, before=before, after=after, window=window)
    changed = differences(before, after)
    if expected:
        changed = tuple([name for name in changed if name not in expected])
    if not changed:
        return None
    kind = ChangeKind.ATTRIBUTES if _OF_CONTENT.isdisjoint(changed) else ChangeKind.MODIFIED
    return Change(kind=kind, before=before, after=after, changed=changed, window=window)
