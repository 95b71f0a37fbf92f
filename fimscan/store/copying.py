"""Copy SQLite files that others may be writing, and recognize the copies.

A copy has an application id of its own in its header. So a later backup replaces an earlier one, and no other file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from fimscan.errors import InterruptedScanError, StoreError
from fimscan.store.defense import harden
from fimscan.store.read_only import ReadOnlyFile, is_writable

BACKUP_ID = 0x66696D62  # "fimb"
_MAGIC = b"SQLite format 3\0"
_ID_AT = 68  # sqlite.org, fileformat2.html: the application id, big-endian
_HEADER_BYTES = 100
_PAGES = 1024  # copied between two looks at signals
_BUSY_SECONDS = 15
#: What SQLite may create beside a file.
BESIDE = ("-wal", "-shm", "-journal")


def application_id(path: str) -> int | None:
    """The application id of an SQLite file; ``None`` for another file. Links are not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    return int.from_bytes(header[_ID_AT : _ID_AT + 4], "big")


def copy_file(source: str, target: str, *, application: int | None = None) -> None:
    """Copy an SQLite file, as of one moment, to a new file that only its owner may read; it is on the disk then.

    Others may write the source meanwhile. ``application`` is the application id of the copy, if another one.

    Raises:
        StoreError: it cannot be read or written. No part of a copy is left behind.
    """
    with errors_of(source), removed_on_error(target):
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(target, flags, 0o600))
        read_only = None if is_writable(source) else ReadOnlyFile(source)
        with (
            closing(_reading(source, read_only)) as reading,
            closing(sqlite3.connect(target, isolation_level=None)) as writing,
        ):
            harden(writing)
            # With a transaction around all steps, they copy one state: without it, each write of another process would
            # begin the copy anew.
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            # The callback lets Python handle signals between two steps.
            reading.backup(writing, pages=_PAGES, progress=lambda *_: None)
            # One file, without others beside it.
            writing.execute("PRAGMA journal_mode = DELETE").fetchone()
            if application is not None:
                writing.execute(f"PRAGMA application_id = {application}")
        if read_only is not None and read_only.has_changed():
            raise StoreError(f"{source} was written while it was copied; run this command again")
        sync(target)


def damage(path: str) -> list[str]:
    """What SQLite finds wrong with a file that nobody writes."""
    with errors_of(path), closing(ReadOnlyFile(path).connect()) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    return [problem for problem in found if problem != "ok"]


def take_alone(path: str) -> None:
    """Merge what SQLite has beside a database into the file itself, which needs that nobody else has it open.

    Raises:
        StoreError: another process has it open.
        sqlite3.DatabaseError: it is damaged.
    """
    connection = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        harden(connection)
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        mode = "locked"
    finally:
        connection.close()
    if mode != "delete":
        raise StoreError(
            f"another process has {path} open, and would go on writing to the old file; stop it first (systemctl stop"
            " fimscan)"
        )


def sync(path: str) -> None:
    """Let a file or directory reach the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def removed_on_error(path: str) -> Iterator[None]:
    """Remove an unfinished file, and what SQLite has beside it, if the block raises."""
    try:
        yield
    except BaseException:
        for name in (path, *(path + suffix for suffix in BESIDE)):
            with suppress(OSError):
                os.unlink(name)
        raise


@contextmanager
def errors_of(path: str) -> Iterator[None]:
    """Turn errors of SQLite and of the system into one line."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if (stopped := InterruptedScanError.behind(error)) is not None:
            raise stopped from error
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        name = error.filename if isinstance(error, OSError) and error.filename else path
        raise StoreError(f"{os.fsdecode(name)}: {reason}") from error


def _reading(path: str, read_only: ReadOnlyFile | None) -> sqlite3.Connection:
    if read_only is not None:
        connection = read_only.connect()
    else:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS)
        harden(connection)
    connection.isolation_level = None
    return connection
