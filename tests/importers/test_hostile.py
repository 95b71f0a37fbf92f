"""Baselines from other programs are input of anybody: they end with one line, in bounded time and memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fimscan.errors import InputError
from fimscan.importers import entries
from fimscan.importers.formats import FORMATS, read_baseline

AIDE = b"@@begin_db\n@@db_spec name attr perm size\n%s@@end_db\n"


def read(tmp_path: Path, content: bytes, name: str) -> object:
    path = tmp_path / "baseline"
    path.write_bytes(content)
    return read_baseline(os.fsencode(path), name, b"/root")


@pytest.mark.parametrize("name", FORMATS)
def test_a_pipe_or_device_is_no_baseline(tmp_path: Path, name: str) -> None:
    """It does not wait for a writer, nor read for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(InputError, match="not a regular file"):
            read_baseline(os.fsencode(path), name)


@pytest.mark.parametrize("mode", [b"7" * 20, b"7777777777", b"-1", b"\xd9\xa1", b"9"])
def test_a_mode_that_no_file_has(tmp_path: Path, mode: bytes) -> None:
    """It was an internal error."""
    with pytest.raises(InputError, match="line 3"):
        read(tmp_path, AIDE % (b"/a -1 %b 1\n" % mode), "aide")
    with pytest.raises(InputError):
        read(tmp_path, b"+++1:%b:0:0:%b:%b !1700000000 /a\n" % (mode, b"0" * 32, b"0" * 40), "ossec")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("aide", b"/q/%d -1 100644 1\n"),
        ("sums", b"0" * 63 + b"1  q%d\n"),
        ("ossec", b"+++1:33188:0:0:" + b"0" * 32 + b":" + b"0" * 40 + b" !1700000000 /q/%d\n"),
    ],
)
def test_the_number_of_files_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: bytes
) -> None:
    """Each takes a kilobyte of memory, and far less in a compressed file."""
    monkeypatch.setattr(entries, "MOST_ENTRIES", 100)
    lines = b"".join([line % number for number in range(101)])
    with pytest.raises(InputError, match="more than 100 files"):
        read(tmp_path, AIDE % lines if name == "aide" else lines, name)
