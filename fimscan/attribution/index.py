"""Index accesses by file identity and by path, and select those that concern given changes. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from msgspec import Struct

from fimscan.attribution.coverage import SLACK_NS
from fimscan.model import Action, Change, EventId, FileAccess, FileState, Name, Window
from fimscan.paths import as_prefix, parent

Identity = tuple[int, int]

WRITES = frozenset({Action.CREATE, Action.OPEN_WRITE, Action.TRUNCATE})
BIRTHS = frozenset({Action.CREATE, Action.MKDIR, Action.MKNOD, Action.SYMLINK})
MOVES = frozenset({Action.RENAME, Action.LINK})
BINDS = BIRTHS | MOVES
UNBINDS = frozenset({Action.UNLINK, Action.RMDIR, Action.RENAME})
_TURNS = BINDS | UNBINDS


class KnownDirectories(Struct, frozen=True):
    """The directories known to the scans: they resolve names that are relative to a descriptor.

    ``paths`` maps the identity of a directory to the paths that it had; ``identities`` is the other direction.
    """

    paths: Mapping[Identity, frozenset[bytes]]
    identities: Mapping[bytes, frozenset[Identity]]

    @classmethod
    def of(cls, directories: Iterable[tuple[bytes, Identity]]) -> KnownDirectories:
        """Build it from the (path, identity) pairs of both observations."""
        paths: dict[Identity, set[bytes]] = defaultdict(set)
        identities: dict[bytes, set[Identity]] = defaultdict(set)
        for path, identity in directories:
            paths[identity].add(path)
            identities[path].add(identity)
        return cls(
            paths={key: frozenset(value) for key, value in paths.items()},
            identities={key: frozenset(value) for key, value in identities.items()},
        )

    def is_inside(self, name: Name) -> bool:
        """Whether a name lies in a known directory; a name that cannot be placed counts as inside."""
        if name.parent is not None:
            if name.parent in self.paths:
                return True
            return name.path is not None and name.path.rpartition(b"/")[0] in self.identities
        return name.path is None or any(above in self.identities for above in ancestors(name.path))

    def places(self, name: Name) -> frozenset[bytes]:
        """The paths that a name in an audit record may mean.

        The identity of the parent decides if it is known: the text of a name can lie (AT_* descriptors, chroots, mount
        namespaces). A path is rejected if its directory is known to have *another* inode than the recorded parent.
        """
        base = name.base
        if name.parent is not None and base is not None and name.parent in self.paths:
            return frozenset(_join(directory, base) for directory in self.paths[name.parent])
        if name.path is None:
            return frozenset()
        directory = parent(name.path)
        if name.parent is not None and directory in self.identities:
            return frozenset()
        return frozenset((name.path,))


def is_unplaced(name: Name, path: bytes) -> bool:
    """Whether only the last component of a name is known, and it is that of ``path``."""
    return name.parent is None and name.path is None and name.base == path.rpartition(b"/")[2]


def _join(directory: bytes, base: bytes) -> bytes:
    return as_prefix(directory) + base


def ancestors(path: bytes) -> Iterator[bytes]:
    """Yield the directories above a path, nearest first, without the root."""
    directory = path.rpartition(b"/")[0]
    while directory:
        yield directory
        directory = directory.rpartition(b"/")[0]


#: Sort key of accesses: the order of their events.
in_order: Callable[[FileAccess], tuple[EventId, int]] = attrgetter("event", "item")
#: The time of an access.
time_of: Callable[[FileAccess], int] = attrgetter("event.time_ns")


_Moves = dict[bytes, dict[Identity | None, list[FileAccess]]]


class AccessIndex:
    """Accesses in order of time, by file identity and by the paths that they bound (named a file) or unbound.

    Failed accesses changed nothing; only :meth:`failed` returns them.

    Args:
        accesses: in any order.
        known: the directories, to place names.
    """

    def __init__(self, accesses: Iterable[FileAccess], known: KnownDirectories) -> None:
        self.known = known
        self._by_identity: dict[Identity, list[FileAccess]] = defaultdict(list)
        self._turns: dict[Identity, list[FileAccess]] = defaultdict(list)
        self._binds: dict[bytes, list[FileAccess]] = defaultdict(list)
        self._unbinds: dict[bytes, list[FileAccess]] = defaultdict(list)
        self._by_path: dict[bytes, list[FileAccess]] = defaultdict(list)
        self._failed: dict[Identity | bytes, list[FileAccess]] = defaultdict(list)
        # Renames of directories, by the directory's old (left) or new (came) path, then by its identity.
        self._left: _Moves = defaultdict(lambda: defaultdict(list))
        self._came: _Moves = defaultdict(lambda: defaultdict(list))
        self._outings: dict[bytes, list[int]] = defaultdict(list)
        ordered = sorted(accesses, key=in_order)
        self._former = _former_places(ordered, known)
        for access in ordered:
            self._add(access)

    def places(self, access: FileAccess, name: Name) -> frozenset[bytes]:
        """The paths that a name in an access may mean; ``name`` is one of its names.

        These are not the paths of a directory that was removed before, and whose inode number another one has now.
        """
        return _places(access, name, self.known, self._former)

    def _add(self, access: FileAccess) -> None:
        dev, inode, path = access.dev, access.inode, access.name.path
        identity = None if dev is None or inode is None else (dev, inode)  # without a call, as most accesses end here
        if not access.success:
            if identity is not None:
                self._failed[identity].append(access)
            if path is not None:
                self._failed[path].append(access)
            return
        if identity is not None:
            self._by_identity[identity].append(access)
        if path is not None:
            self._by_path[path].append(access)
        if access.action in _TURNS:
            self._add_turn(access, identity)

    def _add_turn(self, access: FileAccess, identity: Identity | None) -> None:
        if identity is not None:
            self._turns[identity].append(access)
        if access.replaced is not None:
            self._by_identity[access.replaced].append(access)
        if access.action in BINDS:
            for place in self.places(access, access.name) or self._directories_named(access, access.name):
                self._binds[place].append(access)
                if access.action is Action.RENAME and access.is_directory:
                    self._came[place][identity].append(access)
        if access.action in UNBINDS:
            self._add_removal(access)

    def _add_removal(self, access: FileAccess) -> None:
        name = access.old if access.action is Action.RENAME else access.name
        if name is None:
            return
        for place in self.places(access, name) or self._directories_named(access, name):
            self._unbinds[place].append(access)
            if access.action is Action.RENAME and access.is_directory:
                self._left[place][access.identity].append(access)
                if self.is_outing(access):
                    self._outings[place].append(access.event.time_ns)

    def _directories_named(self, access: FileAccess, name: Name) -> frozenset[bytes]:
        """The paths of a directory in a rename whose record has only last components, from what the scans know."""
        if access.identity is None or not access.is_directory or name.parent is not None or name.path is not None:
            return frozenset()
        known = self.known.paths.get(access.identity, frozenset())
        return frozenset(path for path in known if path.rpartition(b"/")[2] == name.base)

    def of_file(self, identity: Identity) -> list[FileAccess]:
        """The accesses to one file, under any name."""
        return self._by_identity.get(identity, [])

    def turns_of(self, identity: Identity) -> list[FileAccess]:
        """The accesses that gave a file a name or took one away; most files have none."""
        return self._turns.get(identity, [])

    def of_path(self, path: bytes) -> list[FileAccess]:
        """The accesses whose record has this path, whichever file they were to."""
        return self._by_path.get(path, [])

    @property
    def has_failed(self) -> bool:
        """Whether any access failed."""
        return bool(self._failed)

    def failed(self, key: Identity | bytes) -> list[FileAccess]:
        """The accesses to a file or a path that failed."""
        return self._failed.get(key, [])

    def by_path_only(self, state: FileState) -> list[FileAccess]:
        """The accesses to the path of a file that do not match its device: leads, not proofs.

        Their record has no inode, or the right inode on another device. On btrfs and overlayfs, ``stat(2)`` gives each
        subvolume or layer its own device number, and audit prints that of the whole file system.
        """
        return [
            access
            for access in self._by_path.get(state.path, ())
            if access.inode is None or (access.inode == state.inode and access.dev != state.dev)
        ]

    def binds(self, path: bytes) -> list[FileAccess]:
        """The accesses that made ``path`` name a file: creations, renames and links to it."""
        return self._binds.get(path, [])

    def unbinds(self, path: bytes) -> list[FileAccess]:
        """The accesses that took the name away: unlinks of it and renames from it."""
        return self._unbinds.get(path, [])

    def moved_from_unknown(self, identity: Identity, path: bytes) -> Iterator[FileAccess]:
        """Yield renames of this file from the last component of ``path``, in a directory that is not recorded."""
        for access in self.turns_of(identity):
            mine = access.identity == identity and access.action is Action.RENAME
            if mine and access.old is not None and is_unplaced(access.old, path):
                yield access

    def directory_binds(self, path: bytes, window: Window) -> list[FileAccess]:
        """The last rename of each directory above ``path`` to its present place, in the window."""
        return _last_moves(self._came, path, window)

    def directory_unbinds(self, path: bytes, window: Window) -> list[FileAccess]:
        """The last rename of each directory above ``path`` away from its place, in the window.

        Earlier ones were undone: a directory can only be moved away again after it came back.
        """
        return _last_moves(self._left, path, window)

    def is_outing(self, move: FileAccess) -> bool:
        """Whether a rename has a side that no scan knows."""
        return not all(self.known.is_inside(name) for name in (move.name, move.old) if name is not None)

    def directory_moves(self, path: bytes) -> Iterator[FileAccess]:
        """Yield the renames of directories above ``path`` to or from their places, at any time."""
        for moves in (self._came, self._left):
            for directory in ancestors(path) if moves else ():
                for those in moves.get(directory, {}).values():
                    yield from those

    def directories_went_outside(self, path: bytes, window: Window) -> bool:
        """Whether a directory above ``path`` was renamed to or from a place that no scan knows, in the window."""
        if not self._outings:
            return False
        for directory in ancestors(path):
            times = self._outings.get(directory)
            if times:
                first = bisect_left(times, window.after_ns - SLACK_NS)
                if first < len(times) and times[first] <= window.before_ns + SLACK_NS:
                    return True
        return False


#: By the number of a removed directory: (the creation of the directory that got the number, the path that was removed).
_Former = dict[Identity, list[tuple[FileAccess, bytes]]]


def _places(access: FileAccess, name: Name, known: KnownDirectories, former: _Former) -> frozenset[bytes]:
    found = known.places(name)
    if name.parent is None or name.parent not in former or name.base is None:
        return found
    gone = {_join(path, name.base) for made, path in former[name.parent] if _began_after(access, made)}
    return found - gone


def _began_after(access: FileAccess, made: FileAccess) -> bool:
    """Whether a call came after a creation by its time and by its serial, which shows when it ended."""
    return in_order(access) > in_order(made) and access.event.serial > made.event.serial


def _former_places(accesses: Iterable[FileAccess], known: KnownDirectories) -> _Former:
    """Find the directories whose number was given to a new directory elsewhere after they were removed.

    The scans know such a number under both paths. A path counts as left only if no record shows that a directory came
    back to it, or to a path above it.
    """
    of_directories = [
        access
        for access in accesses
        if access.action in _OF_DIRECTORIES and access.success and access.identity is not None
        if access.action is not Action.RENAME or access.is_directory
    ]
    if not {Action.RMDIR, Action.MKDIR} <= {access.action for access in of_directories}:  # the usual case
        return {}
    came_back: set[bytes] = set()
    while True:
        former: _Former = {}
        left: dict[bytes, set[bytes]] = defaultdict(set)  # the paths that were left, by themselves and those above
        removed: dict[Identity, set[bytes]] = defaultdict(set)
        again: set[bytes] = set()
        for access in of_directories:
            assert access.identity is not None, "those without were left out"
            if access.action is Action.RMDIR:
                places = _places(access, access.name, known, former) & known.paths.get(access.identity, frozenset())
                removed[access.identity] |= places - came_back
                continue
            bound = _places(access, access.name, known, former) or frozenset(filter(None, (access.name.path,)))
            again.update(*(left[place] for place in bound if place in left))
            if access.action is Action.MKDIR:
                gone = removed.pop(access.identity, set()) - bound
                former.setdefault(access.identity, []).extend((access, path) for path in sorted(gone))
                for path in gone:
                    for place in (path, *ancestors(path)):
                        left[place].add(path)
        if not again - came_back:
            return {identity: pairs for identity, pairs in former.items() if pairs}
        came_back |= again


_OF_DIRECTORIES = frozenset({Action.MKDIR, Action.RMDIR, Action.RENAME})


def _last_moves(moves: _Moves, path: bytes, window: Window) -> list[FileAccess]:
    found = []
    if moves:
        for directory in ancestors(path):
            for those in moves[directory].values() if directory in moves else ():
                last = bisect_right(those, window.before_ns + SLACK_NS, key=time_of) - 1
                if last >= 0 and time_of(those[last]) >= window.after_ns - SLACK_NS:
                    found.append(those[last])
    return found


class Relevance:
    """Select the accesses that may concern some of the changes, by identity or by a path or a directory above it.

    It needs only the indexed columns of the accesses, so the many others need not be loaded. It may select too many
    accesses, never too few. When accesses are asked about backwards in time, it also follows the earlier files of the
    changed paths, and the names from which they came (:mod:`fimscan.attribution.history`). ``audited`` gives each
    (device, inode) that audit may print for a recorded file. ``links`` are changed files under other names.
    """

    def __init__(
        self,
        changes: Iterable[Change],
        known: KnownDirectories,
        audited: Callable[[Identity], Iterable[Identity]] = lambda identity: (identity,),
        links: Iterable[FileState] = (),
    ) -> None:
        self._identities: set[tuple[int | None, int | None]] = set()
        self._paths: set[bytes] = set()
        self._followed: set[bytes] = set()
        for change in changes:
            for state in (change.before, change.after):
                if state is not None:
                    self._identities.update(audited(state.identity))
                    self._paths.add(state.path)
                    self._paths.update(ancestors(state.path))
                    self._followed.add(state.path)
        self._paths.update(state.path for state in links)
        # The same paths as (identity of the parent, last component): names can be relative to a descriptor.
        self._bases = _bases(self._paths, known, audited)
        self._followed_bases = _bases(self._followed, known, audited)

    def by_identity(self, *identities: tuple[int | None, int | None]) -> bool:
        """Whether an access to one of these files may concern the changes."""
        return not self._identities.isdisjoint(identities)

    def by_name(self, parent: tuple[int | None, int | None], name: bytes | None) -> bool:
        """Whether an access to this name may concern the changes; ``name`` is a sure path or the text of the record."""
        return _is_among(self._paths, self._bases, parent, name)

    def is_followed(self, parent: tuple[int | None, int | None], name: bytes | None) -> bool:
        """Whether a name is that of a changed file or of a file that was moved to such a name."""
        return _is_among(self._followed, self._followed_bases, parent, name)

    def follow_file(self, *identities: tuple[int | None, int | None]) -> None:
        """Also select earlier accesses to these files."""
        self._identities.update(identity for identity in identities if None not in identity)

    def follow_name(self, parent: tuple[int | None, int | None], name: bytes | None) -> None:
        """Also select earlier accesses to this name."""
        if name is None:
            return
        self._paths.add(name)
        self._followed.add(name)
        if None not in parent:
            base = name.rstrip(b"/").rpartition(b"/")[2]
            self._bases[parent].add(base)
            self._followed_bases[parent].add(base)


_Bases = dict[tuple[int | None, int | None], set[bytes]]


def _bases(
    paths: Iterable[bytes], known: KnownDirectories, audited: Callable[[Identity], Iterable[Identity]]
) -> _Bases:
    """Split paths into (identity of the directory, as audit may print it) and last component."""
    found: _Bases = defaultdict(set)
    for path in paths:
        directory, _, base = path.rpartition(b"/")
        for identity in known.identities.get(directory or b"/", ()):
            for number in audited(identity):
                found[number].add(base)
    return found


def _is_among(paths: set[bytes], bases: _Bases, parent: tuple[int | None, int | None], name: bytes | None) -> bool:
    if name is None:
        return False
    if name in paths:
        return True
    known = bases.get(parent)
    return known is not None and name.rstrip(b"/").rpartition(b"/")[2] in known
