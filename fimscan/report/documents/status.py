"""The documents of ``fimscan status``: ``fimscan.status/1`` and ``fimscan.vouched/1``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fimscan.model import AcceptanceRecord, ContentUsage, MissedRuns, Scan, Status, WitnessExtent, device_text
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.configuration import reconfiguration_document
from fimscan.report.documents.controls import control_documents
from fimscan.report.documents.dispositions import decision_fields
from fimscan.report.documents.parts import optional_time, text_fields, unreadable_document
from fimscan.report.documents.selftest import selftest_object


def status_document(status: Status, *, now_ns: int, fresh_ns: int) -> dict[str, Any]:
    """The ``fimscan.status/1`` document.

    A witness whose last event time is older than ``fresh_ns`` is shown as not watching.
    """
    return {
        "schema": "fimscan.status/1",
        "host": json_text(status.host),
        "baseline": status.baseline,
        "waiting": status.waiting,
        "head": status.head,
        "signing_key": status.signing_key,
        "witness": witness_objects(status.witness, now_ns, fresh_ns),
        "scans": [_scan(scan) for scan in status.scans],
        "accepted": [_acceptance(record) for record in status.accepted],
        "configuration": [reconfiguration_document(item) for item in status.reconfigurations],
        "unreadable": [unreadable_document(item) for item in status.unreadable],
        "configuration_file": None if status.configuration_file is None else json_text(status.configuration_file),
        "database": json_text(status.database),
        "contents": None if status.contents is None else _contents(status.contents),
        "controls": control_documents(status.controls),
        "selftest": None if status.selftest is None else selftest_object(status.selftest),
        "missed_runs": [_missed(item) for item in status.missed_runs],
    }


def _missed(found: MissedRuns) -> dict[str, Any]:
    return {
        "job": found.job,
        "cause": found.cause.value,
        "runs": found.count,
        "first": time_text(found.first_ns),
        "last": time_text(found.last_ns),
        "noted": time_text(found.noted_ns),
    }


def vouched_document(host: str, files: Iterable[tuple[bytes, int]]) -> dict[str, Any]:
    """The ``fimscan.vouched/1`` document: files that the last scan skipped by ctime, and when each was last read."""
    return {
        "schema": "fimscan.vouched/1",
        "host": json_text(host),
        "files": [{**text_fields("path", path), "last_read": time_text(read_ns)} for path, read_ns in files],
    }


def _contents(usage: ContentUsage) -> dict[str, Any]:
    return {
        "kept": usage.contents,
        "bytes": usage.packed,
        "dropped": usage.dropped,
        "last_dropped": time_text(usage.dropped_ns) if usage.dropped_ns else None,
    }


def _scan(scan: Scan) -> dict[str, Any]:
    return {
        "scan": scan.id,
        "status": scan.status.value,
        "trigger": json_text(scan.trigger),
        "started": time_text(scan.started_ns),
        "finished": optional_time(scan.finished_ns),
        "counts": dict(scan.counts),
        "problems": [json_text(problem) for problem in scan.problems],
        "config_digest": scan.config_digest,
        "ledger": scan.entry or None,
    }


def _acceptance(record: AcceptanceRecord) -> dict[str, Any]:
    approval = record.approval
    return {
        **text_fields("path", record.path),
        "scan": record.scan,
        "status": record.status.value,
        **decision_fields(record),
        "undoes": record.undoes,
        "time": time_text(approval.accepted_ns),
        "user": json_text(approval.user),
        "ticket": json_text(approval.ticket) or None,
        "reason": json_text(approval.reason) or None,
    }


def witness_objects(extents: Sequence[WitnessExtent], now_ns: int, fresh_ns: int) -> list[dict[str, Any]]:
    """One object for each file system that fanotify watches."""
    return [
        {
            "device": device_text(extent.dev),
            "watching": not extent.ended and now_ns - extent.end_ns <= fresh_ns,
            "since": time_text(extent.start_ns),
            "until": time_text(extent.end_ns),
            "ended": extent.ended or None,
            "misses": ["mapping", *extent.holes],
        }
        for extent in extents
    ]
