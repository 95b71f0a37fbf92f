"""Index accesses by file identity and by path, and select those that concern given changes. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter

from msgspec import Struct

from fimscan.attribution.coverage import SLACK_NS
from fimscan.compact import HashedSet, Postings
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


#: By path of a directory and its identity: (time, position) of its renames, in order.
_Moves = dict[bytes, dict[Identity | None, list[tuple[int, int]]]]
_LOADED = 4096  # accesses


class AccessIndex:
    """Accesses in order of time, by file identity and by the paths that they bound (named a file) or unbound.

    Only positions are kept, some 100 bytes for each access. The accesses themselves are taken from ``accesses`` when
    they are asked for. Until :meth:`forget`, the same access is the same object.

    Failed accesses changed nothing; only :meth:`failed` returns them.

    Args:
        accesses: in any order. A sequence that is in the order of events is not copied.
        known: the directories, to place names.
    """

    def __init__(self, accesses: Iterable[FileAccess], known: KnownDirectories) -> None:
        self.known = known
        self._accesses, of_directories = _in_order(accesses)
        self._loaded: dict[int, FileAccess] = {}
        self._answers: dict[tuple[int, Identity | bytes], list[FileAccess]] = {}
        self._by_identity = Postings()
        self._turns = Postings()
        self._binds = Postings()
        self._unbinds = Postings()
        self._by_path = Postings()
        self._failed = Postings()
        # Renames of directories, by the directory's old (left) or new (came) path, then by its identity.
        self._left: _Moves = defaultdict(lambda: defaultdict(list))
        self._came: _Moves = defaultdict(lambda: defaultdict(list))
        self._outings: dict[bytes, list[int]] = defaultdict(list)
        self._former = _former_places(of_directories, known)
        for position, access in enumerate(self._accesses):
            self._add(position, access)

    def forget(self) -> None:
        """Forget the accesses that were taken, if they are many. Call it between two answers."""
        if len(self._loaded) > _LOADED or len(self._answers) > _LOADED:
            self._loaded.clear()
            self._answers.clear()

    def places(self, access: FileAccess, name: Name) -> frozenset[bytes]:
        """The paths that a name in an access may mean; ``name`` is one of its names.

        These are not the paths of a directory that was removed before, and whose inode number another one has now.
        """
        return _places(access, name, self.known, self._former)

    def _add(self, position: int, access: FileAccess) -> None:
        dev, inode, path = access.dev, access.inode, access.name.path
        identity = None if dev is None or inode is None else (dev, inode)  # without a call, as most accesses end here
        if not access.success:
            if identity is not None:
                self._failed.add(identity, position)
            if path is not None:
                self._failed.add(path, position)
            return
        if identity is not None:
            self._by_identity.add(identity, position)
        if path is not None:
            self._by_path.add(path, position)
        if access.action in _TURNS:
            self._add_turn(position, access, identity)

    def _add_turn(self, position: int, access: FileAccess, identity: Identity | None) -> None:
        if identity is not None:
            self._turns.add(identity, position)
        if access.replaced is not None:
            self._by_identity.add(access.replaced, position)
        if access.action in BINDS:
            for place in self._bound(access):
                self._binds.add(place, position)
                if access.action is Action.RENAME and access.is_directory:
                    self._came[place][identity].append((access.event.time_ns, position))
        if access.action in UNBINDS:
            self._add_removal(position, access)

    def _add_removal(self, position: int, access: FileAccess) -> None:
        for place in self._unbound(access):
            self._unbinds.add(place, position)
            if access.action is Action.RENAME and access.is_directory:
                self._left[place][access.identity].append((access.event.time_ns, position))
                if self.is_outing(access):
                    self._outings[place].append(access.event.time_ns)

    def _bound(self, access: FileAccess) -> frozenset[bytes]:
        """The paths that an access gave to its file."""
        return self.places(access, access.name) or self._directories_named(access, access.name)

    def _unbound(self, access: FileAccess) -> frozenset[bytes]:
        """The paths that an access took from its file."""
        name = access.old if access.action is Action.RENAME else access.name
        if name is None:
            return frozenset()
        return self.places(access, name) or self._directories_named(access, name)

    def _directories_named(self, access: FileAccess, name: Name) -> frozenset[bytes]:
        """The paths of a directory in a rename whose record has only last components, from what the scans know."""
        if access.identity is None or not access.is_directory or name.parent is not None or name.path is not None:
            return frozenset()
        known = self.known.paths.get(access.identity, frozenset())
        return frozenset(path for path in known if path.rpartition(b"/")[2] == name.base)

    def _at(self, position: int) -> FileAccess:
        access = self._loaded.get(position)
        if access is None:
            access = self._loaded[position] = self._accesses[position]
        return access

    def _found(
        self, among: Postings, key: Identity | bytes, is_meant: Callable[[FileAccess], bool]
    ) -> list[FileAccess]:
        """The accesses that were added for a key, without those of other keys with the same hash."""
        question = id(among), key
        found = self._answers.get(question)
        if found is None:
            found = [access for access in map(self._at, among.of(key)) if is_meant(access)]
            self._answers[question] = found
        return found

    def of_file(self, identity: Identity) -> list[FileAccess]:
        """The accesses to one file, under any name."""
        return self._found(self._by_identity, identity, lambda access: identity in (access.identity, access.replaced))

    def turns_of(self, identity: Identity) -> list[FileAccess]:
        """The accesses that gave a file a name or took one away; most files have none."""
        return self._found(self._turns, identity, lambda access: access.identity == identity)

    def of_path(self, path: bytes) -> list[FileAccess]:
        """The accesses whose record has this path, whichever file they were to."""
        return self._found(self._by_path, path, lambda access: access.name.path == path)

    @property
    def has_failed(self) -> bool:
        """Whether any access failed."""
        return bool(self._failed)

    def failed(self, key: Identity | bytes) -> list[FileAccess]:
        """The accesses to a file or a path that failed."""
        return self._found(self._failed, key, lambda access: key in (access.identity, access.name.path))

    def by_path_only(self, state: FileState) -> list[FileAccess]:
        """The accesses to the path of a file that do not match its device: leads, not proofs.

        Their record has no inode, or the right inode on another device. On btrfs and overlayfs, ``stat(2)`` gives each
        subvolume or layer its own device number, and audit prints that of the whole file system.
        """
        return [
            access
            for access in self.of_path(state.path)
            if access.inode is None or (access.inode == state.inode and access.dev != state.dev)
        ]

    def binds(self, path: bytes) -> list[FileAccess]:
        """The accesses that made ``path`` name a file: creations, renames and links to it."""
        return self._found(self._binds, path, lambda access: path in self._bound(access))

    def unbinds(self, path: bytes) -> list[FileAccess]:
        """The accesses that took the name away: unlinks of it and renames from it."""
        return self._found(self._unbinds, path, lambda access: path in self._unbound(access))

    def moved_from_unknown(self, identity: Identity, path: bytes) -> Iterator[FileAccess]:
        """Yield renames of this file from the last component of ``path``, in a directory that is not recorded."""
        for access in self.turns_of(identity):
            mine = access.identity == identity and access.action is Action.RENAME
            if mine and access.old is not None and is_unplaced(access.old, path):
                yield access

    def directory_binds(self, path: bytes, window: Window) -> list[FileAccess]:
        """The last rename of each directory above ``path`` to its present place, in the window."""
        return [self._at(position) for position in _last_moves(self._came, path, window)]

    def directory_unbinds(self, path: bytes, window: Window) -> list[FileAccess]:
        """The last rename of each directory above ``path`` away from its place, in the window.

        Earlier ones were undone: a directory can only be moved away again after it came back.
        """
        return [self._at(position) for position in _last_moves(self._left, path, window)]

    def is_outing(self, move: FileAccess) -> bool:
        """Whether a rename has a side that no scan knows."""
        return not all(self.known.is_inside(name) for name in (move.name, move.old) if name is not None)

    def directory_moves(self, path: bytes) -> Iterator[FileAccess]:
        """Yield the renames of directories above ``path`` to or from their places, at any time."""
        for moves in (self._came, self._left):
            for directory in ancestors(path) if moves else ():
                for those in moves.get(directory, {}).values():
                    yield from (self._at(position) for _, position in those)

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


def _in_order(accesses: Iterable[FileAccess]) -> tuple[Sequence[FileAccess], Sequence[FileAccess]]:
    """Return the accesses in the order of their events, and those among them that may give a directory's number anew.

    The first is the same sequence if it is in order. The second are all that made, removed or renamed directories;
    none of them, where not both of the first two are there, which is the usual case.
    """
    ordered = accesses if isinstance(accesses, Sequence) else list(accesses)
    found, actions = array("Q"), set()
    last: tuple[EventId, int] | None = None
    for position, access in enumerate(ordered):
        key = in_order(access)
        if last is not None and key < last:
            return _in_order(sorted(ordered, key=in_order))
        last, action = key, access.action
        if action not in _OF_DIRECTORIES or not access.success or access.identity is None:
            continue
        if action is not Action.RENAME or access.is_directory:
            found.append(position)
            actions.add(action)
    is_usual = not {Action.RMDIR, Action.MKDIR} <= actions
    return ordered, () if is_usual else [ordered[position] for position in found]


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


def _former_places(of_directories: Sequence[FileAccess], known: KnownDirectories) -> _Former:
    """Find the directories whose number was given to a new directory elsewhere after they were removed.

    The scans know such a number under both paths. A path counts as left only if no record shows that a directory came
    back to it, or to a path above it. ``of_directories`` are the calls that made, removed or renamed directories.
    """
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


def _last_moves(moves: _Moves, path: bytes, window: Window) -> list[int]:
    found = []
    if moves:
        for directory in ancestors(path):
            for those in moves[directory].values() if directory in moves else ():
                last = bisect_right(those, window.before_ns + SLACK_NS, key=itemgetter(0)) - 1
                if last >= 0 and those[last][0] >= window.after_ns - SLACK_NS:
                    found.append(those[last][1])
    return found


class Relevance:
    """Select the accesses that may concern some of the changes, by identity or by a path or a directory above it.

    It needs only the indexed columns of the accesses, so the many others need not be loaded. It may select too many
    accesses, never too few. When accesses are asked about backwards in time, it also follows the earlier files of the
    changed paths, and the names from which they came (:mod:`fimscan.attribution.history`). ``audited`` gives each
    (device, inode) that audit may print for a recorded file. ``links`` are changed files under other names.

    Only hashes are kept, some 20 bytes for each.
    """

    def __init__(
        self,
        changes: Iterable[Change],
        known: KnownDirectories,
        audited: Callable[[Identity], Iterable[Identity]] = lambda identity: (identity,),
        links: Iterable[FileState] = (),
    ) -> None:
        self._identities = HashedSet()
        self._followed = _Names(known, audited)
        self._others = _Names(known, audited)  # directories above changed files, and other names of these
        above: set[bytes] = set()
        for change in changes:
            for state in (change.before, change.after):
                if state is not None:
                    for identity in audited(state.identity):
                        self._identities.add(identity)
                    self._followed.add_path(state.path)
                    above.add(parent(state.path))
        for path in {place for directory in above for place in (directory, *ancestors(directory))} - {b"/"}:
            self._others.add_path(path)
        for state in links:
            self._others.add_path(state.path)

    def by_identity(self, *identities: tuple[int | None, int | None]) -> bool:
        """Whether an access to one of these files may concern the changes."""
        return any(identity in self._identities for identity in identities)

    def by_name(self, parent: tuple[int | None, int | None], name: bytes | None) -> bool:
        """Whether an access to this name may concern the changes; ``name`` is a sure path or the text of the record."""
        return self._followed.has(parent, name) or self._others.has(parent, name)

    def is_followed(self, parent: tuple[int | None, int | None], name: bytes | None) -> bool:
        """Whether a name is that of a changed file or of a file that was moved to such a name."""
        return self._followed.has(parent, name)

    def follow_file(self, *identities: tuple[int | None, int | None]) -> None:
        """Also select earlier accesses to these files."""
        for identity in identities:
            if None not in identity:
                self._identities.add(identity)

    def follow_name(self, parent: tuple[int | None, int | None], name: bytes | None) -> None:
        """Also select earlier accesses to this name."""
        if name is not None:
            self._followed.add_name(parent, name)


class _Names:
    """A set of names: as paths, and as (identity of the directory, as audit may print it; last component).

    Names can be relative to a descriptor.
    """

    def __init__(self, known: KnownDirectories, audited: Callable[[Identity], Iterable[Identity]]) -> None:
        self._known = known
        self._audited = audited
        self._paths = HashedSet()
        self._bases = HashedSet()
        self._directories: set[tuple[int | None, int | None]] = set()  # those of the last components

    def add_path(self, path: bytes) -> None:
        """Add a path, which is in known directories or not."""
        self._paths.add(path)
        directory, _, base = path.rpartition(b"/")
        for identity in self._known.identities.get(directory or b"/", ()):
            for number in self._audited(identity):
                self._directories.add(number)
                self._bases.add((number, base))

    def add_name(self, directory: tuple[int | None, int | None], name: bytes) -> None:
        """Add a name from a record."""
        self._paths.add(name)
        if None not in directory:
            self._directories.add(directory)
            self._bases.add((directory, _last_component(name)))

    def has(self, directory: tuple[int | None, int | None], name: bytes | None) -> bool:
        """Whether a name from a record is one of these."""
        if name is None:
            return False
        return name in self._paths or (
            directory in self._directories and (directory, _last_component(name)) in self._bases
        )


def _last_component(name: bytes) -> bytes:
    return name.rstrip(b"/").rpartition(b"/")[2]
