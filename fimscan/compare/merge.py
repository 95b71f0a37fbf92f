"""Merge two streams in increasing order of path, known states and found states, into pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Generic, TypeVar

from msgspec import Struct

from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.paths import is_below

T = TypeVar("T")
U = TypeVar("U")
#: A known state: (path, state digest ...).
Item = TypeVar("Item", bound=Sequence[Any])


class Pair(Struct, Generic[T, U], frozen=True, kw_only=True):
    """One path in two observations. ``unreadable`` is set if the new observation failed."""

    path: bytes
    before: T | None = None
    after: U | None = None
    unreadable: Unreadable | None = None


class Merge(Generic[Item]):
    """Merge known states, given in chunks, with found ones, both in increasing order of path.

    Memory use does not depend on the number of files. Blocks in which nothing differs are recognised as a whole, by the
    digests of their states (:meth:`step_over`). Everything else comes out in pairs (:meth:`pairs`, :meth:`rest`). Known
    files below a directory that could not be listed are paired with that failure: unreadable, not removed.
    """

    def __init__(self, known: Iterable[Sequence[Item]]) -> None:
        self._chunks = iter(known)
        self._items: list[Item] = []
        self._paths: list[bytes] = []
        self._digests: list[bytes] = []
        self._at = 0
        self._blocked: list[Unreadable] = []

    def step_over(self, paths: list[bytes], digests: list[bytes]) -> bool:
        """Skip the next known states if they have exactly these paths and digests; return whether they do."""
        end = self._at + len(paths)
        while end > len(self._items):
            if not self._read_on():
                return False
            end = self._at + len(paths)
        if self._paths[self._at : end] != paths or self._digests[self._at : end] != digests:
            return False
        self._at = end
        return True

    def is_beyond(self, path: bytes) -> bool:
        """Whether no known state is left up to and including this path."""
        following = self._next()
        return following is None or following[0] > path

    def pairs(self, found: Iterable[tuple[bytes, U | Unreadable]]) -> Iterator[Pair[Item, U]]:
        """Pair the next found paths with their known states, and yield the known paths in between as gone."""
        for path, one in found:
            known = self._next()
            while known is not None and known[0] < path:
                yield self._gone(known)
                known = self._skip()
            match = known if known is not None and known[0] == path else None
            if match is not None:
                self._skip()
            if not isinstance(one, Unreadable):
                yield Pair(path=path, before=match, after=one)
            elif one.reason is UnreadableReason.MISSING:
                # A configured path that does not exist gets a warning, and its known state is gone.
                if match is not None:
                    yield Pair(path=path, before=match)
                yield Pair(path=path, unreadable=one)
            else:
                self._blocked.append(one)
                yield Pair(path=path, before=match, unreadable=one)

    def rest(self) -> Iterator[Pair[Item, U]]:
        """Yield the known paths after the last found one, as gone."""
        known = self._next()
        while known is not None:
            yield self._gone(known)
            known = self._skip()

    def _gone(self, known: Item) -> Pair[Item, U]:
        path = known[0]
        # "0" follows "/": whatever sorts after it is past everything below that directory.
        self._blocked = [item for item in self._blocked if path < item.path.rstrip(b"/") + b"0"]
        above = (item for item in self._blocked if is_below(path, item.path))
        return Pair(path=path, before=known, unreadable=next(above, None))

    def _next(self) -> Item | None:
        if self._at >= len(self._items) and not self._read_on():
            return None
        return self._items[self._at]

    def _skip(self) -> Item | None:
        self._at += 1
        return self._next()

    def _read_on(self) -> bool:
        """Take in the next chunk, whatever is left of the last one before it; whether there was one."""
        chunk = next(self._chunks, None)
        if not chunk:
            return False
        self._items = [*self._items[self._at :], *chunk]
        self._paths = [*self._paths[self._at :], *[item[0] for item in chunk]]
        self._digests = [*self._digests[self._at :], *[item[1] for item in chunk]]
        self._at = 0
        return True


def merge(
    previous: Iterable[FileState], current: Iterable[FileState | Unreadable]
) -> Iterator[Pair[FileState, FileState]]:
    """Pair two streams of single states."""
    both = Merge([(state.path, b"", state)] for state in previous)
    for pair in chain(both.pairs((one.path, one) for one in current), both.rest()):
        before = None if pair.before is None else pair.before[2]
        yield Pair(path=pair.path, before=before, after=pair.after, unreadable=pair.unreadable)
