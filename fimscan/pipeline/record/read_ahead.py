"""One stream for two readers, of whom one goes ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """A stream, without ``None`` in it, that is read once, by two.

    ``behind`` is for who needs all of it, ``ahead`` for who can do without what ``behind`` was given first, but for the
    last of that. What is kept is what lies between the two. :func:`itertools.tee` would keep all that one of them has
    not asked for, and the walk of a scan asks for nothing where everything is read again, or everything is gone.
    """

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._between: deque[T] = deque()
        self._missed: deque[T] = deque(maxlen=1)

    def ahead(self) -> Iterator[T]:
        """In order, each at most once."""
        return iter(partial(self._next, self._missed, self._between), None)

    def behind(self) -> Iterator[T]:
        """In order, each once."""
        return iter(partial(self._next, self._between, self._missed), None)

    def _next(self, waiting: deque[T], others: deque[T]) -> T | None:
        if waiting:
            return waiting.popleft()
        one = next(self._source, None)
        if one is not None:
            others.append(one)
        return one
