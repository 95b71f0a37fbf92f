"""The table of file versions: rows <-> FileState, and what was there at any scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, or_, select, update

from fimscan.model import Digest, FileKind, FileState, Xattr
from fimscan.store.ledger import state_digest
from fimscan.store.schema import file_version as table
from fimscan.store.xattrs import dump_xattrs, load_xattrs

_ALGORITHMS = ("xxh3_128", "sha256", "sha512", "blake3")
_SECOND = 10**9
# Given with each statement: set on the connection, it would turn its inserts into server-side cursors, too.
_STREAMED = {"stream_results": True, "yield_per": 2000}
_IN_ONE_QUERY = 500  # parameters; SQLite's default limit is 32766, older builds' 999


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A stored file state. ``digest`` is the state's own (see :func:`fimscan.store.ledger.state_digest`)."""

    id: int
    state: FileState
    digest: bytes
    first_scan: int
    end_scan: int | None
    adopted: bool
    dropped: bool
    followed: bool
    retired: bool


def new_row(host_id: int, scan_id: int, state: FileState, *, adopted: bool, followed: bool = False) -> dict[str, Any]:
    """The column values of a version that begins with this scan."""
    digests: dict[str, bytes | None] = dict.fromkeys(_ALGORITHMS)
    digests.update((digest.algorithm, digest.value) for digest in state.digests)
    return {
        "host_id": host_id,
        "path": state.path,
        "first_scan": scan_id,
        "adopted": adopted,
        "dropped": False,
        "followed": followed,
        "kind": state.kind.value,
        "dev": state.dev,
        "inode": state.inode,
        "nlink": state.nlink,
        "mode": state.mode,
        "uid": state.uid,
        "gid": state.gid,
        "size": state.size,
        "mtime_s": state.mtime_ns // _SECOND,
        "mtime_nsec": state.mtime_ns % _SECOND,
        "ctime_s": state.ctime_ns // _SECOND,
        "ctime_nsec": state.ctime_ns % _SECOND,
        **digests,
        "link_target": state.link_target,
        "xattr_digest": state.xattr_digest,
        "xattrs": dump_xattrs(state.xattrs) if state.xattrs else None,
        "flags": state.flags,
        "read_start_ns": state.read_start_ns,
        "read_end_ns": state.read_end_ns,
        "state_digest": state_digest(state),
    }


def version_of(row: Row[Any]) -> Version:
    """A row -> the value."""
    values = ((name, getattr(row, name)) for name in _ALGORITHMS)
    state = FileState(
        path=row.path,
        kind=FileKind(row.kind),
        dev=row.dev,
        inode=row.inode,
        nlink=row.nlink,
        mode=row.mode,
        uid=row.uid,
        gid=row.gid,
        size=row.size,
        mtime_ns=row.mtime_s * _SECOND + row.mtime_nsec,
        ctime_ns=row.ctime_s * _SECOND + row.ctime_nsec,
        digests=tuple(Digest(algorithm=name, value=value) for name, value in values if value is not None),
        link_target=row.link_target,
        xattr_digest=row.xattr_digest,
        xattrs=_xattrs(row),
        flags=row.flags,
        read_start_ns=row.read_start_ns,
        read_end_ns=row.read_end_ns,
    )
    return Version(
        id=row.id,
        state=state,
        digest=row.state_digest,
        first_scan=row.first_scan,
        end_scan=row.end_scan,
        adopted=row.adopted,
        dropped=row.dropped,
        followed=row.followed,
        retired=row.retired,
    )


def _xattrs(row: Row[Any]) -> tuple[Xattr, ...] | None:
    if row.xattrs is not None:
        return load_xattrs(row.xattrs)
    return () if row.xattr_digest is None else None


def current(connection: Connection, host_id: int) -> Iterator[Version]:
    """Every open version, in order of path, streamed."""
    query = select(table).where(table.c.host_id == host_id, table.c.end_scan.is_(None)).order_by(table.c.path)
    for row in connection.execute(query, execution_options=_STREAMED):
        yield version_of(row)


