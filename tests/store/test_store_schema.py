"""The schema: the migrations make what the code expects, and it is portable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from threading import Barrier

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from fimscan.store import defense, migrate
from fimscan.store.database import Database
from fimscan.store.schema import SCHEMA_DIGEST, SCHEMA_REVISION, metadata


def test_the_migrations_make_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    """A column added to the schema and forgotten in the migrations would break every installed fimscan."""
    engine = create_engine(f"sqlite:///{tmp_path}/x.db")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata, "compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_a_new_database_is_what_the_migrations_would_make(tmp_path: Path) -> None:
    """It is created without migrations, and the next one must be able to upgrade it."""
    migrated = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    migrate.upgrade(migrated)
    new = Database(f"sqlite:///{tmp_path}/new.db", host="h")
    assert _described(new.engine) == _described(migrated)
    migrate.upgrade(new.engine)  # nothing is left to do
    migrated.dispose()
    new.close()


def _described(engine: Engine) -> tuple[dict[str, list[str]], list[str]]:
    """SQLite's description of every table and index, without the order of columns, and the revision."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
        revisions = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    return {name: sorted(re.split(r",?\s*\n\s*|, ", sql.replace('"', ""))) for name, sql in rows}, list(revisions)


def test_the_newest_migration_is_the_one_that_the_code_knows() -> None:
    """Otherwise a current database would be migrated at every start."""
    heads = ScriptDirectory.from_config(migrate._config()).get_heads()
    assert heads == [SCHEMA_REVISION]


def test_the_digest_is_that_of_the_schema() -> None:
    """Otherwise every command would make the whole schema once more, only to compare it."""
    assert defense.digest_of(defense.expected_schema()) == SCHEMA_DIGEST


def test_every_table_can_be_made_on_postgresql() -> None:
    """All types and indexes exist there."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    made = ""
    for table in metadata.sorted_tables:
        made += str(CreateTable(table).compile(dialect=dialect))
        made += "".join(str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)
    assert "BYTEA" in made and "BIGSERIAL" in made


@pytest.mark.parametrize(
    ("revision", "index"),
    [("0001", "(host_id, path) WHERE end_scan IS NULL"), ("0006", "(host_id, end_scan) WHERE end_scan IS NOT NULL")],
)
def test_an_index_of_some_versions_is_partial_on_postgresql(revision: str, index: str) -> None:
    """An index of all versions would grow with history. Only the migrations declare that."""
    made = StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": made})
    script = ScriptDirectory.from_config(migrate._config()).get_revision(revision)
    with Operations.context(context):
        script.module.upgrade()
    assert f"ON file_version {index}" in made.getvalue()


def test_a_new_database_is_for_its_owner_only(tmp_path: Path) -> None:
    """It lists every monitored file with its hash."""
    code = f"from fimscan.store.database import Database; Database('sqlite:///{tmp_path}/d/x.db', host='h')"
    subprocess.run([sys.executable, "-c", f"import os; os.umask(0); {code}"], check=True)
    assert os.stat(tmp_path / "d" / "x.db").st_mode & 0o077 == 0
    assert os.stat(tmp_path / "d").st_mode & 0o077 == 0


def test_processes_that_begin_together_share_a_host(tmp_path: Path) -> None:
    """'fimscan status' during the service's first start: neither fails, and there is one host."""
    url = f"sqlite:///{tmp_path}/x.db"
    Database(url, host="other").close()
    start = Barrier(8)

    def begin(_number: int) -> int:
        start.wait()
        database = Database(url, host="new")
        database.close()
        return database.host_id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(begin, range(8)))) == 1
