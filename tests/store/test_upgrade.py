"""A database of an older version is upgraded when it is opened, and keeps its contents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from fimscan.shipped import shipped_path
from fimscan.store import defense, migrate, scans, schema
from fimscan.store.database import Database

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{now}"


def upgrade() -> None:
    op.add_column("scan", sa.Column("weather", sa.Text()))
"""


def test_an_older_database_is_upgraded_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded scan is there after the upgrade, and the new column, too."""
    url = f"sqlite:///{tmp_path}/x.db"
    before = Database(url, host="h")
    with before.begin() as session:
        scans.begin(session, trigger="manual", started_ns=17, config_digest="d" * 64, config_text="{}")
    before.close()

    newer = tmp_path / "migrations"
    shutil.copytree(shipped_path("migrations"), newer)
    (newer / "versions" / "9999_next.py").write_text(NEXT.format(now=schema.SCHEMA_REVISION))
    monkeypatch.setattr(migrate, "shipped_path", lambda _name: str(newer))
    monkeypatch.setattr(schema, "SCHEMA_REVISION", "9999")
    monkeypatch.setattr(defense, "foreign_objects", lambda _: iter(()))  # the new column is in no schema of ours
    after = Database(url, host="h")
    with after.read() as session:
        assert session.execute(text("SELECT started_ns, weather FROM scan")).all() == [(17, None)]
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    after.close()
