"""Files that change without a trace in their times, while they are read: mapped ones, and those of long writes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.scan import state

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_PAGE, _PAGES = 4096, 256


@contextmanager
def _mapped_writer(path: bytes) -> Iterator[None]:
    """A process that puts an a at the beginning of page after page, then b's, and so on; the times do not tell."""
    script = (
        "import mmap, sys\n"
        f"page, pages = {_PAGE}, {_PAGES}\n"
        "with open(sys.argv[1], 'r+b') as file:\n"
        "    memory = mmap.mmap(file.fileno(), page * pages)\n"
        "    letter, other = 97, 98\n"
        "    while True:\n"
        "        for number in range(pages):\n"
        "            memory[number * page] = letter\n"
        "        letter, other = other, letter\n"
        "        print(end='.', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == b"....", "the writer has ended"  # by now all pages are dirty
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            drain.wait()


def _states() -> set[bytes]:
    """The digests of everything that the file ever is: the first pages have one letter, the others the other."""
    a, b = (letter + bytes(_PAGE - 1) for letter in (b"a", b"b"))
    return {
        hashlib.sha256(one * number + other * (_PAGES - number)).digest()
        for number in range(_PAGES + 1)
        for one, other in ((a, b), (b, a))
    }


@pytest.mark.parametrize("place", ["", "/dev/shm"])
def test_mapped_file(root: bytes, scanned: Scanned, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process changes through a mapping, its times unchanged, is never recorded as a mixture."""
    if place:
        monkeypatch.setattr(state, "FRESH_NS", 0)  # as if it had been mapped long ago: there, that makes no difference
    with tempfile.TemporaryDirectory(dir=place or os.fsdecode(root)) as directory:
        path = os.fsencode(directory) + b"/f"
        with open(path, "wb") as file:
            file.write((b"a" + bytes(_PAGE - 1)) * _PAGES)
        states, unstable = _states(), 0
        with _mapped_writer(path):
            for _ in range(1000):
                result = scanned(os.fsencode(directory))[path]
                if isinstance(result, FileState):
                    assert result.digest("sha256") in states
                else:
                    assert result.reason is UnreadableReason.UNSTABLE
                    unstable += 1
                if unstable == 5:
                    break
    assert unstable
