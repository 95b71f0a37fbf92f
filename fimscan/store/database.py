"""Open and upgrade a database, explain its errors in one line, and hold the writer lock."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shlex
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from fimscan.errors import InterruptedScanError, LockedError, StoreError, UnavailableError
from fimscan.linux.host import record_id, recorded_id
from fimscan.model import HostIdentity, IdSource
from fimscan.passwords import without_password
from fimscan.store import defense, hosts, journal, known_head, schema
from fimscan.store.contents import contents_file, files_of
from fimscan.store.read_only import ReadOnlyFile, is_writable
from fimscan.store.session import Session
from fimscan.trust import make_private_directories, trust_problem

_BUSY_SECONDS = 15
_BUSY_STEP_MS = 200
_LOCK_STEP_SECONDS = 0.05
_CREATION_STEPS = 60  # of that length
_ROOM_BYTES = 256 * 1024  # for the write-ahead log's index and a few pages of the log itself, with reserve
_BUSY = "another fimscan scan is running on this database; wait until it has finished (see 'fimscan status')"
# The advisory lock on PostgreSQL has two numbers: "fims", and the host's. So hosts can scan at the same time.
_LOCK_CLASS = 0x66696D73
_OUTBOX_LOCK = ".outbox-lock"
_FAILED_SCAN = ".failed-scan"
_OUTBOX_LOCK_CLASS = 0x66696D6F
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:class, :host)")
_UNLOCK = text("SELECT pg_advisory_unlock(:class, :host)")
_SERVER_MICROSECONDS = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")
# objsubid is 2 for a lock with two numbers. Each database of a server has its own advisory locks.
_COUNT_LOCKS = text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = :class AND objid = :host AND objsubid = 2"
    " AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Database:
    """An open, up-to-date database for one host.

    Args:
        url: an SQLAlchemy URL (``sqlite:////var/lib/fimscan/fimscan.db``, ``postgresql+psycopg://...``).
        host: the host whose records are used: its identity, or its name if it is known by name only.
        create: create the database if it is missing; otherwise a missing database is an error.
        writing: whether the caller writes. Otherwise the host is not added, and read access is enough.
        adopt: take over the records of another host, by its name; ``""`` if only one can be meant.
        directory: where id and head of the host are stored if the database is on a server.
        as_copy: it is a file that nobody writes, and that stays as it is: nothing is created beside it.

    Raises:
        StoreError: with one line: what is wrong and what to do.
    """

    def __init__(
        self,
        url: str,
        *,
        host: str | HostIdentity,
        create: bool = True,
        writing: bool = True,
        adopt: str | None = None,
        directory: str | None = None,
        as_copy: bool = False,
    ) -> None:
        self.url = _parse_url(url)
        self._directory = directory
        _prepare_location(self.url, create=create)
        self.identity = self._identified(host)
        self._read_only = None
        if self.file is not None and not writing and (as_copy or not is_writable(self.file)):
            self._read_only = ReadOnlyFile(self.file)
        self.engine = _engine(self.url, self._read_only)
        self._writer = self.engine.execution_options(fimscan_writes=True)
        try:
            with store_errors(self.url):
                _bring_up_to_date(self.engine, None if self._read_only else self._writer, self.url)
                self._schema_version = _schema_version(self.engine)
                self.host_id = self._find_host(add=writing, adopt=adopt)
        except BaseException as error:
            if isinstance(error, UnavailableError):
                error.failed_scan_file = self.failed_scan_file
            self.engine.dispose()
            raise

    @property
    def host(self) -> str:
        """The present name of the host."""
        return self.identity.name

    @property
    def is_read_only(self) -> bool:
        """Whether this process may read the file and not write it."""
        return self._read_only is not None

    @property
    def file(self) -> str | None:
        """The SQLite file, ``None`` for a server or an in-memory database."""
        return _sqlite_file(self.url)

    @property
    def name(self) -> str:
        """Its name in messages: the file, or the URL without its password."""
        return _name(self.url)

    @property
    def own_files(self) -> tuple[bytes, ...]:
        """The files that belong to the database itself, which are never monitored."""
        if self.file is None:
            beside = (file for file in (self.head_file, self.id_file, self.failed_scan_file) if file is not None)
            return tuple(dict.fromkeys(os.fsencode(path) for file in beside for path in (os.path.realpath(file), file)))
        # SQLite's own files are beside the target of a link, fimscan's beside the link.
        suffixes = ("", "-wal", "-shm", "-journal", ".lock", ".head", ".host-id", _FAILED_SCAN, _OUTBOX_LOCK)
        paths = dict.fromkeys((os.path.realpath(self.file), self.file))
        own = (os.fsencode(path + suffix) for path in paths for suffix in suffixes)
        return (*own, *files_of(contents_file(self.file)))

    @contextmanager
    def begin(self, *, draft: bool = False) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back by any exception.

        The commit of a ``draft`` does not wait for the disk. A power cut may lose it until the next other transaction,
        whose commit makes it durable, too.
        """
        writer = self._writer.execution_options(fimscan_draft=True) if draft else self._writer
        with store_errors(self.url), writer.begin() as connection:
            self._require_own_schema(connection)
            session = Session(connection, self.host_id)
            yield session
            journal.write_notes(session)

    @contextmanager
    def begin_removal(self) -> Iterator[Session]:
        """As :meth:`begin`, to remove many rows: references between tables are checked once, at the end.

        To remove one row, SQLite would read all of each table that may refer to it.
        """
        writer = self._writer.execution_options(fimscan_unreferenced=True)
        with store_errors(self.url), writer.connect() as connection:
            try:
                with connection.begin():
                    self._require_own_schema(connection)
                    session = Session(connection, self.host_id)
                    yield session
                    journal.write_notes(session)
                    _require_references(connection, self.name)
            finally:
                raw = connection.connection.dbapi_connection
                if connection.dialect.name == "sqlite" and raw is not None:
                    raw.cursor().execute("PRAGMA foreign_keys = ON")

    def _require_own_schema(self, connection: Connection) -> None:
        """Refuse to write if a trigger was added since the database was opened, which may be months ago."""
        if self.file is None:
            return
        version = connection.exec_driver_sql("PRAGMA schema_version").scalar()
        if version != self._schema_version:
            _require_none(defense.foreign_objects(connection), self.url)
            self._schema_version = version

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading, seeing one consistent state.

        Raises:
            StoreError: also if a writer changed a file that had to be read without locks.
        """
        try:
            with store_errors(self.url), self.engine.connect() as connection:
                yield Session(connection, self.host_id)
        except StoreError:
            self._require_unchanged()
            raise
        except (ValueError, KeyError) as error:
            # A word or a document that fimscan never writes.
            raise StoreError(
                f"a row of {self.name} cannot be read ({type(error).__name__}: {error}); 'fimscan verify --db' says"
                " whether it was altered"
            ) from error
        self._require_unchanged()

    def _require_unchanged(self) -> None:
        if self._read_only is not None and self._read_only.has_changed():
            raise StoreError(f"{self.name} was written while it was read; run this command again")

    @contextmanager
    def scan_lock(self, *, wait_s: float = 0) -> Iterator[None]:
        """Hold the writer lock. The kernel (or the server) releases it when the process dies, for whatever reason.

        An SQLite file has one lock. On a server each host has its own.

        Raises:
            LockedError: when another scan still holds it after ``wait_s`` seconds.
        """
        deadline = time.monotonic() + wait_s
        if self.file is None:
            with self._server_lock(deadline):
                yield
            return
        with lock_of_file(self.file, deadline):
            yield

    @contextmanager
    def _server_lock(self, deadline: float) -> Iterator[None]:
        # The lock belongs to the server session and outlives transactions; the pool keeps sessions, so it is released
        # explicitly.
        engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        with store_errors(self.url), engine.connect() as connection:
            while not connection.scalar(_TRY_LOCK, self._lock_numbers):
                _wait_until(deadline)
            try:
                yield
            finally:
                connection.execute(_UNLOCK, self._lock_numbers)

    def try_outbox_lock(self) -> Callable[[], None] | None:
        """Take the lock of whoever delivers messages; ``None`` if another process has it. The result releases it.

        The kernel (or the server) releases it when the process dies, for whatever reason.
        """
        if self.file is None:
            return self._try_server_lock({"class": _OUTBOX_LOCK_CLASS, "host": self.host_id})
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.file + _OUTBOX_LOCK, flags, 0o600)
        except OSError as error:
            raise StoreError(f"cannot write the lock file {self.file}{_OUTBOX_LOCK}: {error.strerror}") from error
        if _is_taken(descriptor):
            return partial(os.close, descriptor)
        os.close(descriptor)
        return None

    def _try_server_lock(self, numbers: Mapping[str, int]) -> Callable[[], None] | None:
        # A session of its own, which is closed to release the lock: the pool would keep the session, and so the lock.
        engine = create_engine(self.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with store_errors(self.url):
            connection = engine.connect()
            if connection.scalar(_TRY_LOCK, numbers):
                return connection.close
            connection.close()
            return None

    @property
    def _lock_numbers(self) -> dict[str, int]:
        return {"class": _LOCK_CLASS, "host": self.host_id}

    def is_scanning(self) -> bool:
        """Whether a scan holds the writer lock now. It does not try to take the lock: that could make a scan fail."""
        if self.file is None:
            with self.read() as session:
                return bool(session.scalar(_COUNT_LOCKS, self._lock_numbers))
        try:
            info = os.stat(self.file + ".lock")
            with open("/proc/locks", encoding="ascii") as file:
                held = [line.split()[5] for line in file if " FLOCK " in line and " -> " not in line]
        except OSError:
            return False
        return f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}" in held

    def clock_ns(self) -> int:
        """The time of the server, in nanoseconds since 1970; for a file, that of this machine."""
        if self.engine.dialect.name != "postgresql":
            return time.time_ns()
        with store_errors(self.url), self.engine.connect() as connection:
            return int(connection.scalar(_SERVER_MICROSECONDS)) * 1000

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @property
    def head_file(self) -> str | None:
        """Where the newest reported head is stored; ``None`` for a database without a place for it."""
        if self.file is not None:
            return known_head.head_file(self.file)
        return None if self._directory is None else os.path.join(self._directory, f"{self._server_key}.head")

    @property
    def id_file(self) -> str | None:
        """Where the id of a host without a machine-id is recorded."""
        if self.file is not None:
            return known_head.id_file(self.file)
        return None if self._directory is None else os.path.join(self._directory, "host-id")

    @property
    def failed_scan_file(self) -> str | None:
        """Where a scan is noted that failed and could not be stored (:mod:`fimscan.store.failed_scan`)."""
        if self.file is not None:
            return self.file + _FAILED_SCAN
        return None if self._directory is None else os.path.join(self._directory, self._server_key + _FAILED_SCAN)

    @property
    def _server_key(self) -> str:
        shown = f"{_name(self.url)} {self.identity.id or self.host}"
        return "server-" + hashlib.sha256(shown.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def _identified(self, host: str | HostIdentity) -> HostIdentity:
        """The host with its recorded id, if it has no machine-id and an id was recorded here."""
        if isinstance(host, str):
            return HostIdentity(name=host)
        path = self.id_file
        if host.source is not IdSource.RECORDED or path is None:
            return host
        try:
            return replace(host, id=recorded_id(path))
        except PermissionError:
            return host  # a reader who may not read it is content with the name
        except OSError as error:
            raise StoreError(f"the host's id in {path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise StoreError(str(error)) from error

    @contextmanager
    def _id_recorded(self) -> Iterator[None]:
        """Record an id of this host: where the file was lost, that of the records that have its name.

        On a server, such records may be another host's that has the same name, as containers do: there the id is new.

        If the block raises, a new file is removed again: nothing stays beside the database of another host.
        """
        path = self.id_file
        if self.identity.source is not IdSource.RECORDED or self.identity.id is not None or path is None:
            yield
            return
        try:
            found = None
            if self.file is not None:
                with self.engine.connect() as connection:
                    found = hosts.recorded_id_of(connection, self.host)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            identity, is_new = record_id(path, found)
            self.identity = replace(self.identity, id=identity)
        except OSError as error:
            raise StoreError(f"the host's id cannot be stored in {path}: {error.strerror}") from error
        try:
            yield
        except BaseException:
            if is_new:  # otherwise it is another process's, which may be using it
                with suppress(OSError):
                    os.unlink(path)
            raise

    def _find_host(self, *, add: bool, adopt: str | None) -> int:
        shared = self.file is None
        if not add:
            with self.engine.connect() as connection:
                return hosts.find(connection, self.identity, shared=shared, name=self.name)
        with self._id_recorded():
            with self.engine.connect() as connection:
                if hosts.is_current(connection, self.identity, shared=shared):
                    return hosts.find(connection, self.identity, shared=shared, name=self.name)
            for _attempt in range(2):
                # Another process may add the same host at this moment ('fimscan status' during the first scan).
                with suppress(IntegrityError), self._writer.begin() as connection:
                    return hosts.claim(connection, self.identity, shared=shared, name=self.name, adopt=adopt)
            raise StoreError(f"{self.name}: another process adds the host {self.host}; try again")


@contextmanager
def lock_of_file(path: str, deadline: float) -> Iterator[None]:
    """Hold the writer lock of an SQLite file, which need not exist; ``deadline`` is of the monotonic clock.

    Raises:
        LockedError: another process still holds it then.
    """
    try:
        descriptor = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot write the lock file {path}.lock: {error.strerror}") from error
    try:
        while not _is_taken(descriptor):
            _wait_until(deadline)
        yield
    finally:
        os.close(descriptor)


def file_of(url: str) -> str | None:
    """The SQLite file that a URL names; ``None`` for a server or an in-memory database."""
    return _sqlite_file(_parse_url(url))


def name_of(url: str) -> str:
    """The name of a database in messages: the file, or the URL without its password."""
    return _name(_parse_url(url))


def schema_revision(url: str) -> str | None:
    """The revision of the schema as it is, without an upgrade; ``None`` if the database has no tables.

    Raises:
        StoreError: it is missing, or not a database of this or an earlier fimscan.
    """
    parsed = _parse_url(url)
    _prepare_location(parsed, create=False)
    path = _sqlite_file(parsed)
    engine = _engine(parsed, ReadOnlyFile(path) if path is not None and not is_writable(path) else None)
    try:
        with store_errors(parsed):
            return _known_revision(engine, parsed)
    finally:
        engine.dispose()


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_until(deadline: float) -> None:
    """Sleep until the next attempt; raises :class:`LockedError` after the deadline."""
    if time.monotonic() >= deadline:
        raise LockedError(_BUSY)
    time.sleep(_LOCK_STEP_SECONDS)


@contextmanager
def store_errors(url: URL) -> Iterator[None]:
    """Turn the database's errors into one line for the user."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        if (stopped := InterruptedScanError.behind(error)) is not None:
            raise stopped from error
        raise UnavailableError(_explain(str(getattr(error, "orig", error)), url)) from error
    except SQLAlchemyError as error:
        raise StoreError(f"database {_name(url)}: {error}") from error


def _explain(message: str, url: URL) -> str:
    name = _name(url)
    low = message.lower()
    if "not a database" in low or "malformed" in low or "file is encrypted" in low:
        return f"{name} is not an intact fimscan database ({message}); move it away, or restore it from a backup"
    if "locked" in low:
        return f"{name} is locked by another program; try again when it has finished"
    if "full" in low or ("disk i/o" in low and _is_full(_sqlite_file(url))):
        return f"no space left to write {name}; make room and run the scan again (the last finished scan is intact)"
    if "disk i/o" in low:
        return f"{name} cannot be read or written ({message}): its disk failed or is gone; see the kernel log (dmesg)"
    if "readonly" in low or "unable to open" in low:
        return f"{name} cannot be opened for writing; check its owner and permissions, and those of its directory"
    return f"database {name}: {message}"


def _is_full(path: str | None) -> bool:
    """Whether the disk is too full for the files beside the database: SQLite reports that as a mere I/O error."""
    if path is None:
        return False
    try:
        found = os.statvfs(os.path.dirname(path) or "/")
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _ROOM_BYTES


def _name(url: URL) -> str:
    return _sqlite_file(url) or without_password(url.render_as_string(hide_password=True))


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: the port is not a number
        # Where a text that is no URL has its password is unknown, so such a text is shown only if it cannot have one.
        shown = without_password(url)
        is_safe = re.fullmatch(r"[\w./ -]*|\w+://[^:@?]*", shown)
        what = f": {shown!r}" if is_safe else " (not shown: it may have a password)"
        raise StoreError(f"not a database URL{what}; write sqlite:////absolute/path.db") from error
    backend = parsed.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"{backend} is not supported; use sqlite:////absolute/path.db or postgresql://user@host/name")
    if backend == "sqlite" and not (parsed.database or "").startswith("/"):
        # A relative path means another directory in cron than in a shell: two databases with two baselines.
        raise StoreError("the path of an SQLite database must be absolute: sqlite:////absolute/path.db (four slashes)")
    # The driver that 'fimscan[postgresql]' brings, not SQLAlchemy's default one.
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def _sqlite_file(url: URL) -> str | None:
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return None
    return url.database


