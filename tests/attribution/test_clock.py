"""The read clock: answers may be too early, never too late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fimscan.attribution import ReadClock


@given(st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(0, 10**6), min_size=1, max_size=600))
def test_the_clock_is_never_late(times: dict[bytes, int]) -> None:
    """A window begins at or before the reading of the file, also after the clock was stored."""
    clock = ReadClock()
    for path in sorted(times):
        clock.note(path, times[path])
    clock = ReadClock.load(clock.dump())
    for path, read_at in times.items():
        at = clock.at(path)
        assert at is not None and at <= read_at


def test_absence_was_seen_when_the_directory_was_listed() -> None:
    """A file created while its neighbours are read was created after its directory was listed."""
    clock = ReadClock()
    clock.note(b"/w", 10)
    for number in range(600):
        clock.note(b"/w/%04d" % number, 1000 + number)
    assert clock.absent_at(b"/w/zz") == 10
    assert clock.at(b"/w/zz") == 1000 + 511


def test_an_empty_clock_knows_nothing() -> None:
    """A scan of no files, or a database older than read clocks."""
    assert ReadClock.load(b"").at(b"/x") is None
