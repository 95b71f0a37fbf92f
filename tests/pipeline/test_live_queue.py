"""When a path is looked at: not while it is being written, not too late, and not all the time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.pipeline.live.queue import LookQueue, LookRequest


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> LookQueue:
    return LookQueue(quiet=1, max_delay=10, clock=clock)


def overdue(queue: LookQueue) -> list[bool]:
    return [request.is_overdue for request in queue.due()]


def paths(queue: LookQueue) -> list[bytes]:
    return [request.path for request in queue.due()]


def test_a_path_is_due_when_it_has_been_quiet(queue: LookQueue, clock: Clock) -> None:
    """Each new event restarts the quiet time."""
    queue.add([LookRequest(path=b"/w/a")])
    clock.now += 0.9
    assert paths(queue) == []
    queue.add([LookRequest(path=b"/w/a")])
    clock.now += 0.9
    assert paths(queue) == []
    clock.now += 0.2
    assert paths(queue) == [b"/w/a"]


def test_a_path_that_is_never_quiet_becomes_due(queue: LookQueue, clock: Clock) -> None:
    """Writing all the time does not prevent a look."""
    for _ in range(20):
        assert paths(queue) == []
        queue.add([LookRequest(path=b"/w/a")])
        clock.now += 0.5
    assert paths(queue) == [b"/w/a"]
    assert overdue(queue) == [True]


def test_a_path_that_is_still_written_waits_up_to_a_limit(queue: LookQueue, clock: Clock) -> None:
    """A wait for the writer counts as an event."""
    queue.add([LookRequest(path=b"/w/a")])
    clock.now += 2
    assert overdue(queue) == [False]
    queue.wait(b"/w/a")
    assert paths(queue) == []
    clock.now += 8
    assert paths(queue) == [b"/w/a"] and overdue(queue) == [True]


def looks_in(queue: LookQueue, clock: Clock, seconds: int) -> int:
    looks = 0
    for _ in range(seconds * 10):
        queue.add([LookRequest(path=b"/w/hot")])
        for path in paths(queue):
            looks += 1
            queue.done(path)
        clock.now += 0.1
    return looks


def test_a_hot_path_is_looked_at_less_and_less_often(queue: LookQueue, clock: Clock) -> None:
    """At most about once a minute; soon again after a pause."""
    assert looks_in(queue, clock, 60) <= 6
    looks_in(queue, clock, 600)
    assert looks_in(queue, clock, 600) <= 11
    clock.now += 300
    queue.add([LookRequest(path=b"/w/hot")])
    clock.now += 1
    assert paths(queue) == [b"/w/hot"]


def test_both_names_of_a_moved_file_are_looked_at_together(queue: LookQueue, clock: Clock) -> None:
    """Otherwise a move would be reported as a removal, and later as an addition."""
    queue.add([LookRequest(path=b"/w/a", partners=frozenset({b"/w/b"})), LookRequest(path=b"/w/b")])
    clock.now += 0.9
    queue.add([LookRequest(path=b"/w/b")])
    clock.now += 0.2
    assert paths(queue) == [b"/w/a", b"/w/b"]


def test_what_does_not_fit_is_counted(queue: LookQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded; the number of paths left to the next scan is reported."""
    monkeypatch.setattr("fimscan.pipeline.live.queue._MOST_PATHS", 2)
    queue.add(LookRequest(path=b"/w/%d" % number) for number in range(5))
    assert (len(queue), queue.overflowed) == (2, 3)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.floats(0, 30)), max_size=40))
def test_no_news_is_forgotten(news: list[tuple[bytes, float]]) -> None:
    """For any sequence of events, each path becomes due about a minute after its last event at the latest."""
    clock = Clock()
    queue = LookQueue(quiet=1, max_delay=10, clock=clock)
    waiting: set[bytes] = set()
    for path, pause in news:
        queue.add([LookRequest(path=path)])
        waiting.add(path)
        clock.now += pause
        for due in paths(queue):
            waiting.discard(due)
            queue.done(due)
    clock.now += 71
    assert set(paths(queue)) == waiting
