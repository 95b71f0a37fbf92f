"""Make file systems for scenarios (loop images, tmpfs, overlays, bind mounts), and remove them afterwards."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from tests.lab.ground import Unavailable

#: The kinds on which 'make lab' runs.
FILE_SYSTEMS = ("ext4", "xfs", "btrfs", "overlay", "tmpfs")
#: Variants of these that differ in something on which attribution depends.
VARIANTS = ("ext4-128", "btrfs-subvolume", "bind", "overlay-noindex", "overlay-metacopy")

_BUSY_SECONDS = 20
# Sparse images: mkfs.xfs refuses less than 300 MB, mkfs.btrfs less than 110.
_IMAGES = {
    "ext4": ("256M", ["mkfs.ext4", "-q", "-F"]),
    "ext4-128": ("256M", ["mkfs.ext4", "-q", "-F", "-I", "128"]),
    "xfs": ("320M", ["mkfs.xfs", "-q"]),
    "btrfs": ("256M", ["mkfs.btrfs", "-q"]),
}
# Options that let an overlay rename directories of the lower layer, and keep hard links together.
_OVERLAY = {
    "overlay": "redirect_dir=on,index=on",
    "overlay-noindex": "redirect_dir=on,index=off",
    "overlay-metacopy": "redirect_dir=on,index=on,metacopy=on",
}


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Volume:
    """A directory on one file system. ``kind`` is a key of :data:`FILE_SYSTEMS`; ``name`` is the variant.

    ``settle`` makes what was prepared the lowest layer, on file systems with layers. Call it while no process has a
    file open there; it gives the directories new inodes. ``coarse`` means that times are whole seconds,
    ``counts_links`` that hard links stay together.
    """

    name: str
    kind: str
    root: Path
    coarse: bool = False
    counts_links: bool = True
    has_layers: bool = False
    settle: Callable[[], None] = field(default=_nothing)


def kind_of(name: str) -> str:
    """The kind that a variant belongs to."""
    return "ext4" if name == "bind" else name.partition("-")[0]


@cache
def kind_here() -> str:
    """The kind of file system that temporary files are on."""
    found = (b"", "ext4")
    place = os.fsencode(os.path.realpath(gettempdir())) + b"/"
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            before, after = line.split(b" - ", 1)
            point = before.split()[4]
            if place.startswith(point.rstrip(b"/") + b"/") and len(point) >= len(found[0]):
                found = (point, after.split()[0].decode())
    return found[1]


@contextmanager
def volume(name: str, scratch: Path) -> Iterator[Volume]:
    """Mount a file system of this name below ``scratch``; it is removed on leaving the context."""
    with ExitStack() as stack:
        place = scratch / "volume"
        place.mkdir()
        kind = kind_of(name)
        if name in _OVERLAY:
            layers = _Layers(stack.enter_context(_image("ext4", scratch)), place, _OVERLAY[name])
            stack.callback(layers.unmount)
            layers.mount()
            counts = name != "overlay-noindex"
            yield Volume(name, kind, place, counts_links=counts, has_layers=True, settle=layers.settle)
        elif name == "tmpfs":
            stack.enter_context(_mounted(place, "-t", "tmpfs", "-o", "size=256M", "none"))
            yield Volume(name, kind, place)
        elif name == "bind":
            source = stack.enter_context(_image("ext4", scratch)) / "source"
            source.mkdir()
            stack.enter_context(_mounted(place, "--bind", str(source)))
            yield Volume(name, kind, place)
        elif name == "btrfs-subvolume":
            inside = stack.enter_context(_image("btrfs", scratch)) / "nested"
            _run("btrfs", "-q", "subvolume", "create", str(inside))
            yield Volume(name, kind, inside)
        else:
            yield Volume(name, kind, stack.enter_context(_image(name, scratch)), coarse=name == "ext4-128")


class _Layers:
    """An overlay whose upper layer can become the lower layer of the next mount."""

    def __init__(self, storage: Path, place: Path, options: str) -> None:
        self._storage, self._place, self._options = storage, place, options
        self._lower = storage / "empty"
        self._lower.mkdir()
        self._number = 0

    def mount(self) -> None:
        """Mount the overlay with an empty upper layer."""
        self._number += 1
        upper, work = self._storage / f"upper{self._number}", self._storage / f"work{self._number}"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={self._lower},upperdir={upper},workdir={work},{self._options}"
        _run("mount", "-t", "overlay", "-o", options, "overlay", str(self._place))
        self._lower = upper

    def unmount(self) -> None:
        """Unmount it."""
        _unmount(self._place)

    def settle(self) -> None:
        """Make the present content the lower layer, so that later changes copy files up."""
        _run("umount", str(self._place))
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self.mount()
            except Unavailable as reason:
                # Another test's mount namespace may have a copy of the mount, and with it the layer, until it ends.
                if "busy" not in str(reason) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return


@contextmanager
def _image(name: str, scratch: Path) -> Iterator[Path]:
    size, make = _IMAGES[name]
    with TemporaryDirectory(prefix="image-", dir=scratch) as directory:
        os.chmod(directory, 0o755)  # some scenarios run as other users
        image, place = Path(directory) / "image", Path(directory) / "mounted"
        place.mkdir()
        image.touch()
        _run("truncate", "-s", size, str(image))
        _run(*make, str(image))
        with _mounted(place, "-o", "loop", str(image)):
            place.chmod(0o755)
            yield place


@contextmanager
def _mounted(place: Path, *options: str) -> Iterator[Path]:
    _run("mount", *options, str(place))
    try:
        yield place
    finally:
        _unmount(place)


def _unmount(place: Path) -> None:
    """Unmount it lazily and free its loop device, even if a process still has it as its working directory."""
    if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def _run(*command: str) -> None:
    # On Debian, a user's PATH may lack /usr/sbin.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    except FileNotFoundError as error:
        raise Unavailable(f"{command[0]} is not installed") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
