"""Read, end and undo file versions: the present state, and the state as of any scan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, or_, select, text, update

from fimscan.model import FileKind, FileState
from fimscan.paths import as_prefix
from fimscan.state_row import ALGORITHMS, KINDS, digests_of
from fimscan.state_row import state_digest as state_row_digest
from fimscan.store.ledger import state_digest
from fimscan.store.queries import STREAMED, plain, plain_rows
from fimscan.store.schema import file_version as table
from fimscan.store.schema import unsigned
from fimscan.store.session import Session
from fimscan.xattrs import load_xattrs

_SECOND = 10**9
_MANY = 2000
_A_TICK = 256  # about as many paths as one tick of fimscan.attribution.clock.ReadClock
_IN_ONE_QUERY = 500  # parameters, of the 999 that SQLite took before 3.32

_STATE = (
    table.c.path,
    table.c.kind,
    plain(table.c.dev),
    plain(table.c.inode),
    *table.c[table.c.keys().index("inode") + 1 : table.c.keys().index("state_digest")],
)
_SHORT = (table.c.path, table.c.state_digest, table.c.id)
_DEV, _INODE = itemgetter(6), itemgetter(7)  # columns of known_with_stats
_NUMBERS = slice(table.c.keys().index("kind"), table.c.keys().index("xxh3_128"))
_TEXTS = slice(table.c.keys().index("xxh3_128"), table.c.keys().index("read_start_ns"))
_PATH = table.c.keys().index("path")
_NUMBERS_OF_STATE = attrgetter("dev", "inode", "nlink", "mode", "uid", "gid", "size", "mtime_ns", "ctime_ns")
_PATH_AND_SCAN = attrgetter("state.path", "first_scan")
_FIRST_OF_STATE = table.c.keys().index("kind")  # what follows is the state; its path comes before

KnownRow: TypeAlias = Sequence[Any]
"""(path, state digest, row number ...) of an open version."""


class Version(Struct, frozen=True, kw_only=True):
    """A stored file state. ``digest`` is its state digest (see :func:`fimscan.store.ledger.state_digest`)."""

    id: int
    state: FileState
    digest: bytes
    first_scan: int
    end_scan: int | None
    adopted: bool
    dropped: bool
    followed: bool
    retired: bool


def version_of(row: Sequence[Any]) -> Version:
    """Convert a whole row of the table, whose columns may be :func:`~fimscan.store.queries.plain`."""
    number, _, path, first, end, adopted, dropped, followed, retired = row[:_FIRST_OF_STATE]
    return Version(
        id=number,
        state=_state_of(path, *row[_FIRST_OF_STATE:-1]),
        digest=row[-1],
        first_scan=first,
        end_scan=end,
        adopted=bool(adopted),
        dropped=bool(dropped),
        followed=bool(followed),
        retired=bool(retired),
    )


def _state_of(  # noqa: PLR0913, PLR0917  # the columns of a state, in their order
    path: bytes,
    kind: str,
    dev: int,
    inode: int,
    nlink: int,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    mtime_s: int,
    mtime_nsec: int,
    ctime_s: int,
    ctime_nsec: int,
    xxh3_128: bytes | None,
    sha256: bytes | None,
    sha512: bytes | None,
    blake3: bytes | None,
    link_target: bytes | None,
    xattr_digest: bytes | None,
    xattrs: bytes | None,
    flags: int | None,
    read_start_ns: int,
    read_end_ns: int,
) -> FileState:
    if dev < 0 or inode < 0:
        dev, inode = unsigned(dev) or 0, unsigned(inode) or 0
    # No attributes and no digest of them means that the file had none; no attributes with a digest: not recorded.
    return FileState(
        path=path,
        kind=KINDS[kind],
        dev=dev,
        inode=inode,
        nlink=nlink,
        mode=mode,
        uid=uid,
        gid=gid,
        size=size,
        mtime_ns=mtime_s * _SECOND + mtime_nsec,
        ctime_ns=ctime_s * _SECOND + ctime_nsec,
        digests=digests_of((xxh3_128, sha256, sha512, blake3)),
        link_target=link_target,
        xattr_digest=xattr_digest,
        xattrs=load_xattrs(xattrs) if xattrs else () if xattrs is not None or xattr_digest is None else None,
        flags=flags,
        read_start_ns=read_start_ns,
        read_end_ns=read_end_ns,
    )


def are_whole(numbers: Sequence[Any]) -> bool:
    """Whether none of some numbers has a fraction.

    SQLite stores 3.5 in a column of whole numbers, and a digest over decimal numbers has only the 3 of it.
    """
    return sum(numbers).__class__ is int


def holds(row: Sequence[Any]) -> bool:
    """Whether a whole row of the table matches its digest, in a third of the time of :func:`as_digested`.

    ``False`` says nothing: of a link, of attributes, or of another order of digests, only that function knows.
    """
    kind, dev, inode, nlink, mode, uid, gid, size, mtime_s, mtime_nsec, ctime_s, ctime_nsec = row[_NUMBERS]
    *digests, link, xattr_digest, xattrs, flags = row[_TEXTS]
    if xattr_digest is not None or xattrs or kind not in KINDS:
        return False
    times = mtime_s * _SECOND + mtime_nsec, ctime_s * _SECOND + ctime_nsec
    numbers = dev, inode, nlink, mode, uid, gid, size, *times
    if not are_whole((*numbers, flags or 0)):
        return False
    return bool(state_row_digest((row[_PATH], kind, *numbers, *digests, link, None, b"", flags, 0, 0, None)) == row[-1])


def as_digested(version: Version) -> FileState | None:
    """Return the state with its content digests in the order that its state digest used; ``None`` if no order fits.

    Today there is one order. Earlier versions used the order of the configuration.
    """
    state = version.state
    if not are_whole(_NUMBERS_OF_STATE(state)) or not are_whole((state.flags or 0,)):
        return None
    if state_digest(state) == version.digest:
        return state
    orders = (replace(state, digests=digests) for digests in permutations(state.digests))
    return next((one for one in orders if state_digest(one) == version.digest), None)


def is_any_open(session: Session) -> bool:
    """Whether there is any open version."""
    query = select(table.c.id).where(table.c.host_id == session.host_id, table.c.end_scan.is_(None)).limit(1)
    return session.scalar(query) is not None


def known_rows(session: Session) -> Iterator[Sequence[KnownRow]]:
    """Yield (path, state digest, row number) of every open version, in order of path, streamed."""
    query = select(*_SHORT).where(table.c.host_id == session.host_id, table.c.end_scan.is_(None)).order_by(table.c.path)
    yield from plain_rows(session, query, _MANY)


def known_with_stats(session: Session) -> Iterator[Sequence[KnownRow]]:
    """As :func:`known_rows`, with the columns that vouch for a file, in chunks of about one tick of ``ReadClock``.

    The columns are the read time, then the algorithms of the digests (a bit for each, the first one lowest), then
    ``kind dev inode nlink mode uid gid size mtime_s mtime_nsec ctime_s ctime_nsec``.
    """
    c = table.c
    taken = [case((c[name].is_(None), 0), else_=1 << bit) for bit, name in enumerate(ALGORITHMS)]
    file = (c.kind, plain(c.dev), plain(c.inode), c.nlink, c.mode, c.uid, c.gid, c.size)
    times = (c.mtime_s, c.mtime_nsec, c.ctime_s, c.ctime_nsec)
    query = (
        select(*_SHORT, c.read_start_ns, sum(taken[1:], taken[0]), *file, *times)
        .where(c.host_id == session.host_id, c.end_scan.is_(None))
        .order_by(c.path)
    )
    for rows in plain_rows(session, query, _A_TICK):
        if min(map(_DEV, rows)) < 0 or min(map(_INODE, rows)) < 0:
            yield [_with_unsigned(row) for row in rows]
        else:
            yield rows


def _with_unsigned(row: KnownRow) -> KnownRow:
    return (*row[:6], *map(unsigned, row[6:8]), *row[8:])


def open_at(session: Session, path: bytes) -> Version | None:
    """The open version of a path."""
    query = select(table).where(table.c.host_id == session.host_id, table.c.path == path, table.c.end_scan.is_(None))
    return next(iter(_versions(session, query)), None)


def first_scan_of(session: Session, path: bytes) -> int | None:
    """The scan that recorded a path first; ``None`` if none did."""
    mine = (table.c.host_id == session.host_id) & (table.c.path == path)
    first: int | None = session.scalar(select(func.min(table.c.first_scan)).where(mine))
    return first


def below(session: Session, path: bytes) -> Iterator[Version]:
    """Yield the open versions of a path and of everything below it, in order of path, streamed."""
    prefix = as_prefix(path)
    query = (
        select(table)
        .where(
            table.c.host_id == session.host_id,
            table.c.end_scan.is_(None),
            # "0" follows "/". Paths that sort between the path and the slash ("a-b" for "a") are filtered out below.
            table.c.path >= path,
            table.c.path < prefix[:-1] + b"0",
        )
        .order_by(table.c.path)
    )
    for row in session.execute(query, execution_options=STREAMED):
        if row.path == path or row.path.startswith(prefix):
            yield version_of(row)


def state_digests(session: Session) -> Iterator[bytes]:
    """Yield the state digests of all open versions, joined in order of path: the input of a scan's state digest."""
    query = (
        select(table.c.state_digest)
        .where(table.c.host_id == session.host_id, table.c.end_scan.is_(None))
        .order_by(table.c.path)
    )
    for rows in plain_rows(session, query, _MANY):
        yield b"".join([digest for (digest,) in rows])


