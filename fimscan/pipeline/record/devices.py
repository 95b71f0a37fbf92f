"""Find the file systems at the watched paths, recognise known ones, and give each a recorded device number.

The kernel may give a file system another device number at each mount. The recorded number stays the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from fimscan.linux import filesystems
from fimscan.linux.filesystems import OVERLAY, SUBVOLUMES, Devices, Numbers, Root, nearest
from fimscan.linux.mounts import Mount, distinct_mounts, is_in_memory, mount_of, path_may_hang
from fimscan.model import FileKind, FileState, Holder, device_text
from fimscan.paths import is_within
from fimscan.report.display import show
from fimscan.state_row import FIELDS, Packed
from fimscan.store import files
from fimscan.store.session import Session

_PATH, _KIND, _DEV = (FIELDS.index(name) for name in ("path", "kind", "dev"))
_SAMPLES, _SHOWN = 5, 3

Samples = Callable[[int], Iterable[tuple[bytes, int]]]
"""Returns some (path, inode) of the stored files that have a recorded device number."""


class Survey:
    """Compares the file systems at the watched paths with those of the last scan.

    A known file system keeps its recorded number, even if a boot or a remount gave it another device number. This is
    decided when the survey is made. Subvolumes and overlay layers that a scan meets later are added by :meth:`learn`.

    Attributes:
        numbers: the recorded number of each device number.

    Args:
        previous: the file systems at the last scan.
        watched: the watched paths.
        samples: returns files that were seen before; needed for overlays with layers on several file systems.
    """

    def __init__(self, previous: Devices, watched: Sequence[bytes], samples: Samples = lambda _: ()) -> None:
        self.numbers = Numbers()
        self._previous = previous
        self._watched = tuple(watched)
        self._samples = samples
        self._mounts: tuple[Mount, ...] = ()
        self._roots: dict[bytes, Root] = {}
        self._seen: set[int] = set()
        self._result: Devices | None = None
        for root in previous.roots:
            for dev in root.numbers:
                self.numbers.take(dev)
        self._decide()

    @classmethod
    def of(cls, session: Session, previous: Devices, watched: Sequence[bytes]) -> Survey:
        """Make a survey that takes samples from the stored files."""
        return cls(previous, watched, partial(files.sample_on_device, session, limit=_SAMPLES))

    def _decide(self) -> None:
        """Probe the file systems and give each its recorded number."""
        self._mounts = distinct_mounts()
        points = filesystems.monitored_among((mount.point for mount in self._mounts), self._watched)
        known = filesystems.monitored_among((root.path for root in self._previous.roots), self._watched)
        asked = [path for path in self._watched if not path_may_hang(os.path.dirname(path))]
        found = [filesystems.probe(path, self._mounts) for path in sorted({*asked, *points, *known})]
        here = [root for root in found if root is not None]
        for root in here:
            if (before := self._before(root, here)) is not None:
                self.numbers.set(root.raw, before.dev)
        for root in here:
            if root.raw not in self.numbers:
                self.numbers.set(root.raw, self._number_of_new(root))
            self._add(replace(root, dev=self.numbers[root.raw]))

    def _before(self, root: Root, here: Iterable[Root]) -> Root | None:
        """Find a file system among those of the last scan; it may have been mounted elsewhere."""
        same_path = self._previous.root_of(root.path)
        if same_path is not None and same_path.path == root.path and root.is_on(same_path):
            return same_path
        occupied = {other.path for other in here if other.path != root.path}
        others = (other for other in self._previous.roots if root.is_on(other))
        return min(others, key=lambda other: other.path in occupied, default=None)

    def _number_of_new(self, root: Root) -> int:
        """Choose the recorded number of a new file system: never one that another file system had."""
        owners = [other for other in self._previous.roots if root.raw in other.numbers]
        if owners and all(root.is_known_to_be_off(owner) for owner in owners):
            return self.numbers.fresh(root.raw)
        return root.raw

    def _add(self, root: Root) -> None:
        before = self._previous.root_of(root.path)
        if before is not None and before.layers and root.is_on(before):
            root = replace(root, layers=tuple((dev, self._raw_layer(dev, raw)) for dev, raw in before.layers))
            for dev, raw in root.layers:
                self.numbers.set(raw, dev)
        self._roots[root.path] = root
        self._seen |= root.numbers

    def _raw_layer(self, dev: int, raw: int) -> int:
        """Return the device number that stat(2) gives now to the files recorded as ``dev``, on a remounted overlay."""
        for path, inode in self._samples(dev):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if found.st_ino == inode:
                return found.st_dev
        return raw

    # ----------------------------------------------------------------------------------------------------------------

    @property
    def is_in_memory(self) -> bool:
        """Whether some of the file systems are in memory (tmpfs)."""
        mounts = (mount_of(self._mounts, path) for path in self._roots)
        return any(mount is not None and is_in_memory(mount, self._mounts) for mount in mounts)

    def learn(self, states: Iterable[Packed]) -> None:
        """Learn subvolumes and overlay layers from states that will be stored.

        The states come in order of path, so the first state on a subvolume is its own directory.
        """
        seen, directory = self._seen, FileKind.DIRECTORY.value
        for one in states:
            if one[_DEV] not in seen or (one[_KIND] == directory and self._is_elsewhere(one)):
                self._learn(one)

    def _is_elsewhere(self, one: Packed) -> bool:
        root = nearest(self._roots, one[_PATH])
        return root is not None and root.dev != one[_DEV]

    def _learn(self, one: Packed) -> None:
        self._result = None
        path, dev = one[_PATH], one[_DEV]
        around = nearest(self._roots, path)
        self._seen.add(dev)
        if around is None:
            return
        if one[_KIND] != FileKind.DIRECTORY.value:
            if around.kind == OVERLAY and dev not in around.numbers:
                raw = self.numbers.raws.get(dev, dev) or dev
                self._roots[around.path] = replace(around, layers=(*around.layers, (dev, raw)))
            return
        found = filesystems.probe(path, self._mounts)
        if found is not None:
            self._roots[path] = replace(found, dev=dev)

    def with_new_identity(self, before: FileState, now: FileState) -> FileState:
        """Return the old state with the new identity, if only an overlay changed it and the file is the same.

        An overlay gives a file of a lower layer another inode number when the file is copied up or the overlay is
        mounted anew. If its layers lie on several file systems, it gives directories new numbers whenever they leave
        the kernel's cache. An equal ctime, which no system call can set, shows that the file is the same.
        """
        if before.identity == now.identity or before.kind is not now.kind:
            return before
        root = nearest(self._roots, now.path)
        if root is None or root.kind != OVERLAY:
            return before
        same = root.is_layered if now.kind is FileKind.DIRECTORY else before.ctime_ns == now.ctime_ns
        return replace(before, dev=now.dev, inode=now.inode) if same else before

    def result(self) -> Devices:
        """Return the file systems found, with their recorded numbers; call it after the last :meth:`learn`."""
        if self._result is None:
            self._result = self._summed_up()
        return self._result

    def _summed_up(self) -> Devices:
        layers = sorted(set(filesystems.overlay_layers((*self._mounts, *filesystems.all_mounts()))))
        return Devices(
            roots=tuple(self._roots[path] for path in sorted(self._roots)),
            images=tuple(filesystems.monitored_among(filesystems.loop_images(), self._watched)),
            layers=tuple(item for item in layers if self._concerns(item[0])),
        )

    def _concerns(self, layer: bytes) -> bool:
        return any(is_within(layer, path) or is_within(path, layer) for path in self._watched)

    def news(self) -> Iterator[str]:
        """Report file systems that got another device number or were exchanged since the last scan, a line each."""
        anew = []
        for path, root in sorted(self._roots.items()):
            before = self._previous.at(path)
            if before is None or before.raw == root.raw:
                continue
            if root.is_on(before):
                anew.append(f"{show(path)} ({device_text(before.raw)} -> {device_text(root.raw)})")
        if anew:
            more = f" and {len(anew) - _SHOWN} more" if len(anew) > _SHOWN else ""
            yield (
                f"mounted anew, with another device number: {', '.join(anew[:_SHOWN])}{more}; "
                "files there are compared with their earlier states as usual"
            )
        for path, root in sorted(self._roots.items()):
            before = self._previous.at(path)
            if before is not None and root.is_known_to_be_off(before) and root.kind not in SUBVOLUMES:
                yield f"{show(path)}: another file system is mounted there than at the last scan ({root.kind})"

    def is_outdated(self) -> bool:
        """Whether something was mounted or unmounted since."""
        return distinct_mounts() != self._mounts

    # ----------------------------------------------------------------------------------------------------------------

    def kernel_ids_of(self, stats: Iterable[tuple[bytes, os.stat_result]]) -> Iterator[tuple[int, int]]:
        """Yield (device, inode) as the kernel may give them for these files when they are open or mapped."""
        for path, found in stats:
            yield found.st_dev, found.st_ino
            root = nearest(self._roots, path)
            if root is not None and root.superblock != found.st_dev:
                yield root.superblock, found.st_ino

    def kernel_ids(self, identity: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Yield (device, inode) as the kernel may give them for a recorded file when it is open or mapped."""
        dev, inode = identity
        yield self.numbers.raws.get(dev, dev), inode
        for superblock in {root.superblock for root in self._roots.values() if dev in root.numbers}:
            yield superblock, inode

    def holders(self, holders: Iterable[Holder]) -> list[Holder]:
        """Translate the holders' device numbers to recorded ones.

        Descriptors have the number of ``stat(2)``, mappings that of the superblock. A superblock may have several
        recorded numbers (subvolumes): then one holder is returned for each.
        """
        of_superblock: dict[int, set[int]] = {}
        for root in self._roots.values():
            of_superblock.setdefault(root.superblock, set()).update(root.numbers)
        found: dict[Holder, None] = {}
        for holder in holders:
            devs = {self.numbers.get(holder.dev, holder.dev), *of_superblock.get(holder.dev, ())}
            found |= dict.fromkeys(replace(holder, dev=dev) for dev in sorted(devs))
        return list(found)
