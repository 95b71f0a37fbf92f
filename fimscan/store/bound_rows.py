"""The rows that evidence shows, with exactly the values that the journal digests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select

from fimscan.store import files
from fimscan.store.registry import Noted, Numbered, Shown, Subject, WithScan
from fimscan.store.row_digests import shown_values
from fimscan.store.session import Session


def _columns(subject: Subject) -> tuple[str, ...]:
    rows = subject.rows
    match rows:
        case Numbered():
            return (*rows.columns, *rows.later)
        case Noted():
            return (*rows.key, *rows.others, *rows.later)
        case Shown() | WithScan():
            return rows.columns
    raise AssertionError(subject)


SUBJECTS: Mapping[Subject, tuple[str, tuple[str, ...]]] = {
    subject: (name, _columns(subject))
    for subject, name in (
        (Subject.ACCEPTANCE, "decision"),
        (Subject.PLAN, "plan"),
        (Subject.MISSED_RUN, "missed runs"),
        (Subject.OUTBOX, "message"),
        (Subject.SELFTEST, "selftest"),
        (Subject.CLOCK, "look at the clock"),
        (Subject.ANSWER, "change"),
        (Subject.CAUSE, "control failure"),
        (Subject.CONTROL_NOTE, "note on a control failure"),
    )
}
"""What evidence shows -> its name for people, and the columns of the digest."""


class BoundRow(NamedTuple):
    """One row: its subject, its number, and its values in the order of the digest."""

    subject: Subject
    number: int
    values: list[Any]


def bound_rows(session: Session, wanted: Mapping[Subject, Collection[int]]) -> Iterator[BoundRow]:
    """Yield those of the wanted rows that are stored."""
    for subject, (_, columns) in SUBJECTS.items():
        rows = subject.rows
        table = rows.table
        number = table.c[rows.number]
        values_of = _values_of(subject)
        for some in files.chunks(sorted(wanted.get(subject, ()))):
            query = select(number, *(table.c[name] for name in columns)).where(number.in_(some))
            if "host_id" in table.c:
                query = query.where(table.c.host_id == session.host_id)
            for row in session.execute(query.order_by(number)):
                yield BoundRow(subject, row[0], values_of(row[1:]))


def _values_of(subject: Subject) -> Callable[[Sequence[Any]], list[Any]]:
    """What makes, of the columns of a row, the values in the order of the digest."""
    rows = subject.rows
    match rows:
        case Shown():
            return shown_values
        case Noted():
            always = len(rows.key) + len(rows.others)
            return lambda row: [*row[:always], *(value for value in row[always:] if value is not None)]
        case Numbered():
            many = len(rows.columns)
            return lambda row: [*row] if any(value is not None for value in row[many:]) else [*row[:many]]
        case WithScan():
            return list
    raise AssertionError(subject)
