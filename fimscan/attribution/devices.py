"""Identify the file of an audit record where ``stat(2)`` and audit use different device numbers. Pure.

Audit prints the superblock's device number. The database has the number that :mod:`fimscan.linux.filesystems` records.
On most file systems one translates to the other. On btrfs, an inode number recurs in every subvolume. On an overlay
whose layers lie on several file systems, it recurs in every layer. There the file is identified by its directory or its
path. If neither decides, the access is kept for every possible file and is *doubtful*: it proves nothing and clears
nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fimscan.attribution.bindings import Bindings
from fimscan.attribution.copies import with_copies
from fimscan.attribution.index import BINDS, BIRTHS, MOVES, UNBINDS, Identity, KnownDirectories, in_order
from fimscan.linux.filesystems import OVERLAY, SUBVOLUMES, Devices, Root
from fimscan.model import Action, Change, EventId, FileAccess, FileState, GapReason, Name
from fimscan.paths import as_prefix, is_within, parent


class Translated(NamedTuple):
    """Accesses and changes with recorded device numbers, and the events of doubtful accesses."""

    accesses: Sequence[FileAccess]
    changes: Sequence[Change]
    doubtful: frozenset[EventId]


class DeviceNumbers:
    """Translate device numbers in both directions, from one or more records of the file systems."""

    def __init__(self, looks: Sequence[Devices]) -> None:
        self.looks = tuple(look for look in looks if look.roots)
        self._devs: dict[int, dict[int, Root]] = defaultdict(dict)
        self._superblocks: dict[int, set[int]] = defaultdict(set)
        for root in (root for look in self.looks for root in look.roots):
            for dev in root.numbers:
                self._devs[root.superblock][dev] = root
                self._superblocks[dev].add(root.superblock)
        #: Whether audit's numbers equal the recorded ones everywhere, and are unique for each file.
        self.is_plain = all(
            devs.keys() == {superblock} and not any(_has_own_numbers(root) for root in devs.values())
            for superblock, devs in self._devs.items()
        )
        self.has_overlays = any(root.kind == OVERLAY for look in self.looks for root in look.roots)

    def devs(self, superblock: int) -> Mapping[int, Root]:
        """The recorded numbers of a superblock's files, each with its root; empty for an unknown superblock."""
        return self._devs.get(superblock, {})

    def audited(self, identity: Identity) -> Iterator[Identity]:
        """Yield each (device, inode) that audit may print for a recorded file."""
        yield identity
        for superblock in self._superblocks.get(identity[0], ()):
            yield superblock, identity[1]

    def recorded(self, identity: Identity) -> Iterator[Identity]:
        """Yield each (device, inode) under which a file in an audit record may be recorded."""
        yield identity
        for dev in self.devs(identity[0]):
            yield dev, identity[1]

    def identities_in_other_subvolumes(self, states: Iterable[FileState]) -> set[Identity]:
        """The (device, inode) that files with the same inode numbers would have in other subvolumes."""
        return {
            (dev, state.inode)
            for state in states
            for superblock in self._superblocks.get(state.dev, ())
            for dev, root in self.devs(superblock).items()
            if dev != state.dev and root.kind in SUBVOLUMES
        }

    def names(self, name: Name, known: KnownDirectories) -> tuple[Name, ...]:
        """Return a name of an audit record once for each recorded identity that its directory may have."""
        if name.parent is None or not self.devs(name.parent[0]):
            return (name,)
        parents = [one for one in self.recorded(name.parent) if one in known.paths]
        return tuple(name._replace(parent=parent) for parent in parents or (None,))

    @property
    def superblocks(self) -> dict[int, int]:
        """Map device numbers, both those of ``stat(2)`` and recorded ones, to the superblock's."""
        found = {}
        for look in self.looks:
            for root in look.roots:
                layers = [number for layer in root.layers for number in layer]
                found.update(dict.fromkeys((root.raw, root.dev, *layers), root.superblock))
        return found

    def is_timed(self, state: FileState) -> bool:
        """Whether everything that changes a file sets its ctime, including stores to a mapping.

        This holds on file systems with a block device, and on btrfs, which has one but does not say so (seen on 6.18).
        """
        return state.is_on_disk or self.kind_of(state.path) == "btrfs"

    def kind_of(self, path: bytes) -> str | None:
        """The type of the file system that a path is on."""
        roots = (look.root_of(path) for look in self.looks)
        return next((root.kind for root in roots if root is not None), None)