def state_digests_at(session: Session, scan_id: int) -> Iterator[bytes]:
    """As :func:`state_digests`, for the versions that were valid at a finished scan."""
    valid = (table.c.first_scan <= scan_id) & (table.c.end_scan.is_(None) | (table.c.end_scan > scan_id))
    query = select(table.c.state_digest).where(table.c.host_id == session.host_id, valid).order_by(table.c.path)
    for rows in plain_rows(session, query, _MANY):
        yield b"".join([digest for (digest,) in rows])


def as_of(session: Session, scan_id: int) -> Iterator[Version]:
    """Yield every version that was valid at a scan, in order of path, streamed."""
    return map(version_of, _rows_as_of(session, scan_id))


def states_as_of(session: Session, scan_id: int) -> Iterator[FileState]:
    """Yield the state of each as :func:`as_digested`; one that does not match its digest is as it is stored."""
    for row in _rows_as_of(session, scan_id):
        if holds(row):
            yield _state_of(row[_PATH], *row[_FIRST_OF_STATE:-1])
        else:
            version = version_of(row)
            yield as_digested(version) or version.state


def _rows_as_of(session: Session, scan_id: int) -> Iterator[Sequence[Any]]:
    query = (
        select(*map(plain, table.c))
        .where(
            table.c.host_id == session.host_id,
            table.c.first_scan <= scan_id,
            or_(table.c.end_scan.is_(None), table.c.end_scan > scan_id),
        )
        .order_by(table.c.path)
    )
    for rows in plain_rows(session, query, _MANY):
        yield from rows


