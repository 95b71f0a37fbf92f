"""Compare two states of a path, and recognise moved files among the changes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

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


def same_content(before: FileState, after: FileState) -> bool:
    """Whether every digest that both states have is equal (and, without a common one, whether the sizes are)."""
    old = {digest.algorithm: digest.value for digest in before.digests}
    common = [digest for digest in after.digests if digest.algorithm in old]
    if not common:
        return before.size == after.size
    return all(old[digest.algorithm] == digest.value for digest in common)


def differences(before: FileState, after: FileState) -> tuple[str, ...]:
    """List the names of :data:`FIELDS` in which two states differ; read times and the path itself do not count.

    Flags differ only if both states have them recorded.
    """
    found = {name for name, attribute in _PLAIN if getattr(before, attribute) != getattr(after, attribute)}
    if "xattr" in found:
        found = found - {"xattr"} | _named_xattrs(before, after)
    if "flags" in found and (before.flags is None or after.flags is None):
        found.remove("flags")
    if before.kind is after.kind is FileKind.DIRECTORY:
        found &= _OF_DIRECTORIES | _OF_XATTRS
    elif before.kind is after.kind is FileKind.FILE and not same_content(before, after):
        found.add("content")
    return tuple(name for name in FIELDS if name in found)


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
    changed = tuple(name for name in differences(before, after) if name not in expected)
    if not changed:
        return None
    kind = ChangeKind.MODIFIED if _OF_CONTENT & set(changed) else ChangeKind.ATTRIBUTES
    return Change(kind=kind, before=before, after=after, changed=changed, window=window)


def with_moves(changes: Iterable[Change]) -> list[Change]:
    """Replace each removed + added pair that is one file under another name by a ``moved`` change.

    It is one file if device, inode, kind, content, size and mtime are the same: a rename keeps them, a reused inode
    number does not have them. The mtime of a directory changes with its entries. So a directory also counts as moved if
    one of its entries moved with it. Hard links make several pairs possible; each side is used once. Order: by path.
    """
    changes = list(changes)
    removed: dict[tuple[int, int], list[Change]] = {}
    for change in changes:
        if change.kind is ChangeKind.REMOVED and change.before is not None:
            removed.setdefault(change.before.identity, []).append(change)
    moves: dict[int, Change] = {}  # id of the addition -> the removal
    used: set[int] = set()
    carried: set[tuple[bytes, bytes]] = set()
    # Entries before the directories that hold them: longer paths first.
    for change in sorted(changes, key=lambda c: len(c.path), reverse=True):
        origin = _origin_of(change, removed, used, carried)
        if origin is not None:
            moves[id(change)] = origin
            used.add(id(origin))
            carried.add((origin.path.rpartition(b"/")[0], change.path.rpartition(b"/")[0]))
    result = [
        _move(moves[id(change)], change) if id(change) in moves else change
        for change in changes
        if id(change) not in used
    ]
    return sorted(result, key=lambda c: c.path)


def _move(origin: Change, change: Change) -> Change:
    before, after = origin.before, change.after
    assert before is not None and after is not None, "a removal and an addition"
    window = Window(after_ns=origin.window.after_ns, before_ns=max(origin.window.before_ns, change.window.before_ns))
    changed = differences(before, after)
    return Change(kind=ChangeKind.MOVED, before=before, after=after, changed=changed, window=window)


def _origin_of(
    change: Change, removed: dict[tuple[int, int], list[Change]], used: set[int], carried: set[tuple[bytes, bytes]]
) -> Change | None:
    """Find the removal of the same file under another name; see :func:`with_moves`."""
    after = change.after
    if change.kind is not ChangeKind.ADDED or after is None:
        return None
    for candidate in removed.get(after.identity, ()):
        before = candidate.before
        if before is None or id(candidate) in used or before.kind is not after.kind:
            continue
        if before.kind is FileKind.DIRECTORY and (before.path, after.path) in carried:
            return candidate
        same = (
            before.mtime_ns == after.mtime_ns and before.size == after.size and before.link_target == after.link_target
        )
        if same and same_content(before, after):
            return candidate
    return None
