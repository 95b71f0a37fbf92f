"""Acceptances, and the baseline that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from fimscan.model import AcceptanceRecord, Approval
from fimscan.store import files, journal, row_digests, schema
from fimscan.store.registry import Subject
from fimscan.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The accepted state: everything as of ``scan``, except the paths in ``overrides``.

    ``overrides`` maps a path to (its accepted version, the scan as of which it was accepted). A version of ``None``
    means that the absence of the path is accepted.
    """

    scan: int
    overrides: Mapping[bytes, tuple[files.Version | None, int]]


def accept_scan(session: Session, scan_id: int, approval: Approval) -> None:
    """Accept everything as it was at a scan."""
    _accept(session, approval, [{"path": None, "scan_id": scan_id, "version_id": None}])


def accept_paths(session: Session, states: Mapping[bytes, tuple[int | None, int]], approval: Approval) -> None:
    """Accept single paths; ``states`` maps a path to (row number of the version, ``None`` if absent; its scan)."""
    items = [{"path": path, "version_id": version, "scan_id": scan} for path, (version, scan) in states.items()]
    _accept(session, approval, items)


def _accept(session: Session, approval: Approval, items: list[dict[str, Any]]) -> None:
    common = {
        "host_id": session.host_id,
        "accepted_ns": approval.accepted_ns,
        "user": approval.user,
        "ticket": approval.ticket,
        "reason": approval.reason,
    }
    if not items:
        return
    table = schema.acceptance
    last = last_number(session)
    session.execute(table.insert(), [{**common, **item} for item in items])
    made = row_digests.of_numbered(session, Subject.ACCEPTANCE, table.c.id > last)
    journal.record(session, journal.Cause.ACCEPT, made)


def latest_acceptances(session: Session, limit: int) -> list[AcceptanceRecord]:
    """The last acceptances, oldest first."""
    table = schema.acceptance
    query = select(table).where(table.c.host_id == session.host_id).order_by(table.c.id.desc()).limit(limit)
    return [
        AcceptanceRecord(
            path=row.path,
            scan=row.scan_id,
            approval=Approval(accepted_ns=row.accepted_ns, user=row.user, ticket=row.ticket, reason=row.reason),
        )
        for row in reversed(session.execute(query).all())
    ]


def last_number(session: Session) -> int:
    """The number of the last acceptance; 0 before the first."""
    table = schema.acceptance
    return session.scalar(select(func.max(table.c.id)).where(table.c.host_id == session.host_id)) or 0


def accepted_after(session: Session, number: int) -> tuple[int, Mapping[bytes, int]]:
    """What was accepted after an acceptance: the latest scan accepted as a whole (or 0), and that of each path."""
    table = schema.acceptance
    query = select(table.c.path, table.c.scan_id).where(table.c.host_id == session.host_id, table.c.id > number)
    whole, paths = 0, dict[bytes, int]()
    for path, scan in session.execute(query):
        if path is None:
            whole = max(whole, scan)
        else:
            paths[path] = max(paths.get(path, 0), scan)
    return whole, paths


def baseline(session: Session, until: int | None = None) -> Baseline | None:
    """The baseline as of an acceptance, or the present one; ``None`` before the first finished scan."""
    table = schema.acceptance
    known = (table.c.host_id == session.host_id) & (table.c.id <= (last_number(session) if until is None else until))
    whole = (
        select(table.c.id, table.c.scan_id).where(known, table.c.path.is_(None)).order_by(table.c.id.desc()).limit(1)
    )
    base = session.execute(whole).first()
    if base is None:
        return None
    later = select(table).where(known, table.c.id > base.id).order_by(table.c.id)
    rows = session.execute(later).all()
    versions = files.by_ids(session, (row.version_id for row in rows if row.version_id is not None))
    overrides = {
        row.path: (versions[row.version_id] if row.version_id is not None else None, row.scan_id) for row in rows
    }
    return Baseline(scan=base.scan_id, overrides=overrides)
