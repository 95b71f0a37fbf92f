"""One name in an open directory -> what is known about the file that it names."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from fimscan.linux.mounts import own_mounts
from fimscan.model import UnreadableReason
from fimscan.scan.attributes import Changed, read_flags, read_xattrs
from fimscan.scan.digest import Digester
from fimscan.scan.leases import Leases
from fimscan.scan.limits import Limits
from fimscan.scan.page_cache import drop_others, pages_cached
from fimscan.scan.state import KINDS, Raw, refusal, to_raw
from fimscan.scan.throttle import Throttle, TimedOutError
from fimscan.scan.writers import WriterCheck, give_back

_Asked: TypeAlias = tuple[tuple[str, ...], int | None]
"""(algorithms, of a log how much of it was verified)."""

_SECOND = 10**9
_ATTEMPTS = 3
_FASTEST = "xxh3_128"
_SMALL_HOLE = 1024 * 1024  # not worth the asking where it is

# A write within the same tick of the kernel's coarse clock (10 ms at HZ=100) leaves the same ctime behind, so a file
# changed so recently could change again, unnoticed, while it is read. It is given this long to settle.
_SETTLE_NS = 20_000_000

# Times tell of a write only at its beginning: of a mapped page's first (the next ones are free until the page has been
# written back, 35 s by default), of a long write(2)'s call. For so long, unchanged times do not mean unchanged content.
FRESH_NS = 60 * _SECOND

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# No permission, or a lease on it: for want of its flags alone a file is not unreadable.
_CLOSED_TO_US = (errno.EACCES, errno.EPERM, errno.EAGAIN)
_DIGESTS, _READ_START = 9, 13  # places in a Raw
_REGULAR, _DIRECTORY = KINDS[stat.S_IFREG], KINDS[stat.S_IFDIR]


class Touched(Changed):
    """Its times, owner, mode or number of names were set while it was read; ``found`` is as it is after the reading.

    Somebody may do that all the time, to keep it from being read. A reading in which nothing happened proves more. But
    when the file is read as a whole several times in a row, and its content is the same each time, then that is what a
    reader finds in it, and to report that, with the times as set last, says more than that it could not be read. It may
    be a mixture only where somebody writes to it, forth and back, in step with each of the readings; whoever can do so
    can show any reader anything, also by a mapping of the file, which sets no time at all. What such a reading has does
    not vouch for the next one (``reread = "ctime"``): a ctime that is so new never does.
    """

    def __init__(self, found: Raw) -> None:
        super().__init__()
        self.found = found


class Reader:
    """Reads files, each by its name in an open directory. One for each thread: it owns a buffer."""

    def __init__(self, throttle: Throttle | None = None, *, drop_cache: bool = False) -> None:
        self.throttle = throttle or Throttle(Limits())
        self.digester = Digester(self.throttle.piece)
        self._leases = Leases(self.throttle)
        self.drop_cache = drop_cache
        self.writers = WriterCheck()
        # tmpfs never writes its pages back, so that a mapped file of any age may change silently.
        self._silent = {mount.dev for mount in own_mounts() if mount.kind in ("tmpfs", "ramfs")}

    @property
    def is_free(self) -> bool:
        """Whether files may be read as fast as can be, and nothing else is done about them."""
        return self.throttle.is_free and not self.drop_cache

    def begin(self, number: int) -> Raw | None:
        """The file of this number in a request is next: what is said of it, where that is known already."""
        return cast("Raw | None", self.throttle.file(number))

    def read(self, directory: int, name: bytes, algorithms: tuple[str, ...], verified: int | None = None) -> Raw:
        """The state of one file that is not a directory. Never follows a symlink; opens regular files only.

        ``directory`` is a descriptor (``O_PATH`` will do). Without ``algorithms`` no content is read.
        ``verified`` is set of logs: the length of the prefix to be digested, too.
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
            except OSError as error:
                return refusal(error)
        if len(touched) == _ATTEMPTS and len({_content_of(raw) for raw in touched}) == 1:
            return (*touched[-1][:_READ_START], touched[0][_READ_START], *touched[-1][_READ_START + 1 :])
        return UnreadableReason.UNSTABLE.value, f"changed while it was read, {_ATTEMPTS} times in a row"

    def lstat(self, directory: int, name: bytes) -> os.stat_result | None:
        """``lstat(2)``, or ``None`` where there is none to have."""
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return None

    def is_still(self, found: os.stat_result, taken: int, known: Sequence[Any]) -> bool:
        """Whether all that ``lstat(2)`` has told of a file is as it is ``known`` (:data:`STAT`) to have been.

        ``taken`` is that of the digests that are wanted. Never of a file whose times may not tell, nor of a directory,
        which has to be listed: ``False`` means no more than that it has to be read.
        """
        mode, inode, dev, nlink, uid, gid, size = found[:7]
        times = (*divmod(found.st_mtime_ns, _SECOND), *divmod(found.st_ctime_ns, _SECOND))
        kind = KINDS[stat.S_IFMT(mode)]
        digested = taken if kind == _REGULAR else 0
        now = (digested, kind, dev, inode, nlink, mode & 0o7777, uid, gid, size, *times)
        return now == known and kind != _DIRECTORY and dev not in self._silent

    def is_settled(self, found: os.stat_result, now_ns: int) -> bool:
        """Whether unchanged times of a file mean unchanged content."""
        # A ctime further in the future is not this clock's, so it does not hide a change made now.
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
            # What is read from here on has all that was written before; whoever writes later opens it later.
            self.writers.ask(fd, before)
            give_back(fd)
            cached = pages_cached(fd, before.st_size) if self.drop_cache else ()
            prefix = None
            if verified is None:
                digests = self._read_content(fd, before, algorithms)
            else:
                digests, prefix = self._read_log(fd, before, algorithms, verified)
            xattrs, flags = read_xattrs(fd), read_flags(fd)
            after = os.fstat(fd)
            if self.drop_cache:
                drop_others(fd, cached)
        finally:
            os.close(fd)
        read = (start, time.time_ns())
        if verified is None:
            return _settled(before, after, to_raw(after, read, digests=digests, xattrs=xattrs, flags=flags))
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
        digest = self.digester.digest_sparse if _is_sparse(found) else self.digester.digest
        digests = digest(fd, found.st_size, algorithms)
        if digests is None:
            raise Changed
        return digests

    def _require_same_content(
        self, fd: int, found: os.stat_result, algorithms: tuple[str, ...], digests: tuple[bytes, ...]
    ) -> None:
        """Read it again. What was the same both times was so in between: no mixture of earlier and later content."""
        fastest = _FASTEST if _FASTEST in algorithms else algorithms[0]
        os.lseek(fd, 0, os.SEEK_SET)
        again = self._digest(fd, found, (fastest,))
        if again[0] != digests[algorithms.index(fastest)]:
            raise Changed

    def _read_log(
        self, fd: int, found: os.stat_result, algorithms: tuple[str, ...], verified: int
    ) -> tuple[tuple[bytes, ...], tuple[int, tuple[bytes, ...]] | None]:
        """A log as it was when it was opened: that it grows meanwhile is what it is there for.

        Whoever writes over what was read already is found out the next time, when that is verified again.
        """
        digests = self.digester.digest_log(fd, (found.st_size, verified), algorithms, sparse=_is_sparse(found))
        if digests is None:
            raise Changed
        whole, prefix = digests
        return whole, None if prefix is None else (verified, prefix)


