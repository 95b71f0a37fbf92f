"""Run one selftest: a process makes a file, and everything goes the way of any change, for that one path.

The partial scan, the audit log, the join, the store, the outbox and the receivers are those of any change. Nothing is
left out for the canary, so nothing can hide behind its name. The file came and went, so no diff has it; the history has
both changes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from msgspec import Struct, field

from fimscan.config import Config
from fimscan.errors import InputError
from fimscan.linux.lineage import sees_all
from fimscan.model import AuditRule, Finding, Selftest, SelftestStep, StepResult, StepState
from fimscan.pipeline.audit.reading import AuditReader, AuditSource
from fimscan.pipeline.controls.record import after_selftest
from fimscan.pipeline.live.monitor import has_scope_of
from fimscan.pipeline.live.partial_scan import PartialScans
from fimscan.pipeline.live.path_check import CheckResult, PathCheck
from fimscan.pipeline.live.queue import LookRequest
from fimscan.pipeline.record.last_read import FullReading
from fimscan.pipeline.result import ScanResult
from fimscan.pipeline.selftest import judge
from fimscan.pipeline.selftest.canary import Canary, canary
from fimscan.pipeline.selftest.place import place_for
from fimscan.pipeline.selftest.receive import Found, alerted, delivered
from fimscan.pipeline.settings import ScanPlan
from fimscan.store import audit as audit_store
from fimscan.store import scans as scan_store
from fimscan.store import selftests
from fimscan.store.database import Database

_LOCK_SECONDS = 30.0
_NO_BASELINE = "no scan has finished with this configuration; run 'fimscan scan'"


def run_selftest(
    database: Database, config: Config, source: AuditSource | None, *, reader: AuditReader | None = None
) -> Selftest:
    """Make a file, follow it to the receivers, and store what came of it; a failure is a failed control.

    Args:
        database: the store.
        config: what is monitored, and who is told.
        source: the audit logs; ``None`` reads none.
        reader: reads ``source``, where the caller has a reader already.

    Raises:
        LockedError: a scan is running on this database.
        StoreError: the database failed.
    """
    run = _Run(database, config, source, reader or AuditReader(database, source))
    run.take()
    done = Selftest(
        started_ns=run.started_ns,
        finished_ns=time.time_ns(),
        path=run.path,
        pid=run.made.pid if run.made is not None else None,
        exe=run.made.exe if run.made is not None else None,
        scan=run.scans[0] if run.scans else None,
        steps=tuple(run.steps),
    )
    with database.begin() as session:
        done = selftests.add(session, done)
    after_selftest(database, done)
    return done


class _Run(Struct):
    """One selftest while it runs."""

    database: Database
    config: Config
    source: AuditSource | None
    reader: AuditReader
    started_ns: int = field(default_factory=time.time_ns)
    path: bytes | None = None
    made: Canary | None = None
    made_ns: int = 0
    scans: list[int] = field(default_factory=list)
    own: set[int] = field(default_factory=set)  # changes that are known to be made by this selftest
    steps: list[StepResult] = field(default_factory=list)

    def take(self) -> None:
        """Take the steps, as far as they lead."""
        plan = ScanPlan.of(self.config, skip=self.database.own_files)
        with self.database.scan_lock(wait_s=_LOCK_SECONDS):
            full = self._full_reading()
            self.reader.read_new(settle=True)
            if full is None:
                self._end(SelftestStep.PREPARED, _NO_BASELINE)
                return
            self.path, problem = place_for(plan, self._rules())
            if self.path is None:
                self._end(SelftestStep.PREPARED, problem)
                return
            try:
                self._change(plan, full, self.path)
            except InputError as error:
                if self.made is not None:
                    raise
                self._end(SelftestStep.PREPARED, str(error))
                return
        if self.scans:
            self._tell(self.path)

    def _full_reading(self) -> FullReading | None:
        """The last complete scan; ``None`` if it covered something else."""
        with self.database.begin() as session:
            scan_store.interrupt_unfinished(session)
            scan = scan_store.last_full(session)
            return FullReading.load(session) if has_scope_of(session, self.config, scan) else None

    def _rules(self) -> Sequence[AuditRule]:
        with self.database.read() as session:
            found = audit_store.last_answer(session, time.time_ns())
        return () if found is None else found.rules

    def _change(self, plan: ScanPlan, full: FullReading, path: bytes) -> None:
        """Have the file made and taken away, with a look after each."""
        content = f"fimscan selftest {secrets.token_hex(16)}\n".encode()
        check = PathCheck(self.database, plan, time.monotonic)
        partial = PartialScans(self.database, plan, self.source.paths if self.source is not None else ())
        with canary(path, content) as self.made:
            self.made_ns = time.time_ns()
            self._step(SelftestStep.PREPARED, f"made by pid {self.made.pid}")
            checked = check.check([LookRequest(path=path, is_overdue=True)])
            detected_s = self._seconds()
            result = self._recorded(checked, full, partial)
        finding = _finding(result, path)
        self.steps.append(judge.detected(finding, path, content, detected_s, _why_not(checked, path)))
        if finding is None or result is None:
            self._skip(SelftestStep.ATTRIBUTED, SelftestStep.ALERTED, SelftestStep.DELIVERED)
            return
        self.scans.append(result.scan.id)
        if self.source is None:
            self.steps.append(judge.skipped(SelftestStep.ATTRIBUTED, "audit is not read, so no process can be named"))
        else:
            made = self.made
            answer = judge.attributed(
                finding.attribution, made.pid, made.exe, self._seconds(), sees_host_pids=sees_all()
            )
            self.steps.append(answer)
            if not any(step.state is StepState.FAILED for step in self.steps):
                self.own.add(finding.change.id)
        gone = self._recorded(check.check([LookRequest(path=path, is_overdue=True)]), full, partial)
        if gone is not None:
            self._note_removal(gone, path)

    def _note_removal(self, gone: ScanResult, path: bytes) -> None:
        assert self.made is not None, "it was made"
        self.scans.append(gone.scan.id)
        finding = _finding(gone, path)
        if self.own and finding is not None:
            answer = judge.attributed(finding.attribution, self.made.pid, self.made.exe, 0.0)
            if answer.state is StepState.PASSED:
                self.own.add(finding.change.id)

    def _recorded(self, checked: CheckResult, full: FullReading, partial: PartialScans) -> ScanResult | None:
        """Read the log and record what a look found; ``None`` if nothing changed."""
        if not checked.is_changed:
            return None
        self.reader.read_new(settle=True)
        return partial.record(checked, full)

    def _tell(self, path: bytes) -> None:
        """Have the receivers told."""
        if not self.config.output:
            for step in (SelftestStep.ALERTED, SelftestStep.DELIVERED):
                self.steps.append(judge.skipped(step, "there is no [[output]], so nobody is told"))
            return
        found = Found(path=path, scans=self.scans, changes=self.own, made_ns=self.made_ns)
        results, numbers = alerted(self.database, self.config, found)
        self.steps += results
        self.steps += delivered(self.database, self.config, numbers, self.made_ns)

    def _seconds(self) -> float:
        return (time.time_ns() - self.made_ns) / 1e9

    def _step(self, step: SelftestStep, detail: str) -> None:
        self.steps.append(StepResult(step=step, state=StepState.PASSED, detail=detail))

    def _end(self, step: SelftestStep, why: str) -> None:
        """A step failed, and the others cannot be taken."""
        self.steps.append(StepResult(step=step, state=StepState.FAILED, detail=why))
        others = list(SelftestStep)
        self._skip(*others[others.index(step) + 1 :])

    def _skip(self, *steps: SelftestStep) -> None:
        self.steps += [judge.skipped(step, "a step before it failed") for step in steps]


def _finding(result: ScanResult | None, path: bytes) -> Finding | None:
    found = result.diff.findings if result is not None else ()
    return next((item for item in found if item.change.path == path), None)


def _why_not(checked: CheckResult, path: bytes) -> str:
    """Why a look found no change at a path."""
    for one in checked.seen:
        if one.pair.path == path:
            return "the scanner saw it, and no difference from what was stored"
    decision = next((item.next.value for item in checked.decisions if item.path == path), "not reached")
    return f"the scanner could not read it ({decision})"
