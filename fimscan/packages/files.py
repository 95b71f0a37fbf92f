"""Read files below a root directory: databases of limited size, directory links, and the content of checked files.

Only here does the room open files. Nothing is followed out of the root, and no FIFO or device is opened for good.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from fimscan.model import FileState

MOST_BYTES = 256 * 1024 * 1024
"""The largest file of a database that is read."""
_MOST_LINKS = 40  # path_resolution(7)
_PIECE = 256 * 1024
_NO_FOLLOW = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class ChangedError(Exception):
    """The file is not the one that was recorded, or it changed while it was read."""


def below(root: bytes, path: bytes) -> bytes:
    """The name of ``path`` (absolute within ``root``) for the system."""
    return path if root == b"/" else root.rstrip(b"/") + path


def read_regular(path: bytes, *, most: int = MOST_BYTES, tail: bool = False) -> bytes:
    """Read a regular file, not a link to one; with ``tail``, only its last ``most`` bytes.

    Raises:
        OSError: it cannot be read, is not a regular file (``EINVAL``), or is too large (``EFBIG``).
    """
    fd = os.open(path, os.O_RDONLY | _NO_FOLLOW)
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        if tail and found.st_size > most:
            file.seek(found.st_size - most)
            return file.read(most)
        # Python allocates as many bytes as are asked for, and a database has a thousand files.
        data = file.read(min(found.st_size, most) + 1)
        if len(data) > found.st_size:  # it has grown since
            data += file.read(most + 1 - len(data))
        if len(data) > most:
            raise OSError(errno.EFBIG, "too large", os.fsdecode(path))
        return data


def digest_recorded(root: bytes, state: FileState, path: bytes, algorithms: Sequence[str]) -> dict[str, bytes]:
    """Digest a file that is still the one of ``state``: same inode, size, mtime and ctime, before and after.

    No symbolic link is followed, in no component of ``path``.

    Raises:
        ChangedError: it is another file, is gone, or changed while it was read.
        OSError: it cannot be read.
    """
    with open_parent(root, path) as (directory, name):
        if directory is None:
            raise ChangedError
        try:
            fd = _open(directory, name)
        except FileNotFoundError:
            raise ChangedError from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a symbolic link, a socket or a FIFO
                raise ChangedError from None
            raise
        try:
            _check_recorded(os.fstat(fd), state)
            hashes = [hashlib.new(name, usedforsecurity=False) for name in algorithms]
            count = 0
            # Not beyond the recorded size: a file that grows all the time would never end.
            while count <= state.size and (piece := os.read(fd, _PIECE)):
                count += len(piece)
                for one in hashes:
                    one.update(piece)
            if count != state.size:
                raise ChangedError
            _check_recorded(os.fstat(fd), state)
        finally:
            os.close(fd)
    return {name: one.digest() for name, one in zip(algorithms, hashes, strict=True)}


def _open(directory: int, name: bytes) -> int:
    flags = os.O_RDONLY | _NO_FOLLOW
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError:
        return os.open(name, flags, dir_fd=directory)  # O_NOATIME is for the owner and root only


def _check_recorded(found: os.stat_result, state: FileState) -> None:
    now = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if not stat.S_ISREG(found.st_mode) or now != (state.inode, state.size, state.mtime_ns, state.ctime_ns):
        raise ChangedError


@contextmanager
def open_parent(root: bytes, path: bytes) -> Iterator[tuple[int | None, bytes]]:
    """Open the directory of a canonical path, following no link below the root; ``None`` if it is not there."""
    *directories, name = [part for part in path.split(b"/") if part] or [b"."]
    current: int | None = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in directories:
            try:
                deeper = os.open(part, os.O_PATH | os.O_DIRECTORY | _NO_FOLLOW, dir_fd=current)
            except (FileNotFoundError, NotADirectoryError):
                os.close(current)  # type: ignore[arg-type]
                current = None
                break
            os.close(current)  # type: ignore[arg-type]
            current = deeper
        yield current, name
    finally:
        if current is not None:
            os.close(current)


class Directories:
    """Resolve links in the directories of paths: ``/bin/ls`` is ``/usr/bin/ls`` where ``/bin`` is a link."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._known: dict[bytes, tuple[bytes, bool]] = {}
        self._targets: dict[bytes, bytes | None] = {}
        self._owner = 0
        with suppress(OSError):
            self._owner = os.stat(root).st_uid

    def canonical(self, path: bytes) -> bytes:
        """The path with all links in its directory resolved; the last component may be a link itself."""
        parent, _, name = path.rpartition(b"/")
        return self._resolve(parent)[0] + b"/" + name

    def trusted(self, path: bytes) -> bytes | None:
        """As :meth:`canonical`; ``None`` if others than root could have made one of the links.

        A package may ship a directory in which a user can write. A link there must not make the package the owner of a
        file elsewhere.
        """
        parent, _, name = path.rpartition(b"/")
        found, is_trusted = self._resolve(parent)
        return found + b"/" + name if is_trusted else None

    def is_safe(self, path: bytes) -> bool:
        """Whether only root can change a file or directory, and every directory above it."""
        while True:
            if not self._is_private(path):
                return False
            if path in (b"", b"/"):
                return True
            path = path.rpartition(b"/")[0]

    def _resolve(self, directory: bytes) -> tuple[bytes, bool]:
        """(the real directory, whether only root could have made the links on the way)."""
        known = self._known.get(directory)
        if known is not None:
            return known
        found, is_trusted, links = b"", True, 0
        pending = directory.split(b"/")[::-1]
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                found = found.rpartition(b"/")[0]
                continue
            target = self._target(found + b"/" + part)
            if target is None:
                found += b"/" + part
                continue
            links += 1
            if links > _MOST_LINKS:
                found, is_trusted = directory, False
                break
            is_trusted = is_trusted and self._owns(found + b"/" + part) and self.is_safe(found)
            if target.startswith(b"/"):
                found = b""
            pending += target.split(b"/")[::-1]
        self._known[directory] = found, is_trusted
        return found, is_trusted

    def _target(self, path: bytes) -> bytes | None:
        if path not in self._targets:
            target = None
            with suppress(OSError):
                target = os.readlink(below(self.root, path))
            self._targets[path] = target
        return self._targets[path]

    def _owns(self, path: bytes) -> bool:
        try:
            return os.lstat(below(self.root, path)).st_uid in (0, self._owner)
        except OSError:
            return False

    def _is_private(self, path: bytes) -> bool:
        try:
            found = os.lstat(below(self.root, path or b"/"))
        except OSError:
            return False
        return found.st_uid in (0, self._owner) and not found.st_mode & 0o022
