"""Run one scan, from the lock to the ledger entry. :func:`run_scan` lists the steps in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from msgspec import Struct

from fimscan import compare
from fimscan.config import Config
from fimscan.gc_pause import gc_paused
from fimscan.linux.clock import look_at_clock
from fimscan.linux.filesystems import Devices
from fimscan.model import (
    Approval,
    Change,
    Diff,
    Finding,
    InEffect,
    Scan,
    UnmodifiedOpen,
    Unreadable,
    UnreadableReason,
    Unseen,
)
from fimscan.pipeline.audit.attribution import Attributor
from fimscan.pipeline.audit.reading import AuditReader, AuditSource
from fimscan.pipeline.config_changes import reconfigurations
from fimscan.pipeline.record import scan_entry, unread
from fimscan.pipeline.record.absent import split_absent
from fimscan.pipeline.record.blocks import record_blocks
from fimscan.pipeline.record.contents import ContentRecorder, placement_problems
from fimscan.pipeline.record.ctime_trust import Vouch, make_voucher, moved_extents
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.holders import Identity, record_holders, record_writers
from fimscan.pipeline.record.in_effect import look_in_effect, with_in_effect
from fimscan.pipeline.record.last_read import FullReading, Readings, identities_read_before
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.record.roots import require_roots, scope_of, symlinked_roots, unscanned_mounts
from fimscan.pipeline.record.rotation import LogJudge
from fimscan.pipeline.result import ScanResult
from fimscan.pipeline.settings import ScanPlan
from fimscan.pipeline.texts import with_facts
from fimscan.scan.scanner import Progress
from fimscan.spool import MANY, Spool, in_pieces
from fimscan.store import acceptance as acceptance_store
from fimscan.store import audit as audit_store
from fimscan.store import clock as clock_store
from fimscan.store import devices as device_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_LIVE_LOOK_SECONDS = 5.0  # a live look holds the lock for moments: it must not make a scan fail


def run_scan(
    database: Database,
    config: Config,
    *,
    source: AuditSource | None,
    trigger: str = "manual",
    full: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    reader: AuditReader | None = None,
) -> ScanResult:
    """Compare the monitored files with the last finished scan, and attribute each change.

    Args:
        database: the store.
        config: what to scan and how.
        source: the audit logs; ``None`` reads none, and every attribution says so.
        trigger: ``manual``, ``cron`` or ``schedule``; stored with the scan.
        full: read every byte again, whatever ctime says.
        on_progress: called about ten times a second.
        reader: reads ``source``, where the caller has a reader already.

    Raises:
        InputError: none of the watched paths exists, and some did before.
        LockedError: another scan is running on this database.
        StoreError: the database failed; the last finished scan is intact.
    """
    plan = ScanPlan.of(config, skip=database.own_files)
    require_roots(database, plan)
    reader = reader or AuditReader(database, source)
    with database.scan_lock(wait_s=_LIVE_LOOK_SECONDS):
        previous = _previous_scan(database)
        # Before the first file is read: the log has every later open, and the holders have every earlier one. A call
        # whose record is read here has ended.
        # Without settling, calls of the last moment would seem to end after this scan.
        problems = [*symlinked_roots(plan), *reader.read_new(settle=True)]
        with scan_entry.interrupted_on_error(database), ContentRecorder(database, config) as contents:
            run = _begin(database, plan, previous, trigger)
            vouched, distrust = _vouched(run) if not full else (None, [])
            record_blocks(run.recorder, database, plan, on_progress, vouched, run.survey.numbers, contents.keeping)
            record_writers(database, run.scan_id, run.recorder.writable, run.held, run.survey)
            problems = list(dict.fromkeys([*problems, *distrust, *reader.read_new(settle=True)]))
            problems += [*contents.finish(), *placement_problems(database, config)]
            problems += unscanned_mounts(plan, run.survey.result())
            _add_history_of_unreadable(run)
            judgements = _judge_logs(run)
            # Before the transaction: no other scan has to wait for it.
            running = look_in_effect(run.recorder.changes, run.survey)
            return _finish(run, judgements, problems, source.paths if source else (), running)


class _Run(Struct, frozen=True, kw_only=True):
    """A scan that is recorded as running, with what its steps share.

    ``held`` are the files that were open for writing when it began; ``users_serve`` says that a user had a FUSE file
    system then.
    """

    database: Database
    plan: ScanPlan
    scan_id: int
    started_ns: int
    previous: Scan | None
    survey: Survey
    held: Set[Identity]
    users_serve: bool
    readings: Readings
    recorder: Recorder


def _previous_scan(database: Database) -> Scan | None:
    """Undo what unfinished scans have left behind; return the last finished one."""
    with database.begin() as session:
        scan_store.interrupt_unfinished(session)
        return scan_store.last_finished(session)


def _begin(database: Database, plan: ScanPlan, previous: Scan | None, trigger: str) -> _Run:
    """Record the scan's begin and the files' holders; load when each path was last read."""
    clock = look_at_clock()  # before the transaction: a time service may take seconds to answer
    started_ns = time.time_ns()
    with database.begin() as session:
        scan_id = scan_entry.begin(session, plan.config, trigger=trigger, started_ns=started_ns)
        clock_store.add(session, scan_id, clock)
        known = device_store.devices_at(session, previous.id) if previous is not None else Devices()
        survey = Survey.of(session, known, plan.roots)
        held, found = record_holders(session, scan_id, survey)
    with database.read() as session:
        full = FullReading.load(session)
        readings = Readings(full=full, rechecks=scan_result_store.rechecks(session))
        directory = session.directory
    recorder = Recorder(scan_id, readings, plan.scope, scope_of(database, full.scan, plan), survey, directory)
    if os.geteuid() == 0:
        recorder.counts["protected_processes"] = found.refused
    return _Run(
        database=database,
        plan=plan,
        scan_id=scan_id,
        started_ns=started_ns,
        previous=previous,
        survey=survey,
        held=held,
        users_serve=any(doubt.why is Unseen.SERVES for doubt in found.doubts),
        readings=readings,
        recorder=recorder,
    )


def _vouched(run: _Run) -> tuple[Vouch | None, list[str]]:
    """Decide which files need not be read while their ctime stays the same: (what picks them, why none is picked)."""
    if not any(watch.vouched for watch in run.plan.watches):
        return None, []
    full = run.readings.full
    with run.database.read() as session:
        moved = moved_extents(session, full.since_ns)
        mounted = bool(audit_store.user_mounts(session, time.time_ns()))
    if moved:
        return None, [moved]
    return make_voucher(full, run.held, run.survey.numbers, users_mounted=mounted or run.users_serve), []


def _add_history_of_unreadable(run: _Run) -> None:
    """Add to what could not be read when it was last read; this stats files, so it comes before the transaction."""
    recorder = run.recorder
    if not recorder.unreadable or recorder.is_first:
        return
    look = run.plan.path_scanner().stat
    with run.database.read() as session:
        recorder.unreadable = unread.with_last_read(session, recorder.scan_id, recorder.unreadable, run.readings, look)


def _judge_logs(run: _Run) -> list[compare.Judgement]:
    """Judge append-only logs that changed by more than growth; this reads logs, so it comes before the transaction."""
    full, disruptions, plan = run.readings.full.scan, run.recorder.disruptions, run.plan
    if not disruptions or full is None:
        return []
    path_scanner = plan.path_scanner(run.survey.numbers)
    with run.database.read() as session:
        judge = LogJudge(session, full.id, path_scanner, plan.generations_to_keep)
        return judge.judge(disruptions)


def _finish(
    run: _Run,
    judgements: Sequence[compare.Judgement],
    problems: Sequence[str],
    logs: Sequence[bytes],
    running: Mapping[bytes, InEffect],
) -> ScanResult:
    """Attribute the changes, seal the scan and publish it, in one transaction."""
    database, recorder, scan_id, previous = run.database, run.recorder, run.scan_id, run.previous
    full = run.readings.full.scan
    with database.begin() as session:
        absent, recorder.unreadable = split_absent(session, recorder.unreadable)
        device_store.add_devices(session, scan_id, run.survey.result())
        counts: Mapping[str, int] = {}
        opened: tuple[UnmodifiedOpen, ...] = ()
        unreadable_before: tuple[Unreadable, ...] = ()
        if previous is not None and full is not None:
            recorder.settle(session, judgements)
            unreadable_before = scan_result_store.unreadable_in(session, full.id)
            counts, opened = _attribute(session, run, previous, full, logs, running)
        scan_result_store.keep_known_holders(session, scan_id)
        scan_result_store.add_unreadable(session, scan_id, recorder.unreadable)
        scan_result_store.forget_rechecks(session, run.started_ns)
        sealed = scan_entry.seal(
            session, recorder, counts, opened, recorder.digest, tuple(problems), outputs=run.plan.config.output
        )
        if previous is None:
            approval = Approval(accepted_ns=time.time_ns(), user="fimscan", reason="first scan")
            acceptance_store.accept_scan(session, scan_id, approval)
        diff = Diff(
            host=database.host,
            start=previous or sealed,
            end=sealed,
            findings=with_facts(
                database, run.plan.config, scan_entry.sealed_findings(session, scan_id, run.plan.config)
            ),
            unreadable=tuple(recorder.unreadable),
            opened_unmodified=opened,
            logs_grown=sealed.counts.get("logs_grown", 0),
            logs_rotated=sealed.counts.get("logs_rotated", 0),
            reconfigurations=reconfigurations(session, previous.id, scan_id) if previous else (),
        )
    known_problems = full.problems if full is not None else ()
    return ScanResult(
        diff=diff,
        is_baseline=previous is None,
        new_absent=tuple(path for path in absent if recorder.is_new(path)),
        adopted=recorder.adopted,
        dropped=recorder.dropped,
        alarming=unread.select_reported(recorder.unreadable, unreadable_before),
        new_problems=(*(problem for problem in problems if problem not in known_problems), *run.survey.news()),
    )


@gc_paused()
def _attribute(
    session: Session,
    run: _Run,
    previous: Scan,
    full: Scan,
    logs: Sequence[bytes],
    running: Mapping[bytes, InEffect],
) -> tuple[Mapping[str, int], tuple[UnmodifiedOpen, ...]]:
    """Attribute the changes and store them: (their counts, write-opens that changed nothing).

    Args:
        session: the transaction that publishes the scan.
        run: the scan.
        previous: the last finished scan.
        full: the last complete one.
        logs: the audit logs that have to have been read for coverage to be complete.
        running: by path, which processes use a changed file.
    """
    recorder, readings = run.recorder, run.readings
    attributor = Attributor(session, previous, run.scan_id, logs, readings)
    changes = Spool(_with_holders(session, run, full), session.directory, few=MANY)
    recorder.forget_changes()
    # A file that is read now for the first time in a while was vouched for until now.
    since_ns = full.started_ns if "vouched" in recorder.counts else readings.full.since_ns
    failed = frozenset(item.path for item in recorder.unreadable if item.reason is not UnreadableReason.MISSING)
    since_ns = min([since_ns, *readings.full.resumed_since(failed)])
    findings = (Finding(change=c, attribution=a, scan=run.scan_id) for c, a in attributor.attribute(changes, since_ns))
    counts = scan_entry.add_findings(session, run.scan_id, with_in_effect(findings, running))
    return counts, attributor.opened_unmodified(recorder.clock, failed)


def _with_holders(session: Session, run: _Run, full: Scan) -> Iterator[Change]:
    """Yield the changes with the processes that could write to each file, in order of path."""
    held = scan_result_store.holders_at(session, run.scan_id).actors
    for some in in_pieces(compare.with_moves(run.recorder.changes)):
        read = identities_read_before(session, full.id, some)
        for change in some:
            later = held.get(change.state.identity, ())
            yield run.readings.with_holders(change, run.started_ns, later, read)
