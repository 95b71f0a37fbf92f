"""Find out whether any process has a regular file open for writing, by requesting a read lease.

``fcntl(F_SETLEASE, F_RDLCK)`` succeeds only while nobody has the file open for writing (:manpage:`fcntl(2)`, "Leases";
``check_conflicting_open`` in the kernel's fs/locks.c). The kernel counts open files, not descriptors in tables. So it
counts files that are mapped, registered with an io_uring, in flight in a socket, or passed along a chain of short-lived
processes. The lease is given back at once. A process that opens the file in between waits a few microseconds (with
O_NONBLOCK its call fails and has to be repeated).
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from contextlib import suppress

from fimscan.linux.mounts import own_mounts

#: (device, inode) of a file that was open for writing when it was read. (device, 0) means unknown: for the whole file
#: system, or for other users' files on it.
Identity = tuple[int, int]


class WriterCheck:
    """Checks open files one by one and collects those that are open for writing."""

    __slots__ = ("_found", "_must_redirect", "_refused")

    def __init__(self) -> None:
        # Network file systems are skipped: they know only their own clients, and may answer late.
        self._refused = {mount.dev for mount in own_mounts() if mount.may_hang}
        self._found: dict[Identity, None] = {}
        # Breaking a lease sends SIGIO, whose default ends this process. SIGURG's default does not.
        self._must_redirect = signal.getsignal(signal.SIGIO) is not signal.SIG_IGN

    def ask(self, fd: int, found: os.stat_result) -> None:
        """Check an open regular file. Closing the descriptor gives the lease back; so does :func:`release_lease`.

        If nobody has it open for writing now, a later writer has to open it later. Earlier writes are in what is read
        afterwards. For what was read before, the ctime has to prove that it is unchanged.
        """
        if found.st_dev in self._refused:
            self._found[found.st_dev, 0] = None
            return
        try:
            if self._must_redirect:
                fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                self._found[found.st_dev, found.st_ino] = None
            else:  # EINVAL: no leases there, or fs.leases-enable is 0; EACCES: another user's file, without CAP_LEASE
                self._refused.add(found.st_dev)
                self._found[found.st_dev, 0] = None

    def take(self) -> list[Identity]:
        """The files found since the last call."""
        found, self._found = list(self._found), {}
        return found


def release_lease(fd: int) -> None:
    """Release a lease before the descriptor is closed."""
    with suppress(OSError):  # there was none
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
