"""Remove what is older than ``[retention]`` says, if nothing needs it any more.

Never removed: the accepted state, the present state, changes that wait for acceptance with all that they show, and
decisions. What is left gives the same ``fimscan diff`` as before.

What is older is decided against decisions that are as old themselves, so that newer ones can still be taken back.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import or_, select

from fimscan.config import Config
from fimscan.errors import VerificationError
from fimscan.evidence.database import verify_database
from fimscan.model import PRUNE, Checkpoint, Diff, RetentionKind, Scan
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.outputs.messages import add_pruned_messages
from fimscan.pipeline.record.contents import needed_contents
from fimscan.pipeline.record.last_read import FullReading
from fimscan.store import acceptance as acceptance_store
from fimscan.store import integrity, schema
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.acceptance import FinalBaseline
from fimscan.store.contents import ContentFile, contents_file
from fimscan.store.database import Database
from fimscan.store.defense import harden
from fimscan.store.prune import Pruner, Selected
from fimscan.store.session import Session

_NS = 10**9
_SLACK_NS = 3600 * _NS  # before what the next scan needs


class Pruned(Struct, frozen=True, kw_only=True):
    """What was removed, or with ``dry_run`` would be.

    Attributes:
        removed: by table, and ``content``.
        checkpoint: what the ledger has of it; ``None`` if nothing was removed.
        space: the bytes that got free in the database.
        used: the SHA-256 of all versions that are left.
        scan: the line of the ledger that has the checkpoint.
    """

    removed: Mapping[str, int]
    checkpoint: Checkpoint | None
    space: int
    used: frozenset[bytes] = frozenset()
    scan: Scan | None = None


class _RolledBackError(Exception):
    """Ends the transaction of a dry run."""


def prune(database: Database, config: Config, *, user: str, dry_run: bool = False, now_ns: int | None = None) -> Pruned:
    """Remove what is old, in one transaction, and seal it by a checkpoint. Nothing is written if nothing is old.

    The outputs of ``config`` are told with it: what they got is a copy of the checkpoint off this host.

    Raises:
        LockedError: a scan is running.
        VerificationError: the database does not verify. Then nothing is removed: it could be the evidence.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    before = {kind.value: now_ns - age for kind, age in config.retention.ages_ns().items() if age is not None}
    with database.scan_lock():
        _require_intact(database)
        shown = _rows_shown(database, before.get(RetentionKind.FINDINGS, 0))
        found = Pruned(removed={}, checkpoint=None, space=0)
        try:
            with database.begin_removal() as session:
                found = _pruned(session, before, shown, user, now_ns)
                found = replace(found, used=needed_contents(session) | frozenset(_known(session)))
                if found.scan is not None:
                    add_pruned_messages(session, database.host, config, found.scan)
                if dry_run or found.checkpoint is None:
                    raise _RolledBackError  # noqa: TRY301  # it has to leave the transaction
        except _RolledBackError:
            pass
        old_ns = before.get(RetentionKind.CONTENTS)
        contents = _prune_contents(database, config, old_ns, found.used, dry_run=dry_run)
    return Pruned(
        removed={**found.removed, **({"content": contents} if contents else {})},
        checkpoint=found.checkpoint,
        space=found.space,
    )


def vacuum(database: Database) -> None:
    """Give free space of an SQLite file back to the file system. It is rewritten, which needs as much room again."""
    path = database.file
    if path is None:
        return
    with database.scan_lock(), closing(sqlite3.connect(path, timeout=15, isolation_level=None)) as connection:
        harden(connection)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _require_intact(database: Database) -> None:
    with database.read() as session:
        if scan_store.last_finished(session) is None:
            return
    failed = [check for check in verify_database(database).checks if not check.ok and check.name != "contents"]
    if failed:
        first = failed[0]
        raise VerificationError(
            f"nothing is pruned, because the database does not verify, {first.name}: {first.detail.splitlines()[0]};"
            " 'fimscan verify --db' lists all of it"
        )


