"""Scans, their changes, and what was accepted."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from fimscan.model import (
    LIVE,
    Actor,
    Attribution,
    Breach,
    Change,
    ChangeKind,
    Finding,
    Holder,
    Holders,
    Scan,
    ScanStatus,
    Unreadable,
    UnreadableReason,
    Window,
)
from fimscan.model import UnmodifiedOpen as Opened
from fimscan.store import codec, covered, files, journal, schema
from fimscan.store.ledger import GENESIS, entry, summary_line

_scan = schema.scan


# --------------------------------------------------------------------------------------------------------------------
# Scans


def begin(
    connection: Connection, host_id: int, *, trigger: str, started_ns: int, config_digest: str, config_text: str
) -> int:
    """Record that a scan begins; gives its number."""
    known = select(schema.configuration.c.digest).where(schema.configuration.c.digest == config_digest)
    if connection.scalar(known) is None:
        connection.execute(schema.configuration.insert().values(digest=config_digest, text=config_text))
    result = connection.execute(
        _scan.insert().values(
            host_id=host_id,
            trigger=trigger,
            status=ScanStatus.RUNNING.value,
            started_ns=started_ns,
            config_digest=config_digest,
        )
    )
    assert result.inserted_primary_key is not None, "an insert of one row gives its key"
    return int(result.inserted_primary_key[0])


def interrupt_unfinished(connection: Connection, host_id: int) -> list[int]:
    """Undo what scans that never finished had written, and mark them as interrupted. Needs the writer lock."""
    running = select(_scan.c.id).where(_scan.c.host_id == host_id, _scan.c.status == ScanStatus.RUNNING.value)
    found = list(connection.scalars(running))
    for scan_id in found:
        for table in (schema.unreadable, schema.holder, schema.unmodified_open, schema.change):
            connection.execute(table.delete().where(table.c.scan_id == scan_id))
        files.undo(connection, scan_id)
        connection.execute(update(_scan).where(_scan.c.id == scan_id).values(status=ScanStatus.INTERRUPTED.value))
    return found


def finish(connection: Connection, scan: Scan, *, read_clock: bytes) -> Scan:
    """Seal a scan: the ledger entry is made from the last finished scan's, in the transaction that publishes it."""
    host_id = _host_id(connection, scan.id)
    mine = update(_scan).where(_scan.c.id == scan.id)
    connection.execute(mine.values(problems=json.dumps(scan.problems), read_clock=read_clock))
    journal.record(connection, host_id, journal.Cause.SCAN, covered.of_scan(connection, host_id, scan.id))
    last = last_finished(connection, host_id)
    previous = last.entry if last else GENESIS
    sealed = replace(
        scan, status=ScanStatus.FINISHED, previous=previous, journal=journal.head(connection, host_id) or ""
    )
    sealed = replace(sealed, entry=entry(previous, summary_line(sealed), sealed.state_digest))
    connection.execute(
        mine.values(
            status=sealed.status.value,
            finished_ns=sealed.finished_ns,
            counts=json.dumps(dict(sealed.counts), sort_keys=True),
            state_digest=sealed.state_digest,
            journal=sealed.journal,
            previous=sealed.previous,
            entry=sealed.entry,
        )
    )
    return sealed


