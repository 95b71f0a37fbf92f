"""Run the jobs of a configuration, one at a time, with live looks between them (APScheduler)."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC
from types import FrameType
from typing import Generic, TypeVar

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from msgspec import Struct
from msgspec.structs import replace

from fimscan.config import Config
from fimscan.errors import FimscanError, InterruptedScanError, LockedError
from fimscan.model import MissedCause
from fimscan.pipeline import AuditSource, Live, ScanResult, run_scan
from fimscan.pipeline.audit.reading import AuditReader
from fimscan.pipeline.audit.witness import Witness
from fimscan.pipeline.controls import record as controls
from fimscan.pipeline.metrics.expose import Server, TextFile
from fimscan.pipeline.outputs.delivery import Notifier
from fimscan.pipeline.selftest.run import run_selftest
from fimscan.report.missed import missed_text
from fimscan.scan.scanner import Progress
from fimscan.scheduler.jobs import (
    Job,
    jobs_of,
    last_done,
    missed_occurrences,
    store_missed,
)
from fimscan.scheduler.service import ServiceManager
from fimscan.scheduler.trigger import Trigger
from fimscan.signal_flag import SignalFlag
from fimscan.store.database import Database
from fimscan.store.interrupts import interrupted_by
from fimscan.timing import local_text, missed
from fimscan.upkeep.prune import Pruned, prune

_IDLE_SECONDS = 1.0
_LIVE_SECONDS = 0.25
_JUMP_SECONDS = 2.0  # a larger difference between the wall clock and the monotonic one: it was set, or we slept
_STUCK_SECONDS = 300.0  # a job that waits longer, while no other one runs, will not start any more

Report = Callable[[ScanResult], None]
Complain = Callable[[str], None]
Setup = TypeVar("Setup")


class Control:
    """What signals ask for: SIGTERM and SIGINT to stop, SIGHUP to read the configuration again.

    Attributes:
        stop: set when the schedule has to end.
        number: the signal that asked for it.
        reload: set when the configuration has to be read again.
    """

    def __init__(self) -> None:
        self.stop = SignalFlag()
        self.reload = SignalFlag()
        self.number = signal.SIGTERM

    def install(self, *, hangup_stops: bool) -> None:
        """Handle the signals. In a terminal, ``hangup_stops``: the terminal was closed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_stop if hangup_stops else self._on_reload)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self.number = signal.Signals(number)
        self.stop.set()

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload.set()


class Past(Struct, frozen=True, kw_only=True):
    """What a schedule hands on to the next one of this process, when the configuration is read again.

    Attributes:
        begun: when the first one began.
        last_run: begin and end of the last job.
    """

    begun: float
    last_run: tuple[float, float] = (0.0, 0.0)


