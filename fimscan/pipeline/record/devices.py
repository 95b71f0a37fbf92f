"""The file systems at the watched paths: which of them were known before, and by which numbers they are recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from fimscan.linux import filesystems
from fimscan.linux.filesystems import OVERLAY, SUBVOLUMES, Devices, Numbers, Root, nearest
from fimscan.linux.mounts import Mount, leads_where_it_may_hang, own_mounts
from fimscan.model import FileKind, FileState, Holder, device_text
from fimscan.paths import is_within
from fimscan.report.display import show
from fimscan.state_row import FIELDS, Packed
from fimscan.store import files
from fimscan.store.session import Session

_PATH, _KIND, _DEV = (FIELDS.index(name) for name in ("path", "kind", "dev"))
_SAMPLES, _SHOWN = 5, 3

Samples = Callable[[int], Iterable[tuple[bytes, int]]]
"""Some (path, inode) of the files that are recorded by a number."""


class Survey:
    """What there is at the watched paths, beside what there was when somebody looked last.

    A file system that was there before keeps the number by which it is recorded, also if a boot or a remount gave it
    another one. Which that is is decided when the survey is made; what is met later is added by :meth:`learn`.

    Args:
        previous: what was there before.
        watched: the watched paths.
        samples: tells which files were seen before; needed for overlays whose layers lie on several file systems.
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
        """With what is stored of files."""
        return cls(previous, watched, partial(files.some_on, session, limit=_SAMPLES))

    def _decide(self) -> None:
        self._mounts = own_mounts()
        points = filesystems.inside((mount.point for mount in self._mounts), self._watched)
        known = filesystems.inside((root.path for root in self._previous.roots), self._watched)
        asked = [path for path in self._watched if not leads_where_it_may_hang(os.path.dirname(path))]
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
        """What this was when somebody looked last; it may have been mounted elsewhere."""
        same_path = self._previous.root_of(root.path)
        if same_path is not None and same_path.path == root.path and root.is_on(same_path):
            return same_path
        occupied = {other.path for other in here if other.path != root.path}
        others = (other for other in self._previous.roots if root.is_on(other))
        return min(others, key=lambda other: other.path in occupied, default=None)

    def _number_of_new(self, root: Root) -> int:
        """A number that another file system had is not given to this one, so that nobody takes it for the same."""
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
        """What stat(2) says now of files that are recorded by a number, on an overlay that may be mounted anew."""
        for path, inode in self._samples(dev):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            if found.st_ino == inode:
                return found.st_dev
        return raw

    # ----------------------------------------------------------------------------------------------------------------

    def learn(self, states: Iterable[Packed]) -> None:
        """Take notice of states that are to be stored: of subvolumes, and of overlays' layers.

        They come in order of path, so that a subvolume's own directory is the first that has its number.
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

    def aligned(self, before: FileState, now: FileState) -> FileState:
        """The old state with the new inode number, where that says nothing.

        An overlay gives a file of a lower layer another one when it is copied up, or mounted anew, and its directories
        whenever they leave the kernel's cache, if the layers lie on several file systems. Whether it is another file
        the ctime tells, which nobody can set.
        """
        if before.identity == now.identity or before.kind is not now.kind:
            return before
        root = nearest(self._roots, now.path)
        if root is None or root.kind != OVERLAY:
            return before
        same = root.is_layered if now.kind is FileKind.DIRECTORY else before.ctime_ns == now.ctime_ns
        return replace(before, dev=now.dev, inode=now.inode) if same else before

    def result(self) -> Devices:
        """What there is. Ask for it when nothing more is to be learned."""
        if self._result is None:
            self._result = self._summed_up()
        return self._result

    def _summed_up(self) -> Devices:
        layers = sorted(set(filesystems.overlay_layers((*self._mounts, *filesystems.all_mounts()))))
        return Devices(
            roots=tuple(self._roots[path] for path in sorted(self._roots)),
            images=tuple(filesystems.inside(filesystems.loop_images(), self._watched)),
            layers=tuple(item for item in layers if self._concerns(item[0])),
        )

    def _concerns(self, layer: bytes) -> bool:
        return any(is_within(layer, path) or is_within(path, layer) for path in self._watched)

    def news(self) -> Iterator[str]:
        """What is otherwise than at the last look, a line each: file systems that were mounted anew, or exchanged."""
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
                "the files there are compared as before"
            )
        for path, root in sorted(self._roots.items()):
            before = self._previous.at(path)
            if before is not None and root.is_known_to_be_off(before) and root.kind not in SUBVOLUMES:
                yield f"{show(path)}: another file system is mounted there than at the last scan ({root.kind})"

    def is_outdated(self) -> bool:
        """Whether something was mounted or unmounted since."""
        return own_mounts() != self._mounts

    # ----------------------------------------------------------------------------------------------------------------

    def as_asked(self, stats: Iterable[tuple[bytes, os.stat_result]]) -> Iterator[tuple[int, int]]:
        """(device, inode) of files by path, as the kernel may give them of one that is open, or mapped."""
        for path, found in stats:
            yield found.st_dev, found.st_ino
            root = nearest(self._roots, path)
            if root is not None and root.superblock != found.st_dev:
                yield root.superblock, found.st_ino

    def asked(self, identity: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """A recorded (device, inode) as the kernel may give it of a file that is open, or mapped."""
        dev, inode = identity
        yield self.numbers.raws.get(dev, dev), inode
        for superblock in {root.superblock for root in self._roots.values() if dev in root.numbers}:
            yield superblock, inode

    def holders(self, holders: Iterable[Holder]) -> list[Holder]:
        """Holders by recorded numbers.

        Descriptors have the numbers of ``stat(2)``, mappings the superblock's: then any file of the superblock may be
        meant that has the inode number, so all are given.
        """
        of_superblock: dict[int, set[int]] = {}
        for root in self._roots.values():
            of_superblock.setdefault(root.superblock, set()).update(root.numbers)
        found: dict[Holder, None] = {}
        for holder in holders:
            devs = {self.numbers.get(holder.dev, holder.dev), *of_superblock.get(holder.dev, ())}
            found |= dict.fromkeys(replace(holder, dev=dev) for dev in sorted(devs))
        return list(found)