def _pruned(session: Session, before: Mapping[str, int], shown: Collection[bytes], user: str, now_ns: int) -> Pruned:
    full = FullReading.load(session)
    if full.scan is None:
        return Pruned(removed={}, checkpoint=None, space=0)
    free = integrity.space(session)[1] or 0
    both, _ = integrity.replayed(session)
    pruner = Pruner(session, both)
    pruner.prune_outbox(before.get(RetentionKind.OUTBOX, 0))
    pruner.prune_controls(before.get(RetentionKind.CONTROLS, 0))
    chosen = _chosen(session, before, shown, full)
    pruner.prune_history(chosen)
    accesses_ns = min(before.get(RetentionKind.ACCESSES, 0), _needed_since(session, full))
    pruner.prune_accesses(accesses_ns)
    findings_ns = before.get(RetentionKind.FINDINGS, 0)
    pruner.prune_processes(min(accesses_ns, findings_ns, _oldest_kept(session, findings_ns)))
    entries = pruner.prune_scans(chosen)
    if not any(pruner.removed.values()):
        return Pruned(removed={}, checkpoint=None, space=0)
    times = {**before, RetentionKind.ACCESSES.value: accesses_ns}
    sealed = pruner.seal(chosen, entries, user=user, before_ns=times, now_ns=now_ns)
    assert sealed.checkpoint is not None, "made just now"
    space = (integrity.space(session)[1] or 0) - free
    return Pruned(removed=sealed.checkpoint.removed, checkpoint=sealed.checkpoint, space=max(space, 0), scan=sealed)


def _needed_since(session: Session, full: FullReading) -> int:
    """The time since when the next scan may need audit records: the oldest reading on which the state rests."""
    cursor = schema.audit_cursor.c
    query = select(cursor.late_ns).where(cursor.host_id == session.host_id, cursor.late_ns.is_not(None))
    late: list[int] = list(session.scalars(query))
    return min([full.since_ns, *late]) - _SLACK_NS


def _oldest_kept(session: Session, default: int) -> int:
    """When the window of the oldest change that is left begins."""
    change = schema.change.c
    query = select(change.after_ns).where(change.host_id == session.host_id).order_by(change.after_ns).limit(1)
    found: int | None = session.scalar(query)
    return default if found is None else found - _SLACK_NS


# --------------------------------------------------------------------------------------------------------------------
# Versions, changes, scans


def _rows_shown(database: Database, findings_ns: int) -> frozenset[bytes]:
    """The paths of the rows of 'fimscan diff', as it is now and as it was by old decisions alone."""
    with database.read() as session:
        last = scan_store.last_finished(session)
        final = _final(session, findings_ns)
    if last is None or final is None:
        return frozenset()
    diffs = (diff_from_baseline(database), diff_from_baseline(database, at=(last.id, final.number)))
    return frozenset(path for diff in diffs for path in _paths(diff))


def _paths(diff: Diff) -> Iterator[bytes]:
    for row in diff.findings:
        for finding in (row, *row.steps):
            yield finding.change.path
            yield from (state.path for state in finding.change.sides)


def _chosen(session: Session, before: Mapping[str, int], shown: Collection[bytes], full: FullReading) -> Selected:
    """Choose versions, changes and scans to remove."""
    assert full.scan is not None, "checked before"
    findings_ns = before.get(RetentionKind.FINDINGS, 0)
    final, until = _final(session, findings_ns), _newest_before(session, findings_ns)
    reported = scan_store.last_reported(session)
    if reported is not None:  # the next report compares with it
        until = min(until, reported.id)
    changes: list[int] = []
    versions: list[int] = []
    if final is not None:
        history = _Old(session, final, shown, until)
        changes = history.changes()
        versions = history.versions(changes)
    base = 0 if final is None else final.scan
    recent = scan_store.full_back_to(session, full.scan.id, full.clock.earliest or full.scan.started_ns)
    needed = {*_blocked_since(session, full), *_reconfigured(session, base)}
    needed |= {reported.id} if reported is not None else set()
    limit = min((scan.id for scan in recent), default=full.scan.id)
    return Selected(
        versions=versions,
        changes=changes,
        states_from=until if versions else 0,
        until=_last_to_remove(session, before.get(RetentionKind.SCANS, 0), limit),
        needed=needed,
        opens_until=base,
        decided=final.number if final is not None and (versions or changes) else 0,
    )


def _final(session: Session, time_ns: int) -> FinalBaseline | None:
    """The baseline by old decisions; ``None`` if more was pruned before: then the history is left as it is."""
    final, sealed = acceptance_store.final_baseline(session, time_ns), scan_store.checkpoint(session)
    return None if final is None or (sealed is not None and final.number < sealed.decided) else final


def _newest_before(session: Session, time_ns: int) -> int:
    """The newest finished scan before a time; 0 if there is none."""
    scan = schema.scan.c
    query = select(scan.id).where(scan.host_id == session.host_id, scan.finished_ns < time_ns, scan.trigger != PRUNE)
    return session.scalar(query.order_by(scan.id.desc()).limit(1)) or 0


def _last_to_remove(session: Session, time_ns: int, limit: int) -> Scan | None:
    """The newest scan before a time and before the scan ``limit``; ``None`` if all up to it are removed already."""
    sealed = scan_store.checkpoint(session)
    number = min(_newest_before(session, time_ns), limit - 1)
    found = scan_store.finished_up_to(session, number)
    return found if found is not None and found.id > (sealed.scan if sealed is not None else 0) else None


