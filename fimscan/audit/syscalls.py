"""System calls that change files, and the meaning of their arguments. Their numbers are in ``syscalls.json``.

``ftruncate``, ``fallocate`` and ``write`` are missing, because they leave no PATH record.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from fimscan.audit.arches import machine
from fimscan.model import Action

_X86_64 = b"c000003e"
_X32_BIT = 0x40000000  # arch/x86/include/uapi/asm/unistd.h: set in the number of x86_64's x32 calls

# io_uring operations that change files (linux/io_uring.h), and the system call that each corresponds to.
URING_OPERATIONS: Mapping[int, str] = {
    18: "openat", 28: "openat2", 35: "renameat2", 36: "unlinkat", 37: "mkdirat", 38: "symlinkat", 39: "linkat",
    41: "fsetxattr", 42: "setxattr", 56: "bind",
}  # fmt: skip


@lru_cache(maxsize=1024)
def syscall_name(arch: bytes, number: int) -> str | None:
    """The name of a file-changing system call; ``None`` for every other call and for unknown architectures.

    ``arch`` is the hexadecimal text of the record. x32 calls share x86_64's table, except the xattr and other calls
    above 511, none of which changes files.
    """
    found = machine(arch)
    if found is None:
        return None
    return found.calls.get(number & ~_X32_BIT if arch == _X86_64 else number)


class Call(Struct, frozen=True, kw_only=True):
    """What a system call does, and which of its arguments say so (positions are those of ``a0``..``a3``).

    ``dirfd`` is the directory descriptor of the (new) name, ``old_dirfd`` that of the source of a rename or link. They
    are ``None`` where a relative name can only be relative to the working directory. ``flags`` is the position of the
    flags of an open or of unlinkat; ``mode`` that of a new mode. ``only`` is (position, value) of the argument that
    selects the one file-changing operation of a multiplexed call.
    """

    action: Action
    dirfd: int | None = None
    old_dirfd: int | None = None
    flags: int | None = None
    mode: int | None = None
    only: tuple[int, int] | None = None


def _attribute_calls() -> dict[str, Call]:
    calls = {
        name: Call(action=Action.CHOWN) for name in ("chown", "lchown", "fchown", "chown32", "lchown32", "fchown32")
    }
    calls |= {f"{at}{verb}xattr": Call(action=Action.SETXATTR) for at in ("", "l", "f") for verb in ("set", "remove")}
    calls |= {f"{verb}xattrat": Call(action=Action.SETXATTR, dirfd=0) for verb in ("set", "remove")}
    calls |= {name: Call(action=Action.UTIME) for name in ("utime", "utimes", "osf_utimes")}
    calls |= {name: Call(action=Action.UTIME, dirfd=0) for name in ("futimesat", "utimensat", "utimensat_time64")}
    calls["file_setattr"] = Call(action=Action.SETFLAGS, dirfd=0)  # file_setattr(2), since Linux 6.17
    return calls


CALLS: Mapping[str, Call] = _attribute_calls() | {
    "open": Call(action=Action.OPEN_WRITE, flags=1),
    "openat": Call(action=Action.OPEN_WRITE, dirfd=0, flags=2),
    "openat2": Call(action=Action.OPEN_WRITE, dirfd=0),
    "creat": Call(action=Action.OPEN_WRITE),
    "open_by_handle_at": Call(action=Action.OPEN_WRITE, dirfd=0, flags=2),
    "truncate": Call(action=Action.TRUNCATE),
    "truncate64": Call(action=Action.TRUNCATE),
    "rename": Call(action=Action.RENAME),
    "renameat": Call(action=Action.RENAME, old_dirfd=0, dirfd=2),
    "renameat2": Call(action=Action.RENAME, old_dirfd=0, dirfd=2),
    "link": Call(action=Action.LINK),
    "linkat": Call(action=Action.LINK, old_dirfd=0, dirfd=2),
    "symlink": Call(action=Action.SYMLINK),
    "symlinkat": Call(action=Action.SYMLINK, dirfd=1),
    "unlink": Call(action=Action.UNLINK),
    "unlinkat": Call(action=Action.UNLINK, dirfd=0, flags=2),
    "rmdir": Call(action=Action.RMDIR),
    "mkdir": Call(action=Action.MKDIR),
    "mkdirat": Call(action=Action.MKDIR, dirfd=0),
    "mknod": Call(action=Action.MKNOD),
    "mknodat": Call(action=Action.MKNOD, dirfd=0),
    "bind": Call(action=Action.MKNOD),  # of a unix socket: perm=w reports it, and it creates a file
    "socketcall": Call(action=Action.MKNOD, only=(0, 2)),  # SYS_BIND of linux/net.h
    "chmod": Call(action=Action.CHMOD, mode=1),
    "fchmod": Call(action=Action.CHMOD, mode=1),
    "fchmodat": Call(action=Action.CHMOD, dirfd=0, mode=2),
    "fchmodat2": Call(action=Action.CHMOD, dirfd=0, mode=2),
    "fchownat": Call(action=Action.CHOWN, dirfd=0),
}
"""Name -> meaning, from section 2 of the manual."""
