"""Messages to receivers: written with the scan that they are about, delivered later, at least once.

A finished scan adds one row for each output, in its own transaction: ``scan``. Later, and in one transaction, such rows
are replaced by the messages of these scans, which never change afterwards. So a crash at any moment loses no message,
and a message that is sent twice has the same id and the same content.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select

from fimscan.model import MessageKind, MessageState, NewMessage, OutboxMessage, OutboxUsage
from fimscan.store import files, journal, schema
from fimscan.store.queries import STREAMED
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from fimscan.store.session import Session

_table = schema.outbox
_NAMESPACE = uuid.UUID("6f3b1c1e-7d5a-5d0e-9a43-0f8f4c1d5b1e")
_MOST_BODY = 4 * 1024 * 1024  # bytes of a message; what is longer was not made by fimscan
_MOST_ANSWER = 500
_LONGEST_DELAY_NS = 2 * 3600 * 10**9


def stable_id(*parts: object) -> str:
    """An id that is the same for the same parts."""
    return str(uuid.uuid5(_NAMESPACE, "\0".join(map(str, parts))))


def add_scan(session: Session, scan_id: int, entry: str, outputs: Iterable[str], now_ns: int) -> None:
    """Record that each output is to be told of a scan; ``entry`` is its ledger entry."""
    rows = [
        _values(
            output,
            NewMessage(id=stable_id(entry, output), kind=MessageKind.SCAN, scan=scan_id, urgent=True, body=b""),
            MessageState.SCAN,
            now_ns,
        )
        for output in outputs
    ]
    _insert(session, rows)


def scans(session: Session) -> list[OutboxMessage]:
    """The rows of scans whose messages are not made yet, oldest first."""
    return _load(session, _table.c.state == MessageState.SCAN.value)


def replace_scans(
    session: Session, numbers: Sequence[int], messages: Mapping[str, Sequence[NewMessage]], now_ns: int
) -> bool:
    """Replace rows of scans by their messages, by output; ``False`` if another process has done so."""
    journal.lock(session)
    found = [row for some in files.chunks(numbers) for row in _rows(session, _table.c.id.in_(some))]
    if sorted(row.id for row in found) != sorted(numbers) or any(row.state != MessageState.SCAN for row in found):
        return False
    _note(session, found)
    for some in files.chunks(numbers):
        session.execute(_table.delete().where(_table.c.id.in_(some)))
    for output, made in messages.items():
        add(session, output, made, now_ns)
    return True


def add(session: Session, output: str, messages: Sequence[NewMessage], now_ns: int) -> None:
    """Add messages to an output. One that is there already stays as it is."""
    rows = [_values(output, message, MessageState.WAITING, now_ns) for message in messages]
    known = set(
        session.scalars(
            select(_table.c.message).where(
                _mine(session), _table.c.output == output, _table.c.message.in_([row["message"] for row in rows])
            )
        )
    )
    _insert(session, [row for row in rows if row["message"] not in known])


def due(session: Session, output: str, now_ns: int, limit: int) -> list[OutboxMessage]:
    """The oldest waiting messages of an output that are to be tried, with their bodies.

    A time that is too far away comes from a clock that was set back since: it does not count.
    """
    is_due = (_table.c.next_ns <= now_ns) | (_table.c.next_ns > now_ns + _LONGEST_DELAY_NS)
    return _load(session, _waiting(output) & is_due, limit=limit, bodies=True)


def delivered(session: Session, number: int, now_ns: int, answer: str) -> None:
    """Record that a receiver acknowledged a message."""
    _end(session, [number], MessageState.DELIVERED, now_ns, answer)


def give_up(session: Session, numbers: Sequence[int], now_ns: int, reason: str) -> None:
    """Record that messages will not be delivered."""
    _end(session, numbers, MessageState.GIVEN_UP, now_ns, reason)


def count_given_up(session: Session, output: str) -> int:
    """How many messages were given up since the notice was made that the receiver got last.

    By time: an old message can be given up after a newer row was made to say so.
    """
    notice = MessageKind.NOT_DELIVERED.value
    told = select(func.coalesce(func.max(_table.c.made_ns), 0)).where(
        _mine(session),
        _table.c.output == output,
        _table.c.kind == notice,
        _table.c.state == MessageState.DELIVERED.value,
    )
    query = select(func.count()).where(
        _mine(session),
        _table.c.output == output,
        _table.c.kind != notice,
        _table.c.state == MessageState.GIVEN_UP.value,
        _table.c.done_ns > told.scalar_subquery(),
    )
    return int(session.scalar(query) or 0)


def replace_notices(session: Session, output: str, notice: NewMessage, now_ns: int) -> None:
    """Let one message say what those said that wait to say how many messages were given up."""
    kind = MessageKind.NOT_DELIVERED.value
    known = session.scalars(select(_table.c.id).where(_mine(session), _waiting(output), _table.c.kind == kind)).all()
    give_up(session, known, now_ns, "a later message says the same")
    add(session, output, [notice], now_ns)


def failed(session: Session, number: int, now_ns: int, next_ns: int, error: str) -> None:
    """Record a failed attempt, unless the message was delivered or given up meanwhile."""
    session.execute(
        _table.update()
        .where(_mine(session), _table.c.id == number, _table.c.state == MessageState.WAITING.value)
        .values(attempts=_table.c.attempts + 1, tried_ns=now_ns, next_ns=next_ns, answer=error[:_MOST_ANSWER])
    )


def postpone(session: Session, output: str, next_ns: int) -> None:
    """Try no message of an output before a time: its receiver cannot be reached."""
    session.execute(
        _table.update().where(_mine(session), _waiting(output), _table.c.next_ns < next_ns).values(next_ns=next_ns)
    )


def try_now(session: Session, output: str) -> None:
    """Let all messages of an output be tried again at once."""
    session.execute(_table.update().where(_mine(session), _waiting(output), _table.c.next_ns > 0).values(next_ns=0))


def usage(session: Session, output: str) -> OutboxUsage:
    """How much waits for an output."""
    query = select(
        func.count(), func.coalesce(func.sum(func.length(_table.c.body)), 0), func.min(_table.c.made_ns)
    ).where(_mine(session), _waiting(output))
    count, size, oldest = session.execute(query).one()
    return OutboxUsage(waiting=count, size=int(size), oldest_ns=oldest)


def last_failure(session: Session, output: str) -> str:
    """Why the last attempt to deliver a waiting message failed; empty if none was tried."""
    query = select(_table.c.answer).where(_mine(session), _waiting(output), _table.c.tried_ns.is_not(None))
    return session.scalar(query.order_by(_table.c.tried_ns.desc()).limit(1)) or ""


def waiting_sizes(session: Session, output: str) -> list[tuple[int, int, int, bool]]:
    """(number, size, when made, whether urgent) of each waiting message, those to be given up first in front.

    Messages about messages that were given up come last.
    """
    is_notice = _table.c.kind == MessageKind.NOT_DELIVERED.value
    query = select(_table.c.id, func.length(_table.c.body), _table.c.made_ns, _table.c.urgent)
    query = query.where(_mine(session), _waiting(output)).order_by(is_notice, _table.c.urgent, _table.c.id)
    return [(row[0], row[1], row[2], row[3]) for row in session.execute(query)]


def altered(session: Session) -> Iterator[int]:
    """Yield the numbers of waiting messages whose content is not what was to be sent."""
    query = select(_table.c.id, _table.c.digest, _table.c.body).where(_mine(session), _table.c.body != b"")
    for number, digest, body in session.execute(query, execution_options=STREAMED):
        reader = zlib.decompressobj()
        try:
            content = reader.decompress(body, _MOST_BODY)
        except zlib.error:
            yield number
            continue
        if reader.unused_data or hashlib.sha256(content).hexdigest() != digest:
            yield number


def listing(session: Session, limit: int, *states: MessageState) -> list[OutboxMessage]:
    """The newest messages, newest first, without bodies; of these states or, without any, of all."""
    which = _table.c.state.in_([state.value for state in states or MessageState])
    return _load(session, which, limit=limit, newest=True)


def between(session: Session, start_ns: int, end_ns: int, scans: tuple[int, int]) -> Iterator[OutboxMessage]:
    """The messages that were made in a stretch of time, or are about scans from the first to the last one.

    Without bodies, oldest first, streamed.
    """
    columns = [column for column in _table.c if column.name != "body"]
    query = select(*columns).where(_mine(session), _within(start_ns, end_ns, scans)).order_by(_table.c.id)
    for row in session.execute(query, execution_options=STREAMED):
        yield _message(row, body=None)


def numbers_between(session: Session, start_ns: int, end_ns: int, scans: tuple[int, int]) -> Iterator[int]:
    """The numbers of the messages of :func:`between`."""
    query = select(_table.c.id).where(_mine(session), _within(start_ns, end_ns, scans))
    yield from session.execute(query, execution_options=STREAMED).scalars()


def _within(start_ns: int, end_ns: int, scans: tuple[int, int]) -> ColumnElement[bool]:
    made = (_table.c.made_ns >= start_ns) & (_table.c.made_ns < end_ns)
    return made | _table.c.scan_id.between(*scans)


def since_scan(session: Session, output: str, scan: int) -> list[OutboxMessage]:
    """The messages to an output that are about a scan or a later one, with their bodies."""
    return _load(session, (_table.c.output == output) & (_table.c.scan_id >= scan), bodies=True)


def by_number(session: Session, numbers: Sequence[int]) -> list[OutboxMessage]:
    """Messages by their numbers, without bodies."""
    return _load(session, _table.c.id.in_(numbers))


def last_delivered_ns(session: Session, output: str) -> int | None:
    """When a message was last delivered to an output."""
    query = select(func.max(_table.c.done_ns)).where(
        _mine(session), _table.c.output == output, _table.c.state == MessageState.DELIVERED.value
    )
    found: int | None = session.scalar(query)
    return found


# --------------------------------------------------------------------------------------------------------------------


def _mine(session: Session) -> ColumnElement[bool]:
    return _table.c.host_id == session.host_id


def _waiting(output: str) -> ColumnElement[bool]:
    return (_table.c.state == MessageState.WAITING.value) & (_table.c.output == output)


def _values(output: str, message: NewMessage, state: MessageState, now_ns: int) -> dict[str, Any]:
    return {
        "message": message.id,
        "output": output,
        "kind": message.kind.value,
        "scan_id": message.scan,
        "state": state.value,
        "urgent": message.urgent,
        "made_ns": now_ns,
        "digest": hashlib.sha256(message.body).hexdigest(),
        "body": zlib.compress(message.body) if message.body else b"",
        "attempts": 0,
        "next_ns": 0,
        "tried_ns": None,
        "done_ns": None,
        "answer": "",
        "changes": _ranges_text(message.changes) or None,
    }


def _ranges_text(numbers: Iterable[int]) -> str:
    """Numbers as ``3-17,20``: a wave of a hundred thousand changes takes little room."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _ranges(text: str | None) -> tuple[range, ...]:
    """The inverse of :func:`_ranges_text`."""
    parts = (part.partition("-") for part in (text or "").split(",") if part)
    return tuple(range(int(first), int(last or first) + 1) for first, _, last in parts)


