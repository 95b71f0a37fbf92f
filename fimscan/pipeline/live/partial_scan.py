"""Record what a look found: changes as a partial scan, unchanged files as the beginning of new windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fimscan import attribution, compare
from fimscan.model import LIVE, Change, Diff, FileKind, Finding, InEffect, Scan, UnmodifiedOpen
from fimscan.pipeline.audit.attribution import Attributor, directories_of
from fimscan.pipeline.live.path_check import CheckedPath, CheckResult
from fimscan.pipeline.record import scan_entry
from fimscan.pipeline.record.in_effect import look_in_effect, with_in_effect
from fimscan.pipeline.record.last_read import FullReading, Readings, identities_read_before
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.record.rotation import LogJudge
from fimscan.pipeline.result import ScanResult
from fimscan.pipeline.settings import ScanPlan
from fimscan.pipeline.texts import with_facts
from fimscan.state_row import pack
from fimscan.store import devices as device_store
from fimscan.store import files
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest
from fimscan.store.session import Session


class PartialScans:
    """Records what looks found. Needs the writer lock. ``logs`` are the audit logs that are read."""

    def __init__(self, database: Database, plan: ScanPlan, logs: Sequence[bytes]) -> None:
        self._database = database
        self._plan = plan
        self._logs = logs
        self._known: tuple[int, attribution.KnownDirectories] | None = None  # the directories, as of a scan

    def record_unchanged(self, checked: CheckResult) -> None:
        """Record that the files were looked at and found as they were: windows of later changes begin here."""
        if rechecks := _rechecks(checked.seen):
            with self._database.begin() as session:
                scan_result_store.set_rechecks(session, rechecks)

    def record(self, checked: CheckResult, full: FullReading) -> ScanResult:
        """Record a partial scan and attribute its changes; ``full`` is the last complete scan."""
        database, plan, seen = self._database, self._plan, checked.seen
        assert full.scan is not None, "there is a complete scan"
        started_ns = min(one.holders.as_of_ns if one.holders is not None else one.seen_ns for one in seen)
        with database.begin() as session:
            previous = scan_store.last_finished(session)
            assert previous is not None, "there is a complete scan"
            scan_id = scan_entry.begin(session, plan.config, trigger=LIVE, started_ns=started_ns)
            paths = [one.pair.path for one in seen]
            readings = Readings(full=full, rechecks=scan_result_store.rechecks(session, paths))
            recorder = Recorder(scan_id, readings, plan.scope, plan.scope, checked.survey)
            for one in seen:
                _record(recorder, one)
            recorder.flush(session)
            device_store.add_devices(session, scan_id, checked.survey.result())
            path_scanner = plan.path_scanner(checked.survey.numbers, wait_for_leases=False)
            judge = LogJudge(session, full.scan.id, path_scanner, plan.generations_to_keep)
            recorder.settle(session, judge.judge(recorder.disruptions))
            running = look_in_effect(recorder.changes, checked.survey)
            counts, opened = self._attribute(session, recorder, readings, previous, seen, running)
            digest = StateDigest()
            for some in files.state_digests(session):
                digest.add(some)
            sealed = scan_entry.seal(session, recorder, counts, opened, digest, outputs=plan.config.output)
            scan_result_store.set_rechecks(session, _rechecks(seen))
            diff = Diff(
                host=database.host,
                start=previous,
                end=sealed,
                findings=with_facts(database, plan.config, scan_entry.sealed_findings(session, scan_id, plan.config)),
                opened_unmodified=opened,
                logs_grown=sealed.counts.get("logs_grown", 0),
                logs_rotated=sealed.counts.get("logs_rotated", 0),
            )
        return ScanResult(diff=diff, is_baseline=False)

    def _attribute(
        self,
        session: Session,
        recorder: Recorder,
        readings: Readings,
        previous: Scan,
        seen: Sequence[CheckedPath],
        running: Mapping[bytes, InEffect],
    ) -> tuple[Mapping[str, int], tuple[UnmodifiedOpen, ...]]:
        """Attribute the changes and store them: (their counts, write-opens that changed nothing)."""
        scan_id, full = recorder.scan_id, readings.full.scan
        assert full is not None, "there is a complete scan"
        known = self._directories(session, previous.id, scan_id, recorder.changes)
        attributor = Attributor(session, previous, scan_id, self._logs, readings, known)
        held = {one.pair.path: one.holders for one in seen if one.holders is not None}
        found = list(compare.with_moves(recorder.changes))
        read = identities_read_before(session, full.id, found)
        changes = [
            readings.with_holders(change, now.as_of_ns, now.actors, read)
            if (now := held.get(change.path)) is not None
            else readings.with_holders(change, read=read)
            for change in found
        ]
        findings = (Finding(change=c, attribution=a, scan=scan_id) for c, a in attributor.attribute(changes))
        counts = scan_entry.add_findings(session, scan_id, with_in_effect(findings, running))
        return counts, attributor.opened_unmodified()

    def _directories(
        self, session: Session, previous: int, scan_id: int, changes: Sequence[Change]
    ) -> attribution.KnownDirectories:
        """Return all directories of both scans. They may be very many: read them only when some may have changed."""
        if any(state.kind is FileKind.DIRECTORY for change in changes for state in change.sides):
            self._known = None
            return directories_of(session, previous, scan_id)
        if self._known is None or self._known[0] != previous:
            self._known = previous, directories_of(session, previous, scan_id)
        self._known = scan_id, self._known[1]
        return self._known[1]


def _record(recorder: Recorder, seen: CheckedPath) -> None:
    after, version = seen.pair.after, seen.version
    if after is None:
        assert version is not None, "a pair without a new side has an old one"
        recorder.record_gone(version, seen.seen_ns)
        return
    recorder.count_one(after)
    if version is None:
        recorder.record_new(pack(after))
    else:
        recorder.record_seen(version, pack(after))


def _rechecks(seen: Sequence[CheckedPath]) -> list[scan_result_store.Recheck]:
    """List the files that were read, with their holders, except logs that grew: their old states stay stored."""
    return [
        scan_result_store.Recheck(path=after.path, read_start_ns=after.read_start_ns, holders=one.holders)
        for one in seen
        if (after := one.pair.after) is not None and one.holders is not None and not one.has_only_grown
    ]
