"""Which paths a set of watches covers, decided from the path alone."""

from __future__ import annotations

from collections.abc import Iterable

from fimscan.paths import innermost
from fimscan.scan.watch import WatchSpec


class Scope:
    """Decides whether the walk would visit a path, without touching the file system. The innermost watch decides."""

    def __init__(self, watches: Iterable[WatchSpec]) -> None:
        watches = tuple(watches)
        self._roots = {watch.path: watch.excluder() for watch in watches}
        self._append_only = frozenset(watch.path for watch in watches if watch.append_only)

    def includes(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether a watch covers ``path``, and no exclude matches it or a directory above it."""
        root = self.root_of(path)
        if root is None:
            return False
        is_excluded = self._roots[root]
        if root == path or is_excluded is None:
            return True
        parts = path[len(root) :].strip(b"/").split(b"/")
        above = (b"/".join(parts[:depth]) + b"/" for depth in range(1, len(parts)))
        if any(is_excluded(directory) for directory in above):
            return False
        return not is_excluded(b"/".join(parts) + (b"/" if is_directory else b""))

    def root_of(self, path: bytes) -> bytes | None:
        """The path of the watch that covers this path; ``None`` if none does."""
        return innermost(path, self._roots)

    @property
    def has_logs(self) -> bool:
        """Whether any watch is append-only."""
        return bool(self._append_only)

    def is_append_only(self, path: bytes) -> bool:
        """Whether the watch that covers the path is append-only."""
        return bool(self._append_only) and self.root_of(path) in self._append_only