def open_at(connection: Connection, host_id: int, path: bytes) -> Version | None:
    """The open version of a path."""
    query = select(table).where(table.c.host_id == host_id, table.c.path == path, table.c.end_scan.is_(None))
    return next(iter(_versions(connection, query)), None)


def below(connection: Connection, host_id: int, path: bytes) -> Iterator[Version]:
    """The open versions of a path and of everything below it, in order of path, streamed."""
    prefix = path.rstrip(b"/") + b"/"
    query = (
        select(table)
        .where(
            table.c.host_id == host_id,
            table.c.end_scan.is_(None),
            # "0" follows "/". What sorts between the path and the slash ("a-b" for "a") is sorted out below.
            table.c.path >= path,
            table.c.path < prefix[:-1] + b"0",
        )
        .order_by(table.c.path)
    )
    for row in connection.execute(query, execution_options=_STREAMED):
        if row.path == path or row.path.startswith(prefix):
            yield version_of(row)


def state_digests(connection: Connection, host_id: int) -> Iterator[bytes]:
    """The digests of all open versions, one after the other in order of path: what the state's digest is made of."""
    query = (
        select(table.c.state_digest)
        .where(table.c.host_id == host_id, table.c.end_scan.is_(None))
        .order_by(table.c.path)
    )
    many = {"stream_results": True, "yield_per": 20_000}
    for rows in connection.execute(query, execution_options=many).partitions():
        yield b"".join([digest for (digest,) in rows])


def state_digests_at(connection: Connection, host_id: int, scan_id: int) -> Iterator[bytes]:
    """As :func:`state_digests`, of the versions that were valid at a finished scan."""
    valid = (table.c.first_scan <= scan_id) & (table.c.end_scan.is_(None) | (table.c.end_scan > scan_id))
    query = select(table.c.state_digest).where(table.c.host_id == host_id, valid).order_by(table.c.path)
    many = {"stream_results": True, "yield_per": 20_000}
    for rows in connection.execute(query, execution_options=many).partitions():
        yield b"".join([digest for (digest,) in rows])


def as_of(connection: Connection, host_id: int, scan_id: int) -> Iterator[Version]:
    """Every version that was valid at a scan, in order of path, streamed."""
    query = (
        select(table)
        .where(
            table.c.host_id == host_id,
            table.c.first_scan <= scan_id,
            or_(table.c.end_scan.is_(None), table.c.end_scan > scan_id),
        )
        .order_by(table.c.path)
    )
    for row in connection.execute(query, execution_options=_STREAMED):
        yield version_of(row)


def touched_between(connection: Connection, host_id: int, start: int, end: int) -> list[Version]:
    """Every version that begins or ends in ``start`` < scan <= ``end``: all that a diff of the two has to look at."""

    def within(column: Any) -> Any:
        return and_(column > start, column <= end)

    mine = table.c.host_id == host_id
    began = _versions(connection, select(table).where(mine, within(table.c.first_scan)))
    ended = _versions(connection, select(table).where(mine, within(table.c.end_scan)))
    unique = {version.id: version for version in (*began, *ended)}
    return sorted(unique.values(), key=lambda version: (version.state.path, version.first_scan))


def by_ids(connection: Connection, ids: Iterable[int]) -> dict[int, Version]:
    """Versions by their row number."""
    found: dict[int, Version] = {}
    for chunk in chunks(sorted(set(ids))):
        found.update((v.id, v) for v in _versions(connection, select(table).where(table.c.id.in_(chunk))))
    return found


def at_paths(connection: Connection, host_id: int, paths: Iterable[bytes], scan_id: int) -> dict[bytes, Version]:
    """The versions of some paths as of a scan."""
    found: dict[bytes, Version] = {}
    for chunk in chunks(sorted(set(paths))):
        query = select(table).where(
            table.c.host_id == host_id,
            table.c.path.in_(chunk),
            table.c.first_scan <= scan_id,
            or_(table.c.end_scan.is_(None), table.c.end_scan > scan_id),
        )
        found.update((version.state.path, version) for version in _versions(connection, query))
    return found


