"""Does any process have a regular file open for writing? The kernel counts that, and a read lease asks for the count.

``fcntl(F_SETLEASE, F_RDLCK)`` succeeds only while nobody has the file open for writing (:manpage:`fcntl(2)`, "Leases";
``check_conflicting_open`` in the kernel's fs/locks.c). It counts open files, not descriptors in tables: one that is
mapped, registered with an io_uring, in flight in a socket, or handed on along a chain of short processes counts, too.
The lease is given back at once. Whoever opens the file in between waits for that, a few microseconds (with O_NONBLOCK
the call fails, and has to be repeated).
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from contextlib import suppress

from fimscan.linux.mounts import own_mounts

#: (device, inode) of a file that somebody had open for writing when it was read; (device, 0) for a file system, or for
#: the files of other users on it, where that could not be asked.
Identity = tuple[int, int]


class WriterCheck:
    """Asks of one open file after the other, and remembers those that somebody has open for writing."""

    __slots__ = ("_found", "_refused")

    def __init__(self) -> None:
        # A network file system knows its own clients only, and may answer late: it is not asked.
        self._refused = {mount.dev for mount in own_mounts() if mount.may_hang}
        self._found: dict[Identity, None] = {}

    def ask(self, fd: int, found: os.stat_result) -> None:
        """Ask of an open regular file. Closing the descriptor gives the lease back; so does :meth:`give_back`.

        Whoever writes later than the answer that nobody has it open has opened the file later, too. What was written
        before is in what is read afterwards; of what was read before, the ctime has to say that it is the same still.
        """
        if found.st_dev in self._refused:
            self._found[found.st_dev, 0] = None
            return
        try:
            # Whoever breaks the lease makes the kernel send SIGIO, whose default ends this process. SIGURG's does not.
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                self._found[found.st_dev, found.st_ino] = None
            else:  # EINVAL: no leases there, or by fs.leases-enable; EACCES: another's file, without CAP_LEASE
                self._refused.add(found.st_dev)
                self._found[found.st_dev, 0] = None

    def take(self) -> list[Identity]:
        """Those that were found since the last time."""
        found, self._found = list(self._found), {}
        return found


def give_back(fd: int) -> None:
    """Give a lease back before the descriptor is closed."""
    with suppress(OSError):  # there was none
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