def translate_devices(
    accesses: Sequence[FileAccess],
    changes: Sequence[Change],
    known: KnownDirectories,
    numbering: DeviceNumbers,
    *,
    keys: frozenset[str | None] | None = None,
    states: Sequence[FileState] = (),
    is_whole: bool = False,
) -> Translated:
    """Translate accesses and changes to recorded device numbers.

    Args:
        accesses: in any order, with audit's numbers.
        changes: with the numbers that their states were recorded by.
        known: the directories, with recorded numbers.
        numbering: the device numbers.
        keys: the keys of the loaded rules that watch a directory or a path. An event of any other rule may be of a
            subvolume that is not monitored. ``None``: do not check.
        states: other files that the accesses may be of; and the changed files under other names, at the older scan.
        is_whole: ``states`` has all files in other subvolumes, at either scan, with the inode number of a changed
            file, and everything in the watched directories is monitored.
    """
    if numbering.is_plain:
        return Translated(accesses, changes, frozenset())
    ordered = sorted(accesses, key=in_order)
    of_changes = [state for change in changes for state in change.sides]
    bindings = Bindings(changes, states)
    run = _Translation([*of_changes, *states], changes, known, numbering, keys, bindings, is_whole=is_whole)
    return run.run(ordered)


class _Where(NamedTuple):
    """The recorded device numbers of the files that an access may be of, and whether this is proven."""

    devs: tuple[int, ...]
    is_sure: bool = True


