"""Rows -> digests: what the journal covers of each, and so what cannot be altered unnoticed.

A row's digest is SHA-256 over its values, each number in decimal with a space after it, each text or byte string as its
length, a colon, the bytes and a comma (a netstring), an unknown value as ``-,``. Three kinds of items are made of them:

- Rows that are written once, together, with a scan (its file versions, what it could not read ...) have one digest for
  all: SHA-256 over theirs, in order.
- Of a change, an acceptance and a block of audit records, the newest digest counts.
- A row of the tables in ``ROWS`` has an item when it is written, and the same one again when it is taken out. A row
  that is altered is taken out as it was and written as it is. So one that somebody else altered in between is noticed
  for good: what it was is never taken out.

Not covered here are the hosts' names and the journal's own tables: the chains do that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import chain, count, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Select, Table, select

from fimscan.model import ScanStatus
from fimscan.store import files, schema
from fimscan.store.queries import STREAMED, plain, plain_rows
from fimscan.store.session import Session

_AT_ONCE = 1000
_scan, _version, _access = schema.scan, schema.file_version, schema.access


class Subject(IntEnum):
    """Of what an item is the digest. The numbers are written down: they never change."""

    SCAN = 1  # a scan's problems and read times: what its own ledger entry leaves out
    BEGUN = 2  # the file versions that begin with a scan, with what a state digest leaves out
    ENDED = 3  # the file versions that end with a scan
    UNREADABLE = 4
    HOLDERS = 5
    OPENED = 6  # opened for writing and unmodified
    CHANGE = 7
    ACCEPTANCE = 8
    AUDIT_BLOCK = 9
    NOTICE = 10
    DAMAGED_LINE = 11
    PROCESS = 12
    OBSERVATION = 13
    EXTENT = 14
    CURSOR = 15
    RECHECK = 16
    REPORTED = 17  # there is one for each scan that was
    WITNESS_EVENT = 18
    WITNESS_EXTENT = 19
    DEVICES = 20
    PROCESS_FACT = 21


# By name: a column that is added later must not change the digests of what is there.
_CHANGE = (
    *("id", "scan_id", "kind", "path", "moved_from", "before_version", "after_version", "changed"),
    *("after_ns", "before_ns", "verdict", "attribution", "holders", "breach"),
)
_ACCEPTANCE = ("id", "path", "scan_id", "version_id", "accepted_ns", "user", "ticket", "reason")
_WITH_SCAN = (
    (Subject.UNREADABLE, schema.unreadable, ("path", "reason", "detail")),
    (Subject.HOLDERS, schema.holder, ("id", "dev", "inode", "actor")),
    (Subject.OPENED, schema.unmodified_open, ("path", "actors")),
)


class Rows(NamedTuple):
    """A table of which each row has an item of its own: what it is numbered by, its key (within a host), all else.

    A number need not be of one row only: it says which row is meant to whoever reads of it. ``later`` are columns that
    older databases got: they are digested where they are not null, so that the digests of old rows stay.
    """

    table: Table
    number: str
    key: tuple[str, ...]
    others: tuple[str, ...]
    later: tuple[str, ...] = ()


ROWS = {
    Subject.NOTICE: Rows(schema.notice, "time_ns", ("time_ns", "serial", "node", "kind"), ("key",), ("actor",)),
    Subject.DAMAGED_LINE: Rows(schema.damaged_line, "offset", ("offset", "line_digest"), ("source", "line", "problem")),
    Subject.PROCESS: Rows(schema.process, "pid", ("pid", "time_ns"), ("actor",)),
    Subject.OBSERVATION: Rows(schema.observation, "time_ns", ("time_ns",), ("detail",)),
    Subject.EXTENT: Rows(schema.audit_extent, "id", ("id",), ("path", "start_ns", "end_ns")),
    Subject.CURSOR: Rows(
        schema.audit_cursor, "offset", ("path",), ("dev", "inode", "offset", "fingerprint", "late_ns")
    ),
    Subject.RECHECK: Rows(schema.recheck, "read_start_ns", ("path",), ("read_start_ns", "holders")),
    Subject.REPORTED: Rows(schema.scan, "id", ("id",), ()),
    Subject.WITNESS_EVENT: Rows(
        schema.witness_event,
        "until_ns",
        ("id",),
        ("dev", "inode", "handle", "mask", "since_ns", "until_ns", "name", "actor", "started_ns", "ancestors"),
    ),
    Subject.WITNESS_EXTENT: Rows(schema.witness_extent, "start_ns", ("dev", "start_ns"), ("end_ns", "holes", "ended")),
    Subject.DEVICES: Rows(schema.devices, "scan_id", ("scan_id",), ("detail",)),
    Subject.PROCESS_FACT: Rows(schema.process_fact, "time_ns", ("kind", "number", "time_ns", "serial"), ("detail",)),
}


class Item(NamedTuple):
    """The digest of one row (``id`` is its number), or of all rows of a scan (``id`` is the scan's number)."""

    subject: Subject
    id: int
    digest: bytes


def digest_of(values: Iterable[object]) -> bytes:
    """See the module."""
    return hashlib.sha256(b"".join([_encoded(value) for value in values])).digest()


def _encoded(value: object) -> bytes:
    match value:
        case None:
            return b"-,"
        case int():
            return b"%d " % value
        case str():
            data = value.encode("utf-8", "surrogateescape")
        case bytes() | memoryview():
            data = bytes(value)
        case _:  # what fimscan never writes
            data = repr(value).encode()
    return b"%d:%b," % (len(data), data)


# --------------------------------------------------------------------------------------------------------------------
# What is written with a scan


def of_scan(session: Session, scan_id: int, *, begun: bytes | None = None) -> Iterator[Item]:
    """Everything that a scan wrote, when it is about to be finished.

    ``begun`` is the digest of the versions that begin with it, where whoever wrote them knows it: that of their
    :func:`begun_rows`, in the order of their numbers.
    """
    if begun is not None:
        yield Item(Subject.BEGUN, scan_id, begun)
    yield from _of_scans(session, scan_id, () if begun is None else (Subject.BEGUN,))
    yield from of_changes(session, scan_id=scan_id)


def of_finished_scans(session: Session) -> Iterator[Item]:
    """What all finished scans wrote, but for their changes."""
    return _of_scans(session, None)


def begun_rows(
    number: int, reason: tuple[bool, bool], digests: Sequence[bytes], starts: Sequence[int], ends: Sequence[int]
) -> bytes:
    """What is digested of versions that begin for one reason (adopted, followed), known without reading them back.

    Their rows are numbered from ``number`` on, ``digests`` are those of their states, the times those of their reading.
    """
    line = b"%%d %d:%%b,%d %d %%d %%d " % (hashlib.sha256().digest_size, *reason)
    return b"".join([line % one for one in zip(count(number), digests, starts, ends, strict=False)])


def _of_scans(session: Session, scan_id: int | None, known: Collection[Subject] = ()) -> Iterator[Item]:
    for subject, query in _queries(session, scan_id):
        if subject in known:
            continue
        encoded = _version_row if subject is Subject.BEGUN else _row
        totals: dict[int, Any] = {}
        for rows in plain_rows(session, query, _AT_ONCE):
            for number, those in groupby(rows, key=itemgetter(0)):
                if number not in totals:
                    totals[number] = hashlib.sha256()
                totals[number].update(b"".join(map(encoded, those)))
        for number, total in totals.items():
            yield Item(subject, number, total.digest())


def _row(row: Sequence[object]) -> bytes:
    return b"".join([_encoded(value) for value in row[1:]])


def _version_row(row: Sequence[Any]) -> bytes:
    """The same, in a quarter of the time: a baseline has a million of them."""
    _, number, digest, adopted, followed, start_ns, end_ns = row
    try:
        return b"%d %d:%b,%d %d %d %d " % (number, len(digest), digest, adopted, followed, start_ns, end_ns)
    except TypeError:
        return _row(row)  # what fimscan never writes


def _queries(session: Session, scan_id: int | None) -> Iterator[tuple[Subject, Select[Any]]]:
    """For each subject its rows, the scan's number first; of one scan, or (``None``) of all finished ones."""
    v = _version.c
    begun = (v.first_scan, v.id, v.state_digest, v.adopted, v.followed, v.read_start_ns, v.read_end_ns)
    yield (
        Subject.SCAN,
        _of(session, select(_scan.c.id, _scan.c.problems, _scan.c.read_clock), _scan.c.id, scan_id),
    )
    mine = v.host_id == session.host_id  # the indexes are led by it
    yield (
        Subject.BEGUN,
        _of(session, select(*begun).where(mine), v.first_scan, scan_id).order_by(v.first_scan, v.id),
    )
    ended = select(v.end_scan, v.id, v.dropped, v.retired).where(mine)
    yield Subject.ENDED, _of(session, ended, v.end_scan, scan_id).order_by(v.end_scan, v.id)
    for subject, table, names in _WITH_SCAN:
        of, key = table.c.scan_id, table.c[names[0]]
        query = select(of, *(plain(table.c[name]) for name in names))
        yield subject, _of(session, query, of, scan_id).order_by(of, key)


def _of(session: Session, query: Select[Any], of: Any, scan_id: int | None) -> Select[Any]:
    if scan_id is not None:
        return query.where(of == scan_id)
    finished = select(_scan.c.id).where(_scan.c.host_id == session.host_id, _scan.c.status == ScanStatus.FINISHED.value)
    return query.where(of.in_(finished))


# --------------------------------------------------------------------------------------------------------------------
# Single rows


def of_changes(session: Session, *, scan_id: int | None = None, ids: Sequence[int] | None = None) -> Iterator[Item]:
    """Changes with their answers: of one scan, some by number, or (with neither) all."""
    table = schema.change
    query = select(*(table.c[name] for name in _CHANGE)).where(table.c.host_id == session.host_id).order_by(table.c.id)
    if scan_id is not None:
        query = query.where(table.c.scan_id == scan_id)
    if ids is None:
        return _single(session, Subject.CHANGE, query)
    chunks = files.chunks(sorted(ids))
    return chain.from_iterable(_single(session, Subject.CHANGE, query.where(table.c.id.in_(c))) for c in chunks)


def of_acceptances(session: Session, *, after: int = 0) -> Iterator[Item]:
    """Acceptances, with those numbers that are larger than ``after``."""
    table = schema.acceptance
    query = (
        select(*(table.c[name] for name in _ACCEPTANCE))
        .where(table.c.host_id == session.host_id, table.c.id > after)
        .order_by(table.c.id)
    )
    return _single(session, Subject.ACCEPTANCE, query)


def _single(session: Session, subject: Subject, query: Select[Any]) -> Iterator[Item]:
    for row in session.execute(query, execution_options=STREAMED):
        yield Item(subject, row.id, digest_of(row))


def of_row(subject: Subject, row: Mapping[str, Any]) -> Item:
    """A row of one of ``ROWS``, as Python has it: when it is written, and when it is taken out."""
    _, number, key, others, later = ROWS[subject]
    names = (*key, *others, *(name for name in later if row[name] is not None))
    return Item(subject, row[number], digest_of([row[name] for name in names]))


def of_rows(session: Session) -> Iterator[Item]:
    """All rows of ``ROWS``, as they are."""
    for subject, (table, _, key, others, later) in ROWS.items():
        query = select(*(table.c[name] for name in (*key, *others, *later))).where(table.c.host_id == session.host_id)
        if subject is Subject.REPORTED:
            query = query.where(_scan.c.reported)
        for row in session.execute(query, execution_options=STREAMED):
            yield of_row(subject, row._asdict())


# --------------------------------------------------------------------------------------------------------------------
# Audit records, with the rows that they are found by


def of_audit_block(number: int, data: bytes, rows: Iterable[tuple[Any, ...]]) -> Item:
    """A block with its rows of the table ``access``, as the database holds them, in the order of that table's key."""
    told = hashlib.sha256("".join(map(repr, rows)).encode("utf-8", "backslashreplace")).digest()
    return Item(Subject.AUDIT_BLOCK, number, hashlib.sha256(data + told).digest())


def of_audit_blocks(session: Session) -> Iterator[Item]:
    """All of them: memory grows with their number, not with that of the rows, which come in the order of the key."""
    totals: dict[int, Any] = {}
    columns = _access.columns
    query = select(*map(plain, columns)).where(_access.c.host_id == session.host_id)
    query = query.order_by(*(_access.c[name] for name in ("time_ns", "serial", "node", "item")))
    block = [column.name for column in columns].index("block_id")
    for row in chain.from_iterable(plain_rows(session, query, _AT_ONCE)):
        total = totals.get(row[block])
        if total is None:
            total = totals[row[block]] = hashlib.sha256()
        total.update(repr(tuple(row)).encode("utf-8", "backslashreplace"))
    blocks = schema.audit_block
    found = select(blocks.c.id, blocks.c.data).where(blocks.c.host_id == session.host_id).order_by(blocks.c.id)
    for number, data in session.execute(found, execution_options=STREAMED):
        rows = totals.get(number, hashlib.sha256()).digest()
        yield Item(Subject.AUDIT_BLOCK, number, hashlib.sha256(data + rows).digest())
