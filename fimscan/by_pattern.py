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
        self._known: dict[int, tuple[T, Attribution]] = {}

    def __call__(self, answer: Attribution) -> T:
        """What the function finds of an answer."""
        pattern = answer.pattern
        known = self._known.get(id(pattern))
        if known is None:  # the pattern is kept, so that no other one gets its place in memory
            known = self._known[id(pattern)] = (self._find(answer), pattern)
        return known[0]
