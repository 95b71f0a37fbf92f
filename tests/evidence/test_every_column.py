"""An edit of any column of any table is noticed by ``verify --db`` and by a bundle, or the README says why not.

By the chains alone: SQLite's own check is left out.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Column, Connection, select

from fimscan.config import parse_config
from fimscan.errors import StoreError, UsageError
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.database import _checks
from fimscan.evidence.unknowable import UNKNOWABLE
from fimscan.evidence.verify import verify_bundle
from fimscan.model import (
    ChangePlan,
    ControlFailure,
    ControlKind,
    ControlNote,
    HostEventKind,
    MessageKind,
    MissedCause,
    MissedRuns,
    NewMessage,
    Reviewer,
    Selftest,
)
from fimscan.signing import SigningKey
from fimscan.store import controls, integrity, journal, missed_runs, outbox, plans, row_digests, schema, selftests
from fimscan.store.bound_rows import SUBJECTS
from fimscan.store.database import Database
from fimscan.store.registry import Noted, Subject
from fimscan.store.session import Session

LISTED = UNKNOWABLE.keys() - {"scan (unfinished)"}
# Of a scan that did not finish, only its number and that it did not finish. Nothing of it is used.
UNKNOWABLE_OF_UNFINISHED = {
    *("trigger", "started_ns", "finished_ns", "counts", "config_digest", "state_digest", "previous", "entry"),
    *("problems", "reported", "read_clock", "journal"),
}


def test_every_column_of_every_table(copied: Callable[..., Database], monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of each table is altered, one column at a time."""
    database = copied()
    fill(database)
    monkeypatch.setattr(integrity, "storage", lambda _: iter(()))
    assert next(_found(database, None), "") == ""
    columns = [column for table in schema.metadata.sorted_tables for column in table.columns]
    assert len(columns) >= 200
    missed = {str(column) for column in columns if not next(_found(database, column), "")}
    assert missed == LISTED


def test_what_is_known_of_an_unfinished_scan(copied: Callable[..., Database]) -> None:
    """Its row cannot be turned into another scan; what else is in it means nothing."""
    database = copied()
    missed = {c.name for c in schema.scan.columns if not next(_found(database, c, "status = 'interrupted'"), "")}
    assert missed - {"id", "host_id", "status"} <= UNKNOWABLE_OF_UNFINISHED


def test_each_edit_is_told_by_the_bundle(
    copied: Callable[..., Database], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: SigningKey
) -> None:
    """Exported all the same, the bundle shows by itself what was edited of what it binds; the README lists the rest.

    That the README says which check of the database failed is another test's matter.
    """
    database = copied()
    fill(database)
    noticed: set[str] = set()
    shown = {subject.rows.table for subject in SUBJECTS} | {schema.journal, schema.journal_open, schema.scan}
    columns = [column for table in schema.metadata.sorted_tables for column in table.columns if table in shown]
    for column in columns:
        with _edited(database, column, monkeypatch):
            try:
                told = _exported(database, tmp_path / "x.zip", key)
            except (*integrity.UNREADABLE, StoreError, UsageError):
                noticed.add(str(column))  # a word that fimscan never writes: nothing is exported
                continue
        assert all(name in told.readme for name in UNKNOWABLE)
        if not told.verifies:
            noticed.add(str(column))
    # Content that waits to be sent, times that only coverage needs, and a mark: the host's database binds them.
    assert {str(column) for column in columns} - noticed - LISTED == {"outbox.body", "scan.read_clock", "scan.reported"}


class Told(NamedTuple):
    readme: str
    verifies: bool


def _exported(database: Database, path: Path, key: SigningKey) -> Told:
    config = parse_config('[[watch]]\npath = "/w"\n')
    with collected(database, config, 0, 2**62, audit_rules="", reconfigured=lambda *_: ()) as data:
        build_bundle(data, key, path)
    with zipfile.ZipFile(path) as bundle:
        return Told(bundle.read("00-README.txt").decode(), verify_bundle(path).ok)


