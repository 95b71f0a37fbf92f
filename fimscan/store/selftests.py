"""Store selftests. Rows are only added."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Row, func, select

from fimscan.model import Selftest, SelftestStep, StepResult, StepState
from fimscan.store import journal, row_digests, schema
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_table = schema.selftest


def add(session: Session, selftest: Selftest) -> Selftest:
    """Store a selftest; return it with its number."""
    values = {
        "host_id": session.host_id,
        "started_ns": selftest.started_ns,
        "finished_ns": selftest.finished_ns,
        "passed": selftest.has_passed,
        "path": selftest.path,
        "pid": selftest.pid,
        "exe": selftest.exe,
        "scan": selftest.scan,
        "steps": json.dumps([_dump(item) for item in selftest.steps]),
    }
    session.execute(_table.insert().values(**values))
    number: int = session.scalar(select(func.max(_table.c.id)).where(_table.c.host_id == session.host_id))
    made = row_digests.of_numbered(session, Subject.SELFTEST, _table.c.id == number)
    journal.record(session, journal.Cause.SELFTEST, made)
    return replace(selftest, id=number)


def last(session: Session, *, passed: bool = False) -> Selftest | None:
    """The newest selftest; with ``passed``, the newest that passed."""
    query = select(_table).where(_table.c.host_id == session.host_id)
    if passed:
        query = query.where(_table.c.passed)
    row = session.execute(query.order_by(_table.c.id.desc()).limit(1)).first()
    return None if row is None else _selftest(row)


def between(session: Session, start_ns: int, end_ns: int) -> list[Selftest]:
    """The selftests that began in a stretch of time, oldest first."""
    query = select(_table).where(_table.c.host_id == session.host_id, _table.c.started_ns.between(start_ns, end_ns))
    return [_selftest(row) for row in session.execute(query.order_by(_table.c.id))]


def _dump(item: StepResult) -> list[Any]:
    return [item.step.value, item.state.value, item.detail, item.seconds, item.output]


def _selftest(row: Row[Any]) -> Selftest:
    return Selftest(
        id=row.id,
        started_ns=row.started_ns,
        finished_ns=row.finished_ns,
        path=row.path,
        pid=row.pid,
        exe=row.exe,
        scan=row.scan,
        steps=tuple(
            StepResult(step=SelftestStep(step), state=StepState(state), detail=detail, seconds=seconds, output=output)
            for step, state, detail, seconds, output in json.loads(row.steps)
        ),
    )
