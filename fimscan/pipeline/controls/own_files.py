"""Notice that fimscan's own files changed: its program, its units of systemd, its cron job, its audit rules.

An inventory has the SHA-256 of each file. It is stored when a scan sees the files first, and when one differs. A file
whose size, inode and ctime are as stored is not read again.

Whoever can replace the program can also have it say that nothing changed. This is for what else happens: an upgrade
that nobody announced, an edited unit, a rules file that a configuration management put back.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterator
from typing import Any, TypeAlias

import fimscan

_PATTERNS = (
    *(
        f"{directory}/{names}"
        for directory in ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
        for names in ("fimscan*", "fimscan*.d/*.conf")  # units and their drop-ins
    ),
    "/etc/cron.d/fimscan*",
    "/etc/audit/rules.d/*fimscan.rules",
)
_COMPILED = "__pycache__"

Inventory: TypeAlias = dict[str, list[Any]]
"""[size, inode, ctime in ns, SHA-256 in hex] of each file by its path, with the bytes that are no UTF-8 escaped."""


def take_inventory(known: Inventory) -> Inventory:
    """The inventory as of now; what ``known`` vouches for is not read. Files that cannot be read are left out."""
    found: Inventory = {}
    for path in _own_files():
        try:
            info = os.stat(path)
            stat = [info.st_size, info.st_ino, info.st_ctime_ns]
            before = known.get(_text(path))
            found[_text(path)] = before if before and before[:3] == stat else [*stat, _digest(path)]
        except OSError:
            continue
    return found


def differing(before: Inventory, after: Inventory) -> list[str]:
    """The paths that were added, removed, or have another content."""
    paths = before.keys() | after.keys()
    return sorted(path for path in paths if before.get(path, [""])[-1] != after.get(path, [""])[-1])


def load(text: str) -> Inventory:
    """Read an inventory; an empty text is an empty one."""
    return json.loads(text) if text else {}


def dump(inventory: Inventory) -> str:
    """Write an inventory as JSON."""
    return json.dumps(inventory, sort_keys=True, separators=(",", ":"))


def _own_files() -> Iterator[str]:
    for root in fimscan.__path__:
        for directory, names, files in os.walk(root):
            names[:] = [name for name in names if name != _COMPILED]
            yield from (os.path.join(directory, name) for name in files)
    for pattern in _PATTERNS:
        yield from (path for path in glob.glob(pattern) if os.path.isfile(path))


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