def versions_between(session: Session, start: int, end: int) -> list[Version]:
    """Every version that begins or ends in ``start`` < scan <= ``end``: a diff of the two scans needs no other."""

    def within(column: Any) -> Any:
        return and_(column > start, column <= end)

    mine = table.c.host_id == session.host_id
    every = select(*map(plain, table.c)).where(mine)
    queries = (every.where(within(table.c.first_scan)), every.where(within(table.c.end_scan)))
    unique = {
        row[0]: version_of(row) for query in queries for rows in plain_rows(session, query, _MANY) for row in rows
    }
    return sorted(unique.values(), key=_PATH_AND_SCAN)


def rows_in_order(session: Session) -> Iterator[Sequence[Any]]:
    """Yield the whole rows of all versions by their numbers, as they are stored."""
    query = select(*map(plain, table.c)).where(table.c.host_id == session.host_id).order_by(table.c.id)
    for rows in plain_rows(session, query, _MANY):
        yield from rows


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, Version]:
    """Versions by their row number."""
    return {row[0]: version_of(row) for row in _rows_by_ids(session, ids)}


def states_by_ids(session: Session, ids: Iterable[int]) -> dict[int, FileState]:
    """The states of versions by their row number."""
    return {row[0]: _state_of(row[_PATH], *row[_FIRST_OF_STATE:-1]) for row in _rows_by_ids(session, ids)}


def _rows_by_ids(session: Session, ids: Iterable[int]) -> Iterator[Sequence[Any]]:
    for chunk in chunks(sorted(set(ids))):
        numbers = ", ".join(map(str, map(int, chunk)))  # in the text: plain_rows takes no IN with parameters
        query = select(*map(plain, table.c)).where(text(f"{table.name}.id IN ({numbers})"))
        for rows in plain_rows(session, query, _MANY):
            yield from rows


def at_paths(session: Session, paths: Iterable[bytes], scan_id: int) -> dict[bytes, Version]:
    """The versions of some paths as of a scan."""
    found: dict[bytes, Version] = {}
    for chunk in chunks(sorted(set(paths))):
        query = select(table).where(
            table.c.host_id == session.host_id,
            table.c.path.in_(chunk),
            table.c.first_scan <= scan_id,
            or_(table.c.end_scan.is_(None), table.c.end_scan > scan_id),
        )
        found.update((version.state.path, version) for version in _versions(session, query))
    return found


def sha256_in_use(session: Session, scan_id: int | None) -> Iterator[bytes]:
    """Yield the SHA-256 of the open versions, and of those that were valid at a scan; some more than once."""
    wanted: ColumnElement[bool] = table.c.end_scan.is_(None)
    if scan_id is not None:
        wanted = or_(wanted, and_(table.c.first_scan <= scan_id, table.c.end_scan > scan_id))
    query = select(table.c.sha256).where(table.c.host_id == session.host_id, table.c.sha256.is_not(None), wanted)
    for rows in plain_rows(session, query, _MANY):
        yield from (digest for (digest,) in rows)


