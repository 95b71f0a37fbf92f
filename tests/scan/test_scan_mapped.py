"""Files that change during the reading without new times: mapped files, and files of long writes."""

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
    """A process that writes a number into page after page, then the next number; the times do not change."""
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
    """The digests of all contents that the file ever has: first pages with one number, the rest with the one before."""
    pages = [bytes([value]) + bytes(_PAGE - 1) for value in range(256)]
    return {
        xxhash.xxh3_128(pages[value] * number + pages[value - 1] * (_PAGES - number)).digest()
        for number in range(_PAGES)
        for value in range(256)
    }


@pytest.mark.parametrize("place", ["", "/dev/shm"])
def test_mapped_file(root: bytes, scanned: Scanned, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes through a mapping, which sets no times, are never recorded as a mixture of contents."""
    if place:
        monkeypatch.setattr(reader, "FRESH_NS", 0)  # as if mapped long ago; makes no difference on tmpfs
    monkeypatch.setattr(digest, "PIECE_BYTES", 2 * _PAGE)  # several pieces for a small file
    with tempfile.TemporaryDirectory(dir=place or os.fsdecode(root)) as directory:
        path = os.fsencode(directory) + b"/f"
        with open(path, "wb") as file:
            file.write(bytes(_PAGE * _PAGES))
        states, unstable, deadline = _states(), 0, time.monotonic() + 60
        with _mapped_writer(path):
            # Until both have run in parallel, which may take a while on a busy host.
            while unstable < 5 and time.monotonic() < deadline:
                result = scanned(os.fsencode(directory))[path]
                if isinstance(result, FileState):
                    assert result.digest("xxh3_128") in states
                else:
                    assert result.reason is UnreadableReason.UNSTABLE
                    unstable += 1
    assert unstable
