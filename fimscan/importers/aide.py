"""Read AIDE's databases (0.16 to 0.18, text, optionally gzipped).

``@@db_spec`` names the columns. Each file is one line, with fields separated by spaces. In names, ``%XX`` stands for a
special character. Times are base64 of decimal seconds, digests base64 of their bytes; ``0`` means no value. Every file
has all columns, so ``attr``, a bit mask, says which of them AIDE recorded. No other column is used.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from datetime import datetime
from urllib.parse import unquote_to_bytes

from fimscan.importers.entries import DAY_NS, Entries, Entry, Recorded, Source, earliest, number
from fimscan.model import KIND_OF_TYPE, Digest, FileKind

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
    "md5": 12,
    "sha1": 13,
    "rmd160": 14,
    "sha256": 30,
    "sha512": 31,
}
# Column -> algorithm and bytes of the digest. If there is a SHA-2, nothing weaker is compared.
_DIGESTS = {
    "sha256": ("sha256", 32),
    "sha512": ("sha512", 64),
    "sha1": ("sha1", 20),
    "rmd160": ("ripemd160", 20),
    "md5": ("md5", 16),
}


def is_aide(head: bytes) -> bool:
    """Whether a file begins as AIDE's databases do."""
    return b"@@begin_db" in head.split(b"\n", 3)[:3]


def read_aide(source: Source) -> Recorded:
    """Read a database of AIDE.

    Raises:
        MalformedError: it is no such database, or is incomplete.
    """
    lines, found = source.lines, Entries()
    columns: list[str] = []
    generated: str | None = None
    begun = False
    for line in (text.rstrip(b"\r ") for text in lines):
        if line.startswith(b"#") or not line:
            if match := _GENERATED.match(line):
                generated = _valid(match[1].decode())
        elif line == b"@@begin_db":
            begun = True
        elif not begun:
            raise lines.wrong("the database does not begin with @@begin_db")
        elif line == b"@@end_db":
            return Recorded(entries=found.by_path, taken_ns=_taken(generated, source.written_ns))
        elif line.startswith(b"@@db_spec"):
            columns = line.decode("ascii", "replace").split()[1:]
        elif line.startswith(b"@@"):
            raise lines.wrong("unknown section")
        else:
            with lines.checked():
                found.add(_entry(columns, line))
    raise lines.wrong("the database ends before @@end_db" if begun else "the database does not begin with @@begin_db")


def _taken(generated: str | None, written_ns: int) -> int:
    """A time before the first file was read.

    The header has a local time, in an unknown zone: the earliest interpretation counts. AIDE writes the header before
    it reads the first file, and ends the file after the last. Without a header, the run is assumed to have taken at
    most a day.
    """
    if generated is None:
        return written_ns - DAY_NS
    return min(written_ns, earliest(generated, "%Y-%m-%d %H:%M:%S"))


def _entry(columns: list[str], line: bytes) -> Entry:
    if "name" not in columns or "perm" not in columns:
        raise ValueError("no @@db_spec with the columns name and perm before the files")
    fields = line.split(b" ")
    if len(fields) != len(columns):
        raise ValueError(f"{len(fields)} fields instead of {len(columns)}")
    try:
        return _entry_of(dict(zip(columns, fields, strict=True)))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _valid(text: str) -> str | None:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    return text


def _entry_of(fields: dict[str, bytes]) -> Entry:
    asked = int(fields["attr"]) if "attr" in fields else -1

    def known(name: str) -> bytes | None:
        return fields[name] if name in fields and asked >> _BITS[name] & 1 else None

    path = unquote_to_bytes(fields["name"])
    if not path.startswith(b"/") or b"\0" in path or os.path.normpath(path).replace(b"//", b"/") != path:
        raise ValueError("the name is not an absolute path")
    full_mode = number(fields["perm"], 8, largest=0o177777)
    if stat.S_IFMT(full_mode) not in KIND_OF_TYPE:
        raise ValueError("the mode has no valid file type")
    kind = KIND_OF_TYPE[stat.S_IFMT(full_mode)]
    target = known("lname")
    return Entry(
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
            Digest(algorithm=algorithm, value=value)
            for name, (algorithm, length) in _DIGESTS.items()
            if (value := _bytes(known(name), length)) is not None
        ),
    )


def _optional(text: bytes | None) -> int | None:
    return None if text is None else number(text)


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
