"""The canary: a file that a process of its own makes, and takes away again whatever happens."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct

from fimscan.errors import InputError
from fimscan.pipeline.selftest import maker

_SECONDS = 30.0


class Canary(Struct, frozen=True, kw_only=True):
    """A canary that was made: by which process, and which program that runs."""

    path: bytes
    pid: int
    exe: bytes


@contextmanager
def canary(path: bytes, content: bytes) -> Iterator[Canary]:
    """Have a process make a file that does not exist yet; that process takes it away when the block ends.

    ``content`` is one line.

    Raises:
        InputError: it could not be made.
    """
    command: list[str | bytes] = [sys.executable, "-I", "-S", maker.__file__, path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        exe = os.fsencode(os.readlink(f"/proc/{process.pid}/exe"))
        assert process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError):
            process.stdin.write(content)
            process.stdin.flush()
        if (answer := _answer(process)) != b"made":
            raise InputError(f"{os.fsdecode(path)} could not be made: {os.fsdecode(answer) or 'no answer'}")
        yield Canary(path=path, pid=process.pid, exe=exe)
    finally:
        _end(process)
        _remove_if_left(path, content)


def _answer(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None, "it is a pipe"
    ready, _, _ = select.select([process.stdout], [], [], _SECONDS)
    return process.stdout.readline().strip() if ready else b""


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None, "they are pipes"
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        process.stdout.close()


def _remove_if_left(path: bytes, content: bytes) -> None:
    """Remove the canary if its process was killed. A file with another content is not ours."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            is_ours = os.read(descriptor, len(content) + 1) == content
        finally:
            os.close(descriptor)
        if is_ours:
            os.unlink(path)
