"""Limit how many bytes of holes one scan hashes.

Holes are not read, but hashing their zeros takes about a second a gigabyte. A user can make sparse files of any number
of terabytes, which take no disk space.
"""

from __future__ import annotations

import mmap

BUDGET_BYTES = 16
_ROOT, _OTHERS = 0, 1


class TooSparseError(Exception):
    """The holes of a file are longer than what is left of the budget."""


class HoleBudget:
    """How many bytes of holes were hashed: root's files and those of all others apart.

    All processes of a scan count in the same memory. Two that count at the same moment may lose one count: the budget
    is a bound, not an account.

    Args:
        most: how many bytes of holes may be hashed of root's files, and as many of all other files; 0 means any number.
        fd: a memory file of :data:`BUDGET_BYTES`; ``None`` counts in this process only.
    """

    def __init__(self, most: int, fd: int | None = None) -> None:
        self._most = most
        self._taken = memoryview(mmap.mmap(-1 if fd is None else fd, BUDGET_BYTES)).cast("Q")

    def take(self, owner: int, size: int) -> None:
        """Count a hole of a file that belongs to the uid ``owner``, before it is hashed.

        Raises:
            TooSparseError: there is not so much left. Nothing is counted.
        """
        who = _OTHERS if owner else _ROOT
        taken = self._taken[who] + size
        if taken > self._most > 0:
            raise TooSparseError
        self._taken[who] = taken
