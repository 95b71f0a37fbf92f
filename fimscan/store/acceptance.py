"""Dispositions, and the baseline that the approved ones make. Rows are only ever added.

What is decided at once is an *act*, with a number. A later row may take an act back (``undoes``). Such a row counts
from its own number on: the baseline *until* an earlier row is what it was then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Row, func, or_, select

from fimscan.errors import UsageError
from fimscan.model import AcceptanceRecord, Approval, DispositionCategory, DispositionStatus
from fimscan.store import files, journal, row_digests, scans, schema
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_table = schema.acceptance


class Baseline(Struct, frozen=True, kw_only=True):
    """The accepted state: everything as of ``scan``, except the paths in ``overrides``.

    ``overrides`` maps a path to (its accepted version, the scan as of which it was accepted). A version of ``None``
    means that the absence of the path is accepted.
    """

    scan: int
    overrides: Mapping[bytes, tuple[files.Version | None, int]]


# --------------------------------------------------------------------------------------------------------------------
# Writing


def accept_scan(
    session: Session, scan_id: int, approval: Approval, *, is_own: bool = False, plan: int | None = None
) -> int:
    """Accept everything as it was at a scan; return the number of the act."""
    item = {"path": None, "scan_id": scan_id, "version_id": None, "own": is_own}
    return _add(session, approval, DispositionStatus.APPROVED, [item], plan)


def accept_paths(
    session: Session,
    states: Mapping[bytes, tuple[int | None, int]],
    approval: Approval,
    *,
    status: DispositionStatus = DispositionStatus.APPROVED,
    own: Set[bytes] = frozenset(),
    plan: int | None = None,
) -> int:
    """Accept single paths, or mark them as violations; return the number of the act.

    Args:
        session: the transaction.
        states: path -> (row number of the version, ``None`` if absent; its scan).
        approval: who decided, and why.
        status: what was decided.
        own: the paths of changes that the reviewer may have made.
        plan: the plan by which they are approved.
    """
    items = [
        {"path": path, "version_id": version, "scan_id": scan, "own": path in own}
        for path, (version, scan) in states.items()
    ]
    return _add(session, approval, status, items, plan)


def undo(session: Session, act: int, approval: Approval) -> int:
    """Take an act back; return the number of the act that does.

    Raises:
        UsageError: there is no such act, it is taken back already, it takes one back itself, or without it there would
            be no baseline.
    """
    rows = session.execute(select(_table).where(_mine(session), _table.c.act == act)).all()
    if not rows:
        raise UsageError(f"there is no decision {act}; 'fimscan status' lists the last ones")
    if rows[0].undoes is not None:
        raise UsageError(
            f"decision {act} takes decision {rows[0].undoes} back itself; accept these changes again instead"
        )
    sealed = scans.checkpoint(session)
    if sealed is not None and rows[0].id <= sealed.decided:
        raise UsageError(
            f"decision {act} cannot be taken back: what it replaced was pruned ([retention] findings); decide anew"
        )
    if act in _undone(session, last_number(session)):
        raise UsageError(f"decision {act} was taken back already")
    item = {"path": None, "version_id": None, "scan_id": rows[0].scan_id, "own": False, "undoes": act}
    made = _add(session, approval, DispositionStatus.PENDING, [item], None)
    if baseline(session) is None:
        raise UsageError(f"decision {act} is the first baseline, which cannot be taken back")
    return made


def _add(
    session: Session, approval: Approval, status: DispositionStatus, items: list[dict[str, Any]], plan: int | None
) -> int:
    assert items, "a decision is about something"
    journal.lock(session)
    act = (session.scalar(select(func.max(_table.c.act)).where(_mine(session))) or 0) + 1
    common = {
        "host_id": session.host_id,
        "accepted_ns": approval.accepted_ns,
        "user": approval.user,
        "ticket": approval.ticket,
        "reason": approval.reason,
        "act": act,
        "status": status.value,
        "category": None if approval.category is None else approval.category.value,
        "undoes": None,
        "plan_id": plan,
    }
    last = last_number(session)
    session.execute(_table.insert(), [{**common, **item} for item in items])
    made = row_digests.of_numbered(session, Subject.ACCEPTANCE, _table.c.id > last)
    journal.record(session, journal.Cause.ACCEPT, made)
    return act


# --------------------------------------------------------------------------------------------------------------------
# Reading


def latest_acceptances(session: Session, limit: int) -> list[AcceptanceRecord]:
    """The last events, oldest first."""
    rows = session.execute(select(_table).where(_mine(session)).order_by(_table.c.id.desc()).limit(limit)).all()
    return _records(session, reversed(rows))


def records_of(session: Session, paths: Iterable[bytes]) -> list[AcceptanceRecord]:
    """All events about any of these paths, or about everything, oldest first; without those that take others back."""
    wanted = or_(_table.c.path.is_(None), _table.c.path.in_(list(paths)))
    query = select(_table).where(_mine(session), wanted, _table.c.undoes.is_(None)).order_by(_table.c.id)
    return _records(session, session.execute(query).all())


def records_about_scans(session: Session, first: int, last: int) -> list[AcceptanceRecord]:
    """As :func:`records_of`, about the paths that scans ``first`` <= s <= ``last`` found changes of."""
    change = schema.change
    paths = select(change.c.path).where(change.c.host_id == session.host_id, change.c.scan_id.between(first, last))
    wanted = or_(_table.c.path.is_(None), _table.c.path.in_(paths))
    query = select(_table).where(_mine(session), wanted, _table.c.undoes.is_(None)).order_by(_table.c.id)
    return _records(session, session.execute(query).all())


def records_since(session: Session, time_ns: int) -> list[AcceptanceRecord]:
    """All events since a time, oldest first."""
    query = select(_table).where(_mine(session), _table.c.accepted_ns >= time_ns).order_by(_table.c.id)
    return _records(session, session.execute(query).all())


def records_of_act(session: Session, act: int) -> list[AcceptanceRecord]:
    """The events of one act, in order."""
    query = select(_table).where(_mine(session), _table.c.act == act).order_by(_table.c.id)
    return _records(session, session.execute(query).all())


def records_of_plan(session: Session, plan: int) -> list[AcceptanceRecord]:
    """The events that approved something by a plan and are in effect, oldest first."""
    query = select(_table).where(_mine(session), _table.c.plan_id == plan).order_by(_table.c.id)
    return [record for record in _records(session, session.execute(query).all()) if not record.is_undone]


def violations(session: Session, until: int | None = None) -> dict[bytes, AcceptanceRecord]:
    """The paths that are marked as violations, as of an event: the latest event of each is such a mark."""
    number = last_number(session) if until is None else until
    base = _base(session, number)
    query = select(_table).where(
        _in_effect(session, number), _table.c.undoes.is_(None), _table.c.path.is_not(None), _table.c.id > (base or 0)
    )
    latest = {row.path: row for row in session.execute(query.order_by(_table.c.id))}
    marked = [row for row in latest.values() if row.status == DispositionStatus.VIOLATION.value]
    return {record.path: record for record in _records(session, marked) if record.path is not None}


def last_number(session: Session) -> int:
    """The number of the last event; 0 before the first."""
    return session.scalar(select(func.max(_table.c.id)).where(_mine(session))) or 0


def accepted_after(session: Session, number: int) -> tuple[int, Mapping[bytes, int]]:
    """What was accepted after an event: the latest scan accepted as a whole (or 0), and that of each path."""
    query = select(_table.c.path, _table.c.scan_id)
    query = query.where(_approved(session, last_number(session)), _table.c.id > number)
    whole, paths = 0, dict[bytes, int]()
    for path, scan in session.execute(query):
        if path is None:
            whole = max(whole, scan)
        else:
            paths[path] = max(paths.get(path, 0), scan)
    return whole, paths


def is_reviewed_after(session: Session, number: int) -> bool:
    """Whether anything was marked as a violation or taken back after an event."""
    approved = or_(_table.c.status.is_(None), _table.c.status == DispositionStatus.APPROVED.value)
    return (
        session.scalar(select(_table.c.id).where(_mine(session), _table.c.id > number, ~approved).limit(1)) is not None
    )


def baseline(session: Session, until: int | None = None) -> Baseline | None:
    """The baseline as of an event, or the present one; ``None`` before the first finished scan."""
    number = last_number(session) if until is None else until
    base = _base(session, number)
    if base is None:
        return None
    scan = session.scalar(select(_table.c.scan_id).where(_table.c.id == base))
    assert scan is not None, "it was found just now"
    rows = session.execute(
        select(_table).where(_approved(session, number), _table.c.id > base).order_by(_table.c.id)
    ).all()
    versions = files.by_ids(session, (row.version_id for row in rows if row.version_id is not None))
    overrides = {
        row.path: (versions[row.version_id] if row.version_id is not None else None, row.scan_id) for row in rows
    }
    return Baseline(scan=scan, overrides=overrides)


class FinalBaseline(Struct, frozen=True, kw_only=True):
    """What is accepted by decisions that are too old to be taken back.

    Attributes:
        number: the last of these decisions' events.
        scan: everything is accepted as of this scan or a later one.
        paths: single paths, with the scan as of which their state is accepted, or that of a later one.
        absent: paths of which no file is accepted.
    """

    number: int
    scan: int
    paths: Mapping[bytes, int]
    absent: Set[bytes]

    def accepted_at(self, path: bytes) -> int:
        """The scan before which nothing of a path is needed to compare it with the baseline."""
        return self.paths.get(path, self.scan)


def final_baseline(session: Session, before_ns: int) -> FinalBaseline | None:
    """The baseline by decisions from before a time that are in effect; ``None`` before the first.

    Whichever of the later decisions is taken back, the baseline of a path is as of the given scan or a later one.
    """
    rows = session.execute(
        select(_table.c.id, _table.c.path, _table.c.scan_id, _table.c.version_id, _table.c.accepted_ns)
        .where(_approved(session, last_number(session)))
        .order_by(_table.c.id)
    ).all()
    number = 0
    for row in rows:
        if row.accepted_ns >= before_ns:
            break
        number = row.id
    whole = [row for row in rows if row.path is None]
    base = max((row.id for row in whole if row.id <= number), default=None)
    if base is None:
        return None
    scan = min(row.scan_id for row in whole if row.id >= base)
    of_paths: dict[bytes, list[Any]] = {}
    for row in rows:
        if row.path is not None and row.id > base:
            of_paths.setdefault(row.path, []).append(row)
    paths, absent = dict[bytes, int](), set[bytes]()
    for path, some in of_paths.items():
        final = max((row.id for row in some if row.id <= number), default=None)
        counting = [row for row in some if final is None or row.id >= final]
        later = [row.scan_id for row in whole if row.id > (final or base)]
        paths[path] = min([*(row.scan_id for row in counting), *later, *([scan] if final is None else [])])
        if any(row.version_id is None for row in some):
            absent.add(path)
    return FinalBaseline(number=number, scan=scan, paths=paths, absent=absent)


# --------------------------------------------------------------------------------------------------------------------


def _mine(session: Session) -> ColumnElement[bool]:
    return _table.c.host_id == session.host_id


def _undone(session: Session, until: int) -> set[int]:
    query = select(_table.c.undoes).where(_mine(session), _table.c.id <= until, _table.c.undoes.is_not(None))
    return set(session.scalars(query))


def _in_effect(session: Session, until: int) -> ColumnElement[bool]:
    """The events up to a number that no event up to that number takes back."""
    later = schema.acceptance.alias()
    taken_back = select(later.c.undoes).where(
        later.c.host_id == session.host_id, later.c.id <= until, later.c.undoes.is_not(None)
    )
    stands = or_(_table.c.act.is_(None), _table.c.act.not_in(taken_back))
    return _mine(session) & (_table.c.id <= until) & stands


def _approved(session: Session, until: int) -> ColumnElement[bool]:
    approved = or_(_table.c.status.is_(None), _table.c.status == DispositionStatus.APPROVED.value)
    return _in_effect(session, until) & approved


def _base(session: Session, until: int) -> int | None:
    """The event that last accepted everything."""
    query = select(func.max(_table.c.id)).where(_approved(session, until), _table.c.path.is_(None))
    found: int | None = session.scalar(query)
    return found


def _records(session: Session, rows: Iterable[Row[Any]]) -> list[AcceptanceRecord]:
    """The records of whole rows of the table."""
    undone = _undone(session, last_number(session))
    return [
        AcceptanceRecord(
            path=path,
            scan=scan,
            approval=_approval(*why, category),
            act=act,
            status=DispositionStatus.APPROVED if status is None else DispositionStatus(status),
            is_own=bool(own),
            undoes=undoes,
            plan=plan,
            is_undone=act in undone,
            number=number,
        )
        for number, _, path, scan, _, *why, act, status, category, own, undoes, plan in map(tuple, rows)
    ]


@lru_cache(maxsize=64, typed=True)  # what was accepted at once has the same one
def _approval(accepted_ns: int, user: str, ticket: str, reason: str, category: str | None) -> Approval:
    return Approval(
        accepted_ns=accepted_ns,
        user=user,
        ticket=ticket,
        reason=reason,
        category=None if category is None else DispositionCategory(category),
    )
