"""Store scans: begin, finish and find them, with their configurations and read times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Row, select, update

from fimscan.model import IMPORT, LIVE, PRUNE, Checkpoint, Scan, ScanStatus
from fimscan.store import files, journal, row_digests, schema
from fimscan.store.inserting import insert_of_new
from fimscan.store.ledger import GENESIS, dump_checkpoint, entry, load_checkpoint, summary_line
from fimscan.store.registry import Subject, WithScan
from fimscan.store.session import Session

_scan = schema.scan
_IS_FULL = _scan.c.trigger.not_in((LIVE, PRUNE))
# Tables that a scan may have written to when it is interrupted.
_WRITTEN_EARLY = (
    *(s.rows.table for s in Subject if isinstance(s.rows, WithScan) and s.rows.number == "scan_id"),
    schema.change,
)


def begin(session: Session, *, trigger: str, started_ns: int, config_digest: str, config_text: str) -> int:
    """Record that a scan begins; return its number."""
    # Two hosts with the same configuration may begin at the same time.
    new = insert_of_new(session, schema.configuration)
    session.execute(new.values(digest=config_digest, text=config_text))
    result = session.execute(
        _scan.insert().values(
            host_id=session.host_id,
            trigger=trigger,
            status=ScanStatus.RUNNING.value,
            started_ns=started_ns,
            config_digest=config_digest,
        )
    )
    assert result.inserted_primary_key is not None, "an insert of one row gives its key"
    return int(result.inserted_primary_key[0])


def interrupt_unfinished(session: Session) -> list[int]:
    """Undo what unfinished scans had written, and mark them as interrupted. The caller holds the writer lock."""
    running = select(_scan.c.id).where(_scan.c.host_id == session.host_id, _scan.c.status == ScanStatus.RUNNING.value)
    found = list(session.scalars(running))
    for scan_id in found:
        for table in _WRITTEN_EARLY:
            session.execute(table.delete().where(table.c.scan_id == scan_id))
        files.undo_scan(session, scan_id)
        session.execute(update(_scan).where(_scan.c.id == scan_id).values(status=ScanStatus.INTERRUPTED.value))
    return found


def finish(session: Session, scan: Scan, *, read_clock: bytes, begun: bytes | None = None) -> Scan:
    """Finish a scan: compute its ledger entry from the last finished scan's, in the transaction that publishes it.

    ``begun`` is the digest of its new versions, if known (see :func:`fimscan.store.row_digests.of_scan`).
    """
    mine = update(_scan).where(_scan.c.id == scan.id)
    session.execute(mine.values(problems=json.dumps(scan.problems), read_clock=read_clock))
    journal.record(session, journal.Cause.SCAN, row_digests.of_scan(session, scan.id, begun=begun))
    previous = session.scalar(_finished_entries(session).limit(1)) or GENESIS
    sealed = replace(scan, status=ScanStatus.FINISHED, previous=previous, journal=journal.head(session) or "")
    sealed = replace(sealed, entry=entry(previous, summary_line(sealed), sealed.state_digest))
    session.execute(
        mine.values(
            status=sealed.status.value,
            finished_ns=sealed.finished_ns,
            counts=json.dumps(dict(sealed.counts), sort_keys=True),
            state_digest=sealed.state_digest,
            journal=sealed.journal,
            previous=sealed.previous,
            entry=sealed.entry,
            checkpoint=None if sealed.checkpoint is None else dump_checkpoint(sealed.checkpoint),
        )
    )
    return sealed


def _finished_entries(session: Session) -> Any:
    """The ledger entries of scans and checkpoints, newest first."""
    mine = (_scan.c.host_id == session.host_id) & (_scan.c.status == ScanStatus.FINISHED.value)
    return select(_scan.c.entry).where(mine).order_by(_scan.c.id.desc())


def checkpoint(session: Session) -> Checkpoint | None:
    """The newest checkpoint; ``None`` if nothing was ever pruned."""
    mine = (_scan.c.host_id == session.host_id) & (_scan.c.status == ScanStatus.FINISHED.value)
    query = select(_scan.c.checkpoint).where(mine, _scan.c.checkpoint.is_not(None)).order_by(_scan.c.id.desc())
    text = session.scalar(query.limit(1))
    return None if text is None else load_checkpoint(text)


def last_finished(session: Session) -> Scan | None:
    """The newest finished scan."""
    done = (_scan.c.status == ScanStatus.FINISHED.value) & (_scan.c.trigger != PRUNE)
    query = _scans(session).where(done).order_by(_scan.c.id.desc()).limit(1)
    row = session.execute(query).first()
    return None if row is None else _scan_of(row)


def last_full(session: Session, until: int | None = None) -> Scan | None:
    """The newest finished scan of all monitored files, up to and including the scan ``until``."""
    query = _scans(session).where(_scan.c.status == ScanStatus.FINISHED.value, _IS_FULL)
    if until is not None:
        query = query.where(_scan.c.id <= until)
    row = session.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def last_done_ns(session: Session, *, full: bool) -> int | None:
    """When the newest finished comparison of all monitored files began; with ``full``, the newest that read them all.

    It does not matter what started it: the schedule, cron or a person. An import reads no file.
    """
    query = select(_scan.c.started_ns).where(
        _scan.c.host_id == session.host_id,
        _scan.c.status == ScanStatus.FINISHED.value,
        _scan.c.trigger.not_in((LIVE, IMPORT, PRUNE)),
    )
    if full:
        query = query.where(~_scan.c.counts.contains('"vouched"'))
    return session.scalar(query.order_by(_scan.c.id.desc()).limit(1))


def last_pruned_ns(session: Session) -> int | None:
    """When the newest checkpoint was made."""
    mine = (_scan.c.host_id == session.host_id) & (_scan.c.status == ScanStatus.FINISHED.value)
    query = select(_scan.c.started_ns).where(mine, _scan.c.checkpoint.is_not(None))
    return session.scalar(query.order_by(_scan.c.id.desc()).limit(1))


def full_back_to(session: Session, until: int, time_ns: int) -> list[Scan]:
    """The finished scans of all monitored files, newest first, from ``until`` back to one that began by a time."""
    query = _scans(session).where(_scan.c.status == ScanStatus.FINISHED.value, _IS_FULL, _scan.c.id <= until)
    found = []
    for row in session.execute(query.order_by(_scan.c.id.desc())):
        found.append(_scan_of(row))
        if row.started_ns <= time_ns:
            break
    return found


def last_full_begun(session: Session, time_ns: int) -> Scan | None:
    """The newest finished scan of all monitored files that had begun by a time."""
    query = _scans(session).where(_scan.c.status == ScanStatus.FINISHED.value, _IS_FULL, _scan.c.started_ns <= time_ns)
    row = session.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def finished_before(session: Session, scan_id: int) -> Scan | None:
    """The finished scan before another one."""
    done = (_scan.c.status == ScanStatus.FINISHED.value) & (_scan.c.trigger != PRUNE)
    query = _scans(session).where(done, _scan.c.id < scan_id)
    row = session.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def finished_up_to(session: Session, scan_id: int) -> Scan | None:
    """The newest finished scan, or checkpoint, up to and including a number."""
    query = _scans(session).where(_scan.c.status == ScanStatus.FINISHED.value, _scan.c.id <= scan_id)
    row = session.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def first_started_ns(session: Session) -> int | None:
    """When the very first scan began, which may have been pruned."""
    sealed = checkpoint(session)
    if sealed is not None:
        return sealed.began_ns
    return session.scalar(
        select(_scan.c.started_ns).where(_scan.c.host_id == session.host_id).order_by(_scan.c.id).limit(1)
    )


def all_scans(session: Session) -> list[Scan]:
    """Every scan and checkpoint, oldest first."""
    return [_scan_of(row) for row in session.execute(_scans(session).order_by(_scan.c.id))]


def one_scan(session: Session, scan_id: int) -> Scan | None:
    """A scan by its number."""
    row = session.execute(_scans(session).where(_scan.c.id == scan_id)).first()
    return None if row is None else _scan_of(row)


def mark_reported(session: Session, scan_ids: Sequence[int]) -> None:
    """Mark the findings of these scans as reported."""
    if not scan_ids:
        return
    journal.lock(session)
    for some in files.chunks(scan_ids):
        unreported = session.scalars(select(_scan.c.id).where(_scan.c.id.in_(some), ~_scan.c.reported)).all()
        session.execute(update(_scan).where(_scan.c.id.in_(unreported)).values(reported=True))
        journal.note(session, [row_digests.of_row(Subject.REPORTED, {"id": number}) for number in unreported])


def last_reported(session: Session) -> Scan | None:
    """The newest finished scan whose findings were reported."""
    query = _scans(session).where(_scan.c.status == ScanStatus.FINISHED.value, _scan.c.reported)
    row = session.execute(query.order_by(_scan.c.id.desc()).limit(1)).first()
    return None if row is None else _scan_of(row)


def read_clock(session: Session, scan_id: int) -> bytes:
    """The serialized read times of a scan (:class:`fimscan.attribution.clock.ReadClock`)."""
    return session.scalar(select(_scan.c.read_clock).where(_scan.c.id == scan_id)) or b""


def config_digests(session: Session, start: int, end: int) -> list[tuple[int, str]]:
    """(scan, its configuration's digest) of the finished scans from ``start`` to ``end``, both included."""
    query = select(_scan.c.id, _scan.c.config_digest).where(
        _scan.c.host_id == session.host_id, _scan.c.status == ScanStatus.FINISHED.value, _scan.c.id.between(start, end)
    )
    return [(number, digest) for number, digest in session.execute(query.order_by(_scan.c.id))]


def config_digest(session: Session, scan_id: int) -> str:
    """The digest of a scan's configuration, running or finished; empty for an unknown scan."""
    return session.scalar(select(schema.scan.c.config_digest).where(schema.scan.c.id == scan_id)) or ""


def configuration_text(session: Session, digest: str) -> str | None:
    """A stored effective configuration, as JSON, by its digest."""
    query = select(schema.configuration.c.text).where(schema.configuration.c.digest == digest)
    return session.scalar(query)


def _scans(session: Session) -> Any:
    return select(_scan, schema.host.c.name.label("host")).join(schema.host).where(_scan.c.host_id == session.host_id)


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
        checkpoint=None if row.checkpoint is None else load_checkpoint(row.checkpoint),
    )
