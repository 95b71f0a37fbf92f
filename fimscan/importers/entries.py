"""What all importers give, and how they say which line is wrong."""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from msgspec import Struct

from fimscan.model import Digest, FileKind

NS = 10**9
LONGEST_LINE = 1 << 20
MOST_ENTRIES = 3_000_000  # about 3 GB of memory
DAY_NS = 86400 * NS
"""How long before its record a file was read at most, where the record has only its own time."""
_LONGEST_NAME = 255  # bytes of one component, on every file system of Linux
_LENGTHS = {
    "md5": 16,
    "sha1": 20,
    "ripemd160": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "blake2b": 64,
    "blake3": 32,
}
BY_LENGTH = {16: "md5", 20: "sha1", 28: "sha224", 32: "sha256", 48: "sha384", 64: "sha512"}
"""Bytes of a digest -> the algorithm that is meant where none is named."""


class Entry(Struct, frozen=True, kw_only=True):
    """One file as another program recorded it; ``None`` for what it did not record.

    Attributes:
        path: absolute.
        other_path: the same name read literally, where an escape in it may be a part of the name.
        kind: ``None`` if it is a list of contents.
        user: name of the owner, if there is no number; so is ``group``.
        mtime_s: whole seconds, as ``ctime_s``.
        mtime_nsec: the fraction; 0 and ``None`` mean that the program did not record it.
        is_local: the times were printed as local time, in the time zone of this process.
        digests: of any algorithm.
        taken_ns: when the file was read.
    """

    path: bytes
    other_path: bytes | None = None
    kind: FileKind | None = FileKind.FILE
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    user: str | None = None
    group: str | None = None
    size: int | None = None
    mtime_s: int | None = None
    mtime_nsec: int | None = None
    ctime_s: int | None = None
    is_local: bool = False
    inode: int | None = None
    nlink: int | None = None
    link_target: bytes | None = None
    digests: tuple[Digest, ...] = ()
    taken_ns: int | None = None


class Recorded(Struct, frozen=True, kw_only=True):
    """Everything that another program recorded.

    Attributes:
        entries: by path.
        taken_ns: no later than the reading of the first file; ``None`` if nothing says when that was.
        lists_all: a file in one of its directories that it does not list was not there.
        only_files: it lists regular files only, so it says nothing of directories, links and devices.
        follows_links: its paths may lead through symbolic links.
        skipped: lines about files that it could not read, or that were gone.
    """

    entries: Mapping[bytes, Entry]
    taken_ns: int | None
    lists_all: bool = True
    only_files: bool = False
    follows_links: bool = False
    skipped: int = 0


class Source(Struct, frozen=True, kw_only=True):
    """The file that an importer reads.

    Attributes:
        path: its name.
        lines: its decompressed lines.
        written_ns: its mtime.
        root: the directory of relative names; ``None`` if the user named none.
    """

    path: bytes
    lines: Lines
    written_ns: int
    root: bytes | None = None


class MalformedError(Exception):
    """What is wrong, with the number of the line or row."""


class Lines:
    """The lines of a file without their ends, with their numbers."""

    def __init__(self, file: Iterable[bytes], *, separator: bytes = b"\n") -> None:
        self._file = file
        self._separator = separator
        self.number = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield each line.

        Raises:
            MalformedError: a line is too long or has a NUL, or the last one is not ended: the file was cut.
        """
        for line in self._file:
            self.number += 1
            if len(line) >= LONGEST_LINE:
                raise self.wrong("line too long")
            text = line.removesuffix(self._separator)
            if b"\0" in text:
                raise self.wrong("it has a NUL, so this is not a text")
            yield text
            if len(text) == len(line):
                raise self.wrong("the file ends in the middle of a line")

    def wrong(self, what: str, line: int | None = None) -> MalformedError:
        """The error for the current line, or for an earlier one."""
        return MalformedError(f"line {self.number if line is None else line}: {what}")

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Convert a :class:`ValueError` to one that names the line."""
        try:
            yield
        except ValueError as error:
            raise self.wrong(str(error)) from error


class Entries:
    """Collects entries; no path twice, except with the same content."""

    def __init__(self) -> None:
        self.by_path: dict[bytes, Entry] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry.

        Raises:
            ValueError: its path has another one.
        """
        known = self.by_path.setdefault(entry.path, entry)
        if len(self.by_path) > MOST_ENTRIES:
            raise ValueError(f"more than {MOST_ENTRIES:,} files")
        if known != entry:
            raise ValueError("this file was listed before, with other values")


def absolute(name: bytes, root: bytes | None) -> bytes:
    """The absolute path of a name; a relative one is below ``root``.

    Raises:
        ValueError: it is no path, or relative without a root.
    """
    if not name or b"\0" in name:
        raise ValueError("the name is empty" if not name else "the name has a NUL")
    if not name.startswith(b"/"):
        if root is None:
            raise ValueError("the name is relative: say to which directory with --root DIR")
        name = root + b"/" + name
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError("the name is not an absolute path: it has '..'")
    if any(len(part) > _LONGEST_NAME for part in parts):
        raise ValueError(f"a name of more than {_LONGEST_NAME} bytes")
    return b"/" + b"/".join(parts)


def number(text: bytes, base: int = 10, *, largest: int = (1 << 63) - 1) -> int:
    """An unsigned number.

    Raises:
        ValueError: it is none, or too large for a file's property.
    """
    if not re.fullmatch(rb"[0-9]{1,22}", text) or (found := int(text, base)) > largest:
        raise ValueError(f"invalid number {shown(text)}")
    return found


def hex_digest(text: bytes, algorithm: str | None = None) -> Digest:
    """A digest in hexadecimal; without a name, its length says which one.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(rb"(?:[0-9a-fA-F]{2})+", text):
        raise ValueError(f"{shown(text)} is not a digest in hexadecimal")
    value = bytes.fromhex(text.decode())
    name = BY_LENGTH.get(len(value)) if algorithm is None else algorithm
    if name is None or _LENGTHS.get(name, len(value)) != len(value):
        raise ValueError("digest with a wrong length")
    return Digest(algorithm=name, value=value)


def local_time(text: str, form: str) -> int:
    """Seconds since the epoch of a local time.

    Raises:
        ValueError: it is no such time.
    """
    try:
        return int(time.mktime(time.strptime(text, form)))
    except (ValueError, OverflowError):
        raise ValueError(f"invalid time {shown(text.encode())}") from None


def earliest(text: str, form: str) -> int:
    """The earlier of two readings of a time without a zone, in nanoseconds: as local time and as UTC.

    Raises:
        ValueError: it is no such time.
    """
    local = local_time(text, form)
    return min(local, calendar.timegm(time.strptime(text, form))) * NS


def earliest_entry(entries: Mapping[bytes, Entry]) -> int | None:
    """When the first of some entries was read; ``None`` if that is not known of all."""
    times = [entry.taken_ns for entry in entries.values()]
    known = [taken for taken in times if taken is not None]
    return min(known) if known and len(known) == len(times) else None


def shown(text: bytes) -> str:
    """A part of a line for a message: short and printable."""
    short = text if len(text) <= 40 else text[:40] + b"..."
    return repr(os.fsdecode(short).encode("utf-8", "backslashreplace").decode())