def _blocked_since(session: Session, full: FullReading) -> Iterator[int]:
    """The scans that read for the last time what the last complete scan could not read."""
    assert full.scan is not None, "checked before"
    for item in scan_result_store.unreadable_in(session, full.scan.id):
        if item.since_ns is not None and (scan := scan_store.last_full_begun(session, item.since_ns)) is not None:
            yield scan.id


def _reconfigured(session: Session, since: int) -> Iterator[int]:
    """The scans since one at which the configuration was another one: 'fimscan diff' names them."""
    before = None
    for number, digest in scan_store.config_digests(session, since, 2**62):
        if digest != before:
            yield number
        before = digest


class _Old:
    """The versions and changes that ended before a scan, and that no comparison with the baseline needs.

    Args:
        session: the transaction.
        final: what is accepted by old decisions.
        shown: the paths that differ from that, or from the present baseline.
        until: the scan.
    """

    def __init__(self, session: Session, final: FinalBaseline, shown: Collection[bytes], until: int) -> None:
        self._session, self._final, self._shown, self._until = session, final, shown, until
        self._special = self._marked()

    def changes(self) -> list[int]:
        """The numbers of the changes."""
        table = schema.change.c
        query = select(table.id, table.scan_id, table.path, table.moved_from).where(
            table.host_id == self._session.host_id, table.scan_id <= self._until
        )
        return [
            number
            for number, scan, path, moved_from in self._session.execute(query)
            if all(self._is_decided(name, scan) for name in (path, moved_from) if name is not None)
        ]

    def versions(self, changes: Collection[int]) -> list[int]:
        """The row numbers of the versions that no change except these, and no decision, refers to."""
        change, accepted = schema.change.c, schema.acceptance.c
        gone = frozenset(changes)
        used = set(self._session.scalars(select(accepted.version_id).where(accepted.version_id.is_not(None))))
        query = select(change.id, change.before_version, change.after_version)
        for number, *both in self._session.execute(query.where(change.host_id == self._session.host_id)):
            if number not in gone:
                used.update(both)
        return [
            number
            for number, path, first, end in self._ended()
            if number not in used and self._is_superseded(path, first, end)
        ]

    def _ended(self) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield the ended versions: (row number, path, first scan, scan of its end)."""
        table = schema.file_version.c
        mine = (table.host_id == self._session.host_id) & (table.end_scan <= self._until)
        for row in self._session.execute(select(table.id, table.path, table.first_scan, table.end_scan).where(mine)):
            yield row[0], row[1], row[2], row[3]

    def _marked(self) -> frozenset[bytes]:
        """Logs that were only appended to, and paths that the configuration added or dropped, since the baseline.

        Each of their versions says what was expected of the next, so only those from before the baseline are removed.
        """
        table, base = schema.file_version.c, self._final.scan
        is_later = or_(table.end_scan.is_(None), table.end_scan > base)
        marked = (table.adopted & (table.first_scan > base)) | table.dropped | table.followed | table.retired
        mine = table.host_id == self._session.host_id
        return frozenset(self._session.scalars(select(table.path).where(mine, is_later, marked).distinct()))

    def _is_superseded(self, path: bytes, first: int, end: int) -> bool:
        """Whether a version was replaced before its path was accepted, or came and went since without a trace."""
        if end <= self._final.scan:
            return True
        accepted_at = self._final.accepted_at(path)
        if path in self._special:
            return False
        if end <= accepted_at:
            return path not in self._final.absent or path not in self._shown
        return first > accepted_at and path not in self._shown

    def _is_decided(self, path: bytes, scan: int) -> bool:
        """Whether a change of a path was accepted, or nothing is left of it."""
        if scan <= self._final.scan:
            return True
        return path not in self._special and (scan <= self._final.accepted_at(path) or path not in self._shown)


# --------------------------------------------------------------------------------------------------------------------
# Kept contents


def _prune_contents(
    database: Database, config: Config, before_ns: int | None, used: frozenset[bytes], *, dry_run: bool
) -> int:
    """Remove old contents of which no version is left; return how many."""
    path = contents_file(database.file, config.contents.file)
    if before_ns is None or not os.path.lexists(path):
        return 0
    contents = ContentFile(path, writing=True)
    try:
        return contents.remove_before(before_ns, used, dry_run=dry_run)
    finally:
        contents.close()


def _known(session: Session) -> Iterator[bytes]:
    table = schema.file_version.c
    query = select(table.sha256).where(table.host_id == session.host_id, table.sha256.is_not(None)).distinct()
    yield from (bytes(digest) for digest in session.scalars(query))
