"""A stretch of the walk with what was found out about it: enough to see that nothing changed, the rest on demand."""

from __future__ import annotations

import marshal
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from fimscan.model import Unreadable
from fimscan.packed import FIELDS, Packed
from fimscan.scan.state import Raw, to_unreadable

Entry: TypeAlias = Packed | Unreadable
"""What was found out about one path."""

Answer: TypeAlias = tuple[list[bytes], int, int, int, bytes]
"""State digests in order (empty where there is no state), how many states, bytes of content read, the earliest time
of reading (0 for none), and all of it marshalled: each a :data:`Packed`, or a refusal. The last one is only taken
apart where something differs."""

_SIZE = FIELDS.index("size")
_FAST_DIGEST = FIELDS.index("xxh3_128")  # always among those that are taken, if any is
_READ_START = FIELDS.index("read_start_ns")


def answer_of(results: list[Packed | Raw]) -> Answer:
    """What a worker answers."""
    states = [one for one in results if len(one) > 2]
    return (
        [one[-1] if len(one) > 2 else b"" for one in results],
        len(states),
        sum([one[_SIZE] for one in states if one[_FAST_DIGEST] is not None]),
        min([one[_READ_START] for one in states], default=0),
        marshal.dumps(results),
    )


class Block:
    """Consecutive paths, in increasing order.

    Args:
        paths: all of them.
        answer: of those that were read by a worker.
        own: (position in ``paths``, entry) of those that the walk has answered itself: directories.
    """

    __slots__ = ("_own", "_rows", "bytes", "digests", "earliest_ns", "paths", "states")

    def __init__(self, paths: list[bytes], answer: Answer, own: Sequence[tuple[int, Entry]]) -> None:
        self.paths = paths
        self._own = own
        self.digests, self.states, self.bytes, self.earliest_ns, self._rows = answer
        for position, entry in own:
            if isinstance(entry, Unreadable):
                self.digests.insert(position, b"")
                continue
            self.digests.insert(position, entry[-1])
            start = entry[_READ_START]
            self.earliest_ns = min(self.earliest_ns, start) if self.states else start
            self.states += 1

    def all_states(self) -> Iterator[Packed]:
        """What was found, where all of it could be read."""
        return (entry for entry in self.entries() if not isinstance(entry, Unreadable))

    def entries(self) -> Iterator[Entry]:
        """What was found out about each of the paths."""
        entries = marshal.loads(self._rows)  # noqa: S302 - from our own worker
        for position, entry in self._own:
            entries.insert(position, entry)
        for path, entry in zip(self.paths, entries, strict=True):
            yield to_unreadable(path, entry) if isinstance(entry, tuple) and len(entry) == 2 else entry
