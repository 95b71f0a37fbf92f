r"""Read what ``twprint --print-dbfile`` of open-source Tripwire 2.4 prints.

Each object has a name and a table of properties. In names, ``\xNN`` stands for an unprintable byte. Backslashes are not
escaped, so a name may be meant literally. Times are local ones. Digests are in Tripwire's base64, or with
``--hexadecimal`` in hexadecimal. Its base64 is that of a number, so the first digit has the few bits. ``SHA`` is SHA-1.
The digest of a symbolic link is that of its target's text.
"""

from __future__ import annotations

import re
import stat

from fimscan.importers.entries import (
    Entries,
    Entry,
    Recorded,
    Source,
    absolute,
    earliest,
    hex_digest,
    local_time,
    number,
    shown,
)
from fimscan.model import Digest, FileKind

_TIME = "%a %b %d %H:%M:%S %Y"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_KINDS = {
    b"Regular File": FileKind.FILE,
    b"Directory": FileKind.DIRECTORY,
    b"Symbolic Link": FileKind.SYMLINK,
    b"FIFO": FileKind.FIFO,
    b"Socket": FileKind.SOCKET,
    b"Block Device": FileKind.BLOCK_DEVICE,
    b"Character Device": FileKind.CHAR_DEVICE,
}
_LETTERS = {
    b"d": FileKind.DIRECTORY,
    b"-": FileKind.FILE,
    b"l": FileKind.SYMLINK,
    b"p": FileKind.FIFO,
    b"s": FileKind.SOCKET,
    b"b": FileKind.BLOCK_DEVICE,
    b"c": FileKind.CHAR_DEVICE,
}
_DIGESTS = {b"MD5": ("md5", 16), b"SHA": ("sha1", 20)}
_PROPERTY = re.compile(rb"([A-Z][\w ()/-]*?) {2,}(\S.*?) *$")
_OBJECT = b"Object name:  "
_GENERATED = b"Database generated on:"
_END = b"*** End of database ***"


def is_tripwire(head: bytes) -> bool:
    """Whether a file begins as twprint's output does."""
    return b"Tripwire(R)" in head.lstrip()[:200].split(b"\n", 1)[0]


def read_tripwire(source: Source) -> Recorded:
    """Read a printed database.

    Raises:
        MalformedError: it is none, or is incomplete.
    """
    lines, reader = source.lines, _Reader()
    for line in lines:
        with lines.checked():
            if reader.take(line):
                return Recorded(entries=reader.found.by_path, taken_ns=reader.taken_ns)
    raise lines.wrong("the database ends before '*** End of database ***'" if reader.begun else "it is empty")


class _Reader:
    def __init__(self) -> None:
        self.found = Entries()
        self.taken_ns: int | None = None
        self.begun = False
        self._name: bytes | None = None
        self._properties: dict[bytes, bytes] = {}

    def take(self, line: bytes) -> bool:
        """Take the next line; whether the database ends with it."""
        if not self.begun:
            self._begin(line)
        elif line.startswith(_GENERATED):
            self.taken_ns = earliest(_text(line[len(_GENERATED) :]), _TIME)
        elif line.startswith(_OBJECT):
            self._finish()
            self._name = line[len(_OBJECT) :]
        elif line.startswith((b"# Section:", _END, b"=====")):
            self._finish()
        elif self._name is not None and line.strip() and not line.startswith((b"Property:", b"-----")):
            self._add_property(line)
        if line.startswith(_END) and not self.found.by_path:
            raise ValueError("it lists no object in detail; print it with --output-level 2")
        return line.startswith(_END)

    def _begin(self, line: bytes) -> None:
        if line.strip():
            if not is_tripwire(line) or b"Database" not in line:
                raise ValueError("this is not what 'twprint --print-dbfile' prints")
            self.begun = True

    def _add_property(self, line: bytes) -> None:
        match = _PROPERTY.match(line)
        if match is None or match[1] in self._properties:
            raise ValueError(f"{shown(line)} is not a property")
        self._properties[match[1]] = match[2]

    def _finish(self) -> None:
        if self._name is not None:
            self.found.add(_entry(self._name, self._properties))
        self._name, self._properties = None, {}


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip()


def _seconds(text: bytes) -> int:
    return local_time(_text(text), _TIME)


def _entry(name: bytes, properties: dict[bytes, bytes]) -> Entry:
    kind, mode = _kind_and_mode(properties)
    path = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), name)
    return Entry(
        path=absolute(path, None),
        other_path=absolute(name, None) if path != name else None,
        kind=kind,
        mode=mode,
        uid=_id(properties.get(b"UID")),
        gid=_id(properties.get(b"GID")),
        size=_optional(properties.get(b"Size")),
        mtime_s=_optional_time(properties.get(b"Modify Time")),
        ctime_s=_optional_time(properties.get(b"Change Time")),
        is_local=True,
        inode=_optional(properties.get(b"Inode Number")),
        nlink=_optional(properties.get(b"Num Links")),
        digests=tuple(_digest(properties[label], *known) for label, known in _DIGESTS.items() if label in properties),
    )


def _kind_and_mode(properties: dict[bytes, bytes]) -> tuple[FileKind | None, int | None]:
    text = properties.get(b"Mode")
    kind = _KINDS.get(properties.get(b"Object Type", b""))
    if text is None:
        return kind, None
    if text[:1] not in _LETTERS:
        raise ValueError(f"invalid mode {shown(text)}")
    return kind or _LETTERS[text[:1]], mode_of_letters(text[1:])


def mode_of_letters(text: bytes) -> int:
    """The permissions of ``rwxr-sr-t``.

    Raises:
        ValueError: it is no such text.
    """
    if not re.fullmatch(rb"(?:[r-][w-][xsS-]){2}[r-][w-][xtT-]", text):
        raise ValueError(f"invalid mode {shown(text)}")
    mode = 0
    special = (stat.S_ISUID, stat.S_ISGID, stat.S_ISVTX)
    for who in range(3):
        read, write, execute = text[3 * who : 3 * who + 1], text[3 * who + 1 : 3 * who + 2], text[3 * who + 2 :][:1]
        bits = (read == b"r") * 4 + (write == b"w") * 2 + (execute in (b"x", b"s", b"t"))
        mode |= bits << 3 * (2 - who)
        mode |= special[who] if execute in (b"s", b"S", b"t", b"T") else 0
    return mode


def _id(text: bytes | None) -> int | None:
    if text is None:
        return None
    match = re.search(rb"\((\d+)\)$", text)
    return number(match[1] if match is not None else text)


def _optional(text: bytes | None) -> int | None:
    return None if text is None else number(text)


def _optional_time(text: bytes | None) -> int | None:
    return None if text is None else _seconds(text)


def _digest(text: bytes, algorithm: str, length: int) -> Digest:
    if len(text) == 2 * length:
        return hex_digest(text, algorithm)
    digits = [_BASE64.find(bytes([one])) for one in text]
    value = 0
    for digit in digits:
        value = value * 64 + digit
    if len(digits) != (8 * length + 5) // 6 or min(digits) < 0 or value >= 1 << 8 * length:
        raise ValueError(f"invalid {algorithm} {shown(text)}")
    return Digest(algorithm=algorithm, value=value.to_bytes(length, "big"))
