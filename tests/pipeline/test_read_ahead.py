"""One stream, two readers: nothing is lost for the one behind, and nothing kept for the one ahead."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from fimscan.pipeline.record.read_ahead import ReadAhead


class Chunk:
    """Something that can be seen to go away."""


@given(length=st.integers(0, 20), turns=st.lists(st.booleans(), max_size=60))
def test_the_one_behind_gets_all_and_the_one_ahead_what_comes(length: int, turns: list[bool]) -> None:
    """In whichever order they ask; the one ahead gets each at most once, in order, and all as long as it is ahead."""
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


def test_nothing_is_kept_for_one_who_does_not_ask() -> None:
    """A scan of which one small watch alone is vouched for does not hold the others' million files in memory."""
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
