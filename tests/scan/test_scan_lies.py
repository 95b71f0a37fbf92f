"""A directory may list something else as a regular file: every file is checked before it is opened."""

from __future__ import annotations

import ctypes
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fimscan.model import FileKind, FileState, Unreadable
from fimscan.scan import digest
from tests.scan.test_scan_trouble import printed_in_own_mounts

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_IN_OPEN = 0x20
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def _heard_opening(path: bytes) -> Iterator[Callable[[], bool]]:
    """Detects whether a file was opened since, by any name or mount."""
    fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert _libc.inotify_add_watch(fd, path, _IN_OPEN) > 0
    try:
        yield lambda: bool(select.select([fd], [], [], 0)[0])
    finally:
        os.close(fd)


@pytest.mark.usefixtures("needs_root")
def test_pipe_mounted_on_a_file(root: bytes) -> None:
    """As for sockets and devices in containers: it is not opened, which would release a waiting writer."""
    pipe = root + b"/../pipe"
    os.mkfifo(pipe)
    os.close(os.open(root + b"/file", os.O_CREAT))
    script = (
        "mount --bind $1/../pipe $1/file && exec $0 -W error -c 'import sys, os\n"
        "from fimscan.scan.scanner import scan\n"
        "from fimscan.scan.watch import WatchSpec\n"
        "for found in scan([WatchSpec(path=os.fsencode(sys.argv[1]))], workers=1): print(found.kind)' $1"
    )
    with _heard_opening(pipe) as heard:
        assert printed_in_own_mounts(script, root) == ["directory", "fifo"]
        assert not heard()


@pytest.mark.usefixtures("whether_settled")
def test_pipe_in_place_of_what_was_listed(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can be replaced by a pipe while another one is read; it is checked before it is opened."""
    pipe = root + b"/../pipe"
    os.mkfifo(pipe)
    for name in (b"/a", b"/z"):
        os.close(os.open(root + name, os.O_CREAT))
    really = digest.ALGORITHMS["sha256"]

    def swap(data: memoryview) -> object:
        if os.path.exists(pipe):
            os.rename(pipe, root + b"/z")
        return really(data)

    monkeypatch.setitem(digest.ALGORITHMS, "sha256", swap)
    with _heard_opening(pipe) as heard:
        result = scanned(root)[root + b"/z"]
        assert isinstance(result, FileState)
        assert result.kind is FileKind.FIFO
        assert not heard()
