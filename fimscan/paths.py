"""Absolute paths as bytes: which directory a path is in, and what lies below what. No file system is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterator


def as_prefix(directory: bytes) -> bytes:
    """What every path below a directory begins with: the directory with one slash behind it."""
    return directory if directory.endswith(b"/") else directory + b"/"


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether a path is a directory, or lies below it."""
    return path == directory or path.startswith(as_prefix(directory))


def is_below(path: bytes, directory: bytes) -> bool:
    """Whether a path lies below a directory, and is not the directory itself."""
    return path != directory and path.startswith(as_prefix(directory))


def parent(path: bytes) -> bytes:
    """The directory that a path is in; of the root, the root."""
    return path.rpartition(b"/")[0] or b"/"


def upwards(path: bytes) -> Iterator[bytes]:
    """A path, then every directory above it, the root last."""
    yield path
    while path not in (b"", b"/"):
        path = parent(path)
        yield path


def innermost(path: bytes, roots: Collection[bytes]) -> bytes | None:
    """Of some roots, the nearest one at or above a path; ``None`` where there is none."""
    return next((root for root in upwards(path) if root in roots), None)
