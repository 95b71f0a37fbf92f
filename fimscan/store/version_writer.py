"""File states that begin with a scan -> rows, and the digest that the journal will have of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from fimscan.state_row import FIELDS, Packed
from fimscan.store import row_digests
from fimscan.store.schema import file_version as table
from fimscan.store.schema import signed
from fimscan.store.session import Session

_SECOND = 10**9
_PARAMETERS = 999  # in one statement: SQLite's limit, before 3.32 made it 32766

_KIND, _MTIME = FIELDS.index("kind"), FIELDS.index("mtime_ns")
# Byte strings of which most are unknown; the last of FIELDS, the prefix, is not recorded.
_FIRST_OPTIONAL, _FLAGS, _PREFIX = FIELDS.index("xxh3_128"), FIELDS.index("flags"), FIELDS.index("prefix")
_OPTIONAL = FIELDS[_FIRST_OPTIONAL:_FLAGS]
_GIVEN = (*FIELDS[:_MTIME], "mtime_s", "mtime_nsec", "ctime_s", "ctime_nsec", *FIELDS[_FLAGS:_PREFIX], "state_digest")
_COVERED = ("state_digest", "read_start_ns", "read_end_ns")


class NewVersions:
    """Versions that begin with a scan, until they are written.

    They go straight to the driver, since converting values costs more than storing them; for the same reason they go
    in groups that have the same columns, and a column of a group at a time.
    """

    def __init__(self, scan_id: int) -> None:
        self._scan_id = scan_id
        # (adopted, followed, kind), since what is of one kind nearly always has the same columns.
        self._groups: defaultdict[tuple[bool, bool, str], list[Packed]] = defaultdict(list)
        self._covered: Any = None
        self._is_covered = True

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def digest(self) -> bytes | None:
        """That of all rows that were written (:data:`fimscan.store.registry.Subject.BEGUN`), if it is known.

        It is of what was meant to be stored: read back at the end, it would be of what somebody made of it meanwhile.
        """
        return bytes(self._covered.digest()) if self._covered is not None and self._is_covered else None

    def add(self, found: Iterable[Packed], *, adopted: bool, followed: bool = False) -> None:
        """Some more, that begin for the same reason."""
        for packed in found:
            self._groups[adopted, followed, packed[_KIND]].append(packed)

    def write(self, session: Session) -> None:
        """Insert them; none are left."""
        # The numbers of rows, which their digest covers, are known beforehand in SQLite alone: there is one writer, and
        # it counts on from the largest, unless somebody has put in a row with the last number that there is
        # (sqlite.org, autoinc.html).
        number = _largest(session) if session.connection.dialect.name == "sqlite" else None
        of_all = {"host_id": str(session.host_id), "first_scan": str(self._scan_id), "dropped": "FALSE"}
        for (adopted, followed, _), rows in self._groups.items():
            constant = {**of_all, "adopted": str(adopted).upper(), "followed": str(followed).upper()}
            for columns in _alike(rows):
                _insert(session, constant, columns)
                if number is not None:
                    told = row_digests.begun_rows(
                        number + 1, (adopted, followed), *(columns[name] for name in _COVERED)
                    )
                    self._covered = self._covered or hashlib.sha256()
                    self._covered.update(told)
                    number += len(columns["path"])
        if number is not None and number != _largest(session):
            self._is_covered = False
        self._groups.clear()


def _largest(session: Session) -> int:
    # As text: SQLAlchemy's own way takes as long as storing a hundred rows.
    return session.connection.exec_driver_sql(f"SELECT max(id) FROM {table.name}").scalar() or 0  # noqa: S608 - a constant


def _alike(rows: Sequence[Packed]) -> Iterator[dict[str, Sequence[Any]]]:
    """Rows -> the columns, as the database has them, of those of which the same is known."""
    columns = list(zip(*rows, strict=True))
    unknown = [column.count(None) for column in columns[_FIRST_OPTIONAL:_FLAGS]]
    if any(0 < count < len(rows) for count in unknown):
        groups = defaultdict(list)
        for row in rows:
            groups[tuple([value is None for value in row[_FIRST_OPTIONAL:_FLAGS]])].append(row)
        for those in groups.values():
            yield from _alike(those)
        return
    named: dict[str, Sequence[Any]] = dict(zip(FIELDS, columns, strict=False))
    for field in ("dev", "inode"):
        if max(named[field]) >> 63:
            named[field] = list(map(signed, named[field]))  # rows that go straight to the driver pass no Unsigned64
    for field in ("mtime", "ctime"):
        times = named.pop(f"{field}_ns")
        named[f"{field}_s"] = [time // _SECOND for time in times]
        named[f"{field}_nsec"] = [time % _SECOND for time in times]
    named["state_digest"] = columns[-1]
    given = (*_GIVEN, *(name for name, count in zip(_OPTIONAL, unknown, strict=True) if not count))
    yield {name: named[name] for name in given}


def _insert(session: Session, constant: dict[str, str], columns: dict[str, Sequence[Any]]) -> None:
    """Insert rows of ``constant`` (SQL) and ``columns``."""
    # SQLite takes a quarter less for a row of many in one statement. PostgreSQL's driver sends many statements at once.
    is_sqlite = session.connection.dialect.name == "sqlite"
    mark, most = ("?", _PARAMETERS // len(columns)) if is_sqlite else ("%s", 1)
    row = ", ".join((*constant.values(), *[mark] * len(columns)))
    insert = f"INSERT INTO {table.name} ({', '.join((*constant, *columns))}) VALUES "  # noqa: S608 - no values of others
    # For SQLite's driver a bytearray needs no adapting; for bytes it searches for an adapter, each time.
    ready = [map(bytearray, column) if isinstance(column[0], bytes) else column for column in columns.values()]
    values = list(chain.from_iterable(zip(*ready, strict=True)))
    size = most * len(columns)
    whole = len(values) // size * size
    if whole:
        rows = [tuple(values[begin : begin + size]) for begin in range(0, whole, size)]
        session.connection.exec_driver_sql(insert + ", ".join([f"({row})"] * most), rows)
    if rest := tuple(values[whole:]):
        session.connection.exec_driver_sql(insert + ", ".join([f"({row})"] * (len(rest) // len(columns))), rest)
