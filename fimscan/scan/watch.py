"""What to scan: one directory (or file) with its excludes and its digests."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from fimscan.errors import ConfigError
from fimscan.scan.digest import ALGORITHMS

IsExcluded = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchSpec:
    """One subtree and how it is read.

    ``path`` is absolute and normalised. ``exclude`` holds gitignore patterns relative to it: an excluded directory is
    not entered, so nothing below it can be re-included, and the root itself cannot be excluded. ``algorithms`` are
    the digests; with none of them, no content is read. ``append_only`` says that files in it are logs: they may grow
    while they are read. ``vouched`` says that a known file need not be read again while its ctime stays the same.

    Raises:
        ConfigError: when one of the three makes no sense.
    """

    path: bytes
    exclude: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("xxh3_128", "sha256")
    append_only: bool = False
    vouched: bool = False

    def __post_init__(self) -> None:
        shown = os.fsdecode(self.path)
        if b"\0" in self.path or self.path != b"/" + os.path.normpath(self.path).lstrip(b"/"):
            raise ConfigError(f"watch {shown!r}: must be an absolute path without '.', '..', doubled or final slashes")
        if unknown := [name for name in self.algorithms if name not in ALGORITHMS]:
            raise ConfigError(f"watch {shown!r}: unknown digest {unknown[0]!r}; known are {', '.join(ALGORITHMS)}")
        for pattern in self.exclude:
            try:
                GitIgnoreSpec.from_lines([pattern])
            except ValueError:
                raise ConfigError(f"watch {shown!r}: exclude: {pattern!r} is not a gitignore pattern") from None

    def excluder(self) -> IsExcluded | None:
        """A test for paths relative to the root (a directory's ends in ``/``); ``None`` when nothing is excluded."""
        if not self.exclude:
            return None
        spec = GitIgnoreSpec.from_lines(self.exclude)

        def is_excluded(relative: bytes) -> bool:
            # The library's regular expressions treat a newline as the end of the text ("x.swp\n" would match "*.swp").
            # NUL is in no name, and no pattern can ask for it, so it stands for the newline.
            return spec.match_file(os.fsdecode(relative).replace("\n", "\0"))

        return is_excluded

    def excluding_pattern(self, relative: bytes) -> str | None:
        """Which pattern excludes a path relative to the root; the last one that matches decides, as in gitignore."""
        patterns = [pattern for pattern in self.exclude if pattern]
        found = GitIgnoreSpec.from_lines(patterns).check_file(os.fsdecode(relative).replace("\n", "\0"))
        return patterns[found.index] if found.include and found.index is not None else None
