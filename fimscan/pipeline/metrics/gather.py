"""Read the metrics from the store. Names and units follow Prometheus' conventions.

Times are timestamps, not ages: an age in a text file would be as old as the file. Labels have few values, all of them
words of fimscan or names of the configuration: verdicts, kinds of controls, jobs, steps, outputs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct, field

from fimscan import __version__
from fimscan.config import Config
from fimscan.model import ControlKind, Scan, StepState, Verdict
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.store import acceptance as acceptance_store
from fimscan.store import audit as audit_store
from fimscan.store import controls as control_store
from fimscan.store import findings as finding_store
from fimscan.store import missed_runs, outbox, selftests
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_NS = 10**9
_JOBS = ("scan", "full")
Kind = Literal["gauge", "counter"]


class Family(Struct, frozen=True):
    """One metric: its name (of a counter without ``_total``), its help, and its samples, by their labels."""

    name: str
    help: str
    kind: Kind = "gauge"
    labels: tuple[str, ...] = ()
    samples: Mapping[tuple[str, ...], float] = field(default_factory=dict)


class Metrics:
    """Gathers the metrics of one host; what is slow to find out is kept until it can have changed."""

    def __init__(self, database: Database, config: Config) -> None:
        self._database = database
        self._config = config
        self._waiting: tuple[tuple[int, int], int] | None = None  # as of (scan, decision): changes to accept

    def gather(self) -> list[Family]:
        """Return all metrics that there are."""
        with self._database.read() as session:
            found = [
                *_of_scans(session),
                *_of_controls(session),
                *_of_audit(session, self._config),
                *_of_outbox(session, self._config),
                *_of_selftests(session),
            ]
        found += [*self._of_acceptance(), *self._of_database()]
        found.append(_gauge("metrics_success_timestamp_seconds", "When these metrics were gathered.", time.time()))
        return [family for family in found if family.samples]

    def _of_acceptance(self) -> Iterator[Family]:
        with self._database.read() as session:
            last = scan_store.last_finished(session)
            number = acceptance_store.last_number(session)
        if last is None:
            return
        if self._waiting is None or self._waiting[0] != (last.id, number):
            count = len(diff_from_baseline(self._database, self._config).findings)
            self._waiting = (last.id, number), count
        yield _gauge("changes_waiting", "Changes that wait for acceptance.", self._waiting[1])

    def _of_database(self) -> Iterator[Family]:
        file = self._database.file
        if file is not None:
            sizes = [os.path.getsize(path) for path in (file, f"{file}-wal") if os.path.exists(path)]
            yield _gauge("database_size_bytes", "Size of the SQLite database, with its log.", sum(sizes))


# --------------------------------------------------------------------------------------------------------------------


def _gauge(name: str, text: str, value: float | None) -> Family:
    return Family(f"fimscan_{name}", text, samples={} if value is None else {(): value})


def _labelled(name: str, text: str, label: str, samples: Mapping[str, float], kind: Kind = "gauge") -> Family:
    return Family(f"fimscan_{name}", text, kind, (label,), {(key,): value for key, value in samples.items()})


def _seconds(time_ns: int | None) -> float | None:
    return None if time_ns is None else time_ns / _NS


def _of_scans(session: Session) -> Iterator[Family]:
    yield Family("fimscan_build_info", "The version of fimscan.", "gauge", ("version",), {(__version__,): 1})
    changes = finding_store.count_by_verdict(session)
    counts = {verdict.value: float(changes.get(verdict.value, 0)) for verdict in Verdict}
    # A gauge: a verdict can be revised when records come late.
    yield _labelled("stored_changes", "Changes that were found and are stored, by verdict.", "verdict", counts)
    missed = missed_runs.totals(session)
    jobs = dict.fromkeys(_JOBS, 0.0) | {job: float(count) for job, count in missed.items()}
    yield _labelled("missed_runs", "Scheduled runs that did not happen.", "job", jobs, "counter")
    if (last := scan_store.last_full(session)) is not None:
        yield from _of_scan(last)


def _of_scan(last: Scan) -> Iterator[Family]:
    finished_ns = last.finished_ns or last.started_ns
    yield _gauge("last_scan_success_timestamp_seconds", "When the last complete scan finished.", _seconds(finished_ns))
    duration = (finished_ns - last.started_ns) / _NS
    yield _gauge("last_scan_duration_seconds", "How long the last complete scan took.", duration)
    for name, text in (
        ("files", "Files that the last complete scan saw."),
        ("bytes", "Bytes that the last complete scan read."),
        ("unreadable", "Files that the last complete scan could not read."),
    ):
        unit = name if name == "bytes" else f"{name}_files" if name == "unreadable" else name
        yield _gauge(f"last_scan_{unit}", text, last.counts.get(name, 0))


def _of_controls(session: Session) -> Iterator[Family]:
    failed = dict.fromkeys((kind.value for kind in ControlKind), 0.0)
    for item in control_store.still_open(session):
        failed[item.kind.value] += 1
    yield _labelled("controls_failed", "Controls that are failed.", "kind", failed)


def _of_audit(session: Session, config: Config) -> Iterator[Family]:
    if not config.audit.enabled:
        return
    logs = [os.fsencode(log) for log in config.audit.logs or (config.audit.socket,)]
    ends = [extent.end_ns for log in logs for extent in audit_store.extents(session, log)]
    text = "Up to when the audit log was read without a gap: the lag is the present time minus this."
    yield _gauge("audit_read_until_timestamp_seconds", text, _seconds(max(ends, default=None)))
    latest = audit_store.last_answer(session, time.time_ns())
    if latest is None:
        return
    yield _gauge("audit_enabled", "Whether the kernel's auditing was on when it was asked last.", bool(latest.enabled))
    yield _gauge("audit_daemon_up", "Whether auditd ran when the kernel was asked last.", bool(latest.daemon_pid))
    yield Family(
        "fimscan_audit_lost_events",
        "Records that the kernel has lost since boot, or since its counter was reset.",
        "counter",
        samples={(): latest.lost or 0},
    )


def _of_outbox(session: Session, config: Config) -> Iterator[Family]:
    names = [output.name for output in config.output]
    usage = {name: outbox.usage(session, name) for name in names}
    waiting = {name: float(found.waiting) for name, found in usage.items()}
    sizes = {name: float(found.size) for name, found in usage.items()}
    oldest = {name: found.oldest_ns / _NS for name, found in usage.items() if found.oldest_ns is not None}
    sent = {name: at / _NS for name in names if (at := outbox.last_delivered_ns(session, name)) is not None}
    yield _labelled("outbox_messages_waiting", "Messages that wait for an output.", "output", waiting)
    yield _labelled("outbox_waiting_bytes", "Size of the messages that wait for an output.", "output", sizes)
    text = "When the oldest message was made that waits for an output; nothing if none waits."
    yield _labelled("outbox_oldest_message_timestamp_seconds", text, "output", oldest)
    yield _labelled("outbox_last_delivery_timestamp_seconds", "When an output acknowledged last.", "output", sent)


def _of_selftests(session: Session) -> Iterator[Family]:
    last, passed = selftests.last(session), selftests.last(session, passed=True)
    if last is None:
        return
    yield _gauge("selftest_last_run_timestamp_seconds", "When the last selftest began.", _seconds(last.started_ns))
    yield _gauge("selftest_passed", "Whether the last selftest passed.", last.has_passed)
    at = None if passed is None else _seconds(passed.started_ns)
    yield _gauge("selftest_last_pass_timestamp_seconds", "When the last selftest that passed began.", at)
    timed = (item for item in last.steps if item.seconds is not None and item.state is StepState.PASSED)
    samples: dict[tuple[str, ...], float] = {(i.step.value, i.output or ""): i.seconds or 0.0 for i in timed}
    text = "How long after its change the last selftest reached a step."
    yield Family("fimscan_selftest_step_seconds", text, "gauge", ("step", "output"), samples)
