"""Relations of absolute paths, as bytes: parent, within, below, innermost. The file system is not accessed."""

from __future__ import annotations

from collections.abc import Collection, Iterator


def as_prefix(directory: bytes) -> bytes:
    """The directory with one final slash, with which every path below it begins."""
    return directory if directory.endswith(b"/") else directory + b"/"


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether a path is ``directory`` or below it."""
    return path == directory or path.startswith(as_prefix(directory))


def is_below(path: bytes, directory: bytes) -> bool:
    """Whether a path is below ``directory``, and not ``directory`` itself."""
    return path != directory and path.startswith(as_prefix(directory))


def parent(path: bytes) -> bytes:
    """The directory of a path; the parent of the root is the root."""
    return path.rpartition(b"/")[0] or b"/"


def upwards(path: bytes) -> Iterator[bytes]:
    """Yield a path and every directory above it, the root last."""
    yield path
    while path not in (b"", b"/"):
        path = parent(path)
        yield path


def innermost(path: bytes, roots: Collection[bytes]) -> bytes | None:
    """The nearest of some roots at or above a path; ``None`` if there is none."""
    return next((root for root in upwards(path) if root in roots), None)
