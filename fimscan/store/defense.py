"""Defend against a database that somebody else altered: foreign triggers, views and indexes, and damaged pages.

A trigger can rewrite an answer while it is stored, before the journal digests it. A view or a changed index can hide
rows. So the schema must be exactly what the migrations make.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, create_engine, text

from fimscan.report.display import show
from fimscan.store import schema
from fimscan.store.interrupts import on_progress

_OPCODES = 100_000  # of SQLite's virtual machine, about a millisecond; Python handles signals that often
_EXECUTABLE = frozenset({"trigger", "view"})
# What SQLite makes by itself. ANALYZE makes statistics, which only choose among plans.
_OF_SQLITE = frozenset({"sqlite_sequence", "sqlite_stat1", "sqlite_stat4"})

Schema: TypeAlias = Mapping[tuple[str, str], str]
"""The normalized definition of each object, by type and name."""


def harden(connection: sqlite3.Connection) -> None:
    """Let SQLite run nothing that a schema contains, check what it reads, and be interruptible by signals."""
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0"):
        connection.execute(f"PRAGMA {pragma}").close()
    if hasattr(connection, "setconfig"):  # since Python 3.12
        off, on = ("SQLITE_DBCONFIG_ENABLE_TRIGGER", "SQLITE_DBCONFIG_ENABLE_VIEW"), ("SQLITE_DBCONFIG_DEFENSIVE",)
        for name in (*off, *on):
            with suppress(AttributeError, sqlite3.Error):  # a library that is older than the option
                connection.setconfig(getattr(sqlite3, name), name in on)
    connection.set_progress_handler(on_progress, _OPCODES)


def executable_objects(connection: Connection) -> Iterator[str]:
    """Describe triggers, views and rules, which no version of fimscan makes; for a database of any version."""
    if connection.dialect.name == "sqlite":
        for kind, name in _schema_of(connection):
            if kind in _EXECUTABLE:
                yield _described(kind, name)
    else:
        yield from _executable_in_postgresql(connection)


def foreign_objects(connection: Connection) -> Iterator[str]:
    """Describe everything in which the schema differs from the one that the migrations make."""
    if connection.dialect.name != "sqlite":
        yield from _executable_in_postgresql(connection)
        yield from _indexes_in_postgresql(connection)
        return
    found = _schema_of(connection)
    if digest_of(found) == schema.SCHEMA_DIGEST:  # making the expected schema takes longer than many a command
        return
    expected = expected_schema()
    for kind, name in sorted(found.keys() - expected.keys()):
        yield _described(kind, name)
    for kind, name in sorted(expected.keys() - found.keys()):
        yield f"its {kind} {show(name.encode())} is missing"
    for kind, name in sorted(found.keys() & expected.keys()):
        if found[kind, name] != expected[kind, name]:
            yield f"its {kind} {show(name.encode())} was altered"


def _described(kind: str, name: str) -> str:
    return f"it has the {kind} {show(name.encode())}, which fimscan did not make"


def remedy(file: str | None) -> str:
    """What to do about foreign objects."""
    look = f"see: sqlite3 {shlex.quote(file)} .schema; " if file is not None else ""
    return (
        f"{look}it may have altered what was stored since; restore a backup that 'fimscan verify --db --head' finds"
        " intact, or remove it and verify"
    )


# --------------------------------------------------------------------------------------------------------------------
# SQLite


def _schema_of(connection: Connection) -> Schema:
    rows = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_schema").all()
    return {
        (str(kind), str(name)): _normalized(table, sql)
        for kind, name, table, sql in rows
        if not (kind == "table" and name in _OF_SQLITE)
    }


def expected_schema() -> Schema:
    """What the migrations make."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            schema.create(connection)
            return _schema_of(connection)
    finally:
        engine.dispose()


def digest_of(found: Schema) -> str:
    """The digest of a schema, for :data:`fimscan.store.schema.SCHEMA_DIGEST`."""
    return hashlib.sha256(repr(sorted(found.items())).encode("utf-8", "backslashreplace")).hexdigest()


def _normalized(table: object, sql: object) -> str:
    """The definition without differences between a new and an upgraded database: quotes, spaces, order of columns."""
    plain = re.sub(r"\s+", " ", str(sql or "").replace('"', "")).strip()
    match = re.fullmatch(r"(CREATE TABLE \w+ )\((.*)\)(.*)", plain)
    if match is not None:
        parts = sorted(part.strip() for part in re.split(r", (?![^()]*\))", match[2].strip()))
        plain = f"{match[1]}({', '.join(parts)}){match[3].strip()}"
    return f"{table}: {plain}"


# --------------------------------------------------------------------------------------------------------------------
# PostgreSQL

_OURS = {"tables": [table.name for table in schema.metadata.sorted_tables]}
_EXECUTABLES = text(
    "SELECT 'trigger' AS kind, t.tgname AS name FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
    " WHERE NOT t.tgisinternal AND c.relname IN :tables AND pg_table_is_visible(c.oid)"
    " UNION ALL SELECT 'rule', r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class"
    " WHERE c.relname IN :tables AND pg_table_is_visible(c.oid)"
    " UNION ALL SELECT 'policy', p.polname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"
    " WHERE c.relname IN :tables AND pg_table_is_visible(c.oid)"
    " UNION ALL SELECT 'view', c.relname FROM pg_class c"
    " WHERE c.relname IN :tables AND pg_table_is_visible(c.oid) AND c.relkind NOT IN ('r', 'p')"
).bindparams(bindparam("tables", expanding=True))
_INDEXES = text(
    "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid"
    " WHERE c.relname IN :tables AND pg_table_is_visible(c.oid)"
).bindparams(bindparam("tables", expanding=True))


def _executable_in_postgresql(connection: Connection) -> Iterator[str]:
    for kind, name in connection.execute(_EXECUTABLES, _OURS):
        yield _described(kind, name)


def _indexes_in_postgresql(connection: Connection) -> Iterator[str]:
    known: set[Any] = {index.name for table in schema.metadata.tables.values() for index in table.indexes}
    known |= {constraint.name for table in schema.metadata.tables.values() for constraint in table.constraints}
    for name in connection.scalars(_INDEXES, _OURS):
        if name not in known:
            yield _described("index", name)
