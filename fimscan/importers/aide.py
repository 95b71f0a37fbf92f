"""Read AIDE's databases (0.16 to 0.18, text, optionally gzipped).

``@@db_spec`` names the columns. Each file is one line, with fields separated by spaces. In names, ``%XX`` stands for a
special character. Times are base64 of decimal seconds, digests base64 of their bytes; ``0`` means no value. Every file
has all columns, so ``attr``, a bit mask, says which of them AIDE recorded. No other column is used.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from fimscan.errors import InputError
from fimscan.model import Digest, FileKind
from fimscan.scan.state import KINDS

_LONGEST_LINE = 1 << 20
_NS = 10**9
_DAY_NS = 86400 * _NS
_GENERATED = re.compile(rb"# Time of generation was (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
# Bit numbers in attr.
_BITS = {
    "lname": 1,
    "perm": 2,
    "uid": 3,
    "gid": 4,
    "size": 5,
    "ctime": 7,
    "mtime": 8,
    "inode": 9,
    "lcount": 11,
    "sha256": 30,
    "sha512": 31,
}
_DIGEST_BYTES = {"sha256": 32, "sha512": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class AideEntry:
    """One file as AIDE recorded it; ``None`` for what it did not record. Times are whole seconds."""

    path: bytes
    kind: FileKind
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    mtime_s: int | None = None
    ctime_s: int | None = None
    inode: int | None = None
    nlink: int | None = None
    link_target: bytes | None = None
    digests: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AideDatabase:
    """All entries by path. ``taken_ns`` is no later than the reading of the first file."""

    entries: Mapping[bytes, AideEntry]
    taken_ns: int


def read_aide(path: bytes) -> AideDatabase:
    """Read a database of AIDE.

    Raises:
        InputError: with the line, if it cannot be read, is no such database, or is incomplete.
    """
    shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
    try:
        with open(path, "rb") as file:
            written_ns = os.fstat(file.fileno()).st_mtime_ns
            is_packed = file.peek(2)[:2] == b"\x1f\x8b"
            reader = _Reader(gzip.GzipFile(fileobj=file) if is_packed else file)  # type: ignore[arg-type]
            entries = reader.entries()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from error
    except _Malformed as error:
        raise InputError(f"{shown} is not a complete AIDE database: {error}") from error
    return AideDatabase(entries=entries, taken_ns=_taken(reader.generated, written_ns))


def _taken(generated: str | None, written_ns: int) -> int:
    """A time before the first file was read.

    The header has a local time, in an unknown zone: the earliest interpretation counts. AIDE writes the header before
    it reads the first file, and ends the file after the last. Without a header, the run is assumed to have taken at
    most a day.
    """
    if generated is None:
        return written_ns - _DAY_NS
    moment = datetime.fromisoformat(generated)
    readings = (moment.astimezone().timestamp(), moment.replace(tzinfo=UTC).timestamp())
    return min(written_ns, *(int(reading) * _NS for reading in readings))


class _Malformed(Exception):  # noqa: N818  # becomes an InputError with the file's name
    """What is wrong, and in which line."""


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self.generated: str | None = None

    def entries(self) -> dict[bytes, AideEntry]:
        found: dict[bytes, AideEntry] = {}
        columns: list[str] = []
        begun = False
        for line in self._lines():
            if line.startswith(b"#") or not line:
                if match := _GENERATED.match(line):
                    self.generated = _valid(match[1].decode())
            elif line == b"@@begin_db":
                begun = True
            elif not begun:
                raise self._wrong("the database does not begin with @@begin_db")
            elif line == b"@@end_db":
                return found
            elif line.startswith(b"@@db_spec"):
                columns = line.decode("ascii", "replace").split()[1:]
            elif line.startswith(b"@@"):
                raise self._wrong("unknown section")
            else:
                entry = self._entry(columns, line)
                if entry.path in found:
                    raise self._wrong("this file was listed before")
                found[entry.path] = entry
        raise self._wrong(
            "the database ends before @@end_db" if begun else "the database does not begin with @@begin_db"
        )

    def _lines(self) -> Iterator[bytes]:
        while line := self._file.readline(_LONGEST_LINE):
            self._number += 1
            if len(line) >= _LONGEST_LINE:
                raise self._wrong("line too long")
            yield line.rstrip(b"\r\n ")

    def _wrong(self, what: str) -> _Malformed:
        return _Malformed(f"line {self._number}: {what}")

    def _entry(self, columns: list[str], line: bytes) -> AideEntry:
        if "name" not in columns or "perm" not in columns:
            raise self._wrong("no @@db_spec with the columns name and perm before the files")
        fields = line.split(b" ")
        if len(fields) != len(columns):
            raise self._wrong(f"{len(fields)} fields instead of {len(columns)}")
        try:
            return _entry_of(dict(zip(columns, fields, strict=True)))
        except (ValueError, binascii.Error) as error:
            raise self._wrong(str(error)) from error


def _valid(text: str) -> str | None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return text


def _entry_of(fields: dict[str, bytes]) -> AideEntry:
    asked = int(fields["attr"]) if "attr" in fields else -1

    def known(name: str) -> bytes | None:
        return fields[name] if name in fields and asked >> _BITS[name] & 1 else None

    path = unquote_to_bytes(fields["name"])
    if not path.startswith(b"/") or b"\0" in path or os.path.normpath(path).replace(b"//", b"/") != path:
        raise ValueError("the name is not an absolute path")
    full_mode = _number(fields["perm"], 8)
    if stat.S_IFMT(full_mode) not in KINDS:
        raise ValueError("the mode has no valid file type")
    kind = FileKind(KINDS[stat.S_IFMT(full_mode)])
    target = known("lname")
    return AideEntry(
        path=path,
        kind=kind,
        mode=None if known("perm") is None else full_mode & 0o7777,
        uid=_optional(known("uid")),
        gid=_optional(known("gid")),
        size=_optional(known("size")),
        mtime_s=_time(known("mtime")),
        ctime_s=_time(known("ctime")),
        inode=_optional(known("inode")),
        nlink=_optional(known("lcount")),
        link_target=unquote_to_bytes(target) if target is not None and kind is FileKind.SYMLINK else None,
        digests=tuple(
            Digest(algorithm=name, value=value)
            for name, length in _DIGEST_BYTES.items()
            if (value := _bytes(known(name), length)) is not None
        ),
    )


def _number(text: bytes, base: int = 10) -> int:
    if not re.fullmatch(rb"[0-9]{1,20}", text) or (number := int(text, base)) >= 1 << 64:
        raise ValueError("invalid number")
    return number


def _optional(text: bytes | None) -> int | None:
    if text is None:
        return None
    number = _number(text)
    if number >= 1 << 63:
        raise ValueError("number too large")
    return number


def _bytes(text: bytes | None, length: int) -> bytes | None:
    if text is None or text == b"0":
        return None
    value = base64.b64decode(text, validate=True)
    if len(value) != length:
        raise ValueError("digest with a wrong length")
    return value


def _time(text: bytes | None) -> int | None:
    if text is None or text == b"0":
        return None
    value = base64.b64decode(text, validate=True)
    if not re.fullmatch(rb"-?[0-9]{1,18}", value):
        raise ValueError("invalid time")
    return int(value)
