r"""Read lists of checksums: of ``sha256sum`` and its like, md5deep, and dpkg's ``*.md5sums``.

A line is ``DIGEST  NAME``, ``DIGEST *NAME`` or, with ``--tag``, ``SHA256 (NAME) = DIGEST``. If it begins with a
backslash, ``\\`` and ``\n`` in the name stand for a backslash and a newline. With ``-z``, lines end with NUL and have
no escapes. md5deep's ``-z`` puts the size in front. Such a list names the files that somebody chose: it does not say
what else there was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec.structs import replace

from fimscan.importers.entries import Entries, Entry, Recorded, Source, absolute, hex_digest, number, shown
from fimscan.model import Digest

_PLAIN = re.compile(rb"(\\?)(?: *(\d+)  )?([0-9a-fA-F]{32,128}) [ *](.+)", re.DOTALL)
_TAGGED = re.compile(rb"(\\?)([A-Za-z0-9][A-Za-z0-9/-]*) ?\((.+)\) = ([0-9a-fA-F]{32,128})", re.DOTALL)
_DEBSUMS = re.compile(rb"/.*\s(?:OK|FAILED|REPLACED)")
_NAMES = {b"RMD160": "ripemd160", b"RIPEMD160": "ripemd160", b"BLAKE2B": "blake2b", b"BLAKE3": "blake3"}
_ESCAPES = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}
_BLAKE2B_BYTES = 64
DPKG_SUFFIX = b".md5sums"


def is_sums(head: bytes) -> bool:
    """Whether the first line is one of such a list, or of debsums, which is refused with a reason."""
    line = re.split(rb"[\n\0]", head, maxsplit=1)[0]
    return any(pattern.fullmatch(line) is not None for pattern in (_PLAIN, _TAGGED, _DEBSUMS))


def read_sums(source: Source) -> Recorded:
    """Read a list.

    Raises:
        MalformedError: a line is no checksum.
    """
    found = Entries()
    for entry in _entries(source, source.root):
        with source.lines.checked():
            found.add(entry)
    return Recorded(entries=found.by_path, taken_ns=None, lists_all=False, only_files=True)


def read_dpkg(source: Source) -> Recorded:
    """Read dpkg's ``info/*.md5sums``, one or many joined. Their names are relative to the root directory.

    ``/bin/ls`` may be in ``/usr/bin``, so the names are followed through symbolic links. Packages that divert a file
    have different digests for one path: then none of them can be compared.

    Raises:
        MalformedError: a line is no checksum.
    """
    found: dict[bytes, Entry] = {}
    for entry in _entries(source, source.root or b"/"):
        if found.setdefault(entry.path, entry) != entry:
            found[entry.path] = replace(entry, digests=())
    return Recorded(entries=found, taken_ns=None, lists_all=False, only_files=True, follows_links=True)


def _entries(source: Source, root: bytes | None) -> Iterator[Entry]:
    lines = source.lines
    for line in lines:
        with lines.checked():
            entry = _entry(line, root)
        yield entry
    if not lines.number:
        raise lines.wrong("it lists no file")


def _entry(line: bytes, root: bytes | None) -> Entry:
    size = None
    if (match := _PLAIN.fullmatch(line)) is not None:
        is_escaped, size, digits, name = match.groups()
        digest = hex_digest(digits)
    elif (match := _TAGGED.fullmatch(line)) is not None:
        is_escaped, label, name, digits = match.groups()
        digest = _tagged(label, digits)
    elif _DEBSUMS.fullmatch(line):
        raise ValueError(
            "the output of debsums has no digests. Import dpkg's own lists:"
            " 'cat /var/lib/dpkg/info/*.md5sums > all.md5sums', then 'fimscan import dpkg all.md5sums'"
        )
    else:
        raise ValueError(f"{shown(line)} is not 'DIGEST  NAME'")
    if is_escaped:
        name = b"".join(_unescaped(name))
    return Entry(
        path=absolute(name, root), kind=None, size=number(size) if size is not None else None, digests=(digest,)
    )


def _tagged(label: bytes, digits: bytes) -> Digest:
    upper = label.upper()
    name = _NAMES.get(upper, upper.decode().lower().replace("-", "_"))
    if name == "blake2b" and len(digits) != 2 * _BLAKE2B_BYTES:
        name = f"blake2b_{len(digits) * 4}"
    return hex_digest(digits, name)


def _unescaped(name: bytes) -> Iterator[bytes]:
    for part in re.findall(rb"\\.|[^\\]+|\\$", name, re.DOTALL):
        if part.startswith(b"\\") and part not in _ESCAPES:
            raise ValueError(f"unknown escape {shown(part)} in a name")
        yield _ESCAPES.get(part, part)