def _prepare_location(url: URL, *, create: bool) -> None:
    """Create the SQLite file if it is missing, or raise an error for a path that is no usable database."""
    path = _sqlite_file(url)
    if path is None:
        return
    if (problem := trust_problem(path, alone=True)) is not None:
        raise StoreError(f"the database {path} is not opened: {problem}")
    try:
        exists = os.path.exists(path) or not os.stat(path)
    except PermissionError as error:
        raise StoreError(
            f"{path} cannot be reached: {error.strerror}; run as root, or as a user who may read it"
        ) from error
    except OSError:
        exists = False
    if not exists:
        _require_first(path)
        if not create:
            raise StoreError(f"no database at {path}; 'fimscan scan' records the first baseline")
        try:
            make_private_directories(os.path.dirname(os.path.abspath(path)))
            # It holds names and hashes of every monitored file, so only the owner may read it, from the first byte on.
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with suppress(FileExistsError):  # another process creates it at this moment
                os.close(os.open(path, flags, 0o600))
        except OSError as error:
            raise StoreError(f"cannot create the database {path}: {error.strerror}") from error
    elif os.path.isdir(path):
        raise StoreError(f"{path} is a directory, not a database")
    elif not os.path.isfile(path):
        raise StoreError(f"{path} is a device or a pipe, not a database; set [database] url to a file")
    elif _stays_empty(path):
        # SQLite takes an empty file for an empty database: a truncated one would silently begin with a new baseline.
        raise StoreError(f"{path} is empty; restore it from a backup, or remove it to begin with a new baseline")


