"""User and group names of the checked system, from its own /etc/passwd and /etc/group."""

from __future__ import annotations

import re
from contextlib import suppress

from fimscan.packages.files import Directories, below, read_regular

_NUMBER = re.compile(rb"#?([0-9]{1,10})\Z")
_MOST_BYTES = 16 * 1024 * 1024


def parse_accounts(text: bytes) -> dict[bytes, int]:
    """Name -> number, of the lines ``NAME:PASSWORD:NUMBER:``; the first one of a name counts."""
    found: dict[bytes, int] = {}
    for line in text.split(b"\n"):
        fields = line.split(b":", 3)
        if len(fields) > 2 and (match := _NUMBER.match(fields[2])):
            found.setdefault(fields[0], int(match[1]))
    return found


class Accounts:
    """Converts names to numbers. root is 0, whatever the files say."""

    def __init__(self, directories: Directories) -> None:
        self._users = _read(directories, b"/etc/passwd")
        self._groups = _read(directories, b"/etc/group")

    def uid(self, name: bytes) -> int | None:
        """The number of a user, also written as ``#N``; ``None`` if there is no such user."""
        return _number(self._users, name)

    def gid(self, name: bytes) -> int | None:
        """The number of a group, also written as ``#N``; ``None`` if there is no such group."""
        return _number(self._groups, name)


def _read(directories: Directories, path: bytes) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    with suppress(OSError):
        name = below(directories.root, directories.canonical(path))
        found = parse_accounts(read_regular(name, most=_MOST_BYTES))
    return {**found, b"root": 0}


def _number(known: dict[bytes, int], name: bytes) -> int | None:
    if name.startswith(b"#") and (match := _NUMBER.match(name)):
        return int(match[1])
    return known.get(name)