def _is_sparse(found: os.stat_result) -> bool:
    # st_blocks counts 512 bytes, whatever the file system's blocks are. Files of procfs have a size of 0.
    return found.st_blocks * 512 + _SMALL_HOLE < found.st_size


def open_found(directory: int, name: bytes, found: os.stat_result) -> tuple[int, os.stat_result]:
    """Open the regular file that was found by this name, and no other."""
    try:
        fd = open_quietly(name, OPEN_FLAGS, directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # replaced by a symlink, by a socket
            raise Changed from error
        raise
    before = os.fstat(fd)
    if stat.S_ISREG(before[0]) and before[1:3] == found[1:3]:  # inode and device
        return fd, before
    os.close(fd)
    raise Changed


def _read_attributes(directory: int, name: bytes, found: os.stat_result, start: int) -> Raw:
    """Everything of a regular file but its content. Only its flags need it to be open: it need not be readable."""
    try:
        fd, before = open_found(directory, name, found)
    except OSError as error:
        if error.errno not in _CLOSED_TO_US:
            raise
        before = found
        xattrs, flags = read_xattrs(_in_proc(directory, name)), None
        after = os.stat(name, dir_fd=directory, follow_symlinks=False)
    else:
        try:
            xattrs, flags, after = read_xattrs(fd), read_flags(fd), os.fstat(fd)
        finally:
            os.close(fd)
    return _settled(before, after, to_raw(after, (start, time.time_ns()), xattrs=xattrs, flags=flags))


def _read_special(directory: int, name: bytes, before: os.stat_result, start: int) -> Raw:
    """A symlink, FIFO, socket or device: never opened."""
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
    return _settled(before, after, to_raw(after, (start, time.time_ns()), link=link, xattrs=xattrs))


def _in_proc(directory: int, name: bytes) -> bytes:
    """There is no llistxattrat(2) before Linux 6.13; the descriptor's entry in /proc stands for the directory."""
    return b"/proc/self/fd/%d/%s" % (directory, name)


def is_same(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether it is one file, to which nothing was done in between."""
    # Every change of content, name count or attributes sets ctime (inode(7)), which no system call can set back.
    return (
        before[:7] == after[:7] and before.st_ctime_ns == after.st_ctime_ns and before.st_mtime_ns == after.st_mtime_ns
    )


def _settled(before: os.stat_result, after: os.stat_result, raw: Raw) -> Raw:
    """What was read, if nothing was done to the file meanwhile.

    Raises:
        Touched: something was done to it that need not concern its content.
        Changed: it is another file, or longer or shorter.
    """
    if is_same(before, after):
        return raw
    one_file = stat.S_IFMT(before.st_mode) == stat.S_IFMT(after.st_mode) and before[1:3] == after[1:3]
    if one_file and before.st_size == after.st_size:
        raise Touched(raw)
    raise Changed


def _content_of(raw: Raw) -> tuple[object, ...]:
    """Which file it is, and what it holds: device and inode, digests, a link's target."""
    return (*raw[1:3], raw[_DIGESTS], raw[_DIGESTS + 1])


def open_quietly(name: bytes, flags: int, directory: int | None) -> int:
    """``openat(2)`` that leaves the access time alone where the kernel allows it (owner, or CAP_FOWNER)."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(name, flags, dir_fd=directory)
