"""A scan that failed and could not be stored: noted in a file beside the database, for the scan that can store it.

The disk of the database may be full. So the file has its space from the first finished scan on, and is overwritten in
place. A process that cannot write it, because its file system is read-only, remembers what it would have written.
"""

from __future__ import annotations

import json
import os
import stat

from msgspec import Struct
from msgspec.structs import asdict

_SIZE = 4096  # one block
_MOST_TEXT = 1000
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_remembered: dict[str, FailedScan] = {}


class FailedScan(Struct, frozen=True, kw_only=True):
    """The first scan that failed since one finished: when it began, and its error."""

    began_ns: int
    error: str


def note(path: str, failed: FailedScan) -> None:
    """Note a scan that failed, unless an earlier one is noted already."""
    if noted(path) is None:
        short = FailedScan(began_ns=failed.began_ns, error=failed.error[:_MOST_TEXT])
        try:
            _overwrite(path, json.dumps(asdict(short)).encode("ascii"))
        except OSError:
            _remembered[path] = short


def noted(path: str) -> FailedScan | None:
    """What is noted; a file that is damaged still says that a scan failed, and when at the latest."""
    if (known := _remembered.get(path)) is not None:
        return known
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        content, changed_ns = file.read(_SIZE).strip(b"\0"), os.fstat(descriptor).st_mtime_ns
    if not content:
        return None
    try:
        found = json.loads(content)
        return FailedScan(began_ns=int(found["began_ns"]), error=str(found["error"]))
    except (ValueError, KeyError, TypeError):
        return FailedScan(began_ns=changed_ns, error=f"why is not known: {path} is damaged")


def forget(path: str) -> None:
    """Make the note empty, and keep its space: for when it is stored, and after each scan that finished.

    Raises:
        OSError: the file cannot be written.
    """
    _remembered.pop(path, None)
    if noted(path) is not None or not _has_space(path):
        _overwrite(path, b"")


def _has_space(path: str) -> bool:
    try:
        return os.lstat(path).st_size == _SIZE
    except OSError:
        return False


def _overwrite(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is not a regular file")
        written = os.pwrite(descriptor, content.ljust(_SIZE, b"\0"), 0)
        if written != _SIZE:
            raise OSError(f"{path}: only {written} bytes could be written")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
