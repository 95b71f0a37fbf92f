"""The newest head that was reported, in a small file beside the database: it shows what happened to the database.

If the database is missing, or does not have this head, then it was removed, emptied or restored from an older copy. The
file is for these accidents. Whoever can write the database can write the file, too: for that, store heads off-host.
"""

from __future__ import annotations

import json
import os

from msgspec import Struct
from sqlalchemy import select

from fimscan.errors import StoreError
from fimscan.report.display import minute_text, time_text
from fimscan.store import schema
from fimscan.store.session import Session
from fimscan.trust import make_private_directories
from fimscan.whole_file import replaced

_VERSION = 1
_MOST_BYTES = 4096


class KnownHead(Struct, frozen=True, kw_only=True):
    """A head that was reported: the newest entry of both chains, and the newest finished scan."""

    head: str
    scan: int
    finished_ns: int
    host: str


def head_file(database: str) -> str:
    """The file beside an SQLite database."""
    return database + ".head"


def id_file(database: str) -> str:
    """The file beside an SQLite database with the id of a host that has no machine-id."""
    return database + ".host-id"


def read(path: str) -> KnownHead | None:
    """The head in a file; ``None`` if there is no file.

    Raises:
        StoreError: the file is there, but has no head in it: what it knew is lost, and that must not pass unnoticed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; remove it if it is no file of fimscan's") from error
    try:
        with open(descriptor, "rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        known = KnownHead(
            head=str(found["head"]),
            scan=int(found["scan"]),
            finished_ns=int(found["finished_ns"]),
            host=str(found["host"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged; check the database with 'fimscan verify --db', then remove it") from error
    return known


def write(path: str, known: KnownHead) -> str | None:
    """Replace the file; return the problem, if it cannot be written."""
    document = {
        "version": _VERSION,
        "host": known.host,
        "scan": known.scan,
        "finished": time_text(known.finished_ns),
        "finished_ns": known.finished_ns,
        "head": known.head,
    }
    try:
        make_private_directories(os.path.dirname(path))  # for a database on a server, nothing else makes it
        with replaced(path, encoding="ascii", is_synced=True) as file:
            json.dump(document, file)
            file.write("\n")
    except OSError as error:
        return f"the head could not be stored in {path}: {error.strerror}; a restored database will not be noticed"
    return None


def covers(session: Session, head: str) -> bool:
    """Whether a head is in one of the chains of this host."""
    scan, entry = schema.scan, schema.journal
    in_ledger = select(scan.c.id).where(scan.c.host_id == session.host_id, scan.c.entry == head)
    in_journal = select(entry.c.id).where(entry.c.host_id == session.host_id, entry.c.entry == head)
    return session.scalar(in_ledger.limit(1)) is not None or session.scalar(in_journal.limit(1)) is not None


def missing_text(database: str, path: str, known: KnownHead) -> str:
    """The message if the database, or all that it had, is gone."""
    return (
        f"{database} has no baseline, but {path} knows of scan {known.scan} ({minute_text(known.finished_ns)}):"
        f" restore the database from a backup; to begin with a new baseline, remove {path}"
    )