def last_finished(connection: Connection, host_id: int) -> Scan | None:
    """The newest scan that was completed."""
    query = _scans(host_id).where(_scan.c.status == ScanStatus.FINISHED.value).order_by(_scan.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _scan_of(row)


def last_full(connection: Connection, host_id: int, until: int | None = None) -> Scan | None:
    """The newest completed scan that looked at everything (and is not newer than the scan ``until``)."""
    query = _scans(host_id).where(_scan.c.status == ScanStatus.FINISHED.value, _scan.c.trigger != LIVE)
    if until is not None:
        query = query.where(_scan.c.id <= until)
    row = connection.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def full_back_to(connection: Connection, host_id: int, until: int, time_ns: int) -> list[Scan]:
    """The completed scans that looked at everything, from ``until`` back to the last that began before a time."""
    query = _scans(host_id).where(
        _scan.c.status == ScanStatus.FINISHED.value, _scan.c.trigger != LIVE, _scan.c.id <= until
    )
    found = []
    for row in connection.execute(query.order_by(_scan.c.id.desc())):
        found.append(_scan_of(row))
        if row.started_ns <= time_ns:
            break
    return found


def finished_before(connection: Connection, host_id: int, scan_id: int) -> Scan | None:
    """The completed scan before another one."""
    query = _scans(host_id).where(_scan.c.status == ScanStatus.FINISHED.value, _scan.c.id < scan_id)
    row = connection.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def first_started_ns(connection: Connection, host_id: int) -> int | None:
    """When the first scan of all began."""
    return connection.scalar(select(_scan.c.started_ns).where(_scan.c.host_id == host_id).order_by(_scan.c.id).limit(1))


def all_scans(connection: Connection, host_id: int) -> list[Scan]:
    """Every scan, oldest first."""
    return [_scan_of(row) for row in connection.execute(_scans(host_id).order_by(_scan.c.id))]


def one_scan(connection: Connection, host_id: int, scan_id: int) -> Scan | None:
    """A scan by its number."""
    row = connection.execute(_scans(host_id).where(_scan.c.id == scan_id)).first()
    return None if row is None else _scan_of(row)


def read_clock(connection: Connection, scan_id: int) -> bytes:
    """The read times of a scan (:class:`fimscan.join.clock.ReadClock`)."""
    return connection.scalar(select(_scan.c.read_clock).where(_scan.c.id == scan_id)) or b""


def config_digests(connection: Connection, host_id: int, start: int, end: int) -> list[tuple[int, str]]:
    """(scan, its configuration's digest) of the finished scans from ``start`` to ``end``, both included."""
    query = select(_scan.c.id, _scan.c.config_digest).where(
        _scan.c.host_id == host_id, _scan.c.status == ScanStatus.FINISHED.value, _scan.c.id.between(start, end)
    )
    return [(number, digest) for number, digest in connection.execute(query.order_by(_scan.c.id))]


def configuration_text(connection: Connection, digest: str) -> str | None:
    """An effective configuration that was once used, as JSON."""
    query = select(schema.configuration.c.text).where(schema.configuration.c.digest == digest)
    return connection.scalar(query)


def _scans(host_id: int) -> Any:
    return select(_scan, schema.host.c.name.label("host")).join(schema.host).where(_scan.c.host_id == host_id)


def _scan_of(row: Row[Any]) -> Scan:
    return Scan(
        id=row.id,
        host=row.host,
        trigger=row.trigger,
        status=ScanStatus(row.status),
        started_ns=row.started_ns,
        finished_ns=row.finished_ns,
        counts=json.loads(row.counts),
        config_digest=row.config_digest,
        state_digest=row.state_digest,
        journal=row.journal,
        previous=row.previous,
        entry=row.entry,
        problems=tuple(json.loads(row.problems)),
    )


def _host_id(connection: Connection, scan_id: int) -> int:
    return int(connection.execute(select(_scan.c.host_id).where(_scan.c.id == scan_id)).scalar_one())


# --------------------------------------------------------------------------------------------------------------------
# What a scan found


def add_unreadable(connection: Connection, scan_id: int, items: Iterable[Unreadable]) -> None:
    """Record what a scan could not read."""
    rows = [
        {"scan_id": scan_id, "path": item.path, "reason": item.reason.value, "detail": item.detail} for item in items
    ]
    if rows:
        connection.execute(schema.unreadable.insert(), rows)


def unreadable_in(connection: Connection, scan_id: int) -> tuple[Unreadable, ...]:
    """What a scan could not read, in order of path."""
    table = schema.unreadable
    rows = connection.execute(select(table).where(table.c.scan_id == scan_id).order_by(table.c.path))
    return tuple(Unreadable(path=r.path, reason=UnreadableReason(r.reason), detail=r.detail) for r in rows)


def add_holders(connection: Connection, scan_id: int, holders: Iterable[Holder]) -> None:
    """Record who held writable descriptors when a scan began."""
    rows = [
        {"scan_id": scan_id, "dev": h.dev, "inode": h.inode, "actor": codec.dump_actors([h.actor])} for h in holders
    ]
    if rows:
        connection.execute(schema.holder.insert(), rows)


def keep_known_holders(connection: Connection, scan_id: int) -> None:
    """Forget the holders of files that are not monitored: logs, caches and the like of every process."""
    table, version = schema.holder, schema.file_version
    known = select(version.c.id).where(
        version.c.dev == table.c.dev, version.c.inode == table.c.inode, version.c.end_scan.is_(None)
    )
    connection.execute(table.delete().where(table.c.scan_id == scan_id, ~known.exists()))


def mark_reported(connection: Connection, scan_ids: Sequence[int]) -> None:
    """Remember that what these scans found was written to where somebody reads it."""
    if scan_ids:
        connection.execute(update(_scan).where(_scan.c.id.in_(scan_ids)).values(reported=True))


def last_reported(connection: Connection, host_id: int) -> Scan | None:
    """The newest finished scan whose findings were written out."""
    query = _scans(host_id).where(_scan.c.status == ScanStatus.FINISHED.value, _scan.c.reported)
    row = connection.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def holders_at(connection: Connection, scan_id: int) -> dict[tuple[int, int], list[Actor]]:
    """Who held writable descriptors when a scan began, by (device, inode)."""
    found: dict[tuple[int, int], list[Actor]] = {}
    for row in connection.execute(select(schema.holder).where(schema.holder.c.scan_id == scan_id)):
        found.setdefault((row.dev, row.inode), []).extend(codec.load_actors(row.actor))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """A single path that was looked at again after a scan: when its reading began, and who could write to it then.

    ``holders`` are those of the file that was there; ``None`` where there was none.
    """

    path: bytes
    read_start_ns: int
    holders: Holders | None = None


def set_rechecks(connection: Connection, host_id: int, items: Sequence[Recheck]) -> None:
    """Remember the latest look at each of these paths."""
    table = schema.recheck
    _forget(connection, host_id, [item.path for item in items])
    rows = [
        {
            "host_id": host_id,
            "path": item.path,
            "read_start_ns": item.read_start_ns,
            "holders": codec.dump_holders(item.holders) or "",
        }
        for item in items
    ]
    if rows:
        connection.execute(table.insert(), rows)


def _forget(connection: Connection, host_id: int, paths: Sequence[bytes]) -> None:
    table = schema.recheck
    for chunk in files.chunks(paths):
        connection.execute(table.delete().where(table.c.host_id == host_id, table.c.path.in_(chunk)))


def forget_rechecks(connection: Connection, host_id: int, before_ns: int) -> None:
    """Forget the looks at single paths that a scan, whose reading began later, has made pointless."""
    table = schema.recheck
    connection.execute(table.delete().where(table.c.host_id == host_id, table.c.read_start_ns < before_ns))


def rechecks(connection: Connection, host_id: int, paths: Iterable[bytes] | None = None) -> dict[bytes, Recheck]:
    """The latest looks at these paths (``None``: at any) since the last complete scan."""
    table = schema.recheck
    mine = select(table).where(table.c.host_id == host_id)
    queries = [mine] if paths is None else [mine.where(table.c.path.in_(c)) for c in files.chunks(sorted(set(paths)))]
    return {
        row.path: Recheck(
            path=row.path, read_start_ns=row.read_start_ns, holders=codec.load_holders(row.holders or None)
        )
        for query in queries
        for row in connection.execute(query)
    }


def add_unmodified_opens(connection: Connection, scan_id: int, opened: Iterable[Opened]) -> None:
    """Record which files were opened for writing and not changed."""
    rows = [{"scan_id": scan_id, "path": o.path, "actors": codec.dump_actors(o.actors)} for o in opened]
    if rows:
        connection.execute(schema.unmodified_open.insert(), rows)


def unmodified_opens(connection: Connection, host_id: int, start: int, end: int) -> tuple[Opened, ...]:
    """Files opened for writing and not changed in ``start`` < scan <= ``end``, one entry a path."""
    table = schema.unmodified_open
    query = (
        select(table.c.path, table.c.actors)
        .join(_scan)
        .where(_scan.c.host_id == host_id, table.c.scan_id > start, table.c.scan_id <= end)
        .where(_scan.c.status == ScanStatus.FINISHED.value)
        .order_by(table.c.path, table.c.scan_id)
    )
    merged: dict[bytes, tuple[Actor, ...]] = {}
    for path, actors in connection.execute(query):
        merged[path] = merged.get(path, ()) + codec.load_actors(actors)
    return tuple(Opened(path=path, actors=actors) for path, actors in merged.items())


# --------------------------------------------------------------------------------------------------------------------
# Changes


def add_changes(connection: Connection, host_id: int, scan_id: int, findings: Sequence[Finding]) -> None:
    """Record the changes of a scan with their answers. Both sides must be stored versions."""
    if not findings:
        return
    ids = _version_ids(connection, host_id, scan_id, {state.path for f in findings for state in f.change.sides})
    rows = [
        {
            "scan_id": scan_id,
            "host_id": host_id,
            "kind": change.kind.value,
            "path": change.path,
            "moved_from": change.moved_from,
            "before_version": ids.get((change.before.path, False)) if change.before else None,
            "after_version": ids.get((change.after.path, True)) if change.after else None,
            "changed": ",".join(change.changed),
            "after_ns": change.window.after_ns,
            "before_ns": change.window.before_ns,
            "holders": codec.dump_holders(change.holders),
            "breach": change.breach,
            "verdict": finding.attribution.verdict.value,
            "attribution": codec.dump_attribution(finding.attribution),
        }
        for finding in findings
        for change in (finding.change,)
    ]
    connection.execute(schema.change.insert(), rows)


def _version_ids(
    connection: Connection, host_id: int, scan_id: int, wanted: Collection[bytes]
) -> dict[tuple[bytes, bool], int]:
    """(path, is it the new side) -> row number of the version; of those paths only, since a scan may adopt millions."""
    table = schema.file_version
    began = select(table.c.path, table.c.id).where(table.c.host_id == host_id, table.c.first_scan == scan_id)
    ended = select(table.c.path, table.c.id).where(table.c.host_id == host_id, table.c.end_scan == scan_id)
    return {
        (path, is_new): number
        for query, is_new in ((began, True), (ended, False))
        for path, number in connection.execute(query, execution_options=files.STREAMED)
        if path in wanted
    }


def set_attributions(connection: Connection, host_id: int, answers: Mapping[int, Attribution]) -> None:
    """Replace the answers for changes (by number), when later records say more."""
    table = schema.change
    altered = []
    for change_id, attribution in answers.items():
        text = codec.dump_attribution(attribution)
        another = (table.c.id == change_id) & (table.c.attribution != text)
        values = {"verdict": attribution.verdict.value, "attribution": text}
        if connection.execute(update(table).where(another).values(**values)).rowcount:
            altered.append(change_id)
    journal.record(
        connection, host_id, journal.Cause.LATE_RECORDS, covered.of_changes(connection, host_id, ids=altered)
    )


def findings_between(connection: Connection, host_id: int, start: int, end: int) -> list[Finding]:
    """The changes found by scans ``start`` < s <= ``end``, in the order in which they were found."""
    table = schema.change
    query = _finished_changes(host_id).where(table.c.scan_id > start, table.c.scan_id <= end)
    return _findings(connection, connection.execute(query.order_by(table.c.id)).all())


def findings_since(connection: Connection, host_id: int, time_ns: int) -> list[Finding]:
    """The changes whose window was still open at a time: those that a late audit record can say something about."""
    query = _finished_changes(host_id).where(schema.change.c.before_ns >= time_ns)
    return _findings(connection, connection.execute(query.order_by(schema.change.c.id)).all())


def history_of(connection: Connection, host_id: int, path: bytes) -> list[Finding]:
    """Every change that was ever found of a path, under its present and as its earlier name."""
    table = schema.change
    query = _finished_changes(host_id).where((table.c.path == path) | (table.c.moved_from == path))
    return _findings(connection, connection.execute(query.order_by(table.c.id)).all())


def one_finding(connection: Connection, host_id: int, change_id: int) -> Finding | None:
    """A change by its number."""
    query = _finished_changes(host_id).where(schema.change.c.id == change_id)
    return next(iter(_findings(connection, connection.execute(query).all())), None)


def _finished_changes(host_id: int) -> Any:
    return (
        select(schema.change)
        .join(_scan, schema.change.c.scan_id == _scan.c.id)
        .where(schema.change.c.host_id == host_id, _scan.c.status == ScanStatus.FINISHED.value)
    )


def _findings(connection: Connection, rows: Sequence[Row[Any]]) -> list[Finding]:
    ids = [number for row in rows for number in (row.before_version, row.after_version) if number is not None]
    versions = files.by_ids(connection, ids)
    return [_finding(row, versions) for row in rows]


def _finding(row: Row[Any], versions: Mapping[int, files.Version]) -> Finding:
    change = Change(
        id=row.id,
        kind=ChangeKind(row.kind),
        before=versions[row.before_version].state if row.before_version is not None else None,
        after=versions[row.after_version].state if row.after_version is not None else None,
        changed=tuple(row.changed.split(",")) if row.changed else (),
        window=Window(after_ns=row.after_ns, before_ns=row.before_ns),
        holders=codec.load_holders(row.holders),
        breach=Breach(row.breach) if row.breach is not None else None,
    )
    return Finding(change=change, attribution=codec.load_attribution(row.attribution), scan=row.scan_id)


# --------------------------------------------------------------------------------------------------------------------
# Acceptance


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is accepted: everything as of ``scan``, except the paths in ``overrides`` (version, accepted as of scan).

    A version of ``None`` means that the path's absence is accepted.
    """

    scan: int
    overrides: Mapping[bytes, tuple[files.Version | None, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who accepts, when, and why."""

    accepted_ns: int
    user: str
    ticket: str = ""
    reason: str = ""


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
    made = covered.of_acceptances(connection, host_id, after=last)
    journal.record(connection, host_id, journal.Cause.ACCEPT, made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """An acceptance as it was made: of one path, or (``path`` is ``None``) of everything as of ``scan``."""

    path: bytes | None
    scan: int
    approval: Approval


def dispositions(connection: Connection, host_id: int, limit: int) -> list[Disposition]:
    """The last acceptances, oldest first."""
    table = schema.acceptance
    query = select(table).where(table.c.host_id == host_id).order_by(table.c.id.desc()).limit(limit)
    return [
        Disposition(
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
