"""Insert the rows that are not stored yet."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from sqlalchemy import Table, select

from fimscan.store import files, journal, row_digests
from fimscan.store.registry import Noted, Subject
from fimscan.store.session import Session


def insert_of_new(session: Session, table: Table) -> Any:
    """Build an insert that skips rows whose unique key is stored already."""
    # Each dialect has its own insert; only this database's dialect is imported.
    dialect = import_module(f"sqlalchemy.dialects.{session.connection.dialect.name}")
    return dialect.insert(table).on_conflict_do_nothing()


def add_new(session: Session, subject: Subject, rows: Iterable[dict[str, Any]]) -> None:
    """Insert noted rows whose key is new (the first row of each key), and note them in the journal.

    The first two columns of the key must be indexed.
    """
    assert isinstance(subject.rows, Noted)
    table, key = subject.rows.table, subject.rows.key
    fresh: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        fresh.setdefault(tuple(row[name] for name in key), {"host_id": session.host_id, **row})
    if not fresh:
        return
    journal.lock(session)
    columns = [table.c[name] for name in key]
    for some in files.chunks(list(fresh)):
        query = select(*columns).where(table.c.host_id == session.host_id)
        for column, values in zip(columns[:2], zip(*some, strict=True), strict=False):
            query = query.where(column.in_(set(values)))
        for known in session.execute(query).all():
            fresh.pop(tuple(known), None)
    if fresh:
        session.execute(table.insert(), list(fresh.values()))
        journal.note(session, [row_digests.of_row(subject, row) for row in fresh.values()])