@contextmanager
def _edited(database: Database, column: Column[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What reads the database sees an edit that is not committed."""
    with database.engine.connect() as connection, monkeypatch.context() as patch:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        _alter(connection, column, "true")

        @contextmanager
        def read(_self: Database) -> Iterator[Session]:
            yield Session(connection, database.host_id)

        patch.setattr(Database, "read", read)
        yield
        connection.rollback()


def _found(database: Database, column: Column[Any] | None, which: str = "true") -> Iterator[str]:
    """The failed checks after an edit that is not committed."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        if column is not None:
            _alter(connection, column, which)
        for check in _checks(Session(connection, database.host_id), database, None, None, every_scan=False):
            if not check.ok and check.name != "storage":
                yield check.name
        connection.rollback()


def _alter(connection: Connection, column: Column[Any], which: str) -> None:
    name, table = f'"{column.name}"', f'"{column.table.name}"'
    match column.type.compile(connection.dialect):
        case "BLOB":
            new = f"CAST(coalesce({name}, x'') || x'00' AS BLOB)"
        case "BOOLEAN":
            new = f"NOT coalesce({name}, 0)"
        case kind if "INT" in kind:
            new = f"coalesce({name}, 0) + 100000"
        case _:
            new = f"coalesce({name}, '') || 'x'"
    key = ", ".join(f'"{part.name}"' for part in column.table.primary_key.columns)
    one = f"SELECT {key} FROM {table} WHERE {which} ORDER BY {key} LIMIT 1"
    done = connection.exec_driver_sql(f"UPDATE {table} SET {name} = {new} WHERE ({key}) = ({one})")
    assert done.rowcount == 1, f"{table} has no row"


def fill(database: Database) -> None:
    """Add a row to each table that the eventful host left empty, as fimscan would."""
    with database.begin() as session:
        now = time.time_ns()
        reviewer = Reviewer("u", 0)
        expected = {"paths": (b"/x",), "user": "u", "exe": b"/bin/x"}
        plans.add(
            session,
            ChangePlan(opened_ns=now, until_ns=now + 1, opened_by=reviewer, ticket="T", reason="r", **expected),  # type: ignore[arg-type]
        )
        failure = ControlFailure(kind=ControlKind.AUDIT, subject="s", start_ns=now, detected_ns=now, cause="c")
        controls.add(session, [failure])
        note = ControlNote(failure=1, noted_ns=now, user="u", remediation="r", root_cause="c", ticket="T")
        controls.add_notes(session, [note])
        missed = MissedRuns(job="scan", cause=MissedCause.DOWN, first_ns=now, last_ns=now, count=1, noted_ns=now)
        missed_runs.add(session, missed)
        selftests.add(session, Selftest(started_ns=now, finished_ns=now))
        message = NewMessage(
            id="m", kind=MessageKind.CHANGES, scan=None, urgent=True, body=b"content", changes=(1, 2, 4)
        )
        outbox.add(session, "mail", [message], now)
        session.execute(schema.in_effect.insert().values(scan_id=1, path=b"/p", detail="{}"))
        made = [item for item in row_digests.of_scan(session, 1) if item.subject is Subject.IN_EFFECT]
        journal.record(session, journal.Cause.AUDIT, made)
        for subject in Subject:
            rows = subject.rows
            if isinstance(rows, Noted) and session.execute(select(rows.table).limit(1)).first() is None:
                values = {column.name: _some(column) for column in rows.table.columns}
                values |= {"kind": HostEventKind.RENAMED.value} if subject is Subject.HOST_EVENT else {}
                session.execute(rows.table.insert().values(**values))
                journal.note(session, [row_digests.of_row(subject, values)])


def _some(column: Column[Any]) -> object:
    if column.foreign_keys:
        return 1
    if isinstance(column.type, schema.Unsigned64):
        return 7
    return {int: 7, str: "text", bytes: b"bytes", bool: True}[column.type.python_type]
