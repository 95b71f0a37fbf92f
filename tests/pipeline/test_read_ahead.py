"""Two consumers of one iterator: the one behind gets all items, and nothing is kept for the one ahead."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from fimscan.pipeline.record.read_ahead import ReadAhead


class Chunk:
    """An object whose deletion can be observed."""


@given(length=st.integers(0, 20), turns=st.lists(st.booleans(), max_size=60))
def test_the_consumer_behind_gets_every_item(length: int, turns: list[bool]) -> None:
    """In whatever order they ask: the one ahead gets items in order, each at most once, and all while it is ahead."""
    both = ReadAhead(iter(range(length)))
    ahead, behind = both.ahead(), both.behind()
    seen_ahead: list[int] = []
    seen_behind: list[int] = []
    for is_ahead in turns:
        if is_ahead:
            expected = max(len(seen_behind) - 1, seen_ahead[-1] + 1 if seen_ahead else 0)
            if (one := next(ahead, None)) is not None:
                seen_ahead.append(one)
                assert one == expected
        elif (one := next(behind, None)) is not None:
            seen_behind.append(one)
    seen_behind += behind
    assert seen_behind == list(range(length))


def test_nothing_is_kept_for_a_consumer_that_does_not_read() -> None:
    """If ctime vouches only for one small watch, a scan does not keep all other files in memory."""
    kept: list[weakref.ref[Chunk]] = []

    def source() -> Iterator[Chunk]:
        for _ in range(100):
            chunk = Chunk()
            kept.append(weakref.ref(chunk))
            yield chunk

    both = ReadAhead(source())
    ahead = both.ahead()
    next(ahead)
    for _ in both.behind():
        pass
    del _
    assert sum(one() is not None for one in kept) <= 3
