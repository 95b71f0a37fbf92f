"""Who started whom: no parent is claimed that the records do not bear out."""

from __future__ import annotations

from fimscan.attribution import lineage
from fimscan.model import Actor
from tests.support import SECOND, actor


def process(pid: int, ppid: int, at: float, **values: object) -> Actor:
    return actor(pid=pid)._replace(ppid=ppid, time_ns=int(at * SECOND), **values)  # type: ignore[arg-type]


def follow(child: Actor, *facts: Actor, boot: float = 0) -> tuple[list[int], int | None]:
    def known(pid: int, moment: int) -> list[Actor]:
        those = [f for f in facts if f.pid == pid and f.moment <= moment]
        return sorted(those, key=lambda f: f.moment, reverse=True)

    found = lineage(child, known, boot_ns=int(boot * SECOND))
    return [a.pid for a in found.ancestors], found.unknown


VIM = process(812, 810, 100)
SUDO = process(810, 790, 99)
BASH = process(790, 700, 10)
SSHD = process(700, 1, 9, auid=None, session=None)


def test_the_chain_is_followed_to_the_service_that_let_the_user_in() -> None:
    """vim, by sudo, by bash, by sshd, by init."""
    assert follow(VIM, SUDO, BASH, SSHD) == ([810, 790, 700], 1)


def test_where_nothing_is_known_it_ends() -> None:
    """The number of the parent is all that is said of it."""
    assert follow(VIM) == ([], 810)
    assert follow(VIM, SUDO) == ([810], 790)


def test_a_process_of_another_session_is_no_parent() -> None:
    """Its pid was given away again."""
    assert follow(VIM, SUDO._replace(session=4)) == ([], 810)
    assert follow(VIM, SUDO._replace(auid=1001)) == ([], 810)


def test_what_was_seen_later_is_no_parent() -> None:
    """At the time of the child, that pid may have been another process."""
    assert follow(VIM, SUDO._replace(time_ns=101 * SECOND)) == ([], 810)


def test_what_was_known_before_the_boot_does_not_count() -> None:
    """Pids begin anew."""
    assert follow(VIM, SUDO, boot=99.5) == ([], 810)


def test_a_circle_ends() -> None:
    """Two pids, each the other's parent at some time: reused, so not followed for ever."""
    assert follow(VIM, process(810, 812, 99)) == ([810], 812)
