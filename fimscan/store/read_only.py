"""Open an SQLite file for reading where this process may not write.

SQLite in WAL mode needs ``-wal`` and ``-shm`` beside the database, and creates them even to read. A reader that cannot
create them uses those of a running writer. If there is no ``-wal``, the file alone is complete: it is opened as
immutable, which means without locks. A writer may begin meanwhile, so the caller asks :meth:`ReadOnlyFile.has_changed`
after reading.
"""

from __future__ import annotations

import os
import sqlite3
from urllib.parse import quote

from fimscan.errors import StoreError
from fimscan.store.defense import harden

_ATTEMPTS = 5  # a writer may create or remove the files beside the database at any moment

_Stamp = tuple[int, int, int, int, int]


def is_writable(path: str) -> bool:
    """Whether this process may write the file and create files beside it."""
    directory = os.path.dirname(os.path.abspath(path))
    return all(os.access(name, os.W_OK, effective_ids=True) for name in (path, directory))


class ReadOnlyFile:
    """An SQLite file that this process may read and not write."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: _Stamp | None = None

    def connect(self) -> sqlite3.Connection:
        """Open a connection.

        Raises:
            StoreError: the file cannot be read, or a crashed writer left changes that only a writer can recover.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._connect()
            except sqlite3.OperationalError as error:
                if attempt == _ATTEMPTS - 1:
                    raise StoreError(
                        f"{self._path} cannot be read without write access ({error}); run this command as its owner"
                    ) from error
        raise AssertionError("the last attempt returns or raises")

    def has_changed(self) -> bool:
        """Whether a writer has changed the file since a connection was opened as immutable."""
        return self._stamp is not None and self._stamp != _stamp(self._path)

    def _connect(self) -> sqlite3.Connection:
        if not os.access(self._path, os.R_OK, effective_ids=True):
            raise StoreError(
                f"{self._path} cannot be read: Permission denied; run as root, or as a user who may read it"
            )
        stamp = _stamp(self._path)  # before the look at -wal: a writer that begins later changes it
        wal, index = (self._path + suffix for suffix in ("-wal", "-shm"))
        mode = "mode=ro"
        if not os.path.exists(wal) or (os.path.getsize(wal) == 0 and not os.path.exists(index)):
            mode += "&immutable=1"
            self._stamp = self._stamp or stamp
        elif unreadable := [name for name in (wal, index) if not os.access(name, os.R_OK, effective_ids=True)]:
            raise StoreError(
                f"the newest changes of {self._path} cannot be read without {unreadable[0]}; let this user read that"
                " file, or run 'fimscan status' as the owner, which merges the changes if no scan is running"
            )
        name = quote(os.fsencode(os.path.abspath(self._path)))
        connection = sqlite3.connect(f"file:{name}?{mode}", uri=True, check_same_thread=False)
        try:
            harden(connection)
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection


def _stamp(path: str) -> _Stamp:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
