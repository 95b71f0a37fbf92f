"""Store failures of controls, and what people did about them.

The end of a failure is set once, and the journal has both states. Notes of people are only added.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, func, or_, select

from fimscan.errors import UsageError
from fimscan.model import ControlFailure, ControlKind, ControlNote, ControlReport
from fimscan.store import codec, files, journal, row_digests, schema
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_table, _note = schema.control_failure, schema.control_note
_NOTHING_TOLD, _START_TOLD, _ALL_TOLD = 0, 1, 2


def add(session: Session, failures: Iterable[ControlFailure], *, told: bool = False) -> None:
    """Store new failures; ``told`` if their start was reported already (an error message)."""
    for failure in failures:
        values = {
            "host_id": session.host_id,
            "kind": failure.kind.value,
            "subject": failure.subject,
            "start_ns": failure.start_ns,
            "detected_ns": failure.detected_ns,
            "cause": failure.cause,
            "actor": None if failure.actor is None else codec.dump_actors([failure.actor]),
            "end_ns": failure.end_ns,
            "remedy": failure.remedy,
            "told": _START_TOLD if told else _NOTHING_TOLD,
        }
        session.execute(_table.insert().values(**values))
        number: int = session.scalar(select(func.max(_table.c.id)).where(_table.c.host_id == session.host_id))
        _record(session, number)


def end(session: Session, failures: Iterable[ControlFailure]) -> None:
    """Store the end of failures that were open."""
    for failure in failures:
        mine = _table.update().where(_table.c.id == failure.id)
        session.execute(mine.values(end_ns=failure.end_ns, remedy=failure.remedy))
        _record(session, failure.id)


def add_notes(session: Session, notes: Iterable[ControlNote]) -> None:
    """Store what a person did about failures.

    Raises:
        UsageError: there is no such failure.
    """
    for note in notes:
        mine = select(_table.c.id).where(_table.c.host_id == session.host_id, _table.c.id == note.failure)
        if session.scalar(mine) is None:
            raise UsageError(f"there is no control failure {note.failure}; 'fimscan control list --all' lists them")
        session.execute(
            _note.insert().values(
                host_id=session.host_id,
                failure_id=note.failure,
                noted_ns=note.noted_ns,
                user=note.user,
                remediation=note.remediation,
                root_cause=note.root_cause,
                ticket=note.ticket,
            )
        )
        number: int = session.scalar(select(func.max(_note.c.id)).where(_note.c.host_id == session.host_id))
        made = row_digests.of_numbered(session, Subject.CONTROL_NOTE, _note.c.id == number)
        journal.record(session, journal.Cause.CONTROL, made)


def every(session: Session) -> list[ControlFailure]:
    """All failures, oldest first."""
    return _loaded(session)


def still_open(session: Session) -> list[ControlFailure]:
    """The failures that have not ended, oldest first."""
    return _loaded(session, _table.c.end_ns.is_(None))


def between(session: Session, start_ns: int, end_ns: int) -> list[ControlFailure]:
    """The failures that overlap a stretch of time, oldest first."""
    return _loaded(session, _table.c.start_ns <= end_ns, or_(_table.c.end_ns.is_(None), _table.c.end_ns >= start_ns))


def unreported(session: Session) -> ControlReport:
    """The transitions that were not reported yet, with the failures that are open."""
    began = _loaded(session, _table.c.told == _NOTHING_TOLD)
    mended = _loaded(session, _table.c.told < _ALL_TOLD, _table.c.end_ns.is_not(None))
    return ControlReport(began=tuple(began), mended=tuple(mended), failed=tuple(still_open(session)))


def mark_reported(session: Session, report: ControlReport) -> None:
    """Store that the transitions of a report were reported."""
    began = [item.id for item in report.began if item.is_open]
    mended = [item.id for item in report.mended]
    for numbers, told in ((began, _START_TOLD), (mended, _ALL_TOLD)):
        if numbers:
            session.execute(_table.update().where(_table.c.id.in_(numbers)).values(told=told))


def _record(session: Session, number: int) -> None:
    made = row_digests.of_numbered(session, Subject.CONTROL_FAILURE, _table.c.id == number)
    journal.record(session, journal.Cause.CONTROL, made)


def _loaded(session: Session, *which: Any) -> list[ControlFailure]:
    query = select(_table).where(_table.c.host_id == session.host_id, *which)
    rows = session.execute(query.order_by(_table.c.start_ns, _table.c.id)).all()
    notes: dict[int, list[ControlNote]] = {}
    for some in files.chunks([row.id for row in rows]):
        mine = select(_note).where(_note.c.host_id == session.host_id, _note.c.failure_id.in_(some))
        for row in session.execute(mine.order_by(_note.c.id)):
            notes.setdefault(row.failure_id, []).append(_stored_note(row))
    return [_failure(row, notes.get(row.id, ())) for row in rows]


def _stored_note(row: Row[Any]) -> ControlNote:
    return ControlNote(
        id=row.id,
        failure=row.failure_id,
        noted_ns=row.noted_ns,
        user=row.user,
        remediation=row.remediation,
        root_cause=row.root_cause,
        ticket=row.ticket,
    )


def _failure(row: Row[Any], notes: Iterable[ControlNote]) -> ControlFailure:
    return ControlFailure(
        id=row.id,
        kind=ControlKind(row.kind),
        subject=row.subject,
        start_ns=row.start_ns,
        detected_ns=row.detected_ns,
        cause=row.cause,
        actor=None if row.actor is None else codec.load_actors(row.actor)[0],
        end_ns=row.end_ns,
        remedy=row.remedy,
        notes=tuple(notes),
    )
