"""Insert the file versions that begin with a scan, and compute the digest of their rows for the journal."""

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
# Byte strings, most of which are null; the last of FIELDS, the prefix, is not stored.
_FIRST_OPTIONAL, _FLAGS, _PREFIX = FIELDS.index("xxh3_128"), FIELDS.index("flags"), FIELDS.index("prefix")
_OPTIONAL = FIELDS[_FIRST_OPTIONAL:_FLAGS]
_GIVEN = (*FIELDS[:_MTIME], "mtime_s", "mtime_nsec", "ctime_s", "ctime_nsec", *FIELDS[_FLAGS:_PREFIX], "state_digest")
_COVERED = ("state_digest", "read_start_ns", "read_end_ns")


class NewVersions:
    """Versions that begin with a scan, collected until they are written.

    Converting values costs more than storing them. So they go straight to the driver, in groups with the same columns,
    and are converted column by column.
    """

    def __init__(self, scan_id: int) -> None:
        self._scan_id = scan_id
        # By (adopted, followed, kind): files of one kind nearly always have the same columns.
        self._groups: defaultdict[tuple[bool, bool, str], list[Packed]] = defaultdict(list)
        self._covered: Any = None
        self._is_covered = True

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    @property
    def digest(self) -> bytes | None:
        """The digest of all written rows (:data:`fimscan.store.registry.Subject.BEGUN`), if it is known.

        It is computed from the values to be stored. Rows read back could have been altered by another program.
        """
        return bytes(self._covered.digest()) if self._covered is not None and self._is_covered else None

    def add(self, found: Iterable[Packed], *, adopted: bool, followed: bool = False) -> None:
        """Add versions that begin for the same reason."""
        for packed in found:
            self._groups[adopted, followed, packed[_KIND]].append(packed)

    def write(self, session: Session) -> None:
        """Insert the collected versions."""
        # The digest covers the numbers of the rows. They are known beforehand only in SQLite: it has one writer, and
        # continues from the largest number, unless another program has inserted a row with the last possible number
        # (sqlite.org, autoinc.html).
        number = _largest(session) if session.connection.dialect.name == "sqlite" else None
        of_all = {"host_id": str(session.host_id), "first_scan": str(self._scan_id), "dropped": "FALSE"}
        for (adopted, followed, _), rows in self._groups.items():
            constant = {**of_all, "adopted": str(adopted).upper(), "followed": str(followed).upper()}
            for columns in _alike(rows):
                _insert(session, constant, columns)
                if number is not None:
                    encoded = row_digests.begun_rows(
                        number + 1, (adopted, followed), *(columns[name] for name in _COVERED)
                    )
                    self._covered = self._covered or hashlib.sha256()
                    self._covered.update(encoded)
                    number += len(columns["path"])
        if number is not None and number != _largest(session):
            self._is_covered = False
        self._groups.clear()


def _largest(session: Session) -> int:
    # As SQL text: a query built by SQLAlchemy takes as long as storing a hundred rows.
    return session.connection.exec_driver_sql(f"SELECT max(id) FROM {table.name}").scalar() or 0  # noqa: S608 - a constant


def _alike(rows: Sequence[Packed]) -> Iterator[dict[str, Sequence[Any]]]:
    """Split rows into groups with the same null columns; yield each group as columns, as the database has them."""
    columns = list(zip(*rows, strict=True))
    unknown = [column.count(None) for column in columns[_FIRST_OPTIONAL:_FLAGS]]
    if any(0 < count < len(rows) for count in unknown):
        groups = defaultdict(list)
        for row in rows:
            groups[tuple([value is None for value in row[_FIRST_OPTIONAL:_FLAGS]])].append(row)
        for group in groups.values():
            yield from _alike(group)
        return
    named: dict[str, Sequence[Any]] = dict(zip(FIELDS, columns, strict=False))
    for field in ("dev", "inode"):
        if max(named[field]) >> 63:
            named[field] = list(map(signed, named[field]))  # values for the driver are not converted by Unsigned64
    for field in ("mtime", "ctime"):
        times = named.pop(f"{field}_ns")
        named[f"{field}_s"] = [time // _SECOND for time in times]
        named[f"{field}_nsec"] = [time % _SECOND for time in times]
    named["state_digest"] = columns[-1]
    given = (*_GIVEN, *(name for name, count in zip(_OPTIONAL, unknown, strict=True) if not count))
    yield {name: named[name] for name in given}


def _insert(session: Session, constant: dict[str, str], columns: dict[str, Sequence[Any]]) -> None:
    """Insert rows made of ``constant`` values (SQL) and ``columns``."""
    # With many rows in a statement, SQLite needs a quarter less time per row. PostgreSQL's driver batches statements.
    is_sqlite = session.connection.dialect.name == "sqlite"
    mark, most = ("?", _PARAMETERS // len(columns)) if is_sqlite else ("%s", 1)
    row = ", ".join((*constant.values(), *[mark] * len(columns)))
    insert = f"INSERT INTO {table.name} ({', '.join((*constant, *columns))}) VALUES "  # noqa: S608 - no values of others
    # SQLite's driver searches for an adapter for each bytes value, but not for a bytearray.
    ready = [map(bytearray, column) if isinstance(column[0], bytes) else column for column in columns.values()]
    values = list(chain.from_iterable(zip(*ready, strict=True)))
    size = most * len(columns)
    whole = len(values) // size * size
    if whole:
        rows = [tuple(values[begin : begin + size]) for begin in range(0, whole, size)]
        session.connection.exec_driver_sql(insert + ", ".join([f"({row})"] * most), rows)
    if rest := tuple(values[whole:]):
        session.connection.exec_driver_sql(insert + ", ".join([f"({row})"] * (len(rest) // len(columns))), rest)
