"""Plans. A plan is never removed: closing it sets two columns, and the journal has both states."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row, func, select

from fimscan.errors import UsageError
from fimscan.model import ChangePlan, Reviewer
from fimscan.store import journal, row_digests, schema
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_table = schema.plan


def add(session: Session, plan: ChangePlan) -> int:
    """Store a plan; return its number."""
    expected = {
        "paths": [_text(path) for path in plan.paths],
        "packages": list(plan.packages),
        "user": plan.user,
        "exe": None if plan.exe is None else _text(plan.exe),
    }
    session.execute(
        _table.insert().values(
            host_id=session.host_id,
            opened_ns=plan.opened_ns,
            until_ns=plan.until_ns,
            user=plan.opened_by.name,
            uid=plan.opened_by.number,
            ticket=plan.ticket,
            reason=plan.reason,
            expected=json.dumps(expected, sort_keys=True),
        )
    )
    number: int = session.scalar(select(func.max(_table.c.id)).where(_table.c.host_id == session.host_id))
    _record(session, number)
    return number


def close(session: Session, number: int, closed_ns: int, user: str) -> None:
    """Close a plan.

    Raises:
        UsageError: there is no such plan, or it is closed already.
    """
    found = one(session, number)
    if found.closed_ns is not None:
        raise UsageError(f"plan {number} is closed already")
    session.execute(_table.update().where(_table.c.id == number).values(closed_ns=closed_ns, closed_by=user))
    _record(session, number)


def every(session: Session) -> list[ChangePlan]:
    """All plans, oldest first."""
    rows = session.execute(select(_table).where(_table.c.host_id == session.host_id).order_by(_table.c.id))
    return [_plan(row) for row in rows]


def one(session: Session, number: int) -> ChangePlan:
    """A plan.

    Raises:
        UsageError: there is none of this number.
    """
    row = session.execute(select(_table).where(_table.c.host_id == session.host_id, _table.c.id == number)).first()
    if row is None:
        raise UsageError(f"there is no plan {number}; 'fimscan plan list' lists them")
    return _plan(row)


def _record(session: Session, number: int) -> None:
    made = row_digests.of_numbered(session, Subject.PLAN, _table.c.id == number)
    journal.record(session, journal.Cause.PLAN, made)


def _plan(row: Row[Any]) -> ChangePlan:
    expected = json.loads(row.expected)
    return ChangePlan(
        id=row.id,
        opened_ns=row.opened_ns,
        until_ns=row.until_ns,
        opened_by=Reviewer(row.user, row.uid),
        ticket=row.ticket,
        reason=row.reason,
        paths=tuple(_bytes(path) for path in expected["paths"]),
        packages=tuple(expected["packages"]),
        user=expected["user"],
        exe=None if expected["exe"] is None else _bytes(expected["exe"]),
        closed_ns=row.closed_ns,
        closed_by=row.closed_by,
    )


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
