"""Ancestors of a process: only parents that the records prove."""

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
    """vim, started by sudo, bash, sshd and init."""
    assert follow(VIM, SUDO, BASH, SSHD) == ([810, 790, 700], 1)


def test_the_chain_ends_at_an_unknown_parent() -> None:
    """Only the pid of an unknown parent is reported."""
    assert follow(VIM) == ([], 810)
    assert follow(VIM, SUDO) == ([810], 790)


def test_a_process_of_another_session_is_no_parent() -> None:
    """The pid was reused by another session."""
    assert follow(VIM, SUDO._replace(session=4)) == ([], 810)
    assert follow(VIM, SUDO._replace(auid=1001)) == ([], 810)


def test_a_later_record_is_no_parent() -> None:
    """At the time of the child, that pid may have been another process."""
    assert follow(VIM, SUDO._replace(time_ns=101 * SECOND)) == ([], 810)


def test_records_before_the_boot_do_not_count() -> None:
    """Pids start again after a boot."""
    assert follow(VIM, SUDO, boot=99.5) == ([], 810)


def test_a_circle_ends() -> None:
    """Two pids that are each other's parent were reused; they are not followed forever."""
    assert follow(VIM, process(810, 812, 99)) == ([810], 812)
