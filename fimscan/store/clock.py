"""Store what was known about the clock when scans began."""

from __future__ import annotations

import json
from collections.abc import Iterator

from msgspec.structs import asdict
from sqlalchemy import select

from fimscan.model import ClockLook
from fimscan.store import schema
from fimscan.store.queries import STREAMED
from fimscan.store.session import Session

_table = schema.clock_look


def add(session: Session, scan_id: int, look: ClockLook) -> None:
    """Store a look; the entry of the scan in the journal, which is made later, covers it."""
    known = {name: value for name, value in asdict(look).items() if value not in (None, "")}
    detail = json.dumps(known, sort_keys=True, separators=(",", ":"))
    session.execute(_table.insert().values(scan_id=scan_id, detail=detail))


def between(session: Session, first: int, last: int) -> Iterator[tuple[int, ClockLook]]:
    """(scan, what was known) of this host's scans ``first`` <= s <= ``last`` that recorded it, in order."""
    scan = schema.scan
    query = select(_table).join(scan).where(scan.c.host_id == session.host_id)
    query = query.where(_table.c.scan_id >= first, _table.c.scan_id <= last).order_by(_table.c.scan_id)
    for row in session.execute(query, execution_options=STREAMED):
        yield row.scan_id, _loaded(row.detail)


def _loaded(detail: str) -> ClockLook:
    try:
        return ClockLook(**json.loads(detail))
    except TypeError as error:  # another program wrote it
        raise ValueError(f"no look at the clock: {error}") from error
