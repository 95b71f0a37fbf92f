"""The outbox: messages are stored with the scan, delivered by id, and covered by the journal."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.model import MessageKind, MessageState, NewMessage
from fimscan.store import outbox
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.evidence.site import problems

FILE = '[[output]]\nname = "log"\ntype = "file"\npath = "/nonexistent/fimscan.log"\ntimeout = "1s"\n'


def message(number: int, *, urgent: bool = False, size: int = 10) -> NewMessage:
    body = str(number).encode() * size
    return NewMessage(id=f"id-{number}", kind=MessageKind.CHANGES, scan=None, urgent=urgent, body=body)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    yield made
    made.close()


def test_a_message_is_kept_until_it_is_acknowledged(database: Database) -> None:
    """A failed attempt keeps it with its reason; a delivered one keeps its id, and the receiver's answer."""
    with database.begin() as session:
        outbox.add(session, "log", [message(1), message(2)], now_ns=5)
        outbox.add(session, "log", [message(1)], now_ns=6)
    with database.begin() as session:
        first, second = outbox.due(session, "log", 10, limit=9)
        outbox.failed(session, first.number, 10, 20, "connection refused")
        outbox.delivered(session, second.number, 11, "250 ok")
    with database.read() as session:
        assert outbox.due(session, "log", 19, limit=9) == []
        (again,) = outbox.due(session, "log", 20, limit=9)
        assert (again.id, again.body, again.attempts, again.answer) == ("id-1", b"1" * 10, 1, "connection refused")
        done = outbox.listing(session, 9)[0]
        assert (done.id, done.state, done.answer) == ("id-2", MessageState.DELIVERED, "250 ok")
        assert outbox.usage(session, "log").waiting == 1


def test_a_scan_is_replaced_by_its_messages_once(database: Database) -> None:
    """Two processes that make the messages of one scan: the second one changes nothing."""
    with database.begin() as session:
        outbox.add(session, "log", [message(3)], 5)
    with database.begin() as session:
        number = outbox.listing(session, 1)[0].number
        assert not outbox.replace_scans(session, [number], {"log": [message(4)]}, 6)
        assert not outbox.replace_scans(session, [99], {"log": [message(4)]}, 6)
    with database.read() as session:
        assert [one.id for one in outbox.listing(session, 9)] == ["id-3"]


def test_what_is_not_urgent_is_given_up_first(database: Database) -> None:
    """Somebody who makes very many messages does not push out those that somebody has to look at."""
    with database.begin() as session:
        outbox.add(session, "log", [message(1, urgent=True), message(2), message(3)], now_ns=5)
        order = [number for number, *_ in outbox.waiting_sizes(session, "log")]
        assert [one - order[2] for one in order] == [1, 2, 0]


def test_an_old_message_that_is_given_up_after_a_notice_counts(database: Database) -> None:
    """The receiver was told before it was given up: it is told again."""
    notice = replace(message(9), kind=MessageKind.NOT_DELIVERED)
    with database.begin() as session:
        outbox.add(session, "log", [message(1), message(2)], now_ns=5)
        outbox.add(session, "log", [notice], now_ns=10)
        newest, second, first = (one.number for one in outbox.listing(session, 9))
        outbox.give_up(session, [first], 10, "limits")
        assert outbox.count_given_up(session, "log") == 1
        outbox.delivered(session, newest, 20, "ok")
        assert outbox.count_given_up(session, "log") == 0
        outbox.give_up(session, [second], 30, "limits")
        assert outbox.count_given_up(session, "log") == 1


def test_the_journal_covers_the_outbox(cli: Cli) -> None:
    """An alert that was removed, or marked as delivered, by another program shows."""
    cli.write_config(FILE)
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli("scan", "--no-audit", code=4)
    with closing(Database(f"sqlite:///{cli.database}", host=os.uname().nodename)) as database:
        assert problems(database) == []
    for statement, words in (
        ("UPDATE outbox SET state = 'delivered', done_ns = 1", "of the outbox was altered"),
        ("DELETE FROM outbox", "of the outbox is missing"),
    ):
        with closing(sqlite3.connect(cli.database)) as connection:
            assert connection.execute(statement).rowcount
            connection.commit()
        assert words in cli("verify", "--db", code=25).stdout


def test_a_scan_is_recorded_with_its_outputs_or_not_at_all(cli: Cli) -> None:
    """The rows are of the transaction that publishes the scan; without an output there are none."""
    cli.scan()
    with closing(sqlite3.connect(cli.database)) as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


@given(st.sets(st.integers(1, 60)))
def test_the_numbers_of_changes_take_little_room_and_are_read_back(numbers: set[int]) -> None:
    """As ranges: a wave of a hundred thousand changes is one."""
    text = outbox._ranges_text(numbers)
    assert {number for part in outbox._ranges(text or None) for number in part} == numbers
    assert outbox._ranges_text(range(1, 100_000)) == "1-99999"