class _Translation:
    """One run of :func:`translate_devices`."""

    def __init__(
        self,
        states: Sequence[FileState],
        changes: Sequence[Change],
        known: KnownDirectories,
        numbering: DeviceNumbers,
        keys: frozenset[str | None] | None,
        bindings: Bindings,
        *,
        is_whole: bool,
    ) -> None:
        self._is_whole = is_whole
        self._changes = changes
        self._known = known
        self._numbering = numbering
        self._keys = keys
        self._paths: dict[Identity, set[bytes]] = defaultdict(set)
        self._by_inode: dict[int, set[int]] = defaultdict(set)
        for state in states:
            self._paths[state.identity].add(state.path)
            self._by_inode[state.inode].add(state.dev)
        self._has_overlays = any(root.kind == OVERLAY for look in numbering.looks for root in look.roots)
        #: Which file each path of a changed file named when its window began, kept up to date during the run.
        self._bindings = bindings
        #: By process and identity in the record: the device of the file that the process last named. A later call on a
        #: descriptor has no name.
        self._opened: dict[tuple[int, Identity], int] = {}
        self._doubtful: set[EventId] = set()
        #: By inode number: the subvolumes in which a file was seen to get it.
        self._born: dict[int, set[int]] = defaultdict(set)

    def run(self, accesses: Sequence[FileAccess]) -> Translated:
        self._add_aliases(accesses)
        for access in accesses:
            if access.action in BIRTHS and access.identity is not None:
                self._born[access.identity[1]] |= self._subvolumes_named(access.name, access.identity[1])
        found = [one for access in accesses for one in self._translate(access)]
        copied = with_copies(found, self._changes, self._known, lambda path: self._numbering.kind_of(path) == OVERLAY)
        return Translated(copied.accesses, copied.changes, copied.doubtful | self._doubtful)

    # ---- which file an access is of

    def _add_aliases(self, accesses: Sequence[FileAccess]) -> None:
        """Add the other names of renamed and linked files, such as the temporary file that replaced a changed one."""
        for access in reversed(accesses):
            if access.action not in MOVES or access.identity is None or access.old is None:
                continue
            for identity in self._numbering.recorded(access.identity):
                mine = self._paths.get(identity)
                if mine is not None:
                    new, old = self._places(access.name), self._places(access.old)
                    if mine & (new | old):
                        mine |= new | old

    def _places(self, name: Name) -> frozenset[bytes]:
        """The paths that a name may mean: in known directories if possible, else the path in the record."""
        base = name.base
        if name.parent is not None and base is not None:
            found = {
                as_prefix(directory) + base
                for identity in self._numbering.recorded(name.parent)
                for directory in self._known.paths.get(identity, ())
            }
            if name.path is not None and (not found or name.path in found):
                return frozenset((name.path,))
            if found:
                return frozenset(found)
        return frozenset() if name.path is None else frozenset((name.path,))

    def _where(self, access: FileAccess, identity: Identity, name: Name) -> _Where:
        """Find the device numbers of the files that an identity in a record may be, by name, directory or number."""
        superblock, inode = identity
        devs = self._numbering.devs(superblock)
        if not devs:
            return _Where((superblock,))
        root = next(iter(devs.values()))
        if root.kind == OVERLAY and access.is_directory:
            return _Where((root.dev,))
        if len(devs) == 1:
            is_sure = root.kind not in SUBVOLUMES or self._is_ours(access)
            return _Where(tuple(devs), is_sure)
        candidates = tuple(sorted(dev for dev in self._by_inode.get(inode, ()) if dev in devs))
        if name.path is None and name.parent is None:
            opened = self._opened.get((access.actor.pid, identity))
            if opened is None:
                return self._by_number(access, inode, candidates)
            return _Where((opened,), self._is_ours(access))
        if root.kind == OVERLAY:
            return self._in_layers(access, name, inode, candidates)
        return self._in_subvolumes(access, name, inode, candidates, frozenset(devs))

    def _in_layers(self, access: FileAccess, name: Name, inode: int, candidates: tuple[int, ...]) -> _Where:
        """Choose the files with this inode number that have the name; none if another file must have it."""
        places = self._places(name)
        matching = tuple(dev for dev in candidates if self._paths[dev, inode] & places)
        if matching:
            return _Where(matching, is_sure=len(matching) == 1)
        directories = {parent(place) for place in places}
        if directories & self._known.identities.keys():
            return _Where(())
        return _guess(access, candidates)

    def _in_subvolumes(
        self, access: FileAccess, name: Name, inode: int, candidates: tuple[int, ...], devs: frozenset[int]
    ) -> _Where:
        found = self._subvolumes_named(name, inode) & devs
        rivals = {
            dev
            for dev in candidates
            if dev not in found and name.path is not None and _ends_with(self._paths[dev, inode], name.path)
        }
        if not found:
            return self._by_number(access, inode, candidates)
        # A process in another root (a chroot into a snapshot) uses paths that name other files here.
        return _Where(tuple(sorted(found | rivals)), is_sure=len(found | rivals) == 1 and self._is_ours(access))

    def _by_number(self, access: FileAccess, inode: int, candidates: tuple[int, ...]) -> _Where:
        """Choose the only file with this inode number in any monitored subvolume; otherwise return leads.

        This is a proof if a rule for a directory or a path caused the event: the file then lies in a watched place. All
        of these places are monitored, and no other file there had the number at either scan or got it in between.
        """
        is_only = self._is_whole and len(candidates) == 1 and self._born[inode] <= {*candidates}
        return _Where(candidates) if is_only and self._is_ours(access) else _guess(access, candidates)

    def _subvolumes_named(self, name: Name, inode: int) -> frozenset[int]:
        """Find the subvolumes of a name, by its directory or, if it is itself a known directory, by its path."""
        known, path = self._known, name.path
        if name.parent is not None:
            parents = [one for one in self._numbering.recorded(name.parent) if one in known.paths]
            directory = None if path is None else parent(path)
            named = [one for one in parents if directory in known.paths[one]]
            return frozenset(dev for dev, _ in named or parents)
        if path is None:
            return frozenset()
        itself = frozenset(dev for dev, number in known.identities.get(path, ()) if number == inode)
        return itself or frozenset(dev for dev, _ in known.identities.get(parent(path), ()))

    def _is_ours(self, access: FileAccess) -> bool:
        """Whether a rule for a directory or a path caused the event: then the accessed file lies in a watched place."""
        if self._keys is None:
            return True
        key = access.actor.key
        return key in self._keys or (key is not None and not self._keys.isdisjoint(key.split("\x01")))

    # ---- translation of one access

    def _translate(self, access: FileAccess) -> Iterator[FileAccess]:
        """Yield an access once for each file that it may be to, with recorded numbers."""
        access = self._with_own_identity(access)
        name, old = self._renumbered(access.name), access.old and self._renumbered(access.old)
        if access.identity is None:
            moved = access._replace(name=name, old=old)
            self._note_names(moved)
            yield moved
            return
        where = self._where(access, access.identity, access.name)
        if not (where.is_sure and where.devs) and access.old is not None and access.action in MOVES:
            where = self._by_old_name(access, access.old, where)
        for dev in where.devs or (access.identity[0],):
            replaced = access.replaced
            if replaced is not None:
                replaced = (self._where(access, replaced, access.name).devs or (replaced[0],))[0], replaced[1]
            one = access._replace(name=name, old=old, dev=dev, replaced=replaced)
            if where.is_sure and where.devs:
                self._opened[access.actor.pid, access.identity] = dev
                self._note_names(one)
            elif not where.is_sure:
                self._doubtful.add(access.event)
            yield one

    def _by_old_name(self, access: FileAccess, old: Name, where: _Where) -> _Where:
        """Identify a renamed or linked file by its old name; the last component of a name is only a lead."""
        assert access.identity is not None, "which file is meant is asked of an identity"
        if old.path is not None or old.parent is not None:
            known = self._where(access, access.identity, old)
            if known.devs and (known.is_sure or not where.devs):
                return known
        bases = {name.base for name in (access.name, old)} - {None}
        inode = access.identity[1]
        named = tuple(
            dev
            for dev in sorted(self._by_inode.get(inode, ()))
            if dev in self._numbering.devs(access.identity[0])
            and any(path.rpartition(b"/")[2] in bases for path in self._paths[dev, inode])
        )
        return where if where.devs or len(named) != 1 else _Where(named, is_sure=False)

    def _renumbered(self, name: Name) -> Name:
        """Give a name the recorded identity of its directory, or none if that cannot be determined."""
        if name.parent is None:
            return name
        devs = self._numbering.devs(name.parent[0])
        if not devs:
            return name
        root = next(iter(devs.values()))
        parents = [one for one in self._numbering.recorded(name.parent) if one in self._known.paths]
        if name.path is not None:
            directory = parent(name.path)
            parents = [one for one in parents if directory in self._known.paths[one]] or parents
            if root.is_layered and not any(directory in self._known.paths[one] for one in parents):
                return name._replace(parent=None)  # the directories got new numbers: use the path alone
        if len(parents) == 1:
            return name._replace(parent=parents[0])
        if len(devs) == 1:
            return name._replace(parent=(root.dev, name.parent[1]))
        return name._replace(parent=None) if root.is_layered or len(parents) > 1 else name

    def _with_own_identity(self, access: FileAccess) -> FileAccess:
        """Replace the upper layer's identity of a removed or replaced file on an overlay by the overlay's own.

        The overlay removes the file in its upper layer by the same name, and the kernel puts that file's identity into
        the record of the call (audit_inode_child in kernel/auditsc.c; seen on 6.18). The record shows this: file and
        directory are on different devices. The right identity is that of the file which had the name just before.
        """
        parent = access.name.parent
        home = access.dev if access.action is Action.RENAME and access.dev is not None else parent and parent[0]
        if home is None or not any(root.kind == OVERLAY for root in self._numbering.devs(home).values()):
            return access
        if access.action in (Action.UNLINK, Action.RMDIR) and access.dev != home:
            mine = self._named(access)
            return access._replace(dev=mine and mine[0], inode=mine and mine[1])
        if access.action is Action.RENAME and access.replaced is not None and access.replaced[0] != home:
            return access._replace(replaced=self._named(access))
        return access

    def _named(self, access: FileAccess) -> Identity | None:
        """The file that the name of a call named just before it."""
        return self._bindings.named(self._places_now(self._renumbered(access.name)), access.event.time_ns)

    def _places_now(self, name: Name) -> frozenset[bytes]:
        """The paths that a name may mean now, also below a directory that was moved."""
        place = self._bindings.place(name)
        return self._places(name) if place is None else frozenset((place,))

    def _note_names(self, access: FileAccess) -> None:
        if self._has_overlays and access.success and access.action in BINDS | UNBINDS:
            old = access.old if access.action is Action.RENAME else None
            places = frozenset() if old is None else self._places_now(old)
            self._bindings.note(access, self._places_now(access.name), places)


