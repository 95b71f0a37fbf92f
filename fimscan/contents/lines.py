"""Lines of a configuration file, and which of them came or went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_JOINED = b"\\\n"


def logical_lines(text: bytes) -> Iterator[bytes]:
    """Lines without blanks around them; a backslash at the end joins a line with the next one."""
    for line in text.replace(b"\r\n", b"\n").replace(_JOINED, b" ").split(b"\n"):
        yield line.strip()


def came_and_went(before: Iterable[T], after: Iterable[T]) -> tuple[list[T], list[T]]:
    """(what is only in ``after``, what is only in ``before``), with repetitions, in order."""
    old, new = list(before), list(after)
    return _without(new, old), _without(old, new)


def _without(items: list[T], others: list[T]) -> list[T]:
    left = Counter(others)
    found = []
    for item in items:
        if left[item]:
            left[item] -= 1
        else:
            found.append(item)
    return found
