"""One scan, from the lock to the ledger entry."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from fimscan import compare, linux
from fimscan.config import Config
from fimscan.errors import FimscanError, InputError
from fimscan.linux.filesystems import Devices, Numbers
from fimscan.linux.users import user_name
from fimscan.model import (
    Approval,
    Change,
    ChangeKind,
    Diff,
    FileKind,
    Finding,
    NoticeKind,
    Scan,
    UnmodifiedOpen,
    Unreadable,
    UnreadableReason,
    Verdict,
)
from fimscan.pipeline.audit.joining import Joiner
from fimscan.pipeline.audit.reading import AuditReader, AuditSource
from fimscan.pipeline.importance import Importance
from fimscan.pipeline.reconfigured import reconfigurations
from fimscan.pipeline.record import unread
from fimscan.pipeline.record.absent import split_absent
from fimscan.pipeline.record.ctime_trust import vouching
from fimscan.pipeline.record.devices import Survey, unscanned
from fimscan.pipeline.record.last_read import FullReading, Readings
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.record.recording import record_everything
from fimscan.pipeline.record.rotation import LogJudge
from fimscan.pipeline.result import ScanResult
from fimscan.pipeline.settings import ScanPlan
from fimscan.report.display import show
from fimscan.scan.scanner import Progress
from fimscan.scan.scope import Scope
from fimscan.store import acceptance as acceptance_store
from fimscan.store import audit as audit_store
from fimscan.store import devices as device_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store
from fimscan.store import sightings as sighting_store
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest
from fimscan.store.session import Session

# File systems that the kernel makes up: nothing in them is stored.
_NOT_STORED = frozenset(
    """
    autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc
    pstore rpc_pipefs securityfs selinuxfs sysfs tracefs
    """.split()  # noqa: SIM905 - easier to read than a list
)
Identity = tuple[int, int]

_LIVE_LOOK_SECONDS = 5.0  # a look at a few files holds the lock for moments: it must not make a scan fail


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
    """Compare the monitored files with the last finished scan, and say who made each change.

    Args:
        source: the audit logs; ``None`` reads none, and every answer says so.
        trigger: ``manual``, ``cron`` or ``schedule``; kept with the scan.
        full: read every byte again, whatever ctime says.
        reader: what reads ``source``, where somebody else wants to know what it reads.

    Raises:
        InputError: none of the configured directories exists, and not because they never did.
        LockedError: another scan is running on this database.
        StoreError: the database failed; the last finished scan is intact.
    """
    plan = ScanPlan.of(config, skip=database.own_files)
    _check_that_there_is_something(database, plan)
    reader = reader or AuditReader(database, source)
    with database.scan_lock(wait_s=_LIVE_LOOK_SECONDS):
        with database.begin() as session:
            scan_store.interrupt_unfinished(session)
            previous = scan_store.last_finished(session)
        # Before the first file is read: from here on, whoever opens a file is in the log, and whoever had it open
        # already is in the list of holders.
        problems = (*_symlinked(plan), *reader.look())
        started_ns = time.time_ns()
        with database.begin() as session:
            scan_id = scan_store.begin(
                session,
                trigger=trigger,
                started_ns=started_ns,
                config_digest=config.digest,
                config_text=config.canonical(),
            )
            survey = _survey(session, previous, plan)
            # Also without a log to read: the next scan's windows begin here.
            held = linux.open_for_writing(os.getpid(), user_name=user_name)
            holders = survey.holders(held.holders)
            sighting_store.add_holders(session, scan_id, holders, held.doubts)
        try:
            with database.read() as session:
                readings = Readings(
                    full=FullReading.load(session),
                    rechecks=sighting_store.rechecks(session),
                )
            recorder = Recorder(scan_id, readings, plan.scope, scope_of(database, readings.full.scan, plan), survey)
            if os.geteuid() == 0:
                recorder.counts["protected_processes"] = held.refused
            identities = {(holder.dev, holder.inode) for holder in holders}
            vouched = None
            if not full and any(watch.vouched for watch in plan.watches):
                if moved := _moved_extents(database, readings.full.since_ns):
                    problems = (*problems, moved)
                else:
                    vouched = vouching(readings.full, identities, survey.numbers)
            record_everything(recorder, database, plan, on_progress, vouched, survey.numbers)
            _record_writable(database, scan_id, recorder.writable, identities, survey)
            problems = tuple(dict.fromkeys((*problems, *reader.look(settle=True))))
            problems = (*problems, *_unscanned(plan, survey.result()))
            _look_at_unreadable(database, plan, recorder, readings)
            judgements = _judge_logs(database, plan, recorder, readings, survey.numbers)
            result = _finish(database, recorder, previous, readings, problems, source, judgements)
            rated = Importance(config.watch).on_all(result.diff.findings)
            return replace(result, diff=replace(result.diff, findings=rated))
        except BaseException:
            # The next scan would do this as well; doing it now makes 'fimscan status' right at once.
            with suppress(FimscanError), database.begin() as session:
                scan_store.interrupt_unfinished(session)
            raise


def _check_that_there_is_something(database: Database, plan: ScanPlan) -> None:
    """A scan of nothing is right where nothing was there, and could appear. Directories may just not be mounted.

    Raises:
        InputError: see :func:`run_scan`.
    """
    if any(map(os.path.lexists, plan.roots)):
        return
    missing = ", ".join(map(os.fsdecode, plan.roots))
    with database.read() as session:
        known = [files.open_at(session, path) for path in plan.roots]
    is_away = any(version is not None and version.state.kind is FileKind.DIRECTORY for version in known)
    if is_away or not any(os.path.isdir(os.path.dirname(path)) for path in plan.roots):
        raise InputError(f"none of the configured directories exists ({missing}); mend path in [[watch]]")


def _moved_extents(database: Database, since_ns: int) -> str | None:
    """Why no ctime vouches for content, where a user moved blocks between files since that was last read."""
    with database.read() as session:
        notices = audit_store.notices(session, since_ns, time.time_ns())
    moves = [notice for notice in notices if notice.kind is NoticeKind.EXTENTS_MOVED]
    if not moves:
        return None
    return (
        f"blocks were moved between files, which leaves their ctime as it was (audit event {moves[-1].event}):"
        " every file is read, whatever its ctime says"
    )


def _record_writable(
    database: Database, scan_id: int, writable: set[Identity], known: set[Identity], survey: Survey
) -> None:
    """Keep which files were open for writing when they were read, and who has those open that nobody had before."""
    unknown = {asked for identity in writable - known if identity[1] for asked in survey.asked(identity)}
    found = linux.open_for_writing(os.getpid(), user_name=user_name, of=unknown).holders if unknown else ()
    holders = survey.holders(found)
    with database.begin() as session:
        sighting_store.add_writable(session, scan_id, writable)
        sighting_store.add_holders(session, scan_id, holders)


def _look_at_unreadable(database: Database, plan: ScanPlan, recorder: Recorder, readings: Readings) -> None:
    """Since when what could not be read could not be compared: asked before anything is locked."""
    if not recorder.unreadable or recorder.is_first:
        return
    path_scanner = plan.path_scanner()
    with database.read() as session:
        recorder.unreadable = unread.with_history(
            session, recorder.scan_id, recorder.unreadable, readings, path_scanner.stat
        )


def _judge_logs(
    database: Database, plan: ScanPlan, recorder: Recorder, readings: Readings, numbers: Numbers
) -> list[compare.Judgement]:
    """What became of logs that are more than longer: read before anything is locked, since logs may be large."""
    full = readings.full.scan
    if not recorder.disruptions or full is None:
        return []
    with database.read() as session:
        judge = LogJudge(session, full.id, plan.path_scanner(numbers), plan.generations_to_keep)
        return judge.judge(recorder.disruptions)


def _survey(session: Session, previous: Scan | None, plan: ScanPlan) -> Survey:
    """What file systems there are, beside those that the last scan met."""
    known = device_store.devices_at(session, previous.id) if previous is not None else Devices()
    return Survey.of(session, known, plan.roots)


def _unscanned(plan: ScanPlan, devices: Devices) -> list[str]:
    """What is not scanned because it is another file system."""
    left = unscanned(devices, plan.scope, plan.roots, cross_mounts=plan.cross_mounts)
    return [
        f"{show(root.path)} ({root.kind}) is mounted below a watched directory, and is not scanned: give it a [[watch]]"
        " of its own, or set cross_mounts = true in [scan]"
        for root in left
        if root.kind not in _NOT_STORED
    ]


def _symlinked(plan: ScanPlan) -> list[str]:
    """Watches that monitor less than somebody may think."""
    return [
        f"{os.fsdecode(path)} is a symbolic link: only the link itself is monitored; to monitor what it points to, "
        f"watch {os.fsdecode(os.path.realpath(path))}"
        for path in plan.roots
        if os.path.islink(path)
    ]


def scope_of(database: Database, scan: Scan | None, plan: ScanPlan) -> Scope | None:
    """What a scan looked at: a path that was not in it is new to us, not new on the disk."""
    if scan is None:
        return None
    if scan.config_digest == plan.config.digest:
        return plan.scope
    with database.read() as session:
        text = scan_store.configuration_text(session, scan.config_digest)
    return None if text is None else ScanPlan.of(Config.from_canonical(text)).scope


def _finish(
    database: Database,
    recorder: Recorder,
    previous: Scan | None,
    readings: Readings,
    problems: tuple[str, ...],
    source: AuditSource | None,
    judgements: Sequence[compare.Judgement],
) -> ScanResult:
    """Attribute, seal and publish, in one transaction."""
    scan_id, full = recorder.scan_id, readings.full.scan
    with database.begin() as session:
        running = _running(session, scan_id)
        absent, recorder.unreadable = split_absent(session, recorder.unreadable)
        device_store.add_devices(session, scan_id, recorder.survey.result())
        findings: list[Finding] = []
        opened: tuple[UnmodifiedOpen, ...] = ()
        unreadable_before: tuple[Unreadable, ...] = ()
        if previous is not None and full is not None:
            recorder.settle(session, judgements)
            unreadable_before = sighting_store.unreadable_in(session, full.id)
            joiner = Joiner(session, previous, scan_id, source.paths if source else (), readings)
            held = sighting_store.held_at(session, scan_id).actors
            found = compare.with_moves(recorder.changes)
            read = read_before(session, full.id, found)
            changes = [
                readings.with_holders(change, running.started_ns, held.get(change.state.identity, ()), read)
                for change in found
            ]
            # What is read now for the first time in a while has been vouched for until now.
            since_ns = full.started_ns if "vouched" in recorder.counts else readings.full.since_ns
            failed = frozenset(i.path for i in recorder.unreadable if i.reason is not UnreadableReason.MISSING)
            since_ns = min([since_ns, *readings.full.read_again_since(failed)])
            findings = [Finding(change=c, attribution=a, scan=scan_id) for c, a in joiner.attribute(changes, since_ns)]
            opened = joiner.opened_unmodified(recorder.clock, failed)
        sighting_store.keep_known_holders(session, scan_id)
        sighting_store.add_unreadable(session, scan_id, recorder.unreadable)
        sighting_store.forget_rechecks(session, running.started_ns)
        sealed = seal(session, recorder, findings, opened, recorder.digest, problems)
        if previous is None:
            approval = Approval(accepted_ns=time.time_ns(), user="fimscan", reason="first scan")
            acceptance_store.accept_scan(session, scan_id, approval)
        findings = finding_store.findings_between(session, scan_id - 1, scan_id)
        reconfigured = reconfigurations(session, previous.id, scan_id) if previous is not None else ()
    return ScanResult(
        diff=Diff(
            host=database.host,
            start=previous or sealed,
            end=sealed,
            findings=tuple(sorted(findings, key=lambda f: f.change.path)),
            unreadable=tuple(recorder.unreadable),
            opened_unmodified=opened,
            logs_grown=sealed.counts.get("logs_grown", 0),
            logs_rotated=sealed.counts.get("logs_rotated", 0),
            reconfigurations=reconfigured,
        ),
        is_baseline=previous is None,
        new_absent=tuple(path for path in absent if recorder.is_new(path)),
        adopted=recorder.adopted,
        dropped=recorder.dropped,
        alarming=unread.alarming(recorder.unreadable, unreadable_before),
        new_problems=(
            *(p for p in problems if full is None or p not in full.problems),
            *recorder.survey.news(),
        ),
    )


def read_before(session: Session, scan_id: int, changes: Iterable[Change]) -> set[Identity]:
    """The regular files that came to the paths of changes and that a scan has read, by device and inode."""
    moved = {
        c.after.identity
        for c in changes
        if c.after is not None and (c.before is None or c.before.identity != c.after.identity)
    }
    versions = files.by_identity(session, moved, scan_id)
    return {version.state.identity for version in versions if version.state.kind is FileKind.FILE}


def seal(
    session: Session,
    recorder: Recorder,
    findings: Sequence[Finding],
    opened: Sequence[UnmodifiedOpen],
    digest: StateDigest,
    problems: tuple[str, ...] = (),
) -> Scan:
    """Store what a scan found, and make its ledger entry; ``digest`` is that of the complete state after it."""
    scan_id = recorder.scan_id
    finding_store.add_changes(session, scan_id, findings)
    sighting_store.add_unmodified_opens(session, scan_id, opened)
    return scan_store.finish(
        session,
        replace(
            _running(session, scan_id),
            finished_ns=time.time_ns(),
            counts=recorder.counts | _counts(findings, recorder.unreadable),
            state_digest=digest.hexdigest(),
            problems=problems,
        ),
        read_clock=recorder.clock.dump(),
        begun=recorder.begun,
    )


def _running(session: Session, scan_id: int) -> Scan:
    found = scan_store.one_scan(session, scan_id)
    assert found is not None, "this scan was recorded when it began"
    return found


def _counts(findings: Sequence[Finding], unreadable: Sequence[Unreadable]) -> dict[str, int]:
    counts = {kind.value: 0 for kind in (*ChangeKind, *Verdict)} | {"unreadable": len(unreadable)}
    for finding in findings:
        counts[finding.change.kind.value] += 1
        counts[finding.attribution.verdict.value] += 1
    return counts