def _stays_empty(path: str) -> bool:
    """Whether a file is empty, and nothing is making a database of it at this moment."""
    for _ in range(_CREATION_STEPS):
        if os.path.getsize(path):
            return False
        if abs(time.time() - os.stat(path).st_mtime) > _CREATION_STEPS * _LOCK_STEP_SECONDS:
            break
        time.sleep(_LOCK_STEP_SECONDS)
    return True


def _require_first(path: str) -> None:
    """Refuse a missing database that was there before: a new one would silently begin with a new baseline."""
    head = known_head.head_file(path)
    if (known := known_head.read(head)) is not None:
        raise StoreError(known_head.missing_text(path, head, known))
    kept = contents_file(path)
    if os.path.lexists(kept):
        raise StoreError(
            f"there is no database at {path}, but its kept contents are in {kept}: restore the database from a backup;"
            f" to begin with a new baseline, remove {kept}"
        )


def _engine(url: URL, read_only: ReadOnlyFile | None) -> Engine:
    try:
        engine = create_engine(url) if read_only is None else create_engine(url, creator=read_only.connect)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        # The interpreter that runs this: 'pip' on the PATH is another one, and Debian's refuses to install.
        install = f"; run: {shlex.quote(sys.executable)} -m pip install 'psycopg[binary]'"
        more = install if url.get_backend_name() == "postgresql" else "; SQLite and PostgreSQL are supported"
        raise StoreError(f"no driver for {url.drivername}: {error}{more}") from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        if read_only is None:
            event.listen(engine, "connect", _use_wal)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    # _begin_sqlite begins transactions: the driver would begin them too late and leave SELECTs outside of them.
    connection.isolation_level = None
    defense.harden(connection)
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA cache_size = -32000")
    cursor.close()