def _has_own_numbers(root: Root) -> bool:
    return root.kind == OVERLAY or root.kind in SUBVOLUMES


def _guess(access: FileAccess, candidates: tuple[int, ...]) -> _Where:
    """Return leads: the candidates of an open or an attribute change, none for calls that add or remove a name.

    A wrong guess about a name would end what is known of a file.
    """
    return _Where(() if access.action in BINDS | UNBINDS else candidates, is_sure=False)


def _ends_with(paths: Iterable[bytes], name: bytes) -> bool:
    return any(path != name and path.endswith(name) for path in paths)


# --------------------------------------------------------------------------------------------------------------------
# Changes that no audit rule can see


_SERVED = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "fuse", "virtiofs", "afs", "lustre", "gfs", "ocfs")


def unauditable_paths(looks: Sequence[Devices]) -> Callable[[bytes], GapReason | None]:
    """Return a function: path -> why writes to its file can escape all rules, ``None`` if they cannot.

    ``looks`` are the file systems as of the begin and the end of the window.
    """
    looks = [look for look in looks if look.roots]
    images = frozenset(image for look in looks for image in look.images)
    layers = tuple({layer for look in looks for layer, _ in look.layers})

    def reason(path: bytes) -> GapReason | None:
        roots = [root for look in looks if (root := look.root_of(path)) is not None]
        if len(roots) == 2:
            if _is_other_subvolume(roots[0], roots[1]):
                return GapReason.SUBVOLUME
            if _is_mounted_over(looks[0], looks[1], roots[0], roots[1]):
                return GapReason.MOUNT
        if path in images:
            return GapReason.LOOP_IMAGE
        if any(is_within(path, layer) for layer in layers):
            return GapReason.OVERLAY_LAYER
        if any(root.kind.startswith(_SERVED) for root in roots):
            return GapReason.SERVED_ELSEWHERE
        return None

    return reason


def _is_other_subvolume(old: Root, new: Root) -> bool:
    """Whether the place is in another subvolume of the mounted file system than before.

    Subvolumes and snapshots come and go, with all files in them, by calls of ioctl(2) that name no path.
    """
    is_same_mount = (old.point, old.part) == (new.point, new.part) and not old.path == new.path == new.point
    return is_same_mount and old.kind in SUBVOLUMES and old.is_known_to_be_off(new)


def _is_mounted_over(before: Devices, after: Devices, old: Root, new: Root) -> bool:
    """Whether another file system, or another part of the same one, is mounted; mounting it again does not count."""
    if (old.point, old.part) != (new.point, new.part):
        return True
    old_mount, new_mount = before.at(old.point) or old, after.at(new.point) or new
    return old_mount.path == new_mount.path and old_mount.is_known_to_be_off(new_mount)