class Scheduler(Generic[Setup]):
    """Runs the scheduled jobs of a configuration.

    All jobs share one thread: two scans never run at once, and the log is read between them. What is due is worked out
    from what was last done, so whatever was missed is made up for once, and stored: the host was down, it slept, or a
    scan took long.

    Args:
        report: called with the result of each scan.
        report_controls: called when controls may have failed or work again.
        report_pruned: called with what was removed, if anything was.
        complain: called with the text of each failure; the schedule goes on.
        started: called with the times of the next scans when it runs.
        control: says when to stop.
        manager: is told what goes on.
        reload: reads the configuration again: returns what :meth:`run` returns, or ``None`` to go on as before.
        now: seconds since 1970.
        past: that of the schedule before this one, if the configuration was read again.
    """

    def __init__(  # noqa: PLR0913  # what it runs, and what it talks to
        self,
        database: Database,
        config: Config,
        source: AuditSource | None,
        *,
        report: Report,
        report_controls: Callable[[], None],
        report_pruned: Callable[[Pruned], None] = lambda _pruned: None,
        complain: Complain,
        started: Callable[[str], None],
        control: Control,
        manager: ServiceManager,
        reload: Callable[[], Setup | None],
        now: Callable[[], float] = time.time,
        past: Past | None = None,
    ) -> None:
        self._database = database
        self._config = config
        self._source = source
        self._report = report
        self._report_controls = report_controls
        self._report_pruned = report_pruned
        self._complain = complain
        self._notifier = Notifier(database, config, complain)
        self._started = started
        self._control = control
        self._manager = manager
        self._reload = reload
        self._now = now
        self._past = past or Past(begun=now())
        self._running_since: float | None = None  # of the job that runs
        self._is_planned = False
        self._trouble = ""  # why planning failed last
        self._jobs = jobs_of(config, with_audit=source is not None, identity=database.identity.id or database.host)
        self._triggers: dict[str, Trigger] = {}
        self._tried: dict[str, float] = {}  # by job: when it was last run, with success or not
        self._accounted: dict[str, float] = {}  # by job: up to when missed occurrences are stored
        self._textfile = TextFile(database, config)
        self._server = Server(database, config)
        self._unwritten = ""  # why metrics could not be written last
        self._leaving = threading.Event()
        # Held during a scan, a reading of the log, or a live look.
        self._busy = threading.Lock()
        self._witness = None
        if source is not None and config.witness.fanotify:
            self._witness = Witness([os.fsencode(watch.path) for watch in config.watch])
        self._live, self._reader = self._readers()
        self._engine = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max_workers=1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        # It would print a warning for each occurrence that comes while the job still runs. Those are stored as missed.
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)

    def _readers(self) -> tuple[Live | None, AuditReader | None]:
        """Create the live monitor, if enabled, and the reader of the log."""
        if self._source is None:
            return None, None
        if self._config.live.enabled:
            live = Live(self._database, self._config, self._source, witness=self._witness)
            return live, live.reader
        return None, AuditReader(self._database, self._source, witness=self._witness)

    @property
    def past(self) -> Past:
        """What the next schedule of this process has to know."""
        return self._past

    def run(self) -> Setup | None:
        """Run until stopped; a scan in progress is then recorded as interrupted.

        Returns ``None``, or what ``reload`` returned: the caller then runs that.
        """
        self.plan()
        if self._witness is not None:
            self._witness.start()
            for problem in self._witness.problems:
                self._complain(problem)
        self._engine.start()
        self._notifier.start()
        if (unserved := self._server.start()) is not None:
            self._complain(unserved)
        status = self.status()
        self._started(status)
        self._manager.ready(status)
        try:
            return self._until_stopped()
        finally:
            if self._control.stop.is_set():
                self._manager.stopping()
            self._engine.shutdown(wait=True)
            self._notifier.stop()
            self._server.stop()
            if self._live is not None:
                self._live.close()
            if self._witness is not None:
                self._witness.end(self._database)

    def _until_stopped(self) -> Setup | None:
        lag = self._lag()
        while not self._control.stop.is_set():
            # Waiting with a timeout lets Python run signal handlers on every platform.
            if self._live is None:
                self._control.stop.wait(timeout=_IDLE_SECONDS)
            else:
                self._live.wait(_LIVE_SECONDS)
                self.look()
            if not self._is_planned or abs(self._lag() - lag) > _JUMP_SECONDS:
                lag = self._lag()
                self.plan()
            if not self.is_stuck():
                self._manager.alive()
            self._manager.status(self.status())
            # Waiting for the lock: where one scan follows the other, it is hardly ever free at the moment of a look.
            if self._control.reload.is_set() and self._busy.acquire(timeout=_IDLE_SECONDS):
                try:
                    if (setup := self._read_again()) is not None:
                        self._leaving.set()  # jobs that wait for the lock do nothing any more
                        return setup
                finally:
                    self._busy.release()
        return None

    def _read_again(self) -> Setup | None:
        self._control.reload.clear()
        self._manager.reloading()
        time.tzset()
        try:
            if (setup := self._reload()) is not None:
                return setup
        except FimscanError as error:
            self._complain(f"{error}; the configuration stays as it was")
        self.plan()  # the time zone may be another one
        self._manager.ready(self.status())
        return None

    def _lag(self) -> float:
        """Return how far the wall clock is ahead of the monotonic one, which stands still while the machine sleeps."""
        return self._now() - time.monotonic()

    # ----------------------------------------------------------------------------------------------------------------
    # What is due

    def plan(self) -> None:
        """Work out what is due, at the start and whenever the machine slept or the clock was set.

        If the database does not answer, that is printed once, and tried again in the next round.
        """
        self._is_planned = False
        try:
            self._plan()
        except FimscanError as error:
            if (trouble := str(error)) != self._trouble:
                self._complain(trouble)
            self._trouble = trouble
            return
        self._is_planned, self._trouble = True, ""

    def _plan(self) -> None:
        for job in self._jobs:
            self._account(job)
            self._triggers[job.name] = trigger = Trigger(job.table, self._due(job))
            works = {"audit": self.read_audit, "selftest": self.selftest, "prune": self.prune}
            work = works.get(job.name, self.scan)
            self._engine.add_job(work, trigger, args=[job], id=job.name, name=job.name, replace_existing=True)

    def _due(self, job: Job) -> float:
        """Return when a job has to run next."""
        now = self._now()
        if job.name == "scan" and self._live is not None and not self._live.is_in_scope():
            return now
        done, tried = last_done(self._database, job, now), self._tried.get(job.name)
        if done is not None and tried is not None and tried <= now:
            done = max(done, tried)
        return job.table.due(done, now)

    def _account(self, job: Job) -> None:
        """Store the occurrences of a job that were missed until now."""
        now, before = self._now(), self._accounted.get(job.name)
        found = missed_occurrences(self._database, job, now) if job.name in ("scan", "full") else None
        if found is not None and before is not None and before > found.first:
            found = missed(job.table, before, found.last)
        if found is not None:
            record = store_missed(self._database, job, found, self._cause(found.first), now)
            self._complain(missed_text(record))
        self._accounted[job.name] = now

    def _cause(self, first: float) -> MissedCause:
        """Why a run was missed, by its time."""
        begin, end = self._past.last_run
        is_displaced = self._running_since is not None and self._running_since <= first
        if is_displaced or begin <= first <= end:
            return MissedCause.BUSY
        return MissedCause.DOWN if first < self._past.begun else MissedCause.ASLEEP

    def is_stuck(self) -> bool:
        """Whether a job has been due for long, and no other one runs."""
        if self._busy.locked():
            return False
        times = [job.next_run_time.timestamp() for job in self._engine.get_jobs() if job.next_run_time is not None]
        return bool(times) and min(times) < self._now() - _STUCK_SECONDS

    def status(self) -> str:
        """Return in one line when the next scans are."""
        times = {job.id: job.next_run_time for job in self._engine.get_jobs()}
        names = {"scan": "next scan", "full": "next full scan"}
        known = ((words, times[name]) for name, words in names.items() if times.get(name) is not None)
        return ", ".join(f"{words} {local_text(at.timestamp())}" for words, at in known) or "waiting for the database"

    # ----------------------------------------------------------------------------------------------------------------
    # The jobs

    def scan(self, job: Job) -> None:
        """Run one scheduled scan and report it. The job ``full`` reads every file again."""

        def work() -> None:
            if not self._is_due(job):
                return
            self._tried[job.name] = self._now()
            with controls.noting_failure(self._database, self._config):
                controls.before_scan(self._database)
                result = run_scan(
                    self._database,
                    self._config,
                    source=self._source,
                    trigger="schedule",
                    full=job.name == "full",
                    on_progress=self._check_stop,
                    reader=self._reader,
                )
                controls.after_scan(self._database, self._config, self._source, result)
            self._report(result)
            self._write_metrics()

        self._attempt(work, is_job=True)

    def _is_due(self, job: Job) -> bool:
        """Account for the runs until now; ``False`` if a scan that began since this run was due has done it."""
        self._account(job)
        now = self._now()
        done = last_done(self._database, job, now)
        is_done = done is not None and done >= self._triggers[job.name].current and job.table.after(done) > now
        return not is_done or not (self._live is None or self._live.is_in_scope())

    def read_audit(self, _job: Job) -> None:
        """Read new audit records, and check the state of the kernel's audit system."""

        def work() -> None:
            for problem in self._reader.read_new() if self._reader is not None else ():
                self._complain(problem)
            controls.after_reading(self._database, self._config, self._source)
            self._report_controls()
            self._write_metrics()

        self._attempt(work)

    def selftest(self, job: Job) -> None:
        """Run one selftest. What failed is reported as a control."""

        def work() -> None:
            self._account(job)
            self._tried[job.name] = self._now()
            run_selftest(self._database, self._config, self._source, reader=self._reader)
            self._report_controls()
            self._write_metrics()

        self._attempt(work, is_job=True)

    def _write_metrics(self) -> None:
        """Write the metrics; a problem is told once, until there is another one."""
        problem = self._textfile.write() or ""
        if problem and problem != self._unwritten:
            self._complain(problem)
        self._unwritten = problem

    def prune(self, job: Job) -> None:
        """Remove what is older than ``[retention]`` says."""

        def work() -> None:
            self._tried[job.name] = self._now()
            with interrupted_by(self._raise_if_stopped):
                done = prune(self._database, self._config, user="fimscan schedule")
            if done.checkpoint is not None:
                self._report_pruned(done)

        self._attempt(work, is_job=True)

    def look(self) -> None:
        """Read the log and take live looks, unless another job is running."""

        def work() -> None:
            assert self._live is not None, "there is a log to follow"
            result, problems = self._live.step()
            for problem in problems:
                self._complain(problem)
            if result is not None:
                self._report(result)
            if self._witness is not None:
                self._witness.store(self._database, now=False)

        self._attempt(work, wait=False)

    def _attempt(self, work: Callable[[], None], *, wait: bool = True, is_job: bool = False) -> None:
        """Run a job; any failure becomes one line, and the schedule goes on. Without ``wait``, only if none runs."""
        if self._control.stop.is_set() or not self._busy.acquire(blocking=wait):
            return
        begun = self._now()
        if is_job:
            self._running_since = begun
        try:
            if not self._leaving.is_set():
                work()
        except InterruptedScanError:
            return
        except LockedError as error:
            self._complain(f"{error}; this scan is skipped")
        except FimscanError as error:
            self._complain(str(error))
        except Exception as error:  # noqa: BLE001  # see above
            self._complain(f"{type(error).__name__}: {error}")
        finally:
            if is_job:
                self._running_since = None
                self._past = replace(self._past, last_run=(begun, self._now()))
            self._busy.release()

    def _check_stop(self, _progress: Progress) -> None:
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self._control.stop.is_set():
            raise InterruptedScanError(self._control.number)
