"""Convert values to text: names, times, sizes, modes, command lines.

An attacker may choose names and command lines to manipulate the display. So there are two conversions. :func:`show` is
for people (terminals, HTML, spreadsheets) and escapes every control character. :func:`json_text` is for programs and
changes as little as possible.
"""

from __future__ import annotations

import base64
import re
import shlex
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from fimscan.model import KIND_OF_TYPE, UNKNOWN_OWNER, Actor, FileKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
_LAST_SECOND = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)

_TYPE_BITS = {kind: file_type for file_type, kind in KIND_OF_TYPE.items()}

# The kernel keeps this much of a command line in a PROCTITLE record (MAX_PROCTITLE_AUDIT_LEN in kernel/audit.h); the
# last byte may be the NUL that ends an argument, which is not part of the arguments any more.
_PROCTITLE_FULL = (127, 128)


def show(value: bytes | str) -> str:
    r"""Text that is safe on a terminal and stands for exactly one value.

    Printable UTF-8 is unchanged, except that a backslash is always doubled. So every escape is unambiguous:

    * ``\xNN`` below 80 is that control character (newline is ``\x0a``, ESC ``\x1b``),
    * ``\xNN`` from 80 up is a byte that is not valid UTF-8,
    * ``\uNNNN`` and ``\UNNNNNNNN`` are characters that do not show, or that change how others show: C1 controls,
      bidirectional overrides, zero-width characters, unusual spaces, line separators, unassigned ones.

    Doubling only "where it is needed" would make the file named ``a\x1b`` (such names exist: systemd escapes unit
    names this way) look like one that holds an ESC.
    """
    text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_shown, text))


def one_line(message: str) -> str:
    """A message of ours as one line that is safe on a terminal; what :func:`show` escaped in it stays as it is."""
    text = " ".join(message.splitlines())
    if text.isprintable():
        return text
    return "".join([character if character == "\\" else _shown(character) for character in text])


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return _escaped(ord(character))


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # how surrogateescape carries the invalid byte NN
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# What a spreadsheet takes for a formula, also in fullwidth form: at the beginning of a cell, or after a character that
# may separate cells (";" where the comma is for decimals). Blanks and quotation marks in front do not help.
_FORMULA = re.compile(r"""(^|[;\t\r\n])(?=[\s"]*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r\n])""")


def cell_text(text: str) -> str:
    """A CSV cell, with an apostrophe wherever a spreadsheet would begin to read a formula (CSV injection)."""
    first = text[:1]
    if not text or ((first.isalnum() or first == "/") and ";" not in text and text.isprintable()):
        return text  # nearly all of them; evidence has millions
    return _FORMULA.sub(r"\1'", text)


# Cells with "|" between them, of which each is empty or begins with a letter, a digit or a slash. A "|" within a cell
# only makes the rule stricter.
_HARMLESS = re.compile(r"(?:[A-Za-z0-9/][^;|]*+)?+(?:\|(?:[A-Za-z0-9/][^;|]*+)?+)*+")


def are_harmless(cells: Sequence[str]) -> bool:
    """Whether :func:`cell_text` would return each of some cells as it is. ``False`` says nothing."""
    joined = "|".join(cells)
    return joined.isprintable() and _HARMLESS.fullmatch(joined) is not None


def json_text(value: bytes | str) -> str:
    r"""Text for JSON: valid UTF-8 unchanged, otherwise with its invalid bytes as ``\xNN``.

    This is not reversible: a document with a path also has its :func:`b64_or_none`. In a ``str``, bytes that are not
    UTF-8 are surrogates (``surrogateescape``).
    """
    if isinstance(value, str):
        if value.isascii():
            return value
        value = value.encode("utf-8", "surrogateescape")
    return value.decode("utf-8", "backslashreplace")


def b64_or_none(value: bytes | None) -> str | None:
    """The exact bytes in base64 if they are not valid UTF-8; else ``None``, because :func:`json_text` loses nothing."""
    if value is None:
        return None
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")
    return None


@lru_cache(1 << 12)  # evidence has millions; windows and decisions have the same ones
def time_text(ns: int) -> str:
    """RFC 3339 UTC with 3, 6 or 9 digits of a second: the fewest that lose nothing.

    RFC 3339 has the years 0001 to 9999. Some file systems have more: such a time is shown as the nearest valid one.
    """
    seconds, fraction = divmod(ns, 10**9)
    if seconds < _FIRST_SECOND:
        seconds, fraction = _FIRST_SECOND, 0
    elif seconds > _LAST_SECOND:
        seconds, fraction = _LAST_SECOND, 10**9 - 1
    if fraction % 10**3:
        return f"{_second_text(seconds)}.{fraction:09d}Z"
    if fraction % 10**6:
        return f"{_second_text(seconds)}.{fraction // 10**3:06d}Z"
    return f"{_second_text(seconds)}.{fraction // 10**6:03d}Z"


def _second_text(seconds: int) -> str:
    day, second = divmod(seconds, 86400)
    minute, second = divmod(second, 60)
    return f"{_day_text(day)}T{minute // 60:02d}:{minute % 60:02d}:{second:02d}"


@lru_cache(1 << 12)
def _day_text(day: int) -> str:
    """A day since 1970: few reports have many."""
    return (_EPOCH + timedelta(days=day)).isoformat()[:10]


def moment_text(ns: int) -> str:
    """A time for people, truncated to milliseconds. JSON and CSV use :func:`time_text`, which loses nothing."""
    return time_text(ns - ns % 10**6)


def minute_text(ns: int) -> str:
    """A time for headlines: ``2026-11-23 04:35 UTC``."""
    return time_text(ns)[:16].replace("T", " ") + " UTC"


def size_text(size: int) -> str:
    """A rounded size: ``948 bytes``, ``12.4 KiB``, ``3.0 GiB``. Do not use it to show a difference."""
    if size < 1024:
        return f"{size} byte{'' if size == 1 else 's'}"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if value < 1023.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} EiB"


@lru_cache(256)
def mode_octal(mode: int) -> str:
    """Permission bits as ``chmod`` takes them, four digits: ``0644``, ``4755``."""
    return f"{mode & 0o7777:04o}"


def mode_text(mode: int, kind: FileKind) -> str:
    """Permission bits as ``ls -l`` shows them: ``-rwsr-xr-x``."""
    return stat.filemode(_TYPE_BITS[kind] | mode & 0o7777)


def owner_text(uid: int, gid: int) -> str:
    """Owner and group as ``chown`` takes them: ``0:42``. Names depend on the host. ``?`` is unknown."""
    return ":".join("?" if number == UNKNOWN_OWNER else str(number) for number in (uid, gid))


def command_text(actor: Actor) -> str | None:
    """The command line, quoted so that it can be pasted into bash; ``None`` if unknown.

    `` ...`` at the end means that the kernel may have truncated it (at 128 bytes).
    """
    if actor.cmdline is None:
        return None
    length = len(b"\0".join(actor.cmdline))
    return " ".join(map(_quoted, actor.cmdline)) + (" ..." if length in _PROCTITLE_FULL else "")


def _quoted(argument: bytes) -> str:
    text = argument.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + show(argument).replace("'", "\\'") + "'"
