"""Who holds a file open for writing."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fimscan.audit import writable_descriptors

HOLD = """
import mmap, os, sys
how, path = sys.argv[1:]
descriptor = os.open(path, {"write": os.O_WRONLY, "append": os.O_RDWR | os.O_APPEND}.get(how, os.O_RDONLY))
if how == "mapped":
    writable = os.open(path, os.O_RDWR)
    memory = mmap.mmap(writable, 0)
    os.closerange(3, 20)  # mmap keeps a descriptor of its own
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(how: str, path: Path) -> Iterator[int]:
    command = [sys.executable, "-c", HOLD, how, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=path.parent) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate()


@pytest.mark.parametrize(("how", "held"), [("write", True), ("append", True), ("mapped", True), ("read", False)])
def test_a_process_that_can_write_without_opening_is_found(how: str, held: bool, tmp_path: Path) -> None:
    """Descriptors and mappings that can write are found with their process; one that only reads is not."""
    path = tmp_path / "held file"
    path.write_bytes(b"x" * mmap.PAGESIZE)
    info = path.stat()
    with holder(how, path) as pid:
        holders = writable_descriptors(os.getpid())
    mine = [h for h in holders if (h.dev, h.inode) == (info.st_dev, info.st_ino)]
    assert [h.actor.pid for h in mine] == ([pid] if held else [])
    for found in mine:
        actor = found.actor
        assert (actor.ppid, actor.uid, actor.euid) == (os.getpid(), os.getuid(), os.geteuid())
        assert actor.exe == os.fsencode(os.path.realpath(sys.executable))
        assert actor.cmdline is not None
        assert actor.cmdline[-2:] == (how.encode(), os.fsencode(path))
        assert actor.cwd == os.fsencode(tmp_path)
        assert actor.event is None


def test_we_do_not_accuse_ourselves(tmp_path: Path) -> None:
    """The process that asks is left out."""
    with (tmp_path / "own").open("w") as file:
        inode = os.fstat(file.fileno()).st_ino
        assert inode not in {holder.inode for holder in writable_descriptors(os.getpid())}
        assert inode in {holder.inode for holder in writable_descriptors(1)}
