"""Ask once what is the same for all answers of a pattern: a report of 50,000 changes has some dozens of patterns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from fimscan.model import Attribution

T = TypeVar("T")


class ByPattern(Generic[T]):
    """A function of answers that is called once for each pattern (:attr:`fimscan.model.Attribution.pattern`).

    What it finds must depend on no time, event or gap.
    """

    def __init__(self, find: Callable[[Attribution], T]) -> None:
        self._find = find
        self._known: dict[int, T] = {}
        self._patterns: list[Attribution] = []  # kept, so that no other one gets its place in memory

    def __call__(self, answer: Attribution) -> T:
        """What the function finds of an answer."""
        pattern = answer.pattern
        try:
            return self._known[id(pattern)]
        except KeyError:
            found = self._known[id(pattern)] = self._find(answer)
            self._patterns.append(pattern)
            return found
