"""Files that change without a trace in their times, while they are read: mapped ones, and those of long writes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import xxhash

from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.scan import digest, reader

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_PAGE, _PAGES = 4096, 16


@contextmanager
def _mapped_writer(path: bytes) -> Iterator[None]:
    """A process that puts a number at the beginning of page after page, then the next number; the times do not tell."""
    script = (
        "import mmap, sys\n"
        f"page, pages = {_PAGE}, {_PAGES}\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    memory = mmap.mmap(file.fileno(), page * pages)\n"
        "    value = 0\n"
        "    while True:\n"
        "        value = (value + 1) % 256\n"
        "        for number in range(pages):\n"
        "            memory[number * page] = value\n"
        "        if value == 2:\n"
        "            print(end='.', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b".", "the writer has ended"  # by now all pages are dirty
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            drain.wait()


def _states() -> set[bytes]:
    """The digests of everything that the file ever is: the first pages have one number, the others the one before."""
    pages = [bytes([value]) + bytes(_PAGE - 1) for value in range(256)]
    return {
        xxhash.xxh3_128(pages[value] * number + pages[value - 1] * (_PAGES - number)).digest()
        for number in range(_PAGES)
        for value in range(256)
    }


@pytest.mark.parametrize("place", ["", "/dev/shm"])
def test_mapped_file(root: bytes, scanned: Scanned, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process changes through a mapping, its times unchanged, is never recorded as a mixture."""
    if place:
        monkeypatch.setattr(reader, "FRESH_NS", 0)  # as if it had been mapped long ago: there, that makes no difference
    monkeypatch.setattr(digest, "PIECE_BYTES", 2 * _PAGE)  # several pieces, though it is small
    with tempfile.TemporaryDirectory(dir=place or os.fsdecode(root)) as directory:
        path = os.fsencode(directory) + b"/f"
        with open(path, "wb") as file:
            file.write(bytes(_PAGE * _PAGES))
        states, unstable, deadline = _states(), 0, time.monotonic() + 60
        with _mapped_writer(path):
            # Until both have run side by side, which on a busy host may take its time.
            while unstable < 5 and time.monotonic() < deadline:
                result = scanned(os.fsencode(directory))[path]
                if isinstance(result, FileState):
                    assert result.digest("xxh3_128") in states
                else:
                    assert result.reason is UnreadableReason.UNSTABLE
                    unstable += 1
    assert unstable
