"""Which records of one pid are of one process: an attacker can make the pid counter wrap around."""

from __future__ import annotations

from typing import Any

import pytest

from fimscan.attribution import Alive, Lives
from fimscan.model import Actor
from tests.support import SECOND, actor

SERVICE = {"auid": None, "session": None}


def seen(at: float, **values: Any) -> Actor:
    return actor(pid=7, **{"ppid": 70, "time_ns": int(at * SECOND), **values})


def processes(*sightings: Actor, alive: tuple[tuple[float, float], ...] = ()) -> list[int | None]:
    """The token of each record's process."""
    spans = [Alive(int(start * SECOND), int(end * SECOND)) for start, end in alive]
    lives = Lives(sightings, {7: spans})
    return [lives.since(7, one.moment) for one in sightings]


def is_one(*sightings: Actor, alive: tuple[tuple[float, float], ...] = ()) -> bool:
    return len(set(processes(*sightings, alive=alive))) == 1


def test_calls_of_one_parent_user_and_login_are_one_process() -> None:
    """The usual case: no token is set."""
    assert processes(seen(1), seen(2), seen(3)) == [None, None, None]


@pytest.mark.parametrize(
    "other",
    [
        {"uid": 1003},
        {"ppid": 71},
        {"auid": 1001},
        {"session": 4},
        {"syscall": "execve"},
    ],
)
def test_another_user_parent_login_or_program_is_another_process(other: dict[str, object]) -> None:
    """Another user, parent, login or session, or a started program: the pid was reused."""
    assert not is_one(seen(1), seen(2, **other))


def test_a_service_with_the_pid_of_another_users_process_is_another() -> None:
    """The framing attempt: both are children of init, run one program, and have no login."""
    first, second = seen(1, ppid=1, uid=1003, **SERVICE), seen(2, ppid=1, uid=0, **SERVICE)
    assert not is_one(first, second)


def test_a_process_whose_parent_ended_is_still_the_same() -> None:
    """For processes of a login session and of root; other users run services with that parent."""
    assert is_one(seen(1), seen(2, ppid=1))
    assert is_one(seen(1, **SERVICE), seen(2, ppid=1, **SERVICE))
    assert not is_one(seen(1, uid=33, **SERVICE), seen(2, uid=33, ppid=1, **SERVICE))
    assert not is_one(seen(1, ppid=1), seen(2, ppid=70))  # a reparented process never gets a parent back


def test_a_process_that_was_seen_alive_is_the_same_from_its_start_on() -> None:
    """Even if it changed its user id or its parent ended."""
    assert is_one(seen(2, uid=0), seen(3, uid=33), seen(4, uid=33, ppid=1), alive=((1, 5),))
    assert processes(seen(2), seen(3), alive=((1, 5),)) == [SECOND, SECOND]


def test_a_record_before_the_start_is_of_another_process() -> None:
    """Even if everything else is the same: start times come from /proc, while the process runs."""
    assert not is_one(seen(1), seen(3), alive=((2, 4),))
    assert not is_one(seen(1), seen(5), alive=((2, 4),))  # another process lived in between
    assert is_one(seen(1.99), seen(3), alive=((2, 4),))  # two clocks


def test_a_different_process_in_between_separates() -> None:
    """Two equal records with another process of that pid between them are of two processes."""
    one, between, other = processes(seen(1), seen(2, ppid=71), seen(3))
    assert len({one, between, other}) == 3


def test_the_order_of_the_records_does_not_matter() -> None:
    """Logs are read late and out of order."""
    sightings = [seen(1), seen(2, uid=5), seen(3, uid=5)]
    there, back = Lives(sightings), Lives(reversed(sightings))
    assert [there.since(7, s.moment) for s in sightings] == [back.since(7, s.moment) for s in sightings]
