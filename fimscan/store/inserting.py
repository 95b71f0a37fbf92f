"""Adding the rows that are not there yet, which each database says in its own way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_of_new(connection: Connection, table: Table) -> Any:
    """An insert that leaves out what is there already, by the table's unique keys."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table).on_conflict_do_nothing()
