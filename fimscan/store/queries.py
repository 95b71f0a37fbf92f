"""Queries for so many rows that what is done for each of them is what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, type_coerce

from fimscan.store.schema import Unsigned64
from fimscan.store.session import Session

#: Given with each statement: set on the connection, it would turn its inserts into server-side cursors, too.
STREAMED = {"stream_results": True, "yield_per": 2000}


def plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column as it is stored: numbers of the upper half of 64 bits are negative (:class:`Unsigned64`)."""
    return type_coerce(column, BigInteger) if isinstance(column.type, Unsigned64) else column


def plain_rows(session: Session, query: Select[Any], at_once: int) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of a query of ``plain`` columns, so many at once.

    SQLite's come straight from the driver: SQLAlchemy would take as long for each of them again. The query has no IN.
    """
    connection = session.connection
    if connection.dialect.name != "sqlite":
        yield from connection.execute(query, execution_options=STREAMED).partitions(at_once)
        return
    compiled = query.compile(dialect=connection.dialect)
    values = compiled.construct_params()
    if not connection.in_transaction():
        connection.begin()
    cursor = connection.connection.cursor()
    try:
        cursor.execute(str(compiled), [values[name] for name in compiled.positiontup or ()])
        while rows := cursor.fetchmany(at_once):
            yield rows
    finally:
        cursor.close()
