"""Run scans and audit reading on schedule (APScheduler), one at a time, until stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from fimscan.config import Config, cron_fields, interval_seconds
from fimscan.errors import FimscanError, InterruptedScanError, LockedError
from fimscan.pipeline import AuditSource, Live, ScanResult, run_scan
from fimscan.pipeline.audit.reading import AuditReader
from fimscan.pipeline.audit.witness import Witness
from fimscan.pipeline.outputs.delivery import Notifier
from fimscan.scan.scanner import Progress
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_IDLE_SECONDS = 1.0
_LIVE_SECONDS = 0.25

Report = Callable[[ScanResult], None]
Complain = Callable[[str], None]


def trigger_of(text: str) -> BaseTrigger:
    """Convert a cron expression or an interval of the configuration."""
    seconds = interval_seconds(text)
    return CronTrigger(**cron_fields(text)) if seconds is None else IntervalTrigger(seconds=seconds)


class Scheduler:
    """Runs the scheduled jobs of a configuration.

    All jobs share one thread: two scans never run at once, and the log is read between them. A missed run (the host
    slept, a scan took long) is made up for once, not several times.

    Args:
        report: called with the result of each scan.
        complain: called with the text of each failure; the schedule goes on.
    """

    def __init__(
        self,
        database: Database,
        config: Config,
        source: AuditSource | None,
        *,
        report: Report,
        complain: Complain,
    ) -> None:
        self._database = database
        self._config = config
        self._source = source
        self._report = report
        self._complain = complain
        self._notifier = Notifier(database, config, complain)
        self._stop = threading.Event()
        # Held during a scan, a reading of the log, or a live look.
        self._busy = threading.Lock()
        self._witness = None
        if source is not None and config.witness.fanotify:
            self._witness = Witness([os.fsencode(watch.path) for watch in config.watch])
        self._live, self._reader = self._readers()
        self._signal = signal.SIGTERM

    def _readers(self) -> tuple[Live | None, AuditReader | None]:
        """Create the live monitor, if enabled, and the reader of the log."""
        if self._source is None:
            return None, None
        if self._config.live.enabled:
            live = Live(self._database, self._config, self._source, witness=self._witness)
            return live, live.reader
        return None, AuditReader(self._database, self._source, witness=self._witness)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT; a scan in progress is then recorded as interrupted.

        If the database has no baseline, or one of another configuration, a scan starts at once.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(max_workers=1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone="UTC",
        )
        if not self._has_baseline() or not (self._live is None or self._live.is_in_scope()):
            scheduler.add_job(self.scan, name="baseline")
        scheduler.add_job(self.scan, trigger_of(self._config.schedule.scan), name="scan")
        scheduler.add_job(self.scan, trigger_of(self._config.schedule.full), name="full", kwargs={"full": True})
        if self._source is not None:
            scheduler.add_job(self.read_audit, trigger_of(self._config.schedule.audit), name="audit")
        if self._witness is not None:
            self._witness.start()
            for problem in self._witness.problems:
                self._complain(problem)
        scheduler.start()
        self._notifier.start()
        # Waiting with a timeout lets Python run signal handlers on every platform.
        while not self._stop.is_set():
            if self._live is None:
                self._stop.wait(timeout=_IDLE_SECONDS)
            else:
                self._live.wait(_LIVE_SECONDS)
                self.look()
        scheduler.shutdown(wait=True)
        self._notifier.stop()
        if self._live is not None:
            self._live.close()
        if self._witness is not None:
            self._witness.end(self._database)

    def scan(self, *, full: bool = False) -> None:
        """Run one scheduled scan and report it. With ``full``, every file is read again."""

        def work() -> None:
            result = run_scan(
                self._database,
                self._config,
                source=self._source,
                trigger="schedule",
                full=full,
                on_progress=self._check_stop,
                reader=self._reader,
            )
            self._report(result)

        self._attempt(work)

    def read_audit(self) -> None:
        """Read new audit records, and check the state of the kernel's audit system."""

        def work() -> None:
            for problem in self._reader.read_new() if self._reader is not None else ():
                self._complain(problem)

        self._attempt(work)

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

        if not self._busy.locked():
            self._attempt(work)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Run a job; any failure becomes one line, and the schedule goes on."""
        if self._stop.is_set():
            return
        try:
            with self._busy:
                work()
        except InterruptedScanError:
            return
        except LockedError as error:
            self._complain(f"{error}; this scan is skipped")
        except FimscanError as error:
            self._complain(str(error))
        except Exception as error:  # noqa: BLE001  # see above
            self._complain(f"{type(error).__name__}: {error}")

    def _has_baseline(self) -> bool:
        with self._database.read() as session:
            return scan_store.last_finished(session) is not None

    def _check_stop(self, _progress: Progress) -> None:
        if self._stop.is_set():
            raise InterruptedScanError(self._signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        self._stop.set()
