"""Find the records of a host by its id, and store changes of its names and id.

A host without an id (``IdSource.NAME``) is found by name. Records of earlier versions have no id: the host of that name
takes them over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, Row, func, select

from fimscan.errors import StoreError
from fimscan.model import Boot, HostEvent, HostEventKind, HostIdentity, IdSource, ScanStatus
from fimscan.store import journal, schema
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from fimscan.store.session import Session

_host, _event = schema.host, schema.host_event
_REPORTED = (HostEventKind.RENAMED.value, HostEventKind.ADOPTED.value)
_IDENTITY_DIGITS = 8  # in a name that another host had before

NO_HOST = 0
"""The number of a host that has no records yet."""


class _Record(Struct, frozen=True, kw_only=True):
    """One host of the database; ``scans`` is how many scans it finished."""

    number: int
    first_name: str
    name: str
    identity: str | None
    scans: int


def find(connection: Connection, host: HostIdentity, *, shared: bool, name: str) -> int:
    """The number of this host's records, :data:`NO_HOST` if there are none.

    Args:
        connection: a connection.
        host: this host.
        shared: other hosts may have records in this database, too.
        name: of the database, for messages.

    Raises:
        StoreError: the records are those of another host.
    """
    found = _matching(_records(connection), host, shared=shared)
    if found is not None:
        return found.number
    _require_no_other(_records(connection), host, shared=shared, name=name)
    return NO_HOST


def is_current(connection: Connection, host: HostIdentity, *, shared: bool) -> bool:
    """Whether the host has records under its id and its present name, so that nothing has to be written."""
    found = _matching(_records(connection), host, shared=shared)
    return found is not None and (host.id is None or (found.identity, found.name) == (host.id, host.name))


def recorded_id_of(connection: Connection, name: str) -> str | None:
    """The id of the records with this name, if it was recorded: a copy of the database has no id beside it."""
    found = (record.identity for record in _records(connection) if record.name == name)
    return next((identity for identity in found if identity and identity.startswith("recorded:")), None)


def first_name_to_adopt(connection: Connection, host: HostIdentity, adopt: str, name: str) -> str:
    """The first name of the records that ``claim`` with ``adopt`` would take over, or that are the host's already."""
    records = _records(connection)
    found = _matching(records, host, shared=False)
    return (found or _chosen(records, host, adopt, name)).first_name


def claim(connection: Connection, host: HostIdentity, *, shared: bool, name: str, adopt: str | None) -> int:
    """As :func:`find` in a transaction that may write: add a new host, store a new name, give old records an id.

    ``adopt`` takes over the records of another host: of that name, or with ``""`` of the only one that it can mean.
    """
    records = _records(connection)
    found = _matching(records, host, shared=shared)
    if found is not None:
        _update(connection, found, host)
        return found.number
    if adopt is not None:
        return _adopt(connection, _chosen(records, host, adopt, name), host)
    _require_no_other(records, host, shared=shared, name=name)
    return _add(connection, records, host)


def former_names(session: Session) -> list[tuple[str, int]]:
    """Names that the host had before, each with the time when a new name was found, oldest first.

    Names from before a take-over are not among them: they were another host's.
    """
    found: list[tuple[str, int]] = []
    query = select(_event).where(_event.c.host_id == session.host_id)
    for event in map(_loaded, session.execute(query.order_by(_event.c.id))):
        if event.kind is HostEventKind.ADOPTED:
            found.clear()
        elif event.kind is HostEventKind.RENAMED:
            found.append((event.before, event.time_ns))
    return found


def record_of(session: Session) -> tuple[str, str | None]:
    """(the name that both chains digest, the id that the records are kept by; ``None`` without one)."""
    name, identity = session.execute(select(_host.c.name, _host.c.identity).where(_host.c.id == session.host_id)).one()
    return name, identity


def events(session: Session, start_ns: int, end_ns: int) -> list[HostEvent]:
    """What changed of the host's names and id in a stretch of time, oldest first; not inventories."""
    mine = (_event.c.host_id == session.host_id) & (_event.c.kind != HostEventKind.INSTALLED.value)
    query = select(_event).where(mine, _event.c.time_ns >= start_ns, _event.c.time_ns < end_ns)
    return [_loaded(row) for row in session.execute(query.order_by(_event.c.id))]


def untold(session: Session) -> tuple[list[HostEvent], list[int]]:
    """Renamings and take-overs that no scan has reported: (the events, their numbers)."""
    query = select(_event).where(_event.c.host_id == session.host_id, ~_event.c.told, _event.c.kind.in_(_REPORTED))
    rows = session.execute(query.order_by(_event.c.id)).all()
    return [_loaded(row) for row in rows], [row.id for row in rows]


def last_inventory(session: Session) -> str:
    """The newest inventory of fimscan's own files; empty if there is none."""
    mine = (_event.c.host_id == session.host_id) & (_event.c.kind == HostEventKind.INSTALLED.value)
    found: str | None = session.scalar(select(_event.c.after).where(mine).order_by(_event.c.id.desc()).limit(1))
    return found or ""


def add_inventory(session: Session, inventory: str) -> None:
    """Store an inventory of fimscan's own files."""
    _add_event(session, HostEventKind.INSTALLED, "", inventory)


def last_boots(session: Session, limit: int) -> list[Boot]:
    """The kernels that scans saw, each time that it was another one than before, oldest first."""
    mine = (_event.c.host_id == session.host_id) & (_event.c.kind == HostEventKind.BOOTED.value)
    query = select(_event.c.after).where(mine).order_by(_event.c.id.desc()).limit(limit)
    return [Boot(**json.loads(text)) for text in session.scalars(query)][::-1]


