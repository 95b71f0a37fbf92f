"""Compute the digests of rows, which are the items of the journal, from what :mod:`fimscan.store.registry` lists.

A row's digest is SHA-256 over its values. A number is encoded in decimal with a space after it. A text or byte string
is its length, a colon, the bytes and a comma (a netstring). An unknown value is ``-,``. There are three kinds of items:

- Rows that are written once with a scan (its file versions, unreadable files ...) have one digest for the whole scan:
  SHA-256 over the encoded rows, in order.
- Changes, acceptances and blocks of audit records have one digest each; the newest counts. Rows of which evidence
  shows less than all have a second one, over what it shows.
- A noted row has an item when it is written, and the same item again when it is removed. An update removes the old row
  and writes the new one. If another program alters a row, its original is never removed, so this stays visible.

The hosts' names and the journal's own tables are not digested here: the chains cover them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, select

from fimscan.model import ScanStatus
from fimscan.store import codec, schema
from fimscan.store.ledger import load_checkpoint
from fimscan.store.queries import STREAMED, plain, plain_rows
from fimscan.store.registry import SHOWN, AuditBlocks, KeptScans, Noted, Numbered, Shown, Subject, WithScan
from fimscan.store.session import Session

_AT_ONCE = 1000
_scan, _access = schema.scan, schema.access


class Item(NamedTuple):
    """The digest of one row (``id`` is its number), or of all rows of a scan (``id`` is the scan's number)."""

    subject: Subject
    id: int
    digest: bytes


def digest_of(values: Iterable[object]) -> bytes:
    """Digest the values of one row, encoded as the module describes."""
    return hashlib.sha256(b"".join([_encoded(value) for value in values])).digest()


def _encoded(value: object) -> bytes:
    match value:
        case str():
            data = value.encode("utf-8", "surrogateescape")
        case int():
            return b"%d " % value
        case None:
            return b"-,"
        case bytes() | memoryview():
            data = bytes(value)
        case _:  # fimscan never writes such a value, another program may
            data = repr(value).encode()
    return b"%d:%b," % (len(data), data)


# --------------------------------------------------------------------------------------------------------------------
# Rows written with a scan


def of_scan(session: Session, scan_id: int, *, begun: bytes | None = None) -> Iterator[Item]:
    """Yield the items of everything that a scan wrote, just before it is finished.

    ``begun`` is the digest of the versions that begin with the scan, if their writer knows it: of their
    :func:`begun_rows`, in the order of their numbers.
    """
    if begun is not None:
        yield Item(Subject.BEGUN, scan_id, begun)
    yield from _of_scans(session, scan_id, () if begun is None else (Subject.BEGUN,))
    yield from of_numbered(session, Subject.CHANGE, schema.change.c.scan_id == scan_id)


def of_all(session: Session) -> Iterator[Iterator[Item]]:
    """Yield items of all present rows except noted ones: first of finished scans, then table by table."""
    yield _of_scans(session, None)
    for subject in Subject:
        if isinstance(subject.rows, KeptScans):
            yield of_kept_scans(session)
        elif isinstance(subject.rows, Numbered):
            yield of_numbered(session, subject)
        elif isinstance(subject.rows, AuditBlocks):
            yield of_audit_blocks(session)


def begun_rows(
    number: int, reason: tuple[bool, bool], digests: Sequence[bytes], starts: Sequence[int], ends: Sequence[int]
) -> bytes:
    """Encode versions that begin with a scan, without reading their rows back.

    Args:
        number: of the first row; the others follow.
        reason: the columns ``adopted`` and ``followed``, equal for all.
        digests: of the states.
        starts: when reading each file began.
        ends: when it ended.
    """
    line = b"%%d %d:%%b,%d %d %%d %%d " % (hashlib.sha256().digest_size, *reason)
    return b"".join([line % one for one in zip(count(number), digests, starts, ends, strict=False)])


def _of_scans(session: Session, scan_id: int | None, known: Collection[Subject] = ()) -> Iterator[Item]:
    """Yield the items of the rows written with one scan, or (``None``) with each finished scan."""
    for subject in Subject:
        if not isinstance(subject.rows, WithScan) or subject in known:
            continue
        query = _with_scan(session, subject.rows, scan_id)
        encoded = _version_row if subject is Subject.BEGUN else _row
        totals: dict[int, Any] = {}
        for rows in plain_rows(session, query, _AT_ONCE):
            for number, those in groupby(rows, key=itemgetter(0)):
                if number not in totals:
                    totals[number] = hashlib.sha256()
                totals[number].update(b"".join(map(encoded, those)))
        for number, total in totals.items():
            yield Item(subject, number, total.digest())


def of_rows_with_scan(session: Session, subject: Subject, scan_id: int) -> bytes | None:
    """The digest of the rows that were written with one scan; ``None`` if there are none."""
    assert isinstance(subject.rows, WithScan)
    total, is_empty = hashlib.sha256(), True
    encoded = _version_row if subject is Subject.BEGUN else _row
    for rows in plain_rows(session, _with_scan(session, subject.rows, scan_id), _AT_ONCE):
        total.update(b"".join(map(encoded, rows)))
        is_empty = False
    return None if is_empty else total.digest()


def _row(row: Sequence[object]) -> bytes:
    return b"".join([_encoded(value) for value in row[1:]])


def _version_row(row: Sequence[Any]) -> bytes:
    """As :func:`_row` for file versions, in a quarter of the time: a baseline has a million of them."""
    _, number, digest, adopted, followed, start_ns, end_ns = row
    try:
        if (number + adopted + followed + start_ns + end_ns).__class__ is int:  # no fraction, which %d would leave out
            return b"%d %d:%b,%d %d %d %d " % (number, len(digest), digest, adopted, followed, start_ns, end_ns)
    except TypeError:
        pass
    return _row(row)  # a value that fimscan never writes


def _with_scan(session: Session, rows: WithScan, scan_id: int | None) -> Select[Any]:
    """Select the rows of one scan, or (``None``) of all finished scans, with the scan's number as the first column."""
    columns = rows.table.c
    number = columns[rows.number]
    query = select(number, *(plain(columns[name]) for name in rows.columns))
    if "host_id" in columns:  # the first column of the indexes
        query = query.where(columns.host_id == session.host_id)
    if scan_id is None:
        finished = (_scan.c.host_id == session.host_id) & (_scan.c.status == ScanStatus.FINISHED.value)
        query = query.where(number.in_(select(_scan.c.id).where(finished)))
    else:
        query = query.where(number == scan_id)
    return query.order_by(number, columns[rows.columns[0]])


# --------------------------------------------------------------------------------------------------------------------
# Single rows


def of_numbered(session: Session, subject: Subject, *which: ColumnElement[bool]) -> Iterator[Item]:
    """Yield the items of a table with one digest per row, of all rows or of ``which``."""
    rows = subject.rows
    assert isinstance(rows, Numbered)
    columns = rows.table.c
    names = (*rows.columns, *rows.later)
    query = select(*(columns[name] for name in names)).where(columns.host_id == session.host_id, *which)
    many, shown, number = len(rows.columns), SHOWN.get(subject), names.index("id")
    query = query.order_by(columns.id)
    found: Iterable[Sequence[Any]]
    if which or any(isinstance(columns[name].type, schema.Unsigned64) for name in names):
        found = session.execute(query, execution_options=STREAMED)
    else:
        found = chain.from_iterable(plain_rows(session, query, _AT_ONCE))  # a whole table: in half the time
    if shown is not None:
        yield from _with_shown(subject, shown, names, found)
        return
    for row in found:
        is_old = all(value is None for value in row[many:])
        yield Item(subject, row[number], digest_of(row[:many] if is_old else row))


def _with_shown(
    subject: Subject, shown: Subject, names: Sequence[str], found: Iterable[Sequence[Any]]
) -> Iterator[Item]:
    """Yield the item of each row, and that of what evidence shows of it; each value is encoded once."""
    assert isinstance(shown.rows, Shown) and isinstance(subject.rows, Numbered) and not subject.rows.later
    number = names.index(shown.rows.number)
    places = [names.index(name) for name in shown.rows.columns]
    for row in found:
        parts = [_encoded(value) for value in row]
        yield Item(subject, row[number], hashlib.sha256(b"".join(parts)).digest())
        for place in places:
            if b'"cmdline":' in parts[place] and isinstance(row[place], str):
                parts[place] = _encoded(codec.without_command_lines(row[place]))
        yield Item(shown, row[number], hashlib.sha256(b"".join([parts[place] for place in places])).digest())


def shown_values(row: Iterable[Any]) -> list[Any]:
    """What evidence shows of a row, in the order of its digest; ``row`` has its columns in this order."""
    return [codec.without_command_lines(value) if isinstance(value, str) else value for value in row]


def of_shown(session: Session) -> Iterator[Item]:
    """Yield the items of what evidence shows, of all present rows."""
    for subject in SHOWN:
        yield from (item for item in of_numbered(session, subject) if item.subject is not subject)


def of_kept_scans(session: Session, until: int | None = None) -> Iterator[Item]:
    """Yield the items of finished scans up to ``until``, by default the boundary of the newest checkpoint."""
    done = (_scan.c.host_id == session.host_id) & (_scan.c.status == ScanStatus.FINISHED.value)
    if until is None:
        sealed = select(_scan.c.checkpoint).where(done, _scan.c.checkpoint.is_not(None)).order_by(_scan.c.id.desc())
        text = session.scalar(sealed.limit(1))
        until = 0 if text is None else load_checkpoint(text).scan
    if until:
        yield from of_numbered(session, Subject.KEPT_SCAN, done, _scan.c.id <= until)


def of_row(subject: Subject, row: Mapping[str, Any]) -> Item:
    """Compute the item of a noted row from its Python values, when it is written or removed."""
    rows = subject.rows
    assert isinstance(rows, Noted)
    return Item(subject, row[rows.number], digest_of(noted_values(rows, row)))


def noted_values(rows: Noted, row: Mapping[str, Any]) -> list[Any]:
    """The values of a noted row, in the order of its digest."""
    names = (*rows.key, *rows.others, *(name for name in rows.later if row[name] is not None))
    return [row[name] for name in names]


def of_rows(session: Session) -> Iterator[Item]:
    """Yield the items of all present noted rows."""
    for subject in Subject:
        rows = subject.rows
        if not isinstance(rows, Noted):
            continue
        columns = rows.table.c
        query = select(*(columns[name] for name in (*rows.key, *rows.others, *rows.later)))
        query = query.where(columns.host_id == session.host_id)
        if rows.only_if is not None:
            query = query.where(columns[rows.only_if])
        for row in session.execute(query, execution_options=STREAMED):
            yield of_row(subject, row._asdict())


# --------------------------------------------------------------------------------------------------------------------
# Blocks of audit records, with the accesses that refer to them


def of_audit_block(
    number: int, data: bytes, rows: Iterable[tuple[Any, ...]], times: tuple[int | None, int | None]
) -> Item:
    """Compute the item of a block and its rows of the table ``access``, as stored, in the order of that table's key.

    ``times`` are the columns ``first_ns`` and ``stored_ns``; blocks of earlier versions have none.
    """
    of_rows = hashlib.sha256("".join(map(repr, rows)).encode("utf-8", "backslashreplace")).digest()
    return _block_item(number, data, of_rows, times)


def _block_item(number: int, data: bytes, of_rows: bytes, times: tuple[int | None, int | None]) -> Item:
    read = b"" if times == (None, None) else repr(times).encode()
    return Item(Subject.AUDIT_BLOCK, number, hashlib.sha256(data + of_rows + read).digest())


def of_audit_blocks(session: Session) -> Iterator[Item]:
    """Yield the items of all blocks. Memory grows with the number of blocks, not of accesses, which are streamed."""
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
    found = select(blocks.c.id, blocks.c.data, blocks.c.first_ns, blocks.c.stored_ns)
    mine = found.where(blocks.c.host_id == session.host_id).order_by(blocks.c.id)
    for number, data, *times in session.execute(mine, execution_options=STREAMED):
        yield _block_item(number, data, totals.get(number, hashlib.sha256()).digest(), tuple(times))
