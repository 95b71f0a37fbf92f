"""Recognise moved files among the changes: a removal and an addition that are one file under another name. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from fimscan.compact import HashedSet
from fimscan.compare.states import differences, same_content
from fimscan.model import Change, ChangeKind, FileKind, FileState, Window

Identity = tuple[int, int]


def with_moves(changes: Sequence[Change]) -> Iterator[Change]:
    """Replace each removed + added pair that is one file under another name by a ``moved`` change.

    It is one file if device, inode, kind, content, size and mtime are the same: a rename keeps them, a reused inode
    number does not have them. The mtime of a directory changes with its entries. So a directory also counts as moved if
    one of its entries moved with it. Hard links make several pairs possible; each side is used once.

    ``changes`` are in order of path, and so is what is yielded. They are gone through several times, and few of them
    are kept: there may be very many.
    """
    origins = _origins(changes)
    used = set(origins.values())
    for place, change in enumerate(changes):
        if place in origins:
            yield _move(changes[origins[place]], change)
        elif place not in used:
            yield change


def _origins(changes: Sequence[Change]) -> dict[int, int]:
    """The places of the additions that are moves, each with that of its removal."""
    appeared = HashedSet()
    for change in changes:
        if change.kind is ChangeKind.ADDED and change.after is not None:
            appeared.add(change.after.identity)
    removed: dict[Identity, list[int]] = {}
    for place, change in enumerate(changes):
        if change.kind is ChangeKind.REMOVED and change.before is not None and change.before.identity in appeared:
            removed.setdefault(change.before.identity, []).append(place)
    if not removed:
        return {}
    added = [
        (-len(change.path), place)
        for place, change in enumerate(changes)
        if change.kind is ChangeKind.ADDED and change.after is not None and change.after.identity in removed
    ]
    moves: dict[int, int] = {}
    used: set[int] = set()
    carried: set[tuple[bytes, bytes]] = set()
    # Entries before the directories that hold them: longer paths first.
    for _, place in sorted(added):
        after = changes[place].after
        assert after is not None, "an addition has a new side"
        for candidate in removed[after.identity]:
            before = changes[candidate].before
            if candidate not in used and before is not None and _is_moved(before, after, carried):
                moves[place] = candidate
                used.add(candidate)
                carried.add((before.path.rpartition(b"/")[0], after.path.rpartition(b"/")[0]))
                break
    return moves


def _move(origin: Change, change: Change) -> Change:
    before, after = origin.before, change.after
    assert before is not None and after is not None, "a removal and an addition"
    window = Window(after_ns=origin.window.after_ns, before_ns=max(origin.window.before_ns, change.window.before_ns))
    changed = differences(before, after)
    return Change(kind=ChangeKind.MOVED, before=before, after=after, changed=changed, window=window)


def _is_moved(before: FileState, after: FileState, carried: Collection[tuple[bytes, bytes]]) -> bool:
    """Whether a removed file is an added one under another name; see :func:`with_moves`."""
    if before.kind is not after.kind:
        return False
    if before.kind is FileKind.DIRECTORY and (before.path, after.path) in carried:
        return True
    same = before.mtime_ns == after.mtime_ns and before.size == after.size and before.link_target == after.link_target
    return same and same_content(before, after)
