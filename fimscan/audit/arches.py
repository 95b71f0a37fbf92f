"""System call numbers and open flags of each architecture, loaded from ``syscalls.json`` on first use.

``tools/syscall_tables.py`` generates that file from the kernel's sources, and names them in it. It holds only the calls
of :data:`fimscan.audit.syscalls.CALLS`, so loading it takes less than a millisecond.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import Struct

_FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "syscalls.json")


class Machine(Struct, frozen=True, kw_only=True):
    """One architecture as audit distinguishes them: number -> name of its calls, name -> bit of its open flags."""

    name: str
    calls: Mapping[int, str]
    flags: Mapping[str, int]


def machine(arch: bytes) -> Machine | None:
    """The architecture of a SYSCALL record's ``arch=`` (hexadecimal); ``None`` for an unknown one."""
    return machines().get(arch)


@cache
def machines() -> Mapping[bytes, Machine]:
    """Every known architecture by its ``arch=``; those that differ only in byte order share their tables."""
    with open(_FILE, encoding="utf-8") as file:
        content: dict[str, Any] = json.load(file)
    calls = {name: {number: call for call, number in table.items()} for name, table in content["calls"].items()}
    return {
        arch.encode(): Machine(name=own["name"], calls=calls[own["calls"]], flags=content["flags"][own["flags"]])
        for arch, own in content["arches"].items()
    }
