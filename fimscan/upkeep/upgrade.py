"""Say which steps bring the schema of a database up to date. Opening the database takes them."""

from __future__ import annotations

from msgspec import Struct

from fimscan.store import migrate, schema
from fimscan.store.database import schema_revision


class Upgrade(Struct, frozen=True, kw_only=True):
    """The upgrade of one database: its revision, the newest one, and the (revision, description) of each step."""

    before: str | None
    after: str
    steps: tuple[tuple[str, str], ...] = ()


def planned_upgrade(url: str) -> Upgrade:
    """What an upgrade would do; the database stays as it is.

    Raises:
        StoreError: the database is missing, or not one of this or an earlier fimscan.
    """
    before = schema_revision(url)
    if before == schema.SCHEMA_REVISION:
        return Upgrade(before=before, after=before)
    return Upgrade(before=before, after=schema.SCHEMA_REVISION, steps=tuple(migrate.steps_from(before)))