def by_identity(session: Session, identities: Iterable[tuple[int, int]], scan_id: int) -> list[FileState]:
    """The state of these files (device, inode) as of a scan, under every path that they had."""
    wanted = set(identities)
    found: list[FileState] = []
    for chunk in chunks(sorted(wanted)):
        query = select(*_STATE).where(
            table.c.host_id == session.host_id,
            # Separate conditions, so that the index is used; superfluous rows are filtered out below.
            table.c.dev.in_({dev for dev, _ in chunk}),
            table.c.inode.in_({inode for _, inode in chunk}),
            table.c.first_scan <= scan_id,
            or_(table.c.end_scan.is_(None), table.c.end_scan > scan_id),
        )
        states = [_state_of(*row) for row in session.execute(query)]
        found += [state for state in states if state.identity in wanted]
    return found


def sample_on_device(session: Session, dev: int, *, limit: int) -> list[tuple[bytes, int]]:
    """(path, inode) of some files with this recorded device number."""
    query = select(table.c.path, table.c.inode).where(
        table.c.dev == dev, table.c.host_id == session.host_id, table.c.end_scan.is_(None)
    )
    return [(path, inode) for path, inode in session.execute(query.limit(limit))]


def directories(session: Session, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield (path, identity) of every directory as of either scan."""
    query = select(table.c.path, table.c.dev, table.c.inode).where(
        table.c.host_id == session.host_id,
        table.c.kind == FileKind.DIRECTORY.value,
        table.c.first_scan <= end,
        or_(table.c.end_scan.is_(None), table.c.end_scan > start),
    )
    for path, dev, inode in session.execute(query):
        yield path, (dev, inode)


def end_versions(session: Session, ids: Sequence[int], scan_id: int, *, dropped: bool = False) -> None:
    """End versions: they are no longer valid as of this scan."""
    if ids:
        statement = (
            update(table)
            .where(table.c.id == bindparam("version"))
            .values(end_scan=scan_id, dropped=dropped, retired=False)
        )
        session.execute(statement, [{"version": version} for version in ids])


def mark_expected(session: Session, scan_id: int, *, followed: Iterable[bytes], retired: Iterable[bytes]) -> None:
    """Mark versions of append-only logs that began (``followed``) or ended (``retired``) as the policy expects."""
    mine = table.c.host_id == session.host_id
    for chunk in chunks(sorted(followed)):
        began = update(table).where(mine, table.c.first_scan == scan_id, table.c.path.in_(chunk))
        session.execute(began.values(followed=True))
    for chunk in chunks(sorted(retired)):
        ended = update(table).where(mine, table.c.end_scan == scan_id, table.c.path.in_(chunk))
        session.execute(ended.values(retired=True))


def beginning_with(session: Session, prefix: bytes, since: int | None = None) -> list[Version]:
    """The open versions of paths with this prefix; with ``since``, also those that ended with that scan or later."""
    is_open: ColumnElement[bool] = table.c.end_scan.is_(None)
    is_wanted = is_open if since is None else or_(is_open, table.c.end_scan >= since)
    query = select(table).where(table.c.host_id == session.host_id, table.c.path >= prefix, is_wanted)
    if end := _after_all(prefix):
        query = query.where(table.c.path < end)
    return _versions(session, query.order_by(table.c.path))


def _after_all(prefix: bytes) -> bytes:
    """The first byte string that sorts after all with this prefix; empty if there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


def sizes(session: Session, roots: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield (path, size) of every file at or below some paths, in order of path, streamed."""
    inside = []
    for root in roots:
        below = as_prefix(root)
        inside += [table.c.path == root, and_(table.c.path >= below, table.c.path < _after_all(below))]
    query = (
        select(table.c.path, table.c.size)
        .where(
            table.c.host_id == session.host_id,
            table.c.end_scan.is_(None),
            table.c.kind == FileKind.FILE.value,
            or_(*inside),
        )
        .order_by(table.c.path)
    )
    for row in session.execute(query, execution_options=STREAMED):
        yield row.path, row.size


def undo_scan(session: Session, scan_id: int) -> None:
    """Undo what an interrupted scan had written."""
    mine = table.c.host_id == session.host_id
    session.execute(table.delete().where(mine, table.c.first_scan == scan_id))
    ended = update(table).where(mine, table.c.end_scan == scan_id)
    session.execute(ended.values(end_scan=None, dropped=False, retired=False))


def _versions(session: Session, query: Select[Any]) -> list[Version]:
    return [version_of(row) for row in session.execute(query)]


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield the items in chunks that fit into one query as parameters."""
    for start in range(0, len(items), _IN_ONE_QUERY):
        yield items[start : start + _IN_ONE_QUERY]
