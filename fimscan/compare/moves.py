"""Recognise moved files among the changes: a removal and an addition that are one file under another name. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fimscan.compare.states import differences, same_content
from fimscan.model import Change, ChangeKind, FileKind, Window


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
