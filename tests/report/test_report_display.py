"""Conversion of names, times, modes and command lines to text."""

from __future__ import annotations

import datetime
import re
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.model import Actor, FileKind
from fimscan.report.display import (
    b64_or_none,
    command_text,
    json_text,
    mode_octal,
    mode_text,
    show,
    size_text,
    time_text,
)

_ESCAPE = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
# Bytes of which an odd share is dangerous: controls, escapes, backslashes, broken UTF-8, characters of all planes.
odd_bytes = st.lists(
    st.one_of(
        st.binary(max_size=3),
        st.text(max_size=3).map(str.encode),
        st.sampled_from([b"\\", b"\\x1b", b"\x1b[2J", b"\n", "\u202e".encode(), "\u009b".encode(), b"\xed\xa0\x80"]),
    ),
    max_size=6,
).map(b"".join)


def unshow(text: str) -> bytes:
    """The inverse of show(), by its documentation."""
    result, position = b"", 0
    for match in _ESCAPE.finditer(text):
        result += text[position : match.start()].encode()
        backslash, byte, short, long = match.groups()
        result += b"\\" if backslash else bytes([int(byte, 16)]) if byte else chr(int(short or long, 16)).encode()
        position = match.end()
    return result + text[position:].encode()


@given(odd_bytes)
def test_shown_text_is_printable_and_means_exactly_one_value(value: bytes) -> None:
    """No name can control the terminal, and no two names look the same."""
    assert show(value).isprintable()
    assert unshow(show(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"/etc/hosts", "/etc/hosts"),
        ("/home/zoë/日本".encode(), "/home/zoë/日本"),
        (b"a\nb\x1b[31m\x7f", r"a\x0ab\x1b[31m\x7f"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\u202egpj.exe\u2066".encode(), r"\u202egpj.exe\u2066"),
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),  # an encoded lone surrogate is not UTF-8
        ("\u009b2J".encode(), r"\u009b2J"),  # CSI in one character
        ("\U000e0041".encode(), r"\U000e0041"),  # an invisible tag
        (rb"dev-disk-by\x2duuid.swap", r"dev-disk-by\\x2duuid.swap"),
    ],
)
def test_show_escapes_controls_and_invalid_bytes(value: bytes, text: str) -> None:
    """Readable names are unchanged; controls, bidi overrides, invalid bytes and backslashes are escaped."""
    assert show(value) == text


@given(odd_bytes)
def test_json_text_keeps_utf8_and_base64_has_all_other_names(value: bytes) -> None:
    """A UTF-8 path is unchanged; the exact bytes of any other path are in base64."""
    encoded = b64_or_none(value)
    json_text(value).encode("utf-8")  # never a lone surrogate, which JSON parsers refuse
    assert (encoded is None) == (json_text(value).encode() == value)


def test_json_text_of_invalid_bytes() -> None:
    """An invalid byte shows as a hexadecimal escape."""
    assert (json_text(b"a\xff\n"), b64_or_none(b"a\xff\n")) == ("a\\xff\n", "Yf8K")


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (1795408513_818_000_000, "2026-11-23T04:35:13.818Z"),
        (1795408513_000_000_000, "2026-11-23T04:35:13.000Z"),
        (1795408513_818_123_000, "2026-11-23T04:35:13.818123Z"),
        (1795408513_818_123_456, "2026-11-23T04:35:13.818123456Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (10**30, "9999-12-31T23:59:59.999999999Z"),
        (-(10**30), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_and_lose_nothing(ns: int, text: str) -> None:
    """Times have at least milliseconds, nanoseconds if needed, and forged absurd times do not crash."""
    assert time_text(ns) == text


@given(st.integers(-(2**62), 2**62))
def test_times_read_back(ns: int) -> None:
    """The text can be parsed back to the same nanosecond."""
    date, fraction = time_text(ns).removesuffix("Z").split(".")
    seconds = int(datetime.datetime.fromisoformat(date + "+00:00").timestamp())
    assert seconds * 10**9 + int(fraction.ljust(9, "0")) == ns


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (1023, "1023 bytes"),
        (12700, "12.4 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (3 << 60, "3.0 EiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    """Sizes have a suitable unit."""
    assert size_text(size) == text


def test_modes() -> None:
    """A mode in the notation of chmod and of ls, including set-user-id."""
    assert (mode_octal(0o644), mode_octal(0o4755)) == ("0644", "4755")
    assert mode_text(0o4755, FileKind.FILE) == "-rwsr-xr-x"
    assert mode_text(0o1777, FileKind.DIRECTORY) == "drwxrwxrwt"


@given(st.lists(odd_bytes.map(lambda value: value.replace(b"\0", b"")), min_size=1, max_size=4))
def test_a_command_line_is_printable_and_bash_reads_the_same_arguments(arguments: list[bytes]) -> None:
    """A hostile command line is inert on the terminal, and bash parses the text back to the same arguments."""
    text = command_text(Actor(pid=1, cmdline=tuple(arguments)))
    assert text is not None
    assert text.isprintable()
    words = text.removesuffix(" ...")
    result = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {words}"], env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True
    )
    assert result.stdout.split(b"\0")[:-1] == arguments


def test_a_command_line_that_the_kernel_cut_says_so(make: Any) -> None:
    """A command line that the kernel truncated at 128 bytes is marked."""
    assert command_text(make.actor(cmdline=(b"sh", b"-c", b"x" * 122))) == f"sh -c {'x' * 122} ..."
    assert command_text(make.actor(cmdline=(b"sh", b"-c", b"x"))) == "sh -c x"
    assert command_text(make.actor(cmdline=None)) is None
