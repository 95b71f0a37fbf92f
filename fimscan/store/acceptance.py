"""What was accepted, by whom and why; and the baseline that this makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from fimscan.model import AcceptanceRecord, Approval
from fimscan.store import files, journal, row_digests, schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is accepted: everything as of ``scan``, except the paths in ``overrides`` (version, accepted as of scan).

    A version of ``None`` means that the path's absence is accepted.
    """

    scan: int
    overrides: Mapping[bytes, tuple[files.Version | None, int]]


def accept_scan(connection: Connection, host_id: int, scan_id: int, approval: Approval) -> None:
    """Accept everything as it was at a scan."""
    _accept(connection, host_id, approval, [{"path": None, "scan_id": scan_id, "version_id": None}])


def accept_paths(
    connection: Connection, host_id: int, states: Mapping[bytes, tuple[int | None, int]], approval: Approval
) -> None:
    """Accept single paths; ``states`` gives, by path, the version (``None``: absent) and the scan that it is of."""
    items = [{"path": path, "version_id": version, "scan_id": scan} for path, (version, scan) in states.items()]
    _accept(connection, host_id, approval, items)


def _accept(connection: Connection, host_id: int, approval: Approval, items: list[dict[str, Any]]) -> None:
    common = {
        "host_id": host_id,
        "accepted_ns": approval.accepted_ns,
        "user": approval.user,
        "ticket": approval.ticket,
        "reason": approval.reason,
    }
    if not items:
        return
    table = schema.acceptance
    last = connection.scalar(select(func.max(table.c.id)).where(table.c.host_id == host_id)) or 0
    connection.execute(table.insert(), [{**common, **item} for item in items])
    made = row_digests.of_acceptances(connection, host_id, after=last)
    journal.record(connection, host_id, journal.Cause.ACCEPT, made)


def dispositions(connection: Connection, host_id: int, limit: int) -> list[AcceptanceRecord]:
    """The last acceptances, oldest first."""
    table = schema.acceptance
    query = select(table).where(table.c.host_id == host_id).order_by(table.c.id.desc()).limit(limit)
    return [
        AcceptanceRecord(
            path=row.path,
            scan=row.scan_id,
            approval=Approval(accepted_ns=row.accepted_ns, user=row.user, ticket=row.ticket, reason=row.reason),
        )
        for row in reversed(connection.execute(query).all())
    ]


def baseline(connection: Connection, host_id: int) -> Baseline | None:
    """What is accepted now; ``None`` before the first finished scan."""
    table = schema.acceptance
    whole = (
        select(table.c.id, table.c.scan_id)
        .where(table.c.host_id == host_id, table.c.path.is_(None))
        .order_by(table.c.id.desc())
        .limit(1)
    )
    base = connection.execute(whole).first()
    if base is None:
        return None
    later = select(table).where(table.c.host_id == host_id, table.c.id > base.id).order_by(table.c.id)
    rows = connection.execute(later).all()
    versions = files.by_ids(connection, (row.version_id for row in rows if row.version_id is not None))
    overrides = {
        row.path: (versions[row.version_id] if row.version_id is not None else None, row.scan_id) for row in rows
    }
    return Baseline(scan=base.scan_id, overrides=overrides)
