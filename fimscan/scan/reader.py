"""Read one file, given by its name in an open directory, into a state or a refusal."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias, cast

from fimscan.linux.mounts import own_mounts
from fimscan.model import UnreadableReason
from fimscan.scan.attributes import Changed, read_flags, read_xattrs
from fimscan.scan.digest import Digester, OnHole
from fimscan.scan.holes import HoleBudget, TooSparseError
from fimscan.scan.keeping import Keeper, Keeping
from fimscan.scan.leases import Leases
from fimscan.scan.limits import Limits
from fimscan.scan.page_cache import drop_except, pages_cached
from fimscan.scan.state import DIGESTS, KINDS, Raw, refusal, to_raw
from fimscan.scan.throttle import Throttle, TimedOutError
from fimscan.scan.writers import WriterCheck, release_lease

_Asked: TypeAlias = tuple[tuple[str, ...], int | None]
"""(algorithms, how many bytes of a log were verified before; ``None`` for other files)"""

_SECOND = 10**9
_ATTEMPTS = 3
_FASTEST = "xxh3_128"
_SMALL_HOLE = 1024 * 1024  # smaller holes are read like data
_TOO_SPARSE = "[scan] max_holes was reached: holes are hashed as zeros, and a scan hashes only so many bytes of them"

# A write within the same tick of the kernel's coarse clock (10 ms at HZ=100) leaves the same ctime. A file changed just
# now could change again during the reading without a trace. So the reader waits this long first.
_SETTLE_NS = 20_000_000

# A write sets the times only when it begins. A mapped page sets them at its first write; later writes set nothing until
# the page has been written back (35 s by default). A long write(2) sets them once. A younger ctime proves nothing.
FRESH_NS = 60 * _SECOND

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# No permission, or a lease. Attributes are still recorded then, only the flags are missing.
_CANNOT_OPEN = (errno.EACCES, errno.EPERM, errno.EAGAIN)
_READ_START = 13  # position in a Raw
_REGULAR, _DIRECTORY = KINDS[stat.S_IFREG], KINDS[stat.S_IFDIR]


class Touched(Changed):
    """Metadata of the file (times, owner, mode, link count) was set during the reading. ``found`` is the later state.

    A process can do that all the time to keep a file from being read. A reading without interference proves more, so
    the file is read again. If several complete readings in a row give the same content, that content is reported, with
    the latest times: this says more than "unreadable". A wrong result needs a writer that alternates the content in
    step with every reading. Such a writer could deceive any reader, also through a mapping, which sets no times. A
    state read this way never vouches for the next scan (``reread = "ctime"``): its ctime is too recent.
    """

    def __init__(self, found: Raw) -> None:
        super().__init__()
        self.found = found


class Reader:
    """Reads files by their name in an open directory. Each thread needs its own, because it owns a buffer."""

    def __init__(
        self,
        throttle: Throttle | None = None,
        *,
        drop_cache: bool = False,
        keeping: Keeping | None = None,
        holes: HoleBudget | None = None,
    ) -> None:
        self.throttle = throttle or Throttle(Limits())
        self.digester = Digester(self.throttle.count_bytes)
        self.keeper = None if keeping is None else Keeper(self.throttle.count_bytes, keeping)
        self._holes = holes or HoleBudget(Limits().max_holes)
        self._leases = Leases(self.throttle)
        self.drop_cache = drop_cache
        self.writers = WriterCheck()
        # tmpfs never writes pages back, so a mapped file there can change at any age without new times.
        self._silent = {mount.dev for mount in own_mounts() if mount.kind in ("tmpfs", "ramfs")}

    @property
    def is_unlimited(self) -> bool:
        """Whether there is no rate limit, no known answer and no page cache to clean: the fast path may be used."""
        return self.throttle.is_unlimited and not self.drop_cache

    def begin(self, number: int) -> Raw | None:
        """Start the file of this number in the request; returns the answer if it is known already."""
        return cast("Raw | None", self.throttle.begin_file(number))

    def read(self, directory: int, name: bytes, algorithms: tuple[str, ...], verified: int | None = None) -> Raw:
        """Read the state of one file that is not a directory. Never follows a symlink; opens regular files only.

        ``directory`` is a descriptor (``O_PATH`` is enough). Without ``algorithms`` no content is read. ``verified`` is
        set for logs only: the length of the prefix to digest as well.
        """
        touched: list[Raw] = []
        for _ in range(_ATTEMPTS):
            start = time.time_ns()
            try:
                return self._look_and_read(directory, name, (algorithms, verified), start)
            except Touched as error:
                touched.append(error.found)
            except Changed:
                touched.clear()
            except TimedOutError as error:
                return UnreadableReason.TIMEOUT.value, str(error)
            except TooSparseError:
                return UnreadableReason.SPARSE.value, _TOO_SPARSE
            except OSError as error:
                return refusal(error)
        if len(touched) == _ATTEMPTS and len({_content_of(raw) for raw in touched}) == 1:
            return (*touched[-1][:_READ_START], touched[0][_READ_START], *touched[-1][_READ_START + 1 :])
        return UnreadableReason.UNSTABLE.value, f"changed while it was read, {_ATTEMPTS} times in a row"

    def lstat(self, directory: int, name: bytes) -> os.stat_result | None:
        """``lstat(2)``, ``None`` where it fails."""
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None

    def is_still(self, found: os.stat_result, taken: int, known: Sequence[Any]) -> bool:
        """Whether ``lstat(2)`` gives the same as the known :data:`STAT`, so that the file need not be read.

        ``taken`` stands for the wanted digests (:func:`fimscan.scan.state.taken_of`). Always ``False`` for a directory,
        which must be listed, and on file systems where times do not show every change. ``False`` only means: read it.
        """
        mode, inode, dev, nlink, uid, gid, size = found[:7]
        times = (*divmod(found.st_mtime_ns, _SECOND), *divmod(found.st_ctime_ns, _SECOND))
        kind = KINDS[stat.S_IFMT(mode)]
        digested = taken if kind == _REGULAR else 0
        now = (digested, kind, dev, inode, nlink, mode & 0o7777, uid, gid, size, *times)
        return now == known and kind != _DIRECTORY and dev not in self._silent

    def is_settled(self, found: os.stat_result, now_ns: int) -> bool:
        """Whether unchanged times prove unchanged content."""
        # A ctime far in the future comes from another clock, so it does not hide a change made now.
        return abs(now_ns - found.st_ctime_ns) >= FRESH_NS and found.st_dev not in self._silent

    def _look_and_read(self, directory: int, name: bytes, asked: _Asked, start: int) -> Raw:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            return UnreadableReason.UNSTABLE.value, "became a directory while its parent was being read"
        if not stat.S_ISREG(found.st_mode):
            return _read_special(directory, name, found, start)
        if asked[0]:
            return self._read_file(directory, name, found, asked, start)
        return _read_attributes(directory, name, found, start)

    def _read_file(self, directory: int, name: bytes, found: os.stat_result, asked: _Asked, start: int) -> Raw:
        algorithms, verified = asked
        try:
            fd, before = open_found(directory, name, found)
        except BlockingIOError:
            fd, before = self._leases.open(directory, name, found)
        try:
            # Earlier writes are in what is read from here on. Later writers have to open the file later.
            self.writers.ask(fd, before)
            release_lease(fd)
            cached = pages_cached(fd, before.st_size) if self.drop_cache else ()
            prefix = None
            if verified is None:
                digests = self._read_content(fd, before, algorithms)
            else:
                digests, prefix = self._read_log(fd, before, algorithms, verified)
            xattrs, flags = read_xattrs(fd), read_flags(fd)
            after = os.fstat(fd)
            if self.drop_cache:
                drop_except(fd, cached)
        finally:
            os.close(fd)
        read = (start, time.time_ns())
        if verified is None:
            return _require_unchanged(before, after, to_raw(after, read, digests=digests, xattrs=xattrs, flags=flags))
        if after.st_size < before.st_size:
            raise Changed
        return to_raw(before, read, digests=digests, xattrs=xattrs, flags=flags, prefix=prefix)

    def _read_content(self, fd: int, found: os.stat_result, algorithms: tuple[str, ...]) -> tuple[bytes, ...]:
        now_ns = time.time_ns()
        if abs(now_ns - found.st_ctime_ns) < _SETTLE_NS:
            time.sleep(_SETTLE_NS / 1e9)
        digests = self._digest(fd, found, algorithms)
        if not self.is_settled(found, now_ns):
            self._require_same_content(fd, found, algorithms, digests)
        return digests

    def _digest(self, fd: int, found: os.stat_result, algorithms: Sequence[str]) -> tuple[bytes, ...]:
        if on_hole := self._on_hole(found):
            digests = self.digester.digest_sparse(fd, found.st_size, tuple(algorithms), on_hole)
        else:
            digests = self.digester.digest(fd, found.st_size, algorithms)
        if digests is None:
            raise Changed
        return digests

    def _require_same_content(
        self, fd: int, found: os.stat_result, algorithms: tuple[str, ...], digests: tuple[bytes, ...]
    ) -> None:
        """Read the file again. The same content twice means that no mixture of old and new content was read."""
        fastest = _FASTEST if _FASTEST in algorithms else algorithms[0]
        os.lseek(fd, 0, os.SEEK_SET)
        again = self._digest(fd, found, (fastest,))
        if again[0] != digests[algorithms.index(fastest)]:
            raise Changed

    def _read_log(
        self, fd: int, found: os.stat_result, algorithms: tuple[str, ...], verified: int
    ) -> tuple[tuple[bytes, ...], tuple[int, tuple[bytes, ...]] | None]:
        """Digest a log at its length when it was opened; growing is normal.

        Overwriting what was already read is found by the next scan, which verifies it again.
        """
        digests = self.digester.digest_log(fd, (found.st_size, verified), algorithms, self._on_hole(found))
        if digests is None:
            raise Changed
        whole, prefix = digests
        return whole, None if prefix is None else (verified, prefix)

    def _on_hole(self, found: os.stat_result) -> OnHole | None:
        """What counts the holes of a file; ``None`` if it has none that are worth skipping."""
        return partial(self._holes.take, found.st_uid) if _is_sparse(found) else None


def _is_sparse(found: os.stat_result) -> bool:
    # st_blocks counts 512 bytes, whatever the file system's blocks are. Files of procfs have a size of 0.
    return found.st_blocks * 512 + _SMALL_HOLE < found.st_size


def open_found(directory: int, name: bytes, found: os.stat_result) -> tuple[int, os.stat_result]:
    """Open a regular file by name; :class:`Changed` unless it is the file that ``found`` describes."""
    try:
        fd = open_noatime(name, OPEN_FLAGS, directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # replaced by a symlink or a socket
            raise Changed from error
        raise
    before = os.fstat(fd)
    if stat.S_ISREG(before[0]) and before[1:3] == found[1:3]:  # inode and device
        return fd, before
    os.close(fd)
    raise Changed


def _read_attributes(directory: int, name: bytes, found: os.stat_result, start: int) -> Raw:
    """Read everything except the content of a regular file. Only its flags need an open file."""
    try:
        fd, before = open_found(directory, name, found)
    except OSError as error:
        if error.errno not in _CANNOT_OPEN:
            raise
        before = found
        xattrs, flags = read_xattrs(_in_proc(directory, name)), None
        after = os.stat(name, dir_fd=directory, follow_symlinks=False)
    else:
        try:
            xattrs, flags, after = read_xattrs(fd), read_flags(fd), os.fstat(fd)
        finally:
            os.close(fd)
    return _require_unchanged(before, after, to_raw(after, (start, time.time_ns()), xattrs=xattrs, flags=flags))


def _read_special(directory: int, name: bytes, before: os.stat_result, start: int) -> Raw:
    """Read a symlink, FIFO, socket or device, which is never opened."""
    link = None
    if stat.S_ISLNK(before.st_mode):
        try:
            link = os.readlink(name, dir_fd=directory)
        except OSError as error:
            if error.errno == errno.EINVAL:  # no longer a symlink
                raise Changed from error
            raise
    xattrs = read_xattrs(_in_proc(directory, name))
    after = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return _require_unchanged(before, after, to_raw(after, (start, time.time_ns()), link=link, xattrs=xattrs))


def _in_proc(directory: int, name: bytes) -> bytes:
    """A path by way of the directory's descriptor: llistxattrat(2) exists only since Linux 6.13."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether both are the same file, and nothing was done to it in between."""
    # Every change of content, name count or attributes sets ctime (inode(7)), which no system call can set back.
    return (
        before[:7] == after[:7] and before.st_ctime_ns == after.st_ctime_ns and before.st_mtime_ns == after.st_mtime_ns
    )


def _require_unchanged(before: os.stat_result, after: os.stat_result, raw: Raw) -> Raw:
    """Return the state if nothing was done to the file during the reading.

    Raises:
        Touched: its metadata was set; the content may be the same.
        Changed: it is another file, or its length differs.
    """
    if is_same(before, after):
        return raw
    one_file = stat.S_IFMT(before.st_mode) == stat.S_IFMT(after.st_mode) and before[1:3] == after[1:3]
    if one_file and before.st_size == after.st_size:
        raise Touched(raw)
    raise Changed


def _content_of(raw: Raw) -> tuple[object, ...]:
    """Identity and content: inode and device, digests, link target."""
    return (*raw[1:3], raw[DIGESTS], raw[DIGESTS + 1])


def open_noatime(name: bytes, flags: int, directory: int | None) -> int:
    """``openat(2)`` without updating the access time, where the kernel allows it (owner, or CAP_FOWNER)."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(name, flags, dir_fd=directory)
