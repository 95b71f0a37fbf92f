"""Say for one path which watch covers it and what keeps a scan from reaching it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing
from enum import StrEnum

from msgspec import Struct

from fimscan.linux.mounts import mount_id
from fimscan.paths import innermost
from fimscan.scan.scanner import hidden_names
from fimscan.scan.watch import WatchSpec

_LONGEST = 4000  # bytes of a path in one system call; PATH_MAX is 4096
_GO = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NOTHING_THERE = (FileNotFoundError, NotADirectoryError)


class Place(StrEnum):
    """Whether a scan reaches a path, and if not, why."""

    MONITORED = "monitored"
    OUTSIDE = "outside"  # covered by no watch
    EXCLUDED = "excluded"
    OWN_FILE = "own-file"
    BEHIND_SYMLINK = "behind-symlink"
    OTHER_MOUNT = "other-mount"
    UNREACHABLE = "unreachable"  # it cannot be inspected


class PathStatus(Struct, frozen=True, kw_only=True):
    """The status of one path.

    ``at`` is the path that decided: the path itself or a directory above it. ``pattern`` is the exclude that matched,
    ``detail`` the system's error where it cannot be inspected. ``exists`` is ``None`` where that is unknown.
    ``is_link``: it is a symlink, of which only the link itself is recorded. ``real_path`` is the path with all
    symlinks above it resolved, where that differs.
    """

    path: bytes
    place: Place
    watch: bytes | None = None
    at: bytes | None = None
    pattern: str | None = None
    detail: str = ""
    exists: bool | None = None
    is_link: bool = False
    real_path: bytes | None = None


def find_status(
    path: bytes, watches: Iterable[WatchSpec], *, cross_mounts: bool, skip: Collection[bytes] = ()
) -> PathStatus:
    """Determine the status of a path, whether it exists or not.

    ``path`` is absolute and normalised; a final slash marks a directory. ``skip`` is as for :func:`fimscan.scan.scan`.
    """
    plain = path.rstrip(b"/") or b"/"
    found, refused = _lstat(plain)
    is_directory = stat.S_ISDIR(found.st_mode) if found is not None else path.endswith(b"/")
    by_path = {one.path: one for one in watches}
    root = innermost(plain, by_path)
    watch = None if root is None else by_path[root]
    real = os.path.join(os.path.realpath(os.path.dirname(plain)), os.path.basename(plain))
    where, at, why = Place.OUTSIDE, None, ""
    if watch is not None:
        where, at, why = _PathWalk(watch, skip, cross_mounts=cross_mounts).follow(plain, is_directory=is_directory)
    return PathStatus(
        path=plain,
        place=where,
        watch=watch.path if watch is not None else None,
        at=at,
        pattern=why if where is Place.EXCLUDED else None,
        detail=why if where is Place.UNREACHABLE else "",
        exists=None if refused else found is not None,
        is_link=found is not None and stat.S_ISLNK(found.st_mode),
        real_path=real if real != plain else None,
    )


def _lstat(path: bytes, directory: int | None = None) -> tuple[os.stat_result | None, str]:
    """(``lstat(2)`` of a path, error message). The path may be longer than one system call takes."""
    try:
        with ExitStack() as stack:
            while len(path) > _LONGEST:
                cut = path.rindex(b"/", 0, _LONGEST)
                directory = os.open(path[:cut], _GO, dir_fd=directory)
                stack.callback(os.close, directory)
                path = path[cut + 1 :]
            return os.stat(path, dir_fd=directory, follow_symlinks=False), ""
    except _NOTHING_THERE:
        return None, ""
    except OSError as error:
        return None, error.strerror or str(error)


class _Descent:
    """Goes down a path, one name at a time. Always ``close`` it."""

    def __init__(self, directory: bytes) -> None:
        self._fd: int | None = None
        self._refused = ""
        self._go(directory, _GO, None)

    @property
    def identity(self) -> tuple[int, int] | None:
        """(device, inode) of the current directory; ``None`` if there is none."""
        if self._fd is None:
            return None
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino

    @property
    def mount(self) -> int | None:
        """The mount of the current directory; ``None`` if there is none, or it is unknown."""
        return None if self._fd is None else mount_id(self._fd)

    def look(self, name: bytes) -> tuple[os.stat_result | None, str]:
        """(``lstat(2)`` of a name in the current directory, error message)."""
        return (None, self._refused) if self._fd is None else _lstat(name, self._fd)

    def enter(self, name: bytes) -> None:
        """Go to a subdirectory."""
        above = self._fd
        if above is not None:
            self._go(name, _GO | os.O_NOFOLLOW, above)
            os.close(above)

    def close(self) -> None:
        """Release the descriptor."""
        if self._fd is not None:
            os.close(self._fd)

    def _go(self, name: bytes, flags: int, at: int | None) -> None:
        self._fd = None
        try:
            self._fd = os.open(name, flags, dir_fd=at)
        except _NOTHING_THERE:
            pass
        except OSError as error:
            self._refused = error.strerror or str(error)


class _PathWalk:
    """Follows a path from the root of its watch; the first obstacle to a scan decides."""

    def __init__(self, watch: WatchSpec, skip: Collection[bytes], *, cross_mounts: bool) -> None:
        self._watch = watch
        self._hidden = hidden_names(skip)
        self._cross_mounts = cross_mounts

    def follow(self, path: bytes, *, is_directory: bool) -> tuple[Place, bytes | None, str]:
        """(place, path that decided, exclude pattern or error message)."""
        root = self._watch.path
        with closing(_Descent(os.path.dirname(root))) as descent:
            return self._follow(path, descent, is_directory=is_directory)

    def _follow(self, path: bytes, descent: _Descent, *, is_directory: bool) -> tuple[Place, bytes | None, str]:
        root = self._watch.path
        device = None
        for step in _steps(root, path):
            is_last, name = step == path, os.path.basename(step) or b"."
            if step != root and (pattern := self._pattern(step, is_directory=is_directory or not is_last)):
                return Place.EXCLUDED, step, pattern
            if descent.identity is not None and name in self._hidden.get(descent.identity, ()):
                return Place.OWN_FILE, step, ""
            found, refused = descent.look(name)
            if refused:
                return Place.UNREACHABLE, step, refused
            above = descent.mount
            descent.enter(name)
            if found is None or is_last:
                continue  # below a missing directory, excludes still apply
            device = found.st_dev if device is None else device
            if stat.S_ISLNK(found.st_mode):
                return Place.BEHIND_SYMLINK, step, ""
            crosses = found.st_dev != device and not (step != root and above == descent.mount is not None)
            if crosses and not self._cross_mounts:
                return Place.OTHER_MOUNT, step, ""
        return Place.MONITORED, None, ""

    def _pattern(self, step: bytes, *, is_directory: bool) -> str | None:
        relative = step[len(self._watch.path.rstrip(b"/")) + 1 :]
        return self._watch.excluding_pattern(relative + (b"/" if is_directory else b""))


def _steps(root: bytes, path: bytes) -> Iterator[bytes]:
    yield root
    if path != root:
        so_far = root.rstrip(b"/")
        for name in path[len(so_far) + 1 :].split(b"/"):
            so_far += b"/" + name
            yield so_far
