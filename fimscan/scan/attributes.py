"""What an inode carries besides content and ``stat(2)``: extended attributes, and the flags that ``chattr`` sets."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import sys
from typing import TypeAlias

RawXattrs: TypeAlias = tuple[bytes, tuple[tuple[bytes, int, bytes], ...]]
"""(SHA-256 over all of them, (name, size, value or its SHA-256) of each), in byte order of the names."""

# A value of those that reports put into words is kept whole, unless it is absurd; of others, only a short one is.
_IN_WORDS = (b"system.posix_acl_access", b"system.posix_acl_default", b"security.capability", b"security.selinux")
_LONGEST_IN_WORDS = 4096
_LONGEST = 64

# ioctl_iflags(2). The request says "long", the kernel reads and writes an int. Where the bits are elsewhere: ioctl.h.
_READS = 0x4000_0000 if os.uname().machine.startswith(("alpha", "mips", "parisc", "ppc", "sparc")) else 0x8000_0000
_GETFLAGS = _READS | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_LONG = struct.calcsize("l")

# What somebody sets, and what says how the file behaves: suSDiadAcEjtTCxFPV as lsattr writes them. Left out is what the
# file system sets as it sees fit: how blocks are mapped (e, h), kept (N) or compressed (Z, B, m), an index in a
# directory that has grown (I).
_STABLE = 0x6293_C8FF

# A failing medium is told; every other error means that there are no flags to be had (ENOTTY, EOPNOTSUPP, ENOSYS ...).
_FAILURES = (errno.EIO, errno.ESTALE)


class Changed(Exception):  # noqa: N818 - not an error: the attempt is repeated
    """The file is not what it was at the beginning of this attempt."""


def read_flags(fd: int) -> int | None:
    """The flags of an open file or directory, those that stay as they were set; ``None`` where there are none to have.

    Raises:
        OSError: the medium failed.
    """
    answer = bytearray(_LONG)  # written to in place, which is half of the time
    try:
        fcntl.ioctl(fd, _GETFLAGS, answer)
    except OSError as error:
        if error.errno in _FAILURES:
            raise
        return None
    return int.from_bytes(answer[:4], sys.byteorder) & _STABLE


def read_xattrs(file: int | bytes) -> RawXattrs | None:
    """The extended attributes of a descriptor, or of a path whose last component is not followed; ``None``: none.

    The digest has the names in byte order; each name and each value is preceded by its length (8 bytes, little-endian).

    Raises:
        Changed: one was removed since they were listed.
        OSError: as ``listxattr(2)``.
    """
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return None
        raise
    if not names:
        return None
    total = hashlib.sha256()
    found = []
    for name in sorted(map(os.fsencode, names)):
        try:
            value = os.getxattr(file, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENODATA:
                raise Changed from error
            raise
        for part in (name, value):
            total.update(len(part).to_bytes(8, "little"))
            total.update(part)
        longest = _LONGEST_IN_WORDS if name in _IN_WORDS else _LONGEST
        found.append((name, len(value), value if len(value) <= longest else hashlib.sha256(value).digest()))
    return total.digest(), tuple(found)
