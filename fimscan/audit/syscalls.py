"""System calls that change files: their numbers on each architecture, and what their arguments mean.

Numbers are those of ``ausyscall ARCH --dump`` (audit-userspace 3.0.9), which is generated from the kernel's tables
(``arch/*/entry/syscalls/*.tbl``, ``asm-generic/unistd.h``); calls from 424 on have one number everywhere.
``ftruncate``, ``fallocate`` and ``write`` carry no PATH record and so are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fimscan.model import Action

# fmt: off
_EVERYWHERE = {
    437: "openat2", 452: "fchmodat2", 463: "setxattrat", 466: "removexattrat",
}
# asm-generic/unistd.h: what aarch64 and riscv64 share.
_GENERIC = {
    5: "setxattr", 6: "lsetxattr", 7: "fsetxattr", 14: "removexattr", 15: "lremovexattr", 16: "fremovexattr",
    33: "mknodat", 34: "mkdirat", 35: "unlinkat", 36: "symlinkat", 37: "linkat", 45: "truncate", 52: "fchmod",
    53: "fchmodat", 54: "fchownat", 55: "fchown", 56: "openat", 88: "utimensat", 200: "bind",
    265: "open_by_handle_at", 276: "renameat2",
}
_X86_64 = {
    2: "open", 49: "bind", 76: "truncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link",
    87: "unlink", 88: "symlink", 90: "chmod", 91: "fchmod", 92: "chown", 93: "fchown", 94: "lchown", 132: "utime",
    133: "mknod", 188: "setxattr", 189: "lsetxattr", 190: "fsetxattr", 197: "removexattr", 198: "lremovexattr",
    199: "fremovexattr", 235: "utimes", 257: "openat", 258: "mkdirat", 259: "mknodat", 260: "fchownat",
    261: "futimesat", 263: "unlinkat", 264: "renameat", 265: "linkat", 266: "symlinkat", 268: "fchmodat",
    280: "utimensat", 304: "open_by_handle_at", 316: "renameat2",
}
_I386 = {
    5: "open", 8: "creat", 9: "link", 10: "unlink", 14: "mknod", 15: "chmod", 16: "lchown", 30: "utime", 38: "rename",
    39: "mkdir", 40: "rmdir", 83: "symlink", 92: "truncate", 94: "fchmod", 95: "fchown", 182: "chown",
    193: "truncate64", 198: "lchown32", 207: "fchown32", 212: "chown32", 226: "setxattr", 227: "lsetxattr",
    228: "fsetxattr", 235: "removexattr", 236: "lremovexattr", 237: "fremovexattr", 271: "utimes", 295: "openat",
    296: "mkdirat", 297: "mknodat", 298: "fchownat", 299: "futimesat", 301: "unlinkat", 302: "renameat",
    303: "linkat", 304: "symlinkat", 306: "fchmodat", 320: "utimensat", 342: "open_by_handle_at", 353: "renameat2",
    361: "bind", 412: "utimensat_time64",
}
_ARM = {
    5: "open", 8: "creat", 9: "link", 10: "unlink", 14: "mknod", 15: "chmod", 16: "lchown", 30: "utime", 38: "rename",
    39: "mkdir", 40: "rmdir", 83: "symlink", 92: "truncate", 94: "fchmod", 95: "fchown", 182: "chown",
    193: "truncate64", 198: "lchown32", 207: "fchown32", 212: "chown32", 226: "setxattr", 227: "lsetxattr",
    228: "fsetxattr", 235: "removexattr", 236: "lremovexattr", 237: "fremovexattr", 269: "utimes", 282: "bind",
    322: "openat", 323: "mkdirat", 324: "mknodat", 325: "fchownat", 326: "futimesat", 328: "unlinkat",
    329: "renameat", 330: "linkat", 331: "symlinkat", 333: "fchmodat", 348: "utimensat", 371: "open_by_handle_at",
    382: "renameat2", 412: "utimensat_time64",
}
_S390X = {
    5: "open", 8: "creat", 9: "link", 10: "unlink", 14: "mknod", 15: "chmod", 30: "utime", 38: "rename", 39: "mkdir",
    40: "rmdir", 83: "symlink", 92: "truncate", 94: "fchmod", 198: "lchown", 207: "fchown", 212: "chown",
    224: "setxattr", 225: "lsetxattr", 226: "fsetxattr", 233: "removexattr", 234: "lremovexattr", 235: "fremovexattr",
    288: "openat", 289: "mkdirat", 290: "mknodat", 291: "fchownat", 292: "futimesat", 294: "unlinkat",
    295: "renameat", 296: "linkat", 297: "symlinkat", 299: "fchmodat", 313: "utimes", 315: "utimensat",
    336: "open_by_handle_at", 347: "renameat2", 361: "bind",
}
_PPC64LE = {
    5: "open", 8: "creat", 9: "link", 10: "unlink", 14: "mknod", 15: "chmod", 16: "lchown", 30: "utime", 38: "rename",
    39: "mkdir", 40: "rmdir", 83: "symlink", 92: "truncate", 94: "fchmod", 95: "fchown", 181: "chown",
    209: "setxattr", 210: "lsetxattr", 211: "fsetxattr", 218: "removexattr", 219: "lremovexattr", 220: "fremovexattr",
    251: "utimes", 286: "openat", 287: "mkdirat", 288: "mknodat", 289: "fchownat", 290: "futimesat", 292: "unlinkat",
    293: "renameat", 294: "linkat", 295: "symlinkat", 297: "fchmodat", 304: "utimensat", 327: "bind",
    346: "open_by_handle_at", 357: "renameat2",
}
# fmt: on

SYSCALLS: Mapping[bytes, Mapping[int, str]] = {
    b"c000003e": _X86_64 | _EVERYWHERE,
    b"40000003": _I386 | _EVERYWHERE,
    b"c00000b7": _GENERIC | {38: "renameat"} | _EVERYWHERE,  # aarch64; riscv64 was born without renameat
    b"40000028": _ARM | _EVERYWHERE,
    b"80000016": _S390X | _EVERYWHERE,
    b"c0000015": _PPC64LE | _EVERYWHERE,
    b"c00000f3": _GENERIC | _EVERYWHERE,
}
"""``arch=`` of a SYSCALL record -> number -> name, for the calls of :data:`CALLS`."""

_X32_BIT = 0x40000000  # arch/x86/include/uapi/asm/unistd.h: an x32 call of x86_64 has it in its number

# Operations of io_uring that change files (linux/io_uring.h), as the call that each stands for.
URING_OPERATIONS: Mapping[int, str] = {
    18: "openat", 28: "openat2", 35: "renameat2", 36: "unlinkat", 37: "mkdirat", 38: "symlinkat", 39: "linkat",
    41: "fsetxattr", 42: "setxattr",
}  # fmt: skip


def syscall_name(arch: bytes, number: int) -> str | None:
    """The name of a file-changing system call; ``None`` for every other call and for unknown architectures.

    ``arch`` is the hexadecimal text of the record. x32 calls share x86_64's table, but for the xattr and other calls
    above 511, none of which changes files.
    """
    table = SYSCALLS.get(arch)
    if table is None:
        return None
    if arch == b"c000003e":
        number &= ~_X32_BIT
    return table.get(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a system call does, and where its arguments say so (positions are those of ``a0``..``a3``).

    ``dirfd`` is the directory descriptor of the (new) name, ``old_dirfd`` that of a rename's or link's source; ``None``
    where a relative name can only be relative to the working directory. ``flags`` is the position of open flags, or
    unlinkat's; ``mode`` that of a new mode.
    """

    action: Action
    dirfd: int | None = None
    old_dirfd: int | None = None
    flags: int | None = None
    mode: int | None = None


def _attribute_calls() -> dict[str, Call]:
    calls = {
        name: Call(action=Action.CHOWN) for name in ("chown", "lchown", "fchown", "chown32", "lchown32", "fchown32")
    }
    calls |= {f"{at}{verb}xattr": Call(action=Action.SETXATTR) for at in ("", "l", "f") for verb in ("set", "remove")}
    calls |= {f"{verb}xattrat": Call(action=Action.SETXATTR, dirfd=0) for verb in ("set", "remove")}
    calls |= {name: Call(action=Action.UTIME) for name in ("utime", "utimes")}
    calls |= {name: Call(action=Action.UTIME, dirfd=0) for name in ("futimesat", "utimensat", "utimensat_time64")}
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
    "bind": Call(action=Action.MKNOD),  # of a unix socket: perm=w reports it, and a file appears
    "chmod": Call(action=Action.CHMOD, mode=1),
    "fchmod": Call(action=Action.CHMOD, mode=1),
    "fchmodat": Call(action=Action.CHMOD, dirfd=0, mode=2),
    "fchmodat2": Call(action=Action.CHMOD, dirfd=0, mode=2),
    "fchownat": Call(action=Action.CHOWN, dirfd=0),
}
"""Name -> meaning, from section 2 of the manual."""