def by_identity(
    connection: Connection, host_id: int, identities: Iterable[tuple[int, int]], scan_id: int
) -> list[Version]:
    """Every path that these files (device, inode) had as of a scan."""
    wanted = set(identities)
    found: list[Version] = []
    for chunk in chunks(sorted(wanted)):
        query = select(table).where(
            table.c.host_id == host_id,
            # Both, so that the index serves: some rows too many are sorted out below.
            table.c.dev.in_({dev for dev, _ in chunk}),
            table.c.inode.in_({inode for _, inode in chunk}),
            table.c.first_scan <= scan_id,
            or_(table.c.end_scan.is_(None), table.c.end_scan > scan_id),
        )
        found += [v for v in _versions(connection, query) if v.state.identity in wanted]
    return found


def directories(connection: Connection, host_id: int, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """(path, identity) of every directory as of either scan."""
    query = select(table.c.path, table.c.dev, table.c.inode).where(
        table.c.host_id == host_id,
        table.c.kind == FileKind.DIRECTORY.value,
        table.c.first_scan <= end,
        or_(table.c.end_scan.is_(None), table.c.end_scan > start),
    )
    for path, dev, inode in connection.execute(query):
        yield path, (dev, inode)


def insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add versions."""
    if rows:
        connection.execute(table.insert(), rows)


def end(connection: Connection, ids: Sequence[int], scan_id: int, *, dropped: bool = False) -> None:
    """Close versions: they are not valid any more as of this scan."""
    if ids:
        statement = update(table).where(table.c.id == bindparam("version")).values(end_scan=scan_id, dropped=dropped)
        connection.execute(statement, [{"version": version} for version in ids])


def mark(
    connection: Connection, host_id: int, scan_id: int, *, followed: Iterable[bytes], retired: Iterable[bytes]
) -> None:
    """Remember of these paths that what this scan found, or found gone, is what is expected of a log."""
    mine = table.c.host_id == host_id
    for chunk in chunks(sorted(followed)):
        began = update(table).where(mine, table.c.first_scan == scan_id, table.c.path.in_(chunk))
        connection.execute(began.values(followed=True))
    for chunk in chunks(sorted(retired)):
        ended = update(table).where(mine, table.c.end_scan == scan_id, table.c.path.in_(chunk))
        connection.execute(ended.values(retired=True))


def beginning_with(connection: Connection, host_id: int, prefix: bytes, since: int | None = None) -> list[Version]:
    """The open versions of paths that begin so; with ``since``, also those that ended with that scan or a later one."""
    is_open: ColumnElement[bool] = table.c.end_scan.is_(None)
    is_wanted = is_open if since is None else or_(is_open, table.c.end_scan >= since)
    query = select(table).where(table.c.host_id == host_id, table.c.path >= prefix, is_wanted)
    if end := _after_all(prefix):
        query = query.where(table.c.path < end)
    return _versions(connection, query.order_by(table.c.path))


def _after_all(prefix: bytes) -> bytes:
    """The first byte string after all that begin with another one; empty where there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


def sizes(connection: Connection, host_id: int, roots: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """(path, size) of every file at or below some paths, in order of path, streamed."""
    inside = []
    for root in roots:
        below = root.rstrip(b"/") + b"/"
        inside += [table.c.path == root, and_(table.c.path >= below, table.c.path < _after_all(below))]
    query = (
        select(table.c.path, table.c.size)
        .where(
            table.c.host_id == host_id, table.c.end_scan.is_(None), table.c.kind == FileKind.FILE.value, or_(*inside)
        )
        .order_by(table.c.path)
    )
    for row in connection.execute(query, execution_options=_STREAMED):
        yield row.path, row.size


def undo(connection: Connection, scan_id: int) -> None:
    """Take back what an interrupted scan had written."""
    connection.execute(table.delete().where(table.c.first_scan == scan_id))
    connection.execute(
        update(table).where(table.c.end_scan == scan_id).values(end_scan=None, dropped=False, retired=False)
    )


def _versions(connection: Connection, query: Select[Any]) -> list[Version]:
    return [version_of(row) for row in connection.execute(query)]


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """So many at once as a query takes as parameters."""
    for start in range(0, len(items), _IN_ONE_QUERY):
        yield items[start : start + _IN_ONE_QUERY]
