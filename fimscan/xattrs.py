"""Encode and decode extended attributes as they are stored and digested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fimscan.model import Xattr


def dump_raw_xattrs(xattrs: Iterable[tuple[bytes, int, bytes]]) -> bytes:
    """Encode each (name, size, data): the name as a netstring, the size and a space, the data as a netstring."""
    return b"".join([b"%d:%b,%d %d:%b," % (len(name), name, size, len(data), data) for name, size, data in xattrs])


def dump_xattrs(xattrs: Iterable[Xattr]) -> bytes:
    """Encode extended attributes as :func:`dump_raw_xattrs` does."""
    return dump_raw_xattrs((xattr.name, xattr.size, xattr.data) for xattr in xattrs)


def load_xattrs(stored: bytes) -> tuple[Xattr, ...]:
    """The inverse of :func:`dump_xattrs`."""
    return tuple(_parse(stored)) if stored else ()


def _parse(stored: bytes) -> Iterator[Xattr]:
    at = 0
    while at < len(stored):
        name, at = _netstring(stored, at)
        end = stored.index(b" ", at)
        size = int(stored[at:end])
        data, at = _netstring(stored, end + 1)
        yield Xattr(name=name, size=size, data=data)


def _netstring(stored: bytes, at: int) -> tuple[bytes, int]:
    """(the netstring at a position, the position after its comma)."""
    colon = stored.index(b":", at)
    end = colon + 1 + int(stored[at:colon])
    return stored[colon + 1 : end], end + 1
