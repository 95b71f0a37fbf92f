"""Give one inode number to a file on an overlay that got another one when it was copied up. Pure.

This happens to files with several hard links in the lower layer, unless the overlay is mounted with ``index=on``. Only
the name that is used gets the copy, which has its own number. Audit prints the old number until the file leaves the
kernel's cache, then the new one (seen on 6.18). Both numbers are of one file if nothing else got the name in between;
a rename or a link of the file itself is allowed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fimscan.attribution.index import BINDS, MOVES, UNBINDS, Identity, KnownDirectories, ancestors, in_order
from fimscan.model import Change, ChangeKind, EventId, FileAccess, FileKind

_Pairs = Mapping[bytes, tuple[Identity, Identity]]
"""By path: the identity of a file before it was copied up, and after."""


class Copied(NamedTuple):
    """Accesses and changes with the new numbers of copied files, and events that may be of such a file."""

    accesses: tuple[FileAccess, ...]
    changes: tuple[Change, ...]
    doubtful: frozenset[EventId]


def with_copies(
    accesses: Sequence[FileAccess],
    changes: Sequence[Change],
    known: KnownDirectories,
    is_overlay: Callable[[bytes], bool],
) -> Copied:
    """Replace the old number of each copied file by its present one."""
    kept = [change for change in changes if _is_renumbered(change) and is_overlay(change.path)]
    moved = [change for change in _moved_links(changes) if is_overlay(change.path)]
    if not kept and not moved:
        return Copied(tuple(accesses), tuple(changes), frozenset())
    binds = _Binds(accesses, known)
    pairs: dict[bytes, tuple[Identity, Identity]] = {}
    for change in kept:
        assert change.before is not None and change.after is not None, "a copied file has both sides"
        given = binds.given(change.path, change.after.identity)
        if not given and binds.at.keys().isdisjoint((change.path, *ancestors(change.path))):
            pairs[change.path] = (change.before.identity, change.after.identity)
    before = {change.before.path: change for change in changes if change.before is not None}
    for change in moved:
        for path, pair in _chain(change, before, binds).items():
            pairs.setdefault(path, pair)
    found, doubtful = _renumbered(accesses, pairs, known)
    return Copied(found, tuple(_as_copied(change, pairs) for change in changes), doubtful)


def _is_renumbered(change: Change) -> bool:
    before, after = change.before, change.after
    if before is None or after is None or change.kind is ChangeKind.MOVED or before.kind is not after.kind:
        return False
    return before.kind is not FileKind.DIRECTORY and before.identity != after.identity


def _moved_links(changes: Iterable[Change]) -> Iterator[Change]:
    """Yield changes of paths to which a file with several hard links may have been moved."""
    links = {c.before.identity for c in changes if c.before is not None and _is_linked(c)}
    if links:
        for change in changes:
            after = change.after
            if after is not None and after.kind is not FileKind.DIRECTORY and after.identity not in links:
                yield change


def _is_linked(change: Change) -> bool:
    before = change.before
    return before is not None and before.nlink > 1 and before.kind is not FileKind.DIRECTORY


class _Binds:
    """The accesses that gave a name to a file: by path in order of time, and those of which the path is not known."""

    def __init__(self, accesses: Iterable[FileAccess], known: KnownDirectories) -> None:
        self.known = known
        self.at: dict[bytes, list[FileAccess]] = defaultdict(list)
        self._unplaced: dict[tuple[bytes | None, Identity | None], int] = defaultdict(int)
        for access in sorted(accesses, key=in_order):
            if access.action in BINDS and access.success:
                for place in known.places(access.name):
                    self.at[place].append(access)
                if access.name.parent is None and access.name.path is None:
                    self._unplaced[access.name.base, access.identity] += 1

    def given(self, path: bytes, *identities: Identity) -> int:
        """How many times a path was, or may have been, given to a file of one of these numbers."""
        base = path.rpartition(b"/")[2]
        unplaced = sum(self._unplaced.get((base, identity), 0) for identity in identities)
        return unplaced + sum(bind.identity in identities for bind in self.at.get(path, ()))


def _chain(change: Change, before: Mapping[bytes, Change], binds: _Binds) -> _Pairs:
    """Trace a file with several hard links back to its first path, through renames and links.

    Empty if this is not proven: each path must have been given to this file once, and the first one to no file.
    """
    assert change.after is not None, "a file came here"
    paths, moves = [change.path], []
    latest: Sequence[FileAccess] = binds.at.get(change.path, ())
    while latest:
        move = latest[-1]
        source = binds.known.places(move.old) if move.action in MOVES and move.old is not None else frozenset()
        if len(source) != 1 or not source.isdisjoint(paths):
            return {}
        paths += source
        moves.append(move)
        latest = [bind for bind in binds.at.get(paths[-1], ()) if bind.event < move.event]
    origin = before.get(paths[-1])
    if not moves or origin is None or origin.before is None or not _is_linked(origin):
        return {}
    pair = origin.before.identity, change.after.identity
    above = {directory for path in paths for directory in ancestors(path)}
    given = [binds.given(path, *pair) for path in paths]
    is_one = all(move.identity in pair for move in moves) and given == [*([1] * len(moves)), 0]
    return dict.fromkeys(paths, pair) if is_one and binds.at.keys().isdisjoint(above) else {}


def _renumbered(
    accesses: Iterable[FileAccess], pairs: _Pairs, known: KnownDirectories
) -> tuple[tuple[FileAccess, ...], frozenset[EventId]]:
    """Put the new numbers into the accesses; a call on a descriptor has no name, so it may be of any of the links."""
    copies: dict[Identity, set[Identity]] = defaultdict(set)
    for old, new in pairs.values():
        copies[old].add(new)
    found: list[FileAccess] = []
    doubtful: set[EventId] = set()
    for access in accesses:
        identity = access.identity
        if identity is None or identity not in copies:
            found.append(access)
        elif access.name.text is None and access.action not in BINDS | UNBINDS:
            found += [access, *(access._replace(dev=dev, inode=inode) for dev, inode in sorted(copies[identity]))]
            doubtful.add(access.event)
        else:
            places = known.places(access.name) or frozenset(filter(None, (access.name.path,)))
            now = {pairs[place][1] for place in places if place in pairs and pairs[place][0] == identity}
            dev, inode = now.pop() if len(now) == 1 else identity
            found.append(access._replace(dev=dev, inode=inode))
    return tuple(found), frozenset(doubtful)


def _as_copied(change: Change, pairs: _Pairs) -> Change:
    before, after = change.before, change.after
    pair = None if before is None else pairs.get(before.path)
    if pair is None or before is None or before.identity != pair[0]:
        return change
    if after is not None and after.identity == pair[1]:
        return with_new_identity(change)
    return replace(change, before=replace(before, dev=pair[1][0], inode=pair[1][1]))


def with_new_identity(change: Change) -> Change:
    """Give both sides of a change the new identity, and drop it from the differing fields: it is one file."""
    before, after = change.before, change.after
    assert before is not None and after is not None, "a change of one file has both sides"
    changed = tuple(name for name in change.changed if name not in ("dev", "inode"))
    return replace(change, before=replace(before, dev=after.dev, inode=after.inode), changed=changed)
