"""Extended attributes <-> the bytes in which they are stored and digested."""

from __future__ import annotations

from collections.abc import Iterator

from fimscan.model import Xattr


def dump_xattrs(xattrs: tuple[Xattr, ...]) -> bytes:
    """One after the other: the name as a netstring, the size of the value and a space, the data as a netstring."""
    return b"".join(b"%d:%b,%d %d:%b," % (len(x.name), x.name, x.size, len(x.data), x.data) for x in xattrs)


def load_xattrs(stored: bytes) -> tuple[Xattr, ...]:
    """The inverse of :func:`dump_xattrs`."""
    return tuple(_parse(stored))


def _parse(stored: bytes) -> Iterator[Xattr]:
    at = 0
    while at < len(stored):
        name, at = _netstring(stored, at)
        end = stored.index(b" ", at)
        size = int(stored[at:end])
        data, at = _netstring(stored, end + 1)
        yield Xattr(name=name, size=size, data=data)


def _netstring(stored: bytes, at: int) -> tuple[bytes, int]:
    """(the string that begins at a position, the position after its comma)."""
    colon = stored.index(b":", at)
    end = colon + 1 + int(stored[at:colon])
    return stored[colon + 1 : end], end + 1
