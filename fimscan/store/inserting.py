"""Adding the rows that are not there yet, which each database says in its own way."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Table


def insert_of_new(connection: Connection, table: Table) -> Any:
    """An insert that leaves out what is there already, by the table's unique keys."""
    # Each dialect has an insert of its own; only that of this database is loaded.
    dialect = import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    return dialect.insert(table).on_conflict_do_nothing()