def add_boot(session: Session, boot: Boot) -> None:
    """Store that the kernel is another one than at the scan before."""
    _add_event(session, HostEventKind.BOOTED, "", json.dumps(asdict(boot)))


def mark_told(session: Session, numbers: Sequence[int]) -> None:
    """Store that these events were reported."""
    if numbers:
        session.execute(_event.update().where(_event.c.id.in_(numbers)).values(told=True))


def _loaded(row: Row[Any]) -> HostEvent:
    return HostEvent(time_ns=row.time_ns, kind=HostEventKind(row.kind), before=row.before, after=row.after)


def _records(connection: Connection) -> list[_Record]:
    done = schema.scan.c.status == ScanStatus.FINISHED.value
    counts = select(schema.scan.c.host_id, func.count().label("scans")).where(done).group_by(schema.scan.c.host_id)
    counted = counts.subquery()
    query = select(_host, func.coalesce(counted.c.scans, 0).label("scans")).join(
        counted, counted.c.host_id == _host.c.id, isouter=True
    )
    return [
        _Record(
            number=row.id,
            first_name=row.name,
            name=row.current_name or row.name,
            identity=row.identity,
            scans=row.scans,
        )
        for row in connection.execute(query.order_by(_host.c.id))
    ]


def _matching(records: Sequence[_Record], host: HostIdentity, *, shared: bool) -> _Record | None:
    """The host's own records: by its id, else by its name if those have no id."""
    if host.id is None and host.source is IdSource.NAME:
        return next((record for record in records if record.first_name == host.name), None)
    if host.id is None:  # a reader who cannot read the recorded id
        named = [record for record in records if record.name == host.name]
        if not named and not shared:  # a file has one host, whatever that is called now
            named = list(records)
        return named[0] if len(named) == 1 else None
    by_id = (record for record in records if record.identity == host.id)
    by_name = (record for record in records if record.identity is None and record.first_name == host.name)
    return next(by_id, None) or next(by_name, None)


def _require_no_other(records: Sequence[_Record], host: HostIdentity, *, shared: bool, name: str) -> None:
    """Refuse to begin anew where another host has a baseline: in a file of its own, or under the same name."""
    if host.id is None:
        return
    others = [record for record in records if record.scans and (not shared or record.name == host.name)]
    if others:
        raise StoreError(
            f"{name} has the baseline of another host ({_listed(others)}), and this one is {host.name} ({host.id}); if"
            f" it is the same host with a new id, or is to continue those records, run 'fimscan scan --adopt-host'"
        )


def _listed(records: Sequence[_Record]) -> str:
    return ", ".join(f"{record.name}{f' ({record.identity})' if record.identity else ''}" for record in records)


def _chosen(records: Sequence[_Record], host: HostIdentity, adopt: str, name: str) -> _Record:
    wanted = adopt or host.name
    with_scans = [record for record in records if record.scans]
    named = [record for record in with_scans if wanted in (record.name, record.first_name)]
    chosen = named or ([] if adopt else with_scans)
    if len(chosen) == 1:
        return chosen[0]
    known = _listed(with_scans) or "none"
    raise StoreError(f"--adopt-host: name one of the hosts in {name} that have a baseline: {known}")


def _update(connection: Connection, record: _Record, host: HostIdentity) -> None:
    if host.id is None:
        return
    if record.identity is None:
        connection.execute(_host.update().where(_host.c.id == record.number).values(identity=host.id))
        _note(connection, record.number, HostEventKind.IDENTIFIED, record.name, host.id)
    if record.name != host.name:
        connection.execute(_host.update().where(_host.c.id == record.number).values(current_name=host.name))
        _note(connection, record.number, HostEventKind.RENAMED, record.name, host.name)


def _adopt(connection: Connection, record: _Record, host: HostIdentity) -> int:
    mine = _host.update().where(_host.c.id == record.number)
    connection.execute(mine.values(identity=host.id, current_name=host.name))
    _note(connection, record.number, HostEventKind.ADOPTED, record.name, host.name)
    if host.id is not None:
        _note(connection, record.number, HostEventKind.IDENTIFIED, record.identity or record.name, host.id)
    return record.number


def _add(connection: Connection, records: Sequence[_Record], host: HostIdentity) -> int:
    # A first name is taken for ever: both chains digest it. Another host may have had this name.
    taken = {record.first_name for record in records}
    name = host.name
    if name in taken and host.id is not None:
        name = f"{host.name}#{host.id.partition(':')[2][:_IDENTITY_DIGITS]}"
    values = {"name": name, "identity": host.id, "current_name": None if name == host.name else host.name}
    made = connection.execute(_host.insert().values(**values)).inserted_primary_key
    assert made is not None, "an insert of one row gives its key"
    number = int(made[0])
    if host.id is not None:
        _note(connection, number, HostEventKind.IDENTIFIED, "", host.id)
    return number


def _note(connection: Connection, number: int, kind: HostEventKind, before: str, after: str) -> None:
    session = Session(connection, number)
    _add_event(session, kind, before, after)
    journal.write_notes(session)


def _add_event(session: Session, kind: HostEventKind, before: str, after: str) -> None:
    journal.lock(session)
    row = {"time_ns": time.time_ns(), "kind": kind.value, "before": before, "after": after}
    made = session.execute(_event.insert().values(host_id=session.host_id, told=False, **row)).inserted_primary_key
    assert made is not None, "an insert of one row gives its key"
    journal.note(session, [of_row(Subject.HOST_EVENT, {"id": made[0], **row})])
