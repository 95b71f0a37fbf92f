"""Read the lists of hashdeep: ``size,md5,sha256,filename``, with the columns in a header.

The name is the rest of the line, and nothing in it is escaped. A newline in a name ends the line, so a line that is no
record is the rest of the name before it.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from fimscan.importers.entries import Entries, Entry, Recorded, Source, absolute, hex_digest, number, shown

_MAGIC = b"%%%% HASHDEEP-1."
_COLUMNS = b"%%%% size,"
_ALGORITHMS = {b"md5": "md5", b"sha1": "sha1", b"sha256": "sha256", b"tiger": "tiger", b"whirlpool": "whirlpool"}
_RECORD = re.compile(rb"\d+(?:,[0-9a-f]{32,128})+,")
_RECURSIVE = re.compile(rb"## [#$] (?:\S*/)?hashdeep(?: \S+)*? -[a-zA-Z]*r")
_INVOKED = b"## Invoked from: "


def is_hashdeep(head: bytes) -> bool:
    """Whether a file begins as hashdeep's lists do."""
    return head.startswith(_MAGIC)


def read_hashdeep(source: Source) -> Recorded:
    """Read a list.

    Raises:
        MalformedError: it is none, or a line is no record.
    """
    reader = _Reader(source)
    for line in source.lines:
        reader.take(line)
    reader.finish()
    if not reader.found.by_path:
        raise source.lines.wrong("it lists no file")
    found = reader.found.by_path
    return Recorded(entries=found, taken_ns=None, lists_all=reader.is_recursive, only_files=True)


class _Reader:
    def __init__(self, source: Source) -> None:
        self.found = Entries()
        self.is_recursive = False
        self._lines = source.lines
        self._given_root = self._root = source.root
        self._columns: list[bytes] = []
        self._held: tuple[int, Entry, bytes] | None = None  # its name may go on

    def take(self, line: bytes) -> None:
        """Take the next line."""
        lines = self._lines
        if lines.number == 1 and not line.startswith(_MAGIC):
            raise lines.wrong("a list of hashdeep begins with '%%%% HASHDEEP-1.0'")
        if line.startswith((_MAGIC, _COLUMNS)) or (line.startswith(b"##") and self._held is None):
            self._take_header(line)
        elif not self._columns:
            raise lines.wrong("no '%%%% size,...,filename' before the files")
        elif _RECORD.match(line):
            self.finish()
            with lines.checked():
                self._held = (lines.number, *_record(line, self._columns))
        elif self._held is not None:
            number_, entry, name = self._held
            self._held = number_, entry, name + b"\n" + line
        else:
            raise lines.wrong("this is no record of hashdeep")

    def _take_header(self, line: bytes) -> None:
        if line.startswith(_COLUMNS):
            self._columns = line.split()[-1].split(b",")[:-1]
            if unknown := [name for name in self._columns[1:] if name not in _ALGORITHMS]:
                raise self._lines.wrong(f"unknown algorithm {shown(unknown[0])}")
        elif line.startswith(_INVOKED):
            self._root = self._given_root or line[len(_INVOKED) :]
        self.is_recursive = self.is_recursive or _RECURSIVE.match(line) is not None

    def finish(self) -> None:
        """Add the record whose name was read last."""
        if self._held is None:
            return
        number_, entry, name = self._held
        try:
            self.found.add(replace(entry, path=absolute(name, self._root)))
        except ValueError as error:
            raise self._lines.wrong(str(error), number_) from error


def _record(line: bytes, columns: list[bytes]) -> tuple[Entry, bytes]:
    values = line.split(b",", len(columns))
    if len(values) != len(columns) + 1:
        raise ValueError(f"{len(values)} fields instead of {len(columns) + 1}")
    digests = tuple(hex_digest(value, _ALGORITHMS[name]) for name, value in zip(columns[1:], values[1:-1], strict=True))
    return Entry(path=b"/", kind=None, size=number(values[0]), digests=digests), values[-1]
