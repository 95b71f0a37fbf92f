"""Copy the database and its kept contents while scans run, and check the copy.

The database is copied first: the contents of what it knows were stored before it knew of them. So the copy of the
contents, which is made later, has them. The other way round, contents could be missing that the copied database knows.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import ExitStack

from msgspec import Struct

from fimscan.errors import StoreError, UsageError
from fimscan.evidence.database import verify_database
from fimscan.model import Scan
from fimscan.store import copying, journal, known_head
from fimscan.store import scans as scan_store
from fimscan.store.contents import contents_file, permission_problem
from fimscan.store.database import Database
from fimscan.trust import trust_problem


class Copy(Struct, frozen=True, kw_only=True):
    """A finished copy.

    Attributes:
        path: the file.
        size: in bytes.
        head: the newest entry of both chains that it has; ``None`` before the first scan.
        scan: the newest finished scan that it has.
        contents: the copy of the kept contents, and its size; ``None`` if none are kept.
    """

    path: str
    size: int
    head: str | None = None
    scan: Scan | None = None
    contents: tuple[str, int] | None = None


def require_file(file: str | None) -> str:
    """The SQLite file of a database.

    Raises:
        UsageError: it is on a server, which has better means.
    """
    if file is None:
        raise UsageError("the database is on a server: use pg_dump and pg_restore, which copy it as of one moment")
    return file


def back_up(database: Database, contents: str, target: str, *, force: bool = False) -> Copy:
    """Copy an SQLite database and its kept contents to ``target`` and ``target.contents``; check the copy.

    Args:
        database: the store.
        contents: the file of the kept contents, which need not exist.
        target: the file to write. An earlier backup is replaced.
        force: replace any other regular file, too, except one that is in use by the database.

    Raises:
        UsageError: the database is on a server, or ``target`` must not be replaced.
        StoreError: it could not be copied, or the copy is damaged. What was there before is still there.
    """
    source, target = require_file(database.file), os.path.abspath(target)
    beside = contents_file(target)
    in_use = {*map(os.fsdecode, database.own_files), contents}
    require_place(target, in_use, force=force)
    has_contents = os.path.lexists(contents)
    if has_contents and (problem := permission_problem(contents)) is not None:
        raise StoreError(f"{problem}; nothing was copied")
    with ExitStack() as unfinished:
        partial = _partial(target, unfinished)
        copying.copy_file(source, partial, application=copying.BACKUP_ID)
        head, scan = _checked(partial, database)
        copied = None
        if has_contents:
            copied = _partial(beside, unfinished)
            copying.copy_file(contents, copied)
            _require_undamaged(copied)
        with copying.errors_of(target):
            if copied is not None:
                os.replace(copied, beside)
            os.replace(partial, target)
            copying.sync(os.path.dirname(target))
    return Copy(
        path=target,
        size=os.path.getsize(target),
        head=head,
        scan=scan,
        contents=(beside, os.path.getsize(beside)) if has_contents else None,
    )


def back_up_as_it_is(source: str, target: str, *, force: bool = False) -> Copy:
    """Copy a database whose schema may be an older one. What it says is not checked, only that it is not damaged.

    Raises:
        UsageError, StoreError: as :func:`back_up`.
    """
    target = os.path.abspath(target)
    require_place(target, {source}, force=force)
    with ExitStack() as unfinished:
        partial = _partial(target, unfinished)
        copying.copy_file(source, partial, application=copying.BACKUP_ID)
        _require_undamaged(partial)
        with copying.errors_of(target):
            os.replace(partial, target)
            copying.sync(os.path.dirname(target))
    return Copy(path=target, size=os.path.getsize(target))


def require_place(target: str, in_use: set[str], *, force: bool) -> None:
    """Refuse a file that a copy must not replace, or a directory in which others could replace the copy.

    Raises:
        UsageError: with what to do.
    """
    directory = os.path.dirname(target)
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}; create it first")
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise UsageError(f"{target} cannot be examined: {error.strerror}") from error
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{target} is no regular file; name another one")
    real = os.path.join(os.path.realpath(directory), os.path.basename(target))
    if real in {os.path.realpath(name) for name in in_use} or (
        found is not None and any(os.path.exists(name) and os.path.samestat(found, os.stat(name)) for name in in_use)
    ):
        raise UsageError(f"{target} is in use by the database itself; name another file")
    if (problem := trust_problem(os.path.join(directory, ".fimscan"), alone=True)) is not None:
        raise UsageError(f"no copy is written to {target}: {problem}")
    if found is not None and not force and copying.application_id(target) != copying.BACKUP_ID:
        raise UsageError(f"{target} is no backup of fimscan's; name another file, or replace it with --force")


def _partial(target: str, unfinished: ExitStack) -> str:
    path = f"{target}.{secrets.token_hex(8)}.new"
    unfinished.enter_context(copying.removed_on_error(path))
    return path


def _checked(partial: str, database: Database) -> tuple[str | None, Scan | None]:
    """Check a copy by itself and against the database; return its head and newest scan."""
    _require_undamaged(partial)
    copy = Database(f"sqlite:///{partial}", host=database.identity, create=False, writing=False, as_copy=True)
    try:
        with copy.read() as session:
            scans = scan_store.all_scans(session)
            head, newest = journal.common_head(session, scans), scan_store.last_finished(session)
        if newest is not None:
            report = verify_database(copy, quick=True)
            for check in report.checks:
                if not check.ok:
                    raise StoreError(f"the copy is not kept, {check.name}: {check.detail.splitlines()[0]}")
    finally:
        copy.close()
    if head is not None:
        with database.read() as session:
            if not known_head.covers(session, head):
                raise StoreError("the copy is not kept: its head is not one of the database")
    return head, newest


def _require_undamaged(path: str) -> None:
    if problems := copying.damage(path):
        raise StoreError(f"the copy is not kept: SQLite finds damage in it: {problems[0]}")
