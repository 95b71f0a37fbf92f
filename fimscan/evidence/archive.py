"""Write and read the canonical ZIP container: the same members always give the same bytes.

An ordinary ZIP file has bytes that do not depend on the content of its members: timestamps, attributes, comments, extra
fields, the compressor's choices, space between members. A signature over the members does not protect those. Here they
are all constants, or follow from the members. Members are stored, not deflated (zlib's output differs between
versions). They are sorted by name, dated 1980-01-01 and have mode 0644. ZIP64 fields exist only where a number needs
them. The reader rebuilds each header from what it read and accepts no other, so any changed byte is detected.

Structures and field names: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory),
4.3.14 to 4.3.16 (end records), 4.5.3 (ZIP64 extra field).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import BinaryIO, Protocol

from msgspec import Struct

from fimscan.errors import VerificationError

BLOCK = 1 << 20
MOST_MEMBERS = 1000  # fimscan writes about twenty
_LARGEST = 1 << 38  # bytes of a container; a baseline of a million files has half a gigabyte
_LARGEST_WITH_HOLES = 1 << 26  # fimscan writes no holes, a file system may make some of zeros
_AT_ONCE = 64  # parts
_IN_MEMORY = 1 << 20  # bytes; a larger staged member moves from memory to disk

_MARK32, _MARK16 = 0xFFFFFFFF, 0xFFFF  # in a field: the value is in the ZIP64 field
_FITS32, _FITS16 = _MARK32 - 1, _MARK16 - 1  # the largest numbers that need no ZIP64 field
_DOS_TIME, _DOS_DATE = 0, 0x21  # 1980-01-01 00:00:00, the earliest possible
_UNIX = 3 << 8  # "version made by", upper byte: external attributes are a Unix mode
_ATTRIBUTES = 0o100644 << 16
_VERSION, _VERSION64 = 10, 45  # needed to extract: stored files; ZIP64

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")

# Relative, without ".", ".." or empty components, and without characters that are special to a shell or another system.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
_LONGEST_NAME = 200


class Output(Protocol):
    """A file that :func:`write_archive` can write to."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""


class Member(Struct, frozen=True, kw_only=True):
    """One file in a container. Its content is the ``size`` bytes at ``offset``; ``sha256`` is hex."""

    name: str
    size: int
    crc: int
    sha256: str
    offset: int


class Staged:
    """The content of a member before it goes into the container: in memory, or on disk above 1 MiB.

    Size, CRC and SHA-256 are computed while it is written. The file on disk has no
    name, so a crash leaves nothing behind.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=directory)  # noqa: SIM115 (closed by __exit__)
        self._sha256 = hashlib.sha256()
        self.size = 0
        self.crc = 0

    def write_all(self, parts: Iterable[bytes]) -> None:
        """Append many small parts."""
        some: list[bytes] = []
        for part in parts:
            some.append(part)
            if len(some) >= _AT_ONCE:
                self.write(b"".join(some))
                some.clear()
        self.write(b"".join(some))

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._file.write(data)
        self._sha256.update(data)
        self.crc = zlib.crc32(data, self.crc)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """SHA-256 of the content so far, in hex."""
        return self._sha256.hexdigest()

    def copy_to(self, out: Output) -> None:
        """Write the whole content to ``out``."""
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            out.write(block)

    def lines(self) -> Iterator[str]:
        """Yield the lines of a text, without reading all of it into memory. Do not write meanwhile."""
        self._file.seek(0)
        for line in self._file:
            yield line.decode("utf-8")
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


def write_archive(out: Output, members: Mapping[str, Staged]) -> None:
    """Write the container of these members to ``out``."""
    position = 0
    directory = []
    for name in sorted(members):
        assert _is_safe(name), name
        staged = members[name]
        header = _local_header(name, staged.size, staged.crc)
        directory.append(_central_entry(name, staged.size, staged.crc, position))
        out.write(header)
        staged.copy_to(out)
        position += len(header) + staged.size
    out.write(_directory(directory, position))


def read_archive(file: BinaryIO, *, most: int = MOST_MEMBERS) -> list[Member]:
    """Read a canonical container of at most ``most`` members from the position of ``file`` to its end.

    Each member is digested.

    Raises:
        VerificationError: a byte differs from what :func:`write_archive` would have written, or it is far larger than
            any that fimscan writes.
    """
    members: list[Member] = []
    directory = []
    position = 0
    while (magic := _peek(file)) == b"PK\x03\x04":
        if len(members) >= most:
            raise VerificationError(f"not an evidence bundle: it has more than {most:,} members")
        name, size, crc, header = _read_local_header(file, position)
        if members and name <= members[-1].name:
            raise _bad(position, f"member {name} is there twice or out of order")
        member = _read_content(file, name, size, position + len(header))
        if member.crc != crc:
            raise _bad(member.offset, f"the content of {name} was changed (CRC)")
        members.append(member)
        directory.append(_central_entry(name, size, crc, position))
        position = member.offset + size
    if not members:
        begins = f"begins with {magic!r}, not with the header of a ZIP member" if magic else "is empty"
        raise VerificationError(f"not an evidence bundle: the file {begins}")
    expected = _directory(directory, position)
    found = file.read(len(expected) + 1)
    if found != expected:
        raise _bad(
            position + _first_difference(found, expected), "the ZIP directory was changed, truncated or extended"
        )
    return members


def check_size(size: int, stored: int) -> None:
    """Refuse a container that would take hours to read, by its size and the bytes that it occupies on disk.

    Raises:
        VerificationError: it is too large, or mostly a hole.
    """
    if size > _LARGEST:
        raise VerificationError(f"not an evidence bundle: {size:,} bytes are more than fimscan writes")
    if size > _LARGEST_WITH_HOLES and stored < size // 4:
        raise VerificationError(
            f"not an evidence bundle: of {size:,} bytes only {stored:,} are on disk, the others are holes; if a file"
            " system with compression made them, copy the file to another one"
        )


def open_member(file: BinaryIO, member: Member) -> io.BufferedReader:
    """A reader of one member's content. Use one reader at a time: all of them share the position of ``file``."""
    return io.BufferedReader(_Slice(file, member.offset, member.size))