def _use_wal(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL").close()


def _require_references(connection: Connection, name: str) -> None:
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StoreError(f"{name}: rows of {broken[0]} refer to rows of {broken[2]} that are gone; nothing was changed")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("fimscan_unreferenced"):
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    # A finished scan must survive a power cut. A draft may be lost then, but the database stays consistent.
    connection.exec_driver_sql(f"PRAGMA synchronous = {'NORMAL' if options.get('fimscan_draft') else 'FULL'}")
    # A writer takes the write lock at once: a transaction that begins by reading cannot wait for a writer, it fails.
    if not options.get("fimscan_writes"):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite waits without handling signals, so it waits for moments only.
    deadline = time.monotonic() + _BUSY_SECONDS
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_STEP_MS}")
    try:
        while not _has_begun(connection, is_last=time.monotonic() > deadline):
            pass
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")


def _has_begun(connection: Connection, *, is_last: bool) -> bool:
    """Try to take the write lock; with ``is_last``, that it is taken is an error."""
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if is_last or "locked" not in str(error.orig):
            raise
        return False
    return True


def _bring_up_to_date(engine: Engine, writer: Engine | None, url: URL) -> None:
    """Create the tables of an empty database, or upgrade an older one; raises an error for any other database.

    Without ``writer`` nothing can be created or upgraded.
    """
    revision = _known_revision(engine, url)
    if revision == schema.SCHEMA_REVISION:
        with engine.connect() as connection:
            _require_none(defense.foreign_objects(connection), url)
        return
    if revision is None and engine.dialect.name == "sqlite" and writer is not None:
        with writer.begin() as connection:
            schema.create(connection)
        return

    from fimscan.store import migrate

    if writer is None:
        raise StoreError(f"{_name(url)} needs an upgrade; run 'fimscan status' once as a user who may write it")
    migrate.upgrade(writer)
    with engine.connect() as connection:
        _require_none(defense.foreign_objects(connection), url)


