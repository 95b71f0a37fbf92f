"""Open flags as names: ``0x80241`` -> ``("O_WRONLY", "O_CREAT", "O_TRUNC", "O_CLOEXEC")``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from fimscan.audit.arches import machine

# The access mode alone is the same on every architecture (asm-generic/fcntl.h, which none overrides there).
O_ACCMODE, O_WRONLY, O_RDWR = 3, 1, 2
_MODES = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFlags:
    """What the flags of one open ask for; ``names`` has the access mode first, and leaves out unknown bits.

    ``writes``: the descriptor can be written to. ``nothing``: it can neither be read nor written (``O_PATH``, with
    which all other flags but a few mean nothing). ``nameless``: the call made a file without a name in the directory
    that it named (``O_TMPFILE``). ``only_creates``: it fails where there is a file already (``O_CREAT | O_EXCL``).
    """

    names: tuple[str, ...]
    writes: bool
    truncates: bool
    nothing: bool
    nameless: bool
    only_creates: bool


@lru_cache(maxsize=4096)
def open_flags(arch: bytes, value: int) -> OpenFlags | None:
    """The flags of an open on an architecture (a SYSCALL record's ``arch=``); ``None`` where that is not known."""
    found = machine(arch)
    if found is None:
        return None
    bits = found.flags
    given = {name for name, bit in bits.items() if value & bit}
    names = [_MODES[value & O_ACCMODE]]
    hidden = {"__O_TMPFILE", "__O_SYNC", "O_DSYNC"}
    if nameless := "__O_TMPFILE" in given:  # O_TMPFILE proper is this and O_DIRECTORY
        names.append("O_TMPFILE")
        hidden.add("O_DIRECTORY")
    names += sorted(given - hidden, key=bits.__getitem__)
    if "O_DSYNC" in given:  # O_SYNC proper is this and __O_SYNC
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
    """The flags that creat(2), which has none, stands for."""
    found = machine(arch)
    return None if found is None else open_flags(arch, O_WRONLY | found.flags["O_CREAT"] | found.flags["O_TRUNC"])


def writes(value: int) -> bool:
    """Whether a descriptor opened with these flags can be written to (with ``O_PATH``, the mode means nothing)."""
    return value & O_ACCMODE in (O_WRONLY, O_RDWR)