class _Slice(io.RawIOBase):
    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        super().__init__()
        self._file, self._left = file, size
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader passes
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


# --------------------------------------------------------------------------------------------------------------------
# The structures


def _is_safe(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _local_header(name: str, size: int, crc: int) -> bytes:
    encoded = name.encode("ascii")
    version, size32, extra = _VERSION, size, b""
    if size > _FITS32:
        version, size32, extra = _VERSION64, _MARK32, struct.pack("<2H2Q", 1, 16, size, size)
    fields = (b"PK\x03\x04", version, 0, 0, _DOS_TIME, _DOS_DATE, crc, size32, size32, len(encoded), len(extra))
    return _LOCAL.pack(*fields) + encoded + extra


def _central_entry(name: str, size: int, crc: int, offset: int) -> bytes:
    encoded = name.encode("ascii")
    size32, offset32, large = size, offset, b""
    if size > _FITS32:
        size32, large = _MARK32, struct.pack("<2Q", size, size)
    if offset > _FITS32:
        offset32, large = _MARK32, large + struct.pack("<Q", offset)
    version = _VERSION64 if large else _VERSION
    extra = struct.pack("<2H", 1, len(large)) + large if large else b""
    fields = (b"PK\x01\x02", _UNIX | version, version, 0, 0, _DOS_TIME, _DOS_DATE, crc, size32, size32)
    return _CENTRAL.pack(*fields, len(encoded), len(extra), 0, 0, 0, _ATTRIBUTES, offset32) + encoded + extra


def _directory(entries: list[bytes], start: int) -> bytes:
    central = b"".join(entries)
    count, size, end64 = len(entries), len(central), b""
    if count > _FITS16 or size > _FITS32 or start > _FITS32:
        fields = (44, _UNIX | _VERSION64, _VERSION64, 0, 0, count, count, size, start)
        end64 = _END64.pack(b"PK\x06\x06", *fields) + _LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
        count, size, start = _MARK16, _MARK32, _MARK32
    return central + end64 + _END.pack(b"PK\x05\x06", 0, 0, count, count, size, start, 0)


# --------------------------------------------------------------------------------------------------------------------
# Reading


def _bad(position: int, problem: str) -> VerificationError:
    return VerificationError(f"the ZIP container was altered (byte {position}): {problem}")


def _peek(file: BinaryIO) -> bytes:
    magic = file.read(4)
    file.seek(-len(magic), io.SEEK_CUR)
    return magic


def _read_local_header(file: BinaryIO, position: int) -> tuple[str, int, int, bytes]:
    fixed = file.read(_LOCAL.size)
    if len(fixed) < _LOCAL.size:
        raise _bad(position, "a member's header is truncated")
    *_, crc, size, _, name_length, extra_length = _LOCAL.unpack(fixed)
    if name_length > _LONGEST_NAME:
        raise _bad(position, "a member's name is too long")
    variable = file.read(name_length + extra_length)
    name = variable[:name_length].decode("latin-1")
    if not _is_safe(name):
        raise _bad(position, f"{name!r} is not allowed as a member's name")
    extra = variable[name_length:]
    if size == _MARK32 and len(extra) >= 12:
        (size,) = struct.unpack_from("<Q", extra, 4)
    header = fixed + variable
    if header != _local_header(name, size, crc):
        raise _bad(position, f"the header of {name} was changed")
    return name, size, crc, header


def _read_content(file: BinaryIO, name: str, size: int, offset: int) -> Member:
    sha256, crc, left = hashlib.sha256(), 0, size
    while left:
        block = file.read(min(left, BLOCK))
        if not block:
            raise _bad(offset + size - left, f"member {name} is truncated")
        sha256.update(block)
        crc = zlib.crc32(block, crc)
        left -= len(block)
    return Member(name=name, size=size, crc=crc, sha256=sha256.hexdigest(), offset=offset)


def _first_difference(found: bytes, expected: bytes) -> int:
    pairs = zip(found, expected, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(found), len(expected)))
