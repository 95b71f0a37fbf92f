"""Open flags as names: ``0x80241`` -> ``("O_WRONLY", "O_CREAT", "O_TRUNC", "O_CLOEXEC")``."""

from __future__ import annotations

from functools import lru_cache

O_ACCMODE, O_CREAT, O_TRUNC, O_PATH = 0o3, 0o100, 0o1000, 0o10000000
"""These agree on every architecture that :mod:`fimscan.audit.syscalls` knows."""
O_WRONLY, O_RDWR = 1, 2
_TMPFILE = 0o20000000  # __O_TMPFILE; O_TMPFILE proper is this and O_DIRECTORY
_SYNC = 0o4000000  # __O_SYNC; O_SYNC proper is this and O_DSYNC

# asm-generic/fcntl.h
_COMMON = {
    0o100: "O_CREAT",
    0o200: "O_EXCL",
    0o400: "O_NOCTTY",
    0o1000: "O_TRUNC",
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o20000: "FASYNC",
    0o1000000: "O_NOATIME",
    0o2000000: "O_CLOEXEC",
    0o10000000: "O_PATH",
}
_GENERIC = {0o40000: "O_DIRECT", 0o100000: "O_LARGEFILE", 0o200000: "O_DIRECTORY", 0o400000: "O_NOFOLLOW"}
# arch/arm{,64}/include/uapi/asm/fcntl.h, arch/powerpc/include/uapi/asm/fcntl.h
_ARM = {0o40000: "O_DIRECTORY", 0o100000: "O_NOFOLLOW", 0o200000: "O_DIRECT", 0o400000: "O_LARGEFILE"}
_POWERPC = {0o40000: "O_DIRECTORY", 0o100000: "O_NOFOLLOW", 0o200000: "O_LARGEFILE", 0o400000: "O_DIRECT"}
_OWN: dict[bytes, dict[int, str]] = {b"c00000b7": _ARM, b"40000028": _ARM, b"c0000015": _POWERPC}


@lru_cache(maxsize=4096)
def flag_names(arch: bytes, flags: int) -> tuple[str, ...]:
    """The names of open flags, access mode first; ``arch`` is a SYSCALL record's. Unknown bits are left out."""
    bits = _COMMON | _OWN.get(arch, _GENERIC)
    names = [("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")[flags & O_ACCMODE]]
    hidden = set()
    if flags & _TMPFILE:
        names.append("O_TMPFILE")
        hidden.add("O_DIRECTORY")
    names += [name for bit, name in sorted(bits.items()) if flags & bit and name not in hidden]
    if flags & 0o10000:
        names.append("O_SYNC" if flags & _SYNC else "O_DSYNC")
    return tuple(names)


def writes(flags: int) -> bool:
    """Whether a descriptor opened with these flags can be written to (with ``O_PATH``, the mode means nothing)."""
    return flags & O_ACCMODE in (O_WRONLY, O_RDWR)


def is_tmpfile(flags: int) -> bool:
    """Whether the call made a nameless file in the directory that it named (``O_TMPFILE``)."""
    return bool(flags & _TMPFILE)
