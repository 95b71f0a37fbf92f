r"""Read mtree specifications: of mtree(8) (FreeBSD, NetBSD, Debian's ``mtree-netbsd``), of ``bsdtar --format=mtree``.

A line is a name and ``keyword=value`` pairs; a backslash at its end continues it. ``/set`` gives values for the lines
that follow. A name without a slash is in the current directory. A directory becomes the current one, until ``..``. A
name with a slash is below the root. Special characters are encoded as by ``vis(3)``: ``\040``, ``\s``, ``\M-C``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from fimscan.importers.entries import (
    Entries,
    Entry,
    Recorded,
    Source,
    absolute,
    earliest,
    hex_digest,
    number,
    shown,
)
from fimscan.model import FileKind

_KINDS = {
    b"file": FileKind.FILE,
    b"dir": FileKind.DIRECTORY,
    b"link": FileKind.SYMLINK,
    b"fifo": FileKind.FIFO,
    b"socket": FileKind.SOCKET,
    b"char": FileKind.CHAR_DEVICE,
    b"block": FileKind.BLOCK_DEVICE,
}
_DIGESTS = {
    **{name: name for name in ("md5", "sha1", "sha256", "sha384", "sha512")},
    **{f"{name}digest": name for name in ("md5", "sha1", "sha256", "sha384", "sha512")},
    **dict.fromkeys(("rmd160", "rmd160digest", "ripemd160digest"), "ripemd160"),
}
_VIS = re.compile(rb"\\(?:([0-7]{3})|M-(.)|M\^(.)|\^(.)|(.))", re.DOTALL)
_C_STYLE = dict(zip(b"nrtbafvsE0", b"\n\r\t\b\a\f\v \x1b\0", strict=True))
_HEADER = re.compile(rb"#\s+(tree|date):\s*(.*)")
_BEGINNINGS = (b"#mtree", b"#\t   user:", b"#\t   tree:", b"#\tuser:", b"/set ")


def is_mtree(head: bytes) -> bool:
    """Whether a file begins as an mtree specification does."""
    return head.startswith(_BEGINNINGS) or re.match(rb"\.{1,2}(/\S+)? +(\w+=\S+ *)*type=\w+", head) is not None


def read_mtree(source: Source) -> Recorded:
    """Read a specification.

    Raises:
        MalformedError: it is none, or ends too early.
    """
    lines, reader = source.lines, _Reader(source.root)
    for text in _joined(source):
        with lines.checked():
            reader.take(text)
    if len(reader.directories) > 1:
        raise lines.wrong(f"the specification ends within {shown(b'/'.join(reader.directories))}")
    if not reader.found.by_path:
        raise lines.wrong("it lists no file")
    return Recorded(entries=reader.found.by_path, taken_ns=reader.taken_ns)


class _Reader:
    def __init__(self, root: bytes | None) -> None:
        self.found = Entries()
        self.taken_ns: int | None = None
        self.directories: list[bytes] = []
        self._root = root
        self._defaults: dict[str, bytes] = {}

    def take(self, text: bytes) -> None:
        """Take a line with its continuations."""
        words = text.split()
        if not words or text.startswith(b"#"):
            self._take_comment(text)
        elif words[0] == b"/set":
            self._defaults |= _pairs(words[1:])
        elif words[0] == b"/unset":
            for word in words[1:]:
                self._defaults.pop(os.fsdecode(word), None)
        elif words[0] == b"..":
            if not self.directories:
                raise ValueError("'..' leaves the root")
            self.directories.pop()
        else:
            self._take_file(words)

    def _take_comment(self, text: bytes) -> None:
        match = _HEADER.match(text)
        if match is not None and match[1] == b"tree":
            self._root = self._root or os.path.normpath(match[2]).replace(b"//", b"/")
        elif match is not None:
            self.taken_ns = _taken(match[2])

    def _take_file(self, words: list[bytes]) -> None:
        name, is_full = unvis(words[0]), b"/" in words[0]
        path = absolute(name if is_full else b"/".join([*self.directories, name]), self._root)
        entry = _entry(path, self._defaults | _pairs(words[1:]))
        self.found.add(entry)
        if entry.kind is FileKind.DIRECTORY and not is_full:
            self.directories.append(name)


def _joined(source: Source) -> Iterator[bytes]:
    """Lines with their continuations."""
    held = b""
    for line in source.lines:
        text = line.rstrip(b" \t\r")
        if text.endswith(b"\\") and not text.startswith(b"#"):
            held += text[:-1] + b" "
            continue
        yield held + text if held else text
        held = b""
    if held:
        raise source.lines.wrong("the file ends in a continued line")


def unvis(text: bytes) -> bytes:
    """Decode what ``vis(3)`` encoded."""
    return _VIS.sub(lambda match: bytes([_decoded(match)]), text)


def _decoded(match: re.Match[bytes]) -> int:
    octal, meta, meta_control, control, plain = match.groups()
    if octal is not None:
        return int(octal, 8) & 0xFF
    if meta is not None:
        return int(meta[0]) | 0x80
    if meta_control is not None:
        return _control(meta_control) | 0x80
    if control is not None:
        return _control(control)
    return _C_STYLE.get(plain[0], plain[0])


def _control(letter: bytes) -> int:
    return 0x7F if letter == b"?" else letter[0] & 0x1F


def _pairs(words: list[bytes]) -> dict[str, bytes]:
    found = {}
    for word in words:
        name, _, value = word.partition(b"=")
        if not re.fullmatch(rb"[A-Za-z][A-Za-z0-9_-]*", name):
            raise ValueError(f"{shown(word)} is no keyword")
        found[name.decode()] = value
    return found


def _entry(path: bytes, properties: dict[str, bytes]) -> Entry:
    kind = None
    if (name := properties.get("type")) is not None:
        if name not in _KINDS:
            raise ValueError(f"unknown type {shown(name)}")
        kind = _KINDS[name]
    seconds, fraction = _time(properties.get("time"))
    digests = {known: hex_digest(properties[word], known) for word, known in _DIGESTS.items() if word in properties}
    target = properties.get("link")
    mode = properties.get("mode")
    return Entry(
        path=path,
        kind=kind,
        mode=number(mode, 8) & 0o7777 if mode is not None else None,
        uid=_optional(properties.get("uid")),
        gid=_optional(properties.get("gid")),
        user=_name(properties.get("uname")),
        group=_name(properties.get("gname")),
        size=_optional(properties.get("size")),
        mtime_s=seconds,
        mtime_nsec=fraction,
        inode=_optional(properties.get("inode")),
        nlink=_optional(properties.get("nlink")),
        link_target=unvis(target) if target is not None and kind is FileKind.SYMLINK else None,
        digests=tuple(digests.values()),
    )


def _optional(text: bytes | None) -> int | None:
    return None if text is None else number(text)


def _name(text: bytes | None) -> str | None:
    return None if text is None else os.fsdecode(text)


def _time(text: bytes | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = re.fullmatch(rb"(-?\d{1,18})(?:\.(\d{1,9}))?", text)
    if match is None:
        raise ValueError(f"invalid time {shown(text)}")
    return int(match[1]), int(match[2]) if match[2] is not None else None


def _taken(text: bytes) -> int | None:
    try:
        return earliest(text.decode("ascii", "replace").strip(), "%a %b %d %H:%M:%S %Y")
    except ValueError:
        return None  # a comment, so anything may be in it
