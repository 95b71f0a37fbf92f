"""Extended attributes and flags in the notation of their tools: getfacl, getcap, lsattr.

Users are numbers: their names depend on the host.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from fimscan.model import FileState, Xattr
from fimscan.report.display import json_text

# In the order of lsattr(1).
_FLAGS = (
    *((0x1, "s"), (0x2, "u"), (0x8, "S"), (0x1_0000, "D"), (0x10, "i"), (0x20, "a"), (0x40, "d"), (0x80, "A")),
    *((0x4, "c"), (0x800, "E"), (0x4000, "j"), (0x8000, "t"), (0x2_0000, "T"), (0x80_0000, "C"), (0x200_0000, "x")),
    *((0x4000_0000, "F"), (0x2000_0000, "P"), (0x10_0000, "V")),
)

# capabilities(7), by number.
_CAPABILITIES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"),
    *("mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"),
    "checkpoint_restore",
)
_EFFECTIVE = 1
_WORDS = {1: 1, 2: 2, 3: 2}  # version of the format -> how many 32-bit words the masks have

_ACL_VERSION = 2
_ACL_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_ACL_NAMED = (0x02, 0x08)

NAMED = ("acl", "capabilities", "selinux")
"""Attributes with a notation of their own; :func:`other_texts` has all others."""


def flags_text(state: FileState) -> str | None:
    """The flags as letters of lsattr, ``""`` for none; ``None`` if unknown."""
    if state.flags is None:
        return None
    return "".join(letter for bit, letter in _FLAGS if state.flags & bit)


def named_text(state: FileState, field: str) -> str | None:
    """The value of one of :data:`NAMED`; ``None`` if there is none or it is unknown."""
    if not state.xattrs:
        return None
    texts = (xattr_text(xattr) for xattr in state.xattrs if xattr.field == field)
    return ",".join(texts) or None


def other_texts(state: FileState) -> dict[str, str] | None:
    """All other extended attributes by name; ``None`` if unknown."""
    if state.xattrs is None:
        return None
    return {json_text(xattr.name): xattr_text(xattr) for xattr in state.xattrs if xattr.field == "xattr"}


def xattr_text(xattr: Xattr) -> str:
    """A value in the notation of its tool; otherwise as text if printable, else in hexadecimal."""
    if not xattr.is_whole:
        return f"sha256:{xattr.data.hex()} ({xattr.size} bytes)"
    try:
        return _TEXTS[xattr.name](xattr.data) if xattr.name in _TEXTS else _plain(xattr.data)
    except (ValueError, KeyError, struct.error):  # the value does not have the format of its name
        return _hex(xattr.data)


def _plain(value: bytes) -> str:
    text = value.removesuffix(b"\0").decode("utf-8", "surrogateescape")
    return text if text.isprintable() else _hex(value)


def _hex(value: bytes) -> str:
    return f"0x{value.hex()}"


def _acl(value: bytes) -> str:
    """``user::rw-,user:1000:r--,group::r--,mask::r--,other::r--``, as setfacl takes it."""
    (version,) = struct.unpack_from("<I", value)
    if version != _ACL_VERSION:
        raise ValueError(f"version {version}")
    return ",".join(_acl_entry(*entry) for entry in struct.iter_unpack("<HHI", value[4:]))


def _acl_entry(tag: int, bits: int, owner: int) -> str:
    letters = "".join(letter if bits & bit else "-" for bit, letter in ((4, "r"), (2, "w"), (1, "x")))
    return f"{_ACL_TAGS[tag]}:{owner if tag in _ACL_NAMED else ''}:{letters}"


def _default_acl(value: bytes) -> str:
    return ",".join(f"default:{entry}" for entry in _acl(value).split(","))


def _capabilities(value: bytes) -> str:
    """``cap_net_raw=ep``, as getcap writes it; ``[rootid=N]`` at the end for those of a user namespace."""
    magic, *words = struct.unpack(f"<{len(value) // 4}I", value)
    version, count = magic >> 24, _WORDS[magic >> 24]
    permitted, inheritable = (
        sum(word << 32 * place for place, word in enumerate(words[kind : 2 * count : 2])) for kind in (0, 1)
    )
    names: dict[str, list[str]] = {}
    for number in range(32 * count):
        sets = ("i" if inheritable >> number & 1 else "") + ("p" if permitted >> number & 1 else "")
        if sets:
            names.setdefault("e" * (magic & _EFFECTIVE) + sets, []).append(_capability(number))
    everything = len(names) == 1 and len(next(iter(names.values()))) >= len(_CAPABILITIES)
    text = " ".join(f"{'' if everything else ','.join(some)}={sets}" for sets, some in names.items()) or "="
    return f"{text} [rootid={words[2 * count]}]" if version == 3 else text


def _capability(number: int) -> str:
    return f"cap_{_CAPABILITIES[number]}" if number < len(_CAPABILITIES) else str(number)


_TEXTS: Mapping[bytes, Callable[[bytes], str]] = {
    b"system.posix_acl_access": _acl,
    b"system.posix_acl_default": _default_acl,
    b"security.capability": _capabilities,
}
