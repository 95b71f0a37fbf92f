"""Run the shipped Alembic migrations. Imported only if a database has to be upgraded."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, select

from fimscan.shipped import shipped_path
from fimscan.store import journal, schema
from fimscan.store.session import Session


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", shipped_path("migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def known_revisions() -> set[str]:
    """Every schema revision that this version of fimscan can upgrade from."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def steps_from(revision: str | None) -> list[tuple[str, str]]:
    """The (revision, description) of each step from a revision to the newest one, oldest first."""
    scripts = ScriptDirectory.from_config(_config()).iterate_revisions("head", revision or "base")
    return [(script.revision, str(script.doc)) for script in scripts][::-1]


def upgrade(engine: Engine) -> None:
    """Upgrade the database to the newest revision, in one transaction."""
    config = _config()
    with engine.begin() as connection:
        had = set(inspect(connection).get_table_names())
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        for host_id in connection.scalars(select(schema.host.c.id)).all():
            session = Session(connection, host_id)
            if "journal" not in had:
                journal.adopt(session)
            if "journal_open" not in had:
                journal.adopt_rows(session)
            if "journal" in had and "clock_look" not in had:
                journal.adopt_shown(session)
