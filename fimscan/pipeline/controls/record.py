"""Evaluate the controls after a scan, a failed scan or a reading of the log, and store what changed.

Reporting is separate: :func:`report_once` gives a caller what was not reported yet, and marks it when it was printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from fimscan.config import Config
from fimscan.errors import FimscanError, InterruptedScanError, LockedError, StoreError, UnavailableError
from fimscan.linux.host import this_boot
from fimscan.model import ControlFailure, ControlKind, ControlReport, IdSource, Selftest, Symptom
from fimscan.pipeline.audit.reading import AuditSource
from fimscan.pipeline.controls import evaluate, observe, own_files
from fimscan.pipeline.result import ScanResult
from fimscan.store import controls as control_store
from fimscan.store import failed_scan, journal, known_head
from fimscan.store import hosts as host_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_MOST_BOOTS = 100
_OF_AUDIT = frozenset({ControlKind.AUDIT, ControlKind.CLOCK})
_OF_SCANS = frozenset(
    {
        *(ControlKind.SCAN, ControlKind.UNREADABLE, ControlKind.DISK, ControlKind.CONFIGURATION),
        *(ControlKind.DATABASE, ControlKind.OUTPUT, ControlKind.HOST),
    }
)


def before_scan(database: Database) -> None:
    """Notice that the database is not the one that was used last.

    Raises:
        StoreError: it has no baseline, although one was reported: the scan would silently begin with a new one.
    """
    known = _known_head(database)
    if known is None:
        return
    path = _head_path(database) or ""
    with database.read() as session:
        newest = scan_store.last_finished(session)
        if newest is None:
            raise StoreError(known_head.missing_text(database.name, path, known))
        if known_head.covers(session, known.head):
            return
    symptom = evaluate.restored_symptom(
        head_ns=known.finished_ns,
        copy_ns=newest.finished_ns or newest.started_ns,
        now_ns=time.time_ns(),
        scan=known.scan,
        newest=newest.id,
    )
    _store(database, [symptom], ())


def record_restored(database: Database, what: str, lost: int | None, known: known_head.KnownHead | None) -> None:
    """Store that somebody restored the database: a failure that is over, which the next scan reports.

    Args:
        database: the restored one.
        what: who restored it, and from where.
        lost: the reported scan that it does not have.
        known: the head that was reported last.
    """
    now_ns = time.time_ns()
    with database.begin() as session:
        newest = scan_store.last_finished(session)
        assert newest is not None, "a copy without a scan is not restored"
        symptom = evaluate.deliberately_restored_symptom(
            what=what,
            lost=lost,
            newest=newest.id,
            copy_ns=newest.finished_ns or newest.started_ns,
            head_ns=None if known is None else known.finished_ns,
            now_ns=now_ns,
        )
        # Not compared with what is known: each restoration is told.
        control_store.add(session, [evaluate.failure_of(symptom, now_ns)])


def after_scan(database: Database, config: Config, source: AuditSource | None, result: ScanResult) -> None:
    """Evaluate all controls after a finished scan. Without ``source``, audit is not evaluated."""
    now_ns = time.time_ns()
    with database.read() as session:
        facts = observe.scan_facts(session, config, result.scan)
        known = control_store.still_open(session)
        undelivered = observe.undelivered(session, config)
        known_files = own_files.load(host_store.last_inventory(session))
    files = own_files.take_inventory(known_files)
    differing = own_files.differing(known_files, files)
    changed = differing if known_files else []
    symptoms = [
        *evaluate.scan_symptoms(facts),
        *evaluate.unread_symptoms(observe.unread_files(config, result.diff.unreadable), now_ns),
        *evaluate.disk_symptoms(observe.spaces(database, config, source), known, now_ns),
        *evaluate.weaker_symptoms(result.diff.reconfigurations, now_ns),
        *evaluate.output_symptoms(undelivered, _late_ns(config), now_ns),
        *evaluate.program_symptoms(changed, now_ns),
        *_unstored(database, now_ns),
        *_shared(database, now_ns),
    ]
    _store(database, symptoms, _OF_SCANS)
    _forget_unstored(database)
    if differing:
        with database.begin() as session:
            host_store.add_inventory(session, own_files.dump(files))
    after_reading(database, config, source, since_ns=facts.last_ns)


def after_reading(
    database: Database, config: Config, source: AuditSource | None, *, since_ns: int | None = None
) -> None:
    """Evaluate audit and the clock after the log was read; ``since_ns`` is by default the last complete scan."""
    if source is None:
        return
    now_ns = time.time_ns()
    with database.read() as session:
        if since_ns is None:
            last = scan_store.last_full(session)
            since_ns = now_ns if last is None else last.started_ns
        facts = observe.audit_facts(session, config, source, min(since_ns, now_ns), now_ns)
    if facts is not None:
        found = [*evaluate.audit_symptoms(facts), *evaluate.clock_symptoms(facts)]
        _store(database, found, _OF_AUDIT)


def after_selftest(database: Database, selftest: Selftest) -> None:
    """Store that a selftest failed, or that one passed again."""
    symptom = evaluate.selftest_symptom(selftest)
    _store(database, [] if symptom is None else [symptom], (ControlKind.SELFTEST,))


def after_delivery(database: Database, config: Config) -> None:
    """Evaluate the outputs after messages were delivered, or could not be."""
    with database.read() as session:
        undelivered = observe.undelivered(session, config)
    _store(database, evaluate.output_symptoms(undelivered, _late_ns(config), time.time_ns()), {ControlKind.OUTPUT})


@contextmanager
def noting_failure(database: Database, config: Config | None = None) -> Iterator[None]:
    """Store that a scan failed, if the block raises an error, with messages to the outputs of ``config``.

    It failed from its begin on: an error may come late, such as that of a database that stays locked. On this host the
    error itself is the report. What cannot be stored, because the disk is full, is noted for the scan that can.
    """
    begun_ns = time.time_ns()
    try:
        yield
    except FimscanError as error:
        if not _is_stopped(error):
            try:
                _store(database, [evaluate.failed_scan(str(error), begun_ns)], (), told=True, config=config)
            except FimscanError:
                _note_failed(database.failed_scan_file, begun_ns, error)
        raise


@contextmanager
def noting_unopened() -> Iterator[None]:
    """Note that a scan failed, if the block cannot open the database."""
    begun_ns = time.time_ns()
    try:
        yield
    except UnavailableError as error:
        _note_failed(error.failed_scan_file, begun_ns, error)
        raise


def _note_failed(path: str | None, begun_ns: int, error: FimscanError) -> None:
    if path is not None:
        failed_scan.note(path, failed_scan.FailedScan(began_ns=begun_ns, error=str(error)))


def _unstored(database: Database, now_ns: int) -> Iterator[Symptom]:
    path = database.failed_scan_file
    if path is not None and (found := failed_scan.noted(path)) is not None:
        yield replace(evaluate.failed_scan(found.error, min(found.began_ns, now_ns)), end_ns=now_ns)


def _shared(database: Database, now_ns: int) -> Iterator[Symptom]:
    """Whether another machine has the machine-id of this one. Only on a server, where both would write to one database.

    Containers are left out: one that has an id of its own may move from machine to machine, and back again.
    """
    if database.file is not None or database.identity.source is not IdSource.MACHINE:
        return
    server_ns = database.clock_ns()
    boot = this_boot(server_ns)
    with database.read() as session:
        known = host_store.last_boots(session, _MOST_BOOTS)
    if boot is not None and (not known or known[-1].id != boot.id):
        known.append(boot)
        with database.begin() as session:
            host_store.add_boot(session, boot)
    for symptom in evaluate.shared_symptoms(known, server_ns):
        yield replace(symptom, start_ns=min(symptom.start_ns, now_ns))


def _forget_unstored(database: Database) -> None:
    if database.failed_scan_file is not None:
        with suppress(OSError):
            failed_scan.forget(database.failed_scan_file)


def _late_ns(config: Config) -> int:
    return int(config.outbox.late_after_s * 10**9)


def _is_stopped(error: FimscanError) -> bool:
    """Whether a signal or another scan stopped it: the next scan says so, if none finishes in time."""
    return isinstance(error, (InterruptedScanError, LockedError))


@contextmanager
def report_once(database: Database, config: Config | None = None) -> Iterator[ControlReport]:
    """Yield the transitions that were not reported, then mark them as reported, unless the block raises.

    With the mark, and in its transaction, messages about them are added to the outputs of ``config``.
    """
    with database.read() as session:
        events, numbers = host_store.untold(session)
        report = replace(control_store.unreported(session), host_events=tuple(events))
    yield report
    if report.began or report.mended or numbers:
        with database.begin() as session:
            _add_messages(session, database, config, report)
            control_store.mark_reported(session, report)
            host_store.mark_told(session, numbers)


def store_head(database: Database) -> str | None:
    """Store the newest head as reported; return the problem, if that fails."""
    path = _head_path(database)
    if path is None:
        return None
    with database.read() as session:
        scans = scan_store.all_scans(session)
        newest = scan_store.last_finished(session)
        head = journal.common_head(session, scans)
    if newest is None or head is None:
        return None
    finished_ns = newest.finished_ns or newest.started_ns
    known = known_head.KnownHead(head=head, scan=newest.id, finished_ns=finished_ns, host=database.host)
    return known_head.write(path, known)


def _known_head(database: Database) -> known_head.KnownHead | None:
    path = _head_path(database)
    return None if path is None else known_head.read(path)


def _head_path(database: Database) -> str | None:
    """Where the head is; ``None`` if none is kept.

    With a database on a server, a user may be without the right to write there. Whatever hinders root is a failure.
    """
    path = database.head_file
    if path is None or database.file is not None or os.geteuid() == 0:
        return path
    found = os.path.dirname(os.path.abspath(path))
    while found != "/" and not os.path.lexists(found):
        found = os.path.dirname(found)
    return path if os.access(found, os.W_OK | os.X_OK) else None


def _store(
    database: Database,
    symptoms: Iterable[Symptom],
    checked: Collection[ControlKind],
    *,
    told: bool = False,
    config: Config | None = None,
) -> None:
    """Store the transitions that follow from symptoms; nothing is written if there are none."""
    found = evaluate.symptoms_of(symptoms)
    now_ns = time.time_ns()
    with database.read() as session:
        known = _known(session, found, now_ns)
    if not _has_changed(known, found, checked, now_ns):
        return
    with database.begin() as session:
        changed = evaluate.transitions(_known(session, found, now_ns), found, checked, now_ns)
        control_store.add(session, changed.began, told=told)
        control_store.end(session, changed.ended)
        _add_messages(session, database, config, ControlReport(began=tuple(changed.began)))


def _add_messages(session: Session, database: Database, config: Config | None, report: ControlReport) -> None:
    if config is not None and config.output:
        from fimscan.pipeline.controls.messages import add_control_messages

        add_control_messages(session, database.host, config, report)


def _known(session: Session, found: list[Symptom], now_ns: int) -> list[ControlFailure]:
    since_ns = min((item.start_ns for item in found), default=now_ns)
    return control_store.between(session, since_ns, max(now_ns, since_ns))


def _has_changed(
    known: list[ControlFailure], found: list[Symptom], checked: Collection[ControlKind], now_ns: int
) -> bool:
    changed = evaluate.transitions(known, found, checked, now_ns)
    return bool(changed.began or changed.ended)
