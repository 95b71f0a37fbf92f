"""Look at files as they are now, to ask about them without a scan."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress

from fimscan.model import KIND_OF_TYPE, FileState, PackageAnswer, PackageClass, PackageReason, Xattr
from fimscan.packages.claims import PackageQuestion
from fimscan.packages.files import Directories, below, open_parent

_XATTRS = (b"security.capability", b"system.posix_acl_access")


class Observer:
    """Looks at files of the system below ``root``; ``problems`` are about directories that could not be listed."""

    def __init__(self, root: bytes) -> None:
        self.problems: list[str] = []
        self._directories = Directories(root)

    def expand(self, path: bytes) -> Iterator[bytes]:
        """The path; for a directory, all files below it on the same file system instead."""
        start = self._name(path)
        try:
            found = os.lstat(start)
        except OSError:
            yield path  # asking about it says why
            return
        if not stat.S_ISDIR(found.st_mode):
            yield path
            return
        pending = [(start, path.rstrip(b"/"))]
        while pending:
            name, shown = pending.pop()
            try:
                with os.scandir(name) as entries:
                    inside = sorted(entries, key=lambda entry: entry.name)
                    if os.stat(name).st_dev != found.st_dev:
                        continue
            except OSError as error:
                self.problems.append(f"{os.fsdecode(shown)} was not listed: {error.strerror}")
                continue
            for entry in inside:
                if not entry.is_dir(follow_symlinks=False):
                    yield shown + b"/" + entry.name
            pending += [
                (entry.path, shown + b"/" + entry.name)
                for entry in reversed(inside)
                if entry.is_dir(follow_symlinks=False)
            ]

    def question(self, path: bytes) -> PackageQuestion | PackageAnswer:
        """The question about a file as it is now; the answer is ``unknown`` if it cannot be examined."""
        try:
            return PackageQuestion(path=path, state=self._look(path))
        except OSError:
            return PackageAnswer(path=path, kind=PackageClass.UNKNOWN, reason=PackageReason.UNREADABLE)

    def _name(self, path: bytes) -> bytes:
        return below(self._directories.root, self._directories.canonical(path))

    def _look(self, path: bytes) -> FileState | None:
        now_ns = time.time_ns()
        with open_parent(self._directories.root, self._directories.canonical(path)) as (directory, name):
            if directory is None:
                return None
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                target = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(found.st_mode) else None
            except FileNotFoundError:
                return None
        return FileState(
            path=path,
            kind=KIND_OF_TYPE[stat.S_IFMT(found.st_mode)],
            dev=found.st_dev,
            inode=found.st_ino,
            nlink=found.st_nlink,
            mode=found.st_mode & 0o7777,
            uid=found.st_uid,
            gid=found.st_gid,
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            ctime_ns=found.st_ctime_ns,
            link_target=target,
            xattrs=self._xattrs(path) if stat.S_ISREG(found.st_mode) else (),
            read_start_ns=now_ns,
            read_end_ns=now_ns,
        )

    def _xattrs(self, path: bytes) -> tuple[Xattr, ...]:
        found = []
        for name in _XATTRS:
            with suppress(OSError):
                value = os.getxattr(self._name(path), name, follow_symlinks=False)
                found.append(Xattr(name=name, size=len(value), data=value))
        return tuple(found)