def _insert(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        result = session.execute(_table.insert().values(host_id=session.host_id, **row))
        assert result.inserted_primary_key is not None, "an insert of one row gives its key"
        journal.note(session, [of_row(Subject.OUTBOX, {**row, "id": int(result.inserted_primary_key[0])})])


def _end(session: Session, numbers: Sequence[int], state: MessageState, now_ns: int, answer: str) -> None:
    journal.lock(session)
    for some in files.chunks(numbers):
        found = _rows(session, _table.c.id.in_(some) & (_table.c.state == MessageState.WAITING.value))
        _note(session, found)
        _note(session, [{**row._asdict(), "state": state.value, "done_ns": now_ns} for row in found])
        session.execute(
            _table.update()
            .where(_table.c.id.in_([row.id for row in found]))
            .values(
                state=state.value,
                done_ns=now_ns,
                tried_ns=now_ns if state is MessageState.DELIVERED else _table.c.tried_ns,
                attempts=_table.c.attempts + int(state is MessageState.DELIVERED),
                answer=answer[:_MOST_ANSWER],
                body=b"",
            )
        )


def _note(session: Session, rows: Iterable[Row[Any] | Mapping[str, Any]]) -> None:
    found = [row if isinstance(row, Mapping) else row._asdict() for row in rows]
    journal.note(session, [of_row(Subject.OUTBOX, row) for row in found])


def _rows(session: Session, which: ColumnElement[bool]) -> Sequence[Row[Any]]:
    return session.execute(select(_table).where(_mine(session), which)).all()


def _load(
    session: Session,
    which: ColumnElement[bool],
    *,
    limit: int | None = None,
    newest: bool = False,
    bodies: bool = False,
) -> list[OutboxMessage]:
    columns = [column for column in _table.c if bodies or column.name != "body"]
    order = _table.c.id.desc() if newest else _table.c.id
    query = select(*columns).where(_mine(session), which).order_by(order).limit(limit)
    return [_message(row, body=row.body if bodies else None) for row in session.execute(query)]


def _message(row: Row[Any], *, body: bytes | None) -> OutboxMessage:
    return OutboxMessage(
        number=row.id,
        id=row.message,
        output=row.output,
        kind=MessageKind(row.kind),
        scan=row.scan_id,
        state=MessageState(row.state),
        urgent=row.urgent,
        made_ns=row.made_ns,
        attempts=row.attempts,
        next_ns=row.next_ns,
        tried_ns=row.tried_ns,
        done_ns=row.done_ns,
        answer=row.answer,
        changes=_ranges(row.changes),
        body=_unpacked(body) if body else None,
    )


def _unpacked(body: bytes) -> bytes:
    return zlib.decompressobj().decompress(body, _MOST_BODY)
