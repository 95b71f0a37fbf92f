"""Read what an inode has besides content and ``stat(2)``: extended attributes and the flags of ``chattr(1)``."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from typing import TypeAlias

RawXattrs: TypeAlias = tuple[bytes, tuple[tuple[bytes, int, bytes], ...]]
"""(SHA-256 over all attributes, then (name, size, value or its SHA-256) of each, in byte order of the names)."""

# Values that reports explain are kept whole unless they are huge; of others, only short values are.
_NAMED_IN_REPORTS = (
    b"system.posix_acl_access",
    b"system.posix_acl_default",
    b"security.capability",
    b"security.selinux",
)
_LONGEST_NAMED = 4096
_LONGEST = 64

# ioctl_iflags(2). The request number is made with "long", but the kernel reads and writes an int. ioctl.h has the bits
# of other architectures.
_READS = 0x4000_0000 if os.uname().machine.startswith(("alpha", "mips", "parisc", "ppc", "sparc")) else 0x8000_0000
_GETFLAGS = _READS | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_LONG = struct.calcsize("l")
_answered = struct.Struct("=I").unpack_from  # the kernel writes 32 bits, though the call is declared with a long

# Flags that users set or that change how the file behaves: suSDiadAcEjtTCxFPV in lsattr's letters. Flags that the file
# system sets by itself are left out: how blocks are mapped (e, h), kept inline (N) or compressed (Z, B, m), a directory
# index (I).
_STABLE = 0x6293_C8FF

# A failing medium is an error; every other error means that there are no flags (ENOTTY, EOPNOTSUPP, ENOSYS ...).
_FAILURES = (errno.EIO, errno.ESTALE)


class Changed(Exception):  # noqa: N818 - not an error: the attempt is repeated
    """The file changed during this attempt to read it."""


def read_flags(fd: int) -> int | None:
    """Read the inode flags that stay as they were set; ``None`` where the file system has none.

    Raises:
        OSError: the medium failed.
    """
    answer = bytearray(_LONG)  # written in place, which halves the time
    try:
        fcntl.ioctl(fd, _GETFLAGS, answer)
    except OSError as error:
        if error.errno in _FAILURES:
            raise
        return None
    return int(_answered(answer)[0]) & _STABLE


def read_xattrs(file: int | bytes) -> RawXattrs | None:
    """Read the extended attributes of a descriptor or of a path (last component not followed); ``None`` if none.

    The digest covers the names in byte order. Each name and value is preceded by its length (8 bytes, little-endian).

    Raises:
        Changed: an attribute was removed after listing.
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
        longest = _LONGEST_NAMED if name in _NAMED_IN_REPORTS else _LONGEST
        found.append((name, len(value), value if len(value) <= longest else hashlib.sha256(value).digest()))
    return total.digest(), tuple(found)
