"""A file state as a plain tuple: the form in which millions of states are sent, compared and stored.

Code that processes the fields of a :class:`FileState` in order uses :data:`FIELDS`. Creating a dataclass with its
digests takes longer than comparing a file, so it is created only for files that differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, TypeAlias

from fimscan.model import Digest, FileKind, FileState, Prefix
from fimscan.xattrs import dump_xattrs, load_xattrs

ALGORITHMS = ("xxh3_128", "sha256", "sha512", "blake3")
"""All digests, in the order in which those of a file are listed."""

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
    "xattrs",
    "flags",
    "read_start_ns",
    "read_end_ns",
    "prefix",
)

Packed: TypeAlias = tuple[Any, ...]
"""The values of :data:`FIELDS`, then the state's digest. ``kind`` is text; a digest that was not taken is ``None``;
``xattrs`` are encoded by :func:`fimscan.xattrs.dump_xattrs`; ``prefix`` is (size, the values of its digests).
"""

# Two other layouts of a state exist, because this one would be slower there:
#
# - :data:`fimscan.scan.state.Raw` is the reader's layout: stat(2) in its own order, and the digests that were taken. It
#   has no path, which the reader does not know, and so no state digest. Reading creates one tuple for each file; the
#   rest is added when a request has been read (see fimscan.scan.fast_path). Using the order of FIELDS was tried: the
#   CPU time of a scan was the same within 3 % of noise, and the code did not become shorter.
# - A database row has times in two parts, and device and inode as signed numbers, since SQL integers have 64 bits and
#   these values need not fit. It has no prefix, which is used only for the comparison. fimscan.store.version_writer
#   converts whole columns of a group of rows at once, so no row is made from a single state.

_NUMBERS = slice(FIELDS.index("dev"), FIELDS.index("ctime_ns") + 1)
_FIRST_DIGEST = FIELDS.index(ALGORITHMS[0])
_AFTER_DIGESTS, _ALL = _FIRST_DIGEST + len(ALGORITHMS), len(FIELDS)
KINDS = {kind.value: kind for kind in FileKind}
_STRINGS = slice(FIELDS.index("link_target"), FIELDS.index("xattr_digest") + 1)
_XATTRS, _FLAGS = FIELDS.index("xattrs"), FIELDS.index("flags")
_HEAD = b"fimscan.state/%d %b " + b"%d " * (_NUMBERS.stop - _NUMBERS.start) + b"%d:%b,%b"
_LABELS = tuple(b"%d:%b," % (len(name), name.encode()) for name in ALGORITHMS)
_BEFORE_DIGESTS = attrgetter(*FIELDS[: FIELDS.index(ALGORITHMS[0])])
_IN_ORDER = tuple(range(len(ALGORITHMS)))


def state_digest(values: Packed, order: Sequence[int] = _IN_ORDER) -> bytes:
    """SHA-256 (32 bytes) over a file state, except the times of its reading and its prefix.

    The digested text is a sequence of fields. A decimal number is followed by a space. A byte string is its length, a
    colon, the bytes and a comma (a netstring); an unknown byte string is ``-,``::

        fimscan.state/1 KIND DEV INODE NLINK MODE UID GID SIZE MTIME_NS CTIME_NS PATH LINK_TARGET XATTR_DIGEST
        then, for each digest in its order, ALGORITHM VALUE

    KIND is followed by a space, too. Numbers have any length: with 64-bit seconds, nanoseconds do not fit 64 bits. Two
    states have the same digest if, and only if, nothing else differs.

    A state with extended attributes or flags begins with ``fimscan.state/2`` instead. It has two more fields before the
    digests: ``FLAGS`` (a number, or ``-`` and a space if unknown) and ``XATTRS``, one byte string, ``-,`` if unknown
    (see :func:`fimscan.xattrs.dump_xattrs`). So states that were recorded before version 2 keep their digest.

    ``order`` is the order of the digests, as positions in :data:`ALGORITHMS`.
    """
    path, flags, xattrs = values[0], values[_FLAGS], values[_XATTRS]
    extended = flags is not None or bool(xattrs)
    link, xattr_digest = values[_STRINGS]
    strings = b"-,-," if link is xattr_digest is None else _optional(link) + _optional(xattr_digest)
    text = _HEAD % (2 if extended else 1, values[1].encode(), *values[_NUMBERS], len(path), path, strings)
    if extended:
        text += (b"- " if flags is None else b"%d " % flags) + _optional(xattrs)
    for at in order:
        if (value := values[_FIRST_DIGEST + at]) is not None:
            text += b"%b%d:%b," % (_LABELS[at], len(value), value)
    return hashlib.sha256(text).digest()


def _optional(value: bytes | None) -> bytes:
    return b"-," if value is None else b"%d:%b," % (len(value), value)


def pack(state: FileState) -> Packed:
    """Convert a state to a tuple."""
    prefix, xattrs = state.prefix, state.xattrs
    values = (
        *_BEFORE_DIGESTS(state),
        *_in_slots(state.digests),
        state.link_target,
        state.xattr_digest,
        None if xattrs is None else dump_xattrs(xattrs) if xattrs else b"",
        state.flags,
        state.read_start_ns,
        state.read_end_ns,
        None if prefix is None else (prefix.size, _in_slots(prefix.digests)),
    )
    return (*values, state_digest(values))


def unpack(packed: Packed) -> FileState:
    """The inverse of :func:`pack`."""
    path, kind, dev, inode, nlink, mode, uid, gid, size, mtime_ns, ctime_ns = packed[:_FIRST_DIGEST]
    link_target, xattr_digest, xattrs, flags, read_start_ns, read_end_ns, prefix = packed[_AFTER_DIGESTS:_ALL]
    return FileState(
        path=path,
        kind=KINDS[kind],
        dev=dev,
        inode=inode,
        nlink=nlink,
        mode=mode,
        uid=uid,
        gid=gid,
        size=size,
        mtime_ns=mtime_ns,
        ctime_ns=ctime_ns,
        digests=digests_of(packed[_FIRST_DIGEST:_AFTER_DIGESTS]),
        link_target=link_target,
        xattr_digest=xattr_digest,
        xattrs=load_xattrs(xattrs) if xattrs else None if xattrs is None else (),
        flags=flags,
        prefix=None if prefix is None else Prefix(size=prefix[0], digests=digests_of(prefix[1])),
        read_start_ns=read_start_ns,
        read_end_ns=read_end_ns,
    )


def _in_slots(digests: Sequence[Digest]) -> tuple[bytes | None, ...]:
    taken = {digest.algorithm: digest.value for digest in digests}
    return tuple([taken.get(name) for name in ALGORITHMS])


def digests_of(slots: Sequence[bytes | None]) -> tuple[Digest, ...]:
    """The digests that were taken; ``slots`` are one for each algorithm."""
    # A loop would take twice as long, and a report has two states of every change.
    xxh3, sha256, sha512, blake3 = slots
    found = () if xxh3 is None else (Digest(algorithm="xxh3_128", value=xxh3),)
    if sha256 is not None:
        found = (*found, Digest(algorithm="sha256", value=sha256))
    if sha512 is not None:
        found = (*found, Digest(algorithm="sha512", value=sha512))
    return found if blake3 is None else (*found, Digest(algorithm="blake3", value=blake3))
