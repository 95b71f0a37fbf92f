"""Sets and indexes of which memory has about 20 bytes an entry, a tenth of what Python's own take."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1
_FEW = 8192  # entries that wait to be sorted in
_FILTER = (1 << 19) - 1


class CompactSet:
    """A set of numbers below 2**64 that only grows."""

    def __init__(self) -> None:
        self._sorted = array("Q")
        self._new: set[int] = set()
        self._most = _FEW  # that wait
        # Most numbers that are asked for are not in the set, and searching takes ten times as long as looking here.
        self._filter = bytearray(_FILTER + 1)

    def add(self, number: int) -> None:
        """Add a number."""
        self._filter[number & _FILTER] = 1
        new = self._new
        new.add(number)
        if len(new) > self._most:
            self._sort()

    def __contains__(self, number: int) -> bool:
        if not self._filter[number & _FILTER]:
            return False
        if number in self._new:
            return True
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers, smallest first."""
        self._sort()
        return iter(self._sorted)

    def _sort(self) -> None:
        fresh = [number for number in sorted(self._new) if not self._is_sorted_in(number)]
        self._new.clear()
        if fresh:
            self._sorted.extend(fresh)
            self._sorted = array("Q", sorted(self._sorted))
            self._most = max(_FEW, len(self._sorted) // 4)

    def _is_sorted_in(self, number: int) -> bool:
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number


class HashedSet:
    """A set of values of which only hashes are kept. One in 2**64 other values would seem to be in it."""

    def __init__(self) -> None:
        self._hashes = CompactSet()

    def add(self, value: Hashable) -> None:
        """Add a value."""
        self._hashes.add(hash(value) & _MASK)

    def __contains__(self, value: Hashable) -> bool:
        return hash(value) & _MASK in self._hashes


class Postings:
    """For each key, the positions that were added for it, in this order; other keys' among them in one of 2**64 cases.

    Only hashes of keys are kept, so whoever asks checks what is at a position.
    """

    def __init__(self) -> None:
        self._hashes = array("Q")
        self._positions = array("Q")
        self._is_sorted = True

    def add(self, key: Hashable, position: int) -> None:
        """Add a position for a key."""
        self._hashes.append(hash(key) & _MASK)
        self._positions.append(position)
        self._is_sorted = False

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def of(self, key: Hashable) -> list[int]:
        """The positions of a key."""
        if not self._is_sorted:
            self._sort()
        hashes, wanted = self._hashes, hash(key) & _MASK
        begin = end = bisect_left(hashes, wanted)
        while end < len(hashes) and hashes[end] == wanted:
            end += 1
        return self._positions[begin:end].tolist()

    def _sort(self) -> None:
        order = sorted(range(len(self._hashes)), key=self._hashes.__getitem__)
        self._hashes = array("Q", map(self._hashes.__getitem__, order))
        self._positions = array("Q", map(self._positions.__getitem__, order))
        self._is_sorted = True


class CompactMap(Generic[T]):
    """A dictionary of few different values. Of its keys, only hashes are kept."""

    def __init__(self, items: Iterable[tuple[Hashable, T]]) -> None:
        numbers: dict[T, int] = {}
        self._numbers = Postings()
        for key, value in items:
            self._numbers.add(key, numbers.setdefault(value, len(numbers)))
        self._values = list(numbers)

    def get(self, key: Hashable, /) -> T | None:
        """The value of a key; of several, the last one."""
        found = self._numbers.of(key)
        return self._values[found[-1]] if found else None

    def values(self) -> Sequence[T]:
        """The different values."""
        return self._values


class Identities:
    """A set of files, by (device, inode), that only grows."""

    def __init__(self) -> None:
        self._inodes: dict[int, CompactSet] = {}

    def add(self, identity: tuple[int, int]) -> None:
        """Add a file."""
        device, inode = identity
        if device not in self._inodes:
            self._inodes[device] = CompactSet()
        self._inodes[device].add(inode)

    def __contains__(self, identity: tuple[int, int]) -> bool:
        found = self._inodes.get(identity[0])
        return found is not None and identity[1] in found

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the files, those of one device after the other."""
        for device, inodes in self._inodes.items():
            for inode in inodes:
                yield device, inode
