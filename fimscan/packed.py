"""A file state as a plain tuple: the form in which millions of them travel, are compared and are stored.

Whatever goes through the fields of a :class:`FileState` one by one goes by the list here. A dataclass with its digests
costs more to make than a file costs to compare: one is only made of a file that differs.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeAlias

from fimscan.model import Digest, FileKind, FileState

ALGORITHMS = ("xxh3_128", "sha256", "sha512", "blake3")
"""Every digest that there is, in the order in which those of a file are listed."""

FIELDS = (
    "path",
    "kind",
    "dev",
    "inode",
    "nlink",
    "mode",
    "uid",
    "gid",
    "size",
    "mtime_ns",
    "ctime_ns",
    *ALGORITHMS,
    "link_target",
    "xattr_digest",
    "read_start_ns",
    "read_end_ns",
)

Packed: TypeAlias = tuple[Any, ...]
"""The values of :data:`FIELDS`, then the state's digest. ``kind`` is text, a digest that was not taken ``None``."""

_NUMBERS = slice(FIELDS.index("dev"), FIELDS.index("ctime_ns") + 1)
_DIGESTS = slice(FIELDS.index("xxh3_128"), FIELDS.index("blake3") + 1)
_STRINGS = slice(FIELDS.index("link_target"), FIELDS.index("xattr_digest") + 1)
_HEAD = b"fimscan.state/1 %b " + b"%d " * (_NUMBERS.stop - _NUMBERS.start) + b"%d:%b,"
_LABELS = tuple(b"%d:%b," % (len(name), name.encode()) for name in ALGORITHMS)


def state_digest(values: Packed) -> bytes:
    """SHA-256 (32 bytes) over everything in a file state but the times at which it was read.

    The digested text has one field after the other, each decimal number followed by a space, each byte string as its
    length, a colon, the bytes and a comma (a netstring), an unknown byte string as ``-,``::

        fimscan.state/1 KIND DEV INODE NLINK MODE UID GID SIZE MTIME_NS CTIME_NS PATH LINK_TARGET XATTR_DIGEST
        then, for each digest in its order, ALGORITHM VALUE

    KIND is followed by a space, too. Numbers are of any length: a file system with 64-bit seconds holds times whose
    nanoseconds do not fit 64 bits. Two states have one digest if, and only if, nothing differs but the read times.
    """
    path = values[0]
    text = _HEAD % (values[1].encode(), *values[_NUMBERS], len(path), path)
    for value in values[_STRINGS]:
        text += b"-," if value is None else b"%d:%b," % (len(value), value)
    for label, value in zip(_LABELS, values[_DIGESTS], strict=True):
        if value is not None:
            text += b"%b%d:%b," % (label, len(value), value)
    return hashlib.sha256(text).digest()


def pack(state: FileState) -> Packed:
    """The tuple of a state."""
    taken: dict[str, object] = dict.fromkeys(ALGORITHMS)
    taken.update((digest.algorithm, digest.value) for digest in state.digests)
    values = (*(taken[name] if name in taken else getattr(state, name) for name in FIELDS),)
    return (*values, state_digest(values))


def unpack(packed: Packed) -> FileState:
    """The inverse of :func:`pack`."""
    values: dict[str, Any] = dict(zip(FIELDS, packed, strict=False))
    taken = [(name, values.pop(name)) for name in ALGORITHMS]
    values["kind"] = FileKind(values["kind"])
    values["digests"] = tuple(Digest(algorithm=name, value=value) for name, value in taken if value is not None)
    return FileState(**values)
