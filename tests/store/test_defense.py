"""A database whose schema somebody else altered is refused; a signal ends a long query."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.errors import StoreError
from fimscan.store.database import Database

TRIGGER = "CREATE TRIGGER t AFTER INSERT ON change BEGIN UPDATE change SET verdict = 'confirmed'; END"


def written(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def in_schema(statement: str) -> tuple[str, ...]:
    return ("PRAGMA writable_schema = ON", f"UPDATE sqlite_schema SET {statement}")


FOREIGN = [
    ((TRIGGER,), "the trigger t, which fimscan did not make"),
    (("CREATE VIEW v AS SELECT 1",), "the view v"),
    (("CREATE TABLE extra (a)",), "the table extra"),
    (("CREATE INDEX i ON change (kind)",), "the index i"),
    (("CREATE VIRTUAL TABLE f USING fts4(a)",), "which fimscan did not make"),
    (("DROP INDEX ix_change_path",), "its index ix_change_path is missing"),
    (("DROP INDEX ix_change_path", "CREATE INDEX ix_change_path ON change (path) WHERE kind = 'x'"), "was altered"),
    (in_schema("sql = replace(sql, 'path BLOB', 'path BLOB CHECK (path != 1)') WHERE name = 'change'"),
     "its table change was altered"),
    (in_schema("sql = replace(sql, 'PRIMARY KEY (id)', 'PRIMARY KEY (id) ON CONFLICT IGNORE') WHERE name = 'holder'"),
     "its table holder was altered"),
    ((TRIGGER.replace(" t ", ' "a\x1b[31m" '),), r"the trigger a\x1b[31m, which"),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "words"), FOREIGN, ids=[words for _, words in FOREIGN])
@pytest.mark.parametrize("writing", [True, False])
def test_a_foreign_schema_is_refused(tmp_path: Path, statements: tuple[str, ...], words: str, *, writing: bool) -> None:
    """Whatever could rewrite or hide rows, also if it has the name of one of ours; the message is one plain line."""
    path = tmp_path / "x.db"
    Database(f"sqlite:///{path}", host="h").close()
    written(path, *statements)
    with pytest.raises(StoreError) as caught:
        Database(f"sqlite:///{path}", host="h", writing=writing)
    assert words in str(caught.value) and str(caught.value).isprintable()


def test_statistics_of_the_planner_are_fine(tmp_path: Path) -> None:
    """An administrator may run ANALYZE and VACUUM."""
    path = tmp_path / "x.db"
    Database(f"sqlite:///{path}", host="h").close()
    written(path, "ANALYZE")
    written(path, "VACUUM")
    Database(f"sqlite:///{path}", host="h").close()


def test_a_trigger_is_refused_before_an_upgrade_runs_it(tmp_path: Path) -> None:
    """The migrations write rows."""
    path = tmp_path / "x.db"
    Database(f"sqlite:///{path}", host="h").close()
    written(path, "UPDATE alembic_version SET version_num = '0014'", "DROP TABLE in_effect", TRIGGER)
    with pytest.raises(StoreError, match="the trigger t"):
        Database(f"sqlite:///{path}", host="h")


def test_a_trigger_that_comes_later_is_refused_by_the_next_transaction(tmp_path: Path) -> None:
    """'fimscan schedule' has the database open for months."""
    path = tmp_path / "x.db"
    database = Database(f"sqlite:///{path}", host="h")
    with database.begin():
        pass
    written(path, TRIGGER)
    with pytest.raises(StoreError, match="the trigger t"), database.begin():
        pass
    database.close()


def test_sqlite_is_opened_defensively(tmp_path: Path) -> None:
    """What a schema contains is not trusted, and damaged cells are looked for."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    with database.read() as session:
        run = session.connection.exec_driver_sql
        assert [run(f"PRAGMA {name}").scalar() for name in ("trusted_schema", "cell_size_check")] == [0, 1]
    database.close()


LONG = """
import signal, sys
from fimscan.cli.main import _on_stop
from fimscan.errors import InterruptedScanError
from fimscan.store.database import Database
signal.signal(signal.SIGTERM, _on_stop)
database = Database(sys.argv[1], host="h")
try:
    with database.read() as session:
        print("ready", flush=True)
        session.connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n").scalar()
except InterruptedScanError as error:
    sys.exit(error.exit_code)
"""


def test_a_signal_ends_a_long_query(tmp_path: Path) -> None:
    """This one would never end by itself."""
    with subprocess.Popen(
        [sys.executable, "-c", LONG, f"sqlite:///{tmp_path}/x.db"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        try:
            assert child.wait(timeout=60) == 143
        finally:
            child.kill()
