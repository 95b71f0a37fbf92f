"""Names of open flags: ``0x80241`` -> ``("O_WRONLY", "O_CREAT", "O_TRUNC", "O_CLOEXEC")``."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from fimscan.audit.arches import machine

# Only the access mode is the same on every architecture (asm-generic/fcntl.h; no architecture overrides it).
O_ACCMODE, O_WRONLY, O_RDWR = 3, 1, 2
_MODES = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")


class OpenFlags(Struct, frozen=True, kw_only=True):
    """The meaning of one open's flags; ``names`` begins with the access mode and leaves out unknown bits.

    ``writes``: the descriptor can be written to. ``nothing``: it can neither be read nor written (``O_PATH``; most
    other flags have no effect then). ``nameless``: the call creates a file without a name in the named directory
    (``O_TMPFILE``). ``only_creates``: it fails where the file exists (``O_CREAT | O_EXCL``).
    """

    names: tuple[str, ...]
    writes: bool
    truncates: bool
    nothing: bool
    nameless: bool
    only_creates: bool


@lru_cache(maxsize=4096)
def open_flags(arch: bytes, value: int) -> OpenFlags | None:
    """Decode flags on an architecture (a SYSCALL record's ``arch=``); ``None`` for an unknown architecture."""
    found = machine(arch)
    if found is None:
        return None
    bits = found.flags
    given = {name for name, bit in bits.items() if value & bit}
    names = [_MODES[value & O_ACCMODE]]
    hidden = {"__O_TMPFILE", "__O_SYNC", "O_DSYNC"}
    if nameless := "__O_TMPFILE" in given:  # the full O_TMPFILE is this and O_DIRECTORY
        names.append("O_TMPFILE")
        hidden.add("O_DIRECTORY")
    names += sorted(given - hidden, key=bits.__getitem__)
    if "O_DSYNC" in given:  # the full O_SYNC is this and __O_SYNC
        names.append("O_SYNC" if "__O_SYNC" in given else "O_DSYNC")
    return OpenFlags(
        names=tuple(names),
        writes=writes(value),
        truncates="O_TRUNC" in given,
        nothing="O_PATH" in given,
        nameless=nameless,
        only_creates={"O_CREAT", "O_EXCL"} <= given,
    )


def creat_flags(arch: bytes) -> OpenFlags | None:
    """The flags that creat(2) implies; the call has no flags of its own."""
    found = machine(arch)
    return None if found is None else open_flags(arch, O_WRONLY | found.flags["O_CREAT"] | found.flags["O_TRUNC"])


def writes(value: int) -> bool:
    """Whether a descriptor opened with these flags can be written to (with ``O_PATH``, the mode has no effect)."""
    return value & O_ACCMODE in (O_WRONLY, O_RDWR)