def _known_revision(engine: Engine, url: URL) -> str | None:
    """The revision of the schema; ``None`` without tables. Raises an error for the database of another program."""
    with engine.connect() as connection:
        tables = set(inspect(connection).get_table_names())
        revision = None
        if "alembic_version" in tables:
            # Before an upgrade the tables are others; but no version has triggers, which the upgrade would run.
            _require_none(defense.executable_objects(connection), url)
            revision = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if revision is None and tables:
        raise StoreError(f"{_name(url)} is a database of another program; set [database] url to a different one")
    if revision not in (None, schema.SCHEMA_REVISION):
        from fimscan.store import migrate

        if revision not in migrate.known_revisions():
            raise StoreError(
                f"{_name(url)} was written by a newer fimscan (its schema is {revision}, the newest known here is "
                f"{schema.SCHEMA_REVISION}); install that version"
            )
    return revision


def _schema_version(engine: Engine) -> int | None:
    """SQLite's count of changes of the schema; ``None`` for another database."""
    if engine.dialect.name != "sqlite":
        return None
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("PRAGMA schema_version").scalar_one())


def _require_none(foreign: Iterator[str], url: URL) -> None:
    """Refuse a database whose schema somebody else altered."""
    if (first := next(foreign, None)) is not None:
        raise StoreError(f"{_name(url)} is not opened: {first}; {defense.remedy(_sqlite_file(url))}")
