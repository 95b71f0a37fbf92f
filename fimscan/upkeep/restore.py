"""Put a copy of the database in place of the present one, and record who did so.

The copy is made beside the database, upgraded and checked there, and then renamed: a crash at any moment leaves either
the old database or the new one. What was replaced stays beside it.

A restored database is older than what was reported. The control ``database`` has such a failure. Here it is stored at
once, with who restored it and from which file, and the present head is stored as the known one. A crash before that is
noticed by the next scan: it reports an older copy, without a name.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from fimscan.errors import StoreError
from fimscan.evidence.database import verify_database
from fimscan.linux.host import recorded_id
from fimscan.model import HostIdentity, IdSource, Scan
from fimscan.pipeline.controls import record as controls
from fimscan.store import copying, hosts, journal, known_head
from fimscan.store import scans as scan_store
from fimscan.store.contents import contents_file, permission_problem
from fimscan.store.database import Database, lock_of_file
from fimscan.trust import make_private_directories, trust_problem

Open = Callable[[], Database]


class Restored(Struct, frozen=True, kw_only=True):
    """What was put in place.

    Attributes:
        path: the database.
        scan: its newest finished scan.
        head: the head of the copy, before the restoration was recorded in it.
        kept: where the database is that was replaced; ``None`` if there was none.
        contents: the kept contents that were restored, too; ``None`` if those that are there stay, or there are none.
        lost: the scan that was reported and is not in the copy; ``None`` if nothing is lost.
        problems: what else went wrong.
    """

    path: str
    scan: Scan
    head: str
    kept: str | None
    contents: str | None
    lost: int | None
    problems: tuple[str, ...]


def restore(  # noqa: PLR0913  # what, from where, by whom
    file: str,
    backup: str,
    *,
    contents: str,
    host: HostIdentity,
    user: str,
    opened: Open,
    adopt: str | None = None,
    force: bool = False,
) -> Restored:
    """Restore an SQLite database from a copy.

    Args:
        file: the database.
        backup: the copy; it stays as it is.
        contents: the file of the kept contents. It is restored only if there is none.
        host: this host.
        user: who restores it.
        opened: opens the database in place, for writing.
        adopt: take over the records of another host, as ``scan --adopt-host`` does.
        force: restore it although rows of it were altered.

    Raises:
        LockedError: a scan is running.
        StoreError: the copy is not one of this host's database, or is damaged, or another process has the database
            open. Nothing was changed then.
    """
    backup = os.path.abspath(backup)
    _require_copy(backup, file)
    with copying.errors_of(file):
        make_private_directories(os.path.dirname(file))
    if (problem := trust_problem(file, alone=True)) is not None:
        raise StoreError(f"the database {file} is not replaced: {problem}")
    real = os.path.realpath(file)  # SQLite's own files are beside the target of a link
    staged = f"{real}.{secrets.token_hex(8)}.new"
    with copying.removed_on_error(staged):
        copying.copy_file(backup, staged, application=0)
        scan, head = _checked(staged, file, backup, host, adopt, force=force)
        with lock_of_file(file, time.monotonic()):
            kept = _swapped(staged, real)
    problems: list[str] = []
    restored_contents = _restored_contents(contents_file(backup), contents, problems)
    lost = _recorded(opened, file, backup, user, kept, problems, is_forced=force)
    return Restored(
        path=file,
        scan=scan,
        head=head,
        kept=kept,
        contents=restored_contents,
        lost=lost,
        problems=tuple(problems),
    )


def _require_copy(backup: str, file: str) -> None:
    if not os.path.lexists(backup):
        raise StoreError(f"there is no {backup}")
    if (problem := trust_problem(backup, alone=True)) is not None:
        raise StoreError(f"{backup} is not restored: {problem}")
    if copying.application_id(os.path.realpath(backup)) is None:
        raise StoreError(f"{backup} is no SQLite database; give the file that 'fimscan db backup' wrote")
    if os.path.exists(file) and os.path.samefile(backup, file):
        raise StoreError(f"{backup} is the database itself; give the file that 'fimscan db backup' wrote")


def _checked(
    staged: str, file: str, backup: str, host: HostIdentity, adopt: str | None, *, force: bool
) -> tuple[Scan, str]:
    """Check the copy beside the database, in which it is upgraded if it is older; return its newest scan and head."""
    if problems := copying.damage(staged):
        raise StoreError(f"{backup} is damaged: {problems[0]}")
    try:
        copy = _opened_copy(staged, file, host, adopt)
    except StoreError as error:
        raise StoreError(str(error).replace(staged, backup)) from error
    try:
        with copy.read() as session:
            newest = scan_store.last_finished(session)
            head = journal.common_head(session, scan_store.all_scans(session))
        if newest is None or head is None:
            raise StoreError(f"{backup} has no finished scan of {host.name}: there is nothing to restore")
        failed = [check for check in verify_database(copy, quick=force).checks if not check.ok]
        failed = [check for check in failed if check.name != "contents"]  # they are not beside this file
        if failed:
            first = failed[0]
            raise StoreError(
                f"{backup} does not verify, {first.name}: {first.detail.splitlines()[0]}; 'fimscan --db sqlite:///{backup}"
                " verify --db' lists all of it"
                + ("" if first.name in ("storage", "chain") else ", and --force restores it all the same")
            )
    finally:
        copy.close()
    # Closing merges what SQLite has beside the file, if an upgrade wrote to it.
    copying.take_alone(staged)
    copying.sync(staged)
    return newest, head


def _opened_copy(staged: str, file: str, host: HostIdentity, adopt: str | None) -> Database:
    """Open the copy as this host or, to take it over, as the host that it belongs to.

    The id of a host without a machine-id is beside the database, not beside the copy.
    """
    url = f"sqlite:///{staged}"
    copy = Database(url, host=HostIdentity(name=host.name), create=False, writing=False)
    try:
        with copy.engine.connect() as connection:
            mine = _with_id(connection, host, file)
            if adopt is not None:
                mine = HostIdentity(name=hosts.first_name_to_adopt(connection, mine, adopt, staged))
    finally:
        copy.close()
    return Database(url, host=mine, create=False, writing=False)


def _with_id(connection: Connection, host: HostIdentity, file: str) -> HostIdentity:
    if host.source is not IdSource.RECORDED:
        return host
    try:
        found = recorded_id(known_head.id_file(file))
    except (OSError, ValueError) as error:
        raise StoreError(f"the host's id cannot be read: {error}") from error
    # As when the database is opened: where the file was lost, the id is that of the records with this name.
    found = found or hosts.recorded_id_of(connection, host.name) or "recorded:none"
    return replace(host, id=found, source=IdSource.MACHINE)


def _swapped(staged: str, file: str) -> str | None:
    """Put the staged copy in place; return where the file is that it replaces."""
    kept = f"{file}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    if os.path.lexists(kept):
        kept += f"-{secrets.token_hex(4)}"
    is_there = os.path.lexists(file)
    with copying.errors_of(file):
        if is_there:
            # A damaged file cannot be asked whether somebody has it open; it is kept as it is.
            with suppress(sqlite3.DatabaseError):
                copying.take_alone(file)
            with suppress(OSError):
                os.link(file, kept, follow_symlinks=False)
            if not os.path.lexists(kept):
                os.rename(file, kept)
        # A log of the old database must not be applied to the new one.
        for suffix in copying.BESIDE:
            if os.path.lexists(file + suffix):
                os.rename(file + suffix, kept + suffix)
        os.replace(staged, file)
        copying.sync(os.path.dirname(file))
    return kept if is_there else None


def _restored_contents(source: str, target: str, problems: list[str]) -> str | None:
    """Restore kept contents if there are none: each is known by its SHA-256, so newer ones harm nothing."""
    if os.path.lexists(target) or not os.path.lexists(source):
        return None
    partial = f"{target}.{secrets.token_hex(8)}.new"
    if (problem := permission_problem(source)) is not None:
        problems.append(f"kept contents were not restored: {problem}")
        return None
    try:
        with copying.errors_of(target), copying.removed_on_error(partial):
            make_private_directories(os.path.dirname(os.path.abspath(target)))
            copying.copy_file(source, partial)
            os.replace(partial, target)
    except StoreError as error:
        problems.append(f"kept contents were not restored: {error}")
        return None
    return target


def _recorded(
    opened: Open, file: str, backup: str, user: str, kept: str | None, problems: list[str], *, is_forced: bool
) -> int | None:
    """Store who restored the database; return the scan that was reported and is lost."""
    database = opened()
    try:
        lost = None
        try:
            known = known_head.read(known_head.head_file(file))
        except StoreError as error:
            known = None
            problems.append(str(error))
        if known is not None:
            with database.read() as session:
                lost = None if known_head.covers(session, known.head) else known.scan
        what = f"restored by {user} from {backup}"
        what += " with --force" if is_forced else ""
        what += f"; the database before is {kept}" if kept is not None else "; there was no database"
        controls.record_restored(database, what, lost, known)
        if (problem := controls.store_head(database)) is not None:
            problems.append(problem)
    finally:
        database.close()
    return lost
