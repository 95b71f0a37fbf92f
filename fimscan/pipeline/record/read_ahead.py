"""Share one iterator between two consumers; one may run ahead of the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Reads an iterator once, for two consumers. The iterator must not yield ``None``.

    ``behind`` yields every item. ``ahead`` may miss items that ``behind`` took from the source first, except the last
    of these. Only items that ``ahead`` has taken and ``behind`` has not are kept in memory. :func:`itertools.tee` would
    keep every item that one consumer has not taken, and a scan's walk (``ahead``) may take none: that is so where every
    file is read again, or every file was removed.
    """

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._between: deque[T] = deque()
        self._missed: deque[T] = deque(maxlen=1)

    def ahead(self) -> Iterator[T]:
        """Return the consumer that may run ahead: items in order, each at most once."""
        return iter(partial(self._next, self._missed, self._between), None)

    def behind(self) -> Iterator[T]:
        """Return the consumer that gets all items, in order."""
        return iter(partial(self._next, self._between, self._missed), None)

    def _next(self, waiting: deque[T], others: deque[T]) -> T | None:
        """Return the next item for a consumer; an item taken from the source waits for the other consumer."""
        if waiting:
            return waiting.popleft()
        item = next(self._source, None)
        if item is not None:
            others.append(item)
        return item
