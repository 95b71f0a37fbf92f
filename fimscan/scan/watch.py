"""What to scan: one directory (or file) with its excludes and digests."""

from __future__ import annotations

import os
from collections.abc import Callable

from msgspec import Struct
from pathspec import GitIgnoreSpec

from fimscan.errors import ConfigError
from fimscan.scan.digest import ALGORITHMS
from fimscan.scan.keeping import KeepRule

IsExcluded = Callable[[bytes], bool]


class WatchSpec(Struct, frozen=True, kw_only=True):
    """One subtree and how it is read.

    ``path`` is absolute and normalised. ``exclude`` holds gitignore patterns relative to it. An excluded directory is
    not entered, so nothing below it can be re-included; the root itself cannot be excluded. ``algorithms`` are the
    digests; if empty, no content is read. ``append_only`` means that its files are logs, which may grow during the
    reading. ``vouched`` means that a known file is not read again while its ctime stays the same. ``keep`` says of
    which files the content is kept; ``None`` for none.

    Raises:
        ConfigError: path, excludes or algorithms are invalid.
    """

    path: bytes
    exclude: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("xxh3_128", "sha256")
    append_only: bool = False
    vouched: bool = False
    keep: KeepRule | None = None

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
        """A test whether a path relative to the root is excluded; ``None`` if nothing is. Directories end in ``/``."""
        if not self.exclude:
            return None
        spec = GitIgnoreSpec.from_lines(self.exclude)

        def is_excluded(relative: bytes) -> bool:
            # The library treats a newline as the end of the text ("x.swp\n" would match "*.swp"). NUL is in no name and
            # in no pattern, so it replaces the newline.
            return spec.match_file(os.fsdecode(relative).replace("\n", "\0"))

        return is_excluded

    def excluding_pattern(self, relative: bytes) -> str | None:
        """The pattern that excludes a path relative to the root. The last match decides, as in gitignore."""
        patterns = [pattern for pattern in self.exclude if pattern]
        found = GitIgnoreSpec.from_lines(patterns).check_file(os.fsdecode(relative).replace("\n", "\0"))
        return patterns[found.index] if found.include and found.index is not None else None
