"""File states that begin with a scan -> rows, and the digest that the journal will have of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

from sqlalchemy import Connection

from fimscan.packed import FIELDS, Packed
from fimscan.store import covered
from fimscan.store.schema import file_version as table

_SECOND = 10**9
_PARAMETERS = 999  # in one statement: SQLite's limit, before 3.32 made it 32766

_FLAGS, _PREFIX = FIELDS.index("flags"), FIELDS.index("prefix")
# Byte strings of which most are unknown; the last of FIELDS, the prefix, is not recorded.
_FIRST_OPTIONAL = FIELDS.index("xxh3_128")
_OPTIONAL = FIELDS[_FIRST_OPTIONAL:_FLAGS]
_GIVEN = (
    *FIELDS[: FIELDS.index("mtime_ns")],
    *("mtime_s", "mtime_nsec", "ctime_s", "ctime_nsec"),
    *FIELDS[_FLAGS:_PREFIX],
    "state_digest",
)
_COVERED = [_GIVEN.index(name) for name in ("state_digest", "read_start_ns", "read_end_ns")]


class NewVersions:
    """Versions that begin with a scan, until they are written.

    They go straight to the driver, since converting values costs more than storing them; for the same reason they go
    in groups that have the same columns. For SQLite's driver a ``bytearray`` is a value that needs no adapting; for
    ``bytes``, ``None`` and ``bool`` it searches for an adapter, each time.
    """

    def __init__(self, host_id: int, scan_id: int) -> None:
        self._of_all = {"host_id": str(host_id), "first_scan": str(scan_id), "dropped": "FALSE"}
        # The values of each group's rows, one row after the other.
        self._groups: dict[tuple[bool, bool, tuple[bool, ...]], list[Any]] = {}
        self._length = 0
        self._covered: Any = None

    def __len__(self) -> int:
        return self._length

    @property
    def digest(self) -> bytes | None:
        """That of all rows that were written (:data:`fimscan.store.covered.Subject.BEGUN`), if it is known.

        It is of what was meant to be stored: read back at the end, it would be of what somebody made of it meanwhile.
        """
        return None if self._covered is None else bytes(self._covered.digest())

    def add(self, found: Iterable[Packed], *, adopted: bool, followed: bool = False) -> None:
        """Some more, that begin for the same reason."""
        groups = self._groups
        for packed in found:
            path, kind, dev, inode, nlink, mode, uid, gid, size, mtime_ns, ctime_ns = packed[:_FIRST_OPTIONAL]
            optional = packed[_FIRST_OPTIONAL:_FLAGS]
            if (dev | inode) >> 63:
                dev, inode = _signed(dev), _signed(inode)
            times = (mtime_ns // _SECOND, mtime_ns % _SECOND, ctime_ns // _SECOND, ctime_ns % _SECOND)
            group = adopted, followed, tuple([value is not None for value in optional])
            if group not in groups:
                groups[group] = []
            groups[group] += (
                *(bytearray(path), kind, dev, inode, nlink, mode, uid, gid, size, *times),
                *packed[_FLAGS:_PREFIX],
                bytearray(packed[-1]),
                *[bytearray(value) for value in optional if value is not None],
            )
            self._length += 1

    def write(self, connection: Connection) -> None:
        """Insert them; none are left."""
        # The numbers of rows, which their digest covers, are known beforehand in SQLite alone: it counts on from the
        # largest (lang_createtable.html, "ROWIDs and the INTEGER PRIMARY KEY"), and there is one writer.
        number = _largest(connection) if connection.dialect.name == "sqlite" else None
        for (adopted, followed, known), values in self._groups.items():
            constant = {**self._of_all, "adopted": str(adopted).upper(), "followed": str(followed).upper()}
            given = (*_GIVEN, *compress(_OPTIONAL, known))
            _insert(connection, constant, given, values)
            if number is not None:
                digests, starts, ends = (values[at :: len(given)] for at in _COVERED)
                self._covered = self._covered or hashlib.sha256()
                self._covered.update(covered.begun_rows(number + 1, (adopted, followed), digests, starts, ends))
                number += len(digests)
        assert number in (None, _largest(connection)), "a row has another number than it was to have"
        self._groups.clear()
        self._length = 0


def _largest(connection: Connection) -> int:
    # As text: SQLAlchemy's own way takes as long as storing a hundred rows.
    return connection.exec_driver_sql(f"SELECT max(id) FROM {table.name}").scalar() or 0  # noqa: S608 - a constant


def _insert(connection: Connection, constant: dict[str, str], given: Sequence[str], values: Sequence[Any]) -> None:
    """Insert rows of ``constant`` (SQL) and ``given`` columns; ``values`` are the latter's, row after row."""
    # SQLite takes a quarter less for a row of many in one statement. PostgreSQL's driver sends many statements at once.
    is_sqlite = connection.dialect.name == "sqlite"
    mark, most = ("?", _PARAMETERS // len(given)) if is_sqlite else ("%s", 1)
    row = ", ".join((*constant.values(), *[mark] * len(given)))
    insert = f"INSERT INTO {table.name} ({', '.join((*constant, *given))}) VALUES "  # noqa: S608 - no values of others
    size = most * len(given)
    whole = len(values) // size * size
    if whole:
        rows = [tuple(values[begin : begin + size]) for begin in range(0, whole, size)]
        connection.exec_driver_sql(insert + ", ".join([f"({row})"] * most), rows)
    if rest := tuple(values[whole:]):
        connection.exec_driver_sql(insert + ", ".join([f"({row})"] * (len(rest) // len(given))), rest)


def _signed(value: int) -> int:
    """As :class:`fimscan.store.schema.Unsigned64`, which a row that goes straight to the driver does not pass."""
    return value - (1 << 64) if value >= 1 << 63 else value
