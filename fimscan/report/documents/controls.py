"""Failures of controls: ``fimscan.controls/1``. And objects about them and the host's names in other documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fimscan.model import ControlFailure, ControlNote, ControlReport, HostEvent
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import optional_text, optional_time, process_document


def controls_document(host: str, failures: Iterable[ControlFailure]) -> dict[str, Any]:
    """The ``fimscan.controls/1`` document."""
    return {"schema": "fimscan.controls/1", "host": json_text(host), "controls": control_documents(failures)}


def control_documents(failures: Iterable[ControlFailure]) -> list[dict[str, Any]]:
    """One object for each failure, each once."""
    return [_control(item) for item in {item.id: item for item in failures}.values()]


def report_fields(report: ControlReport) -> dict[str, Any]:
    """What a scan reports beside changes: the failures that began or ended, and new names of the host."""
    return {
        "controls": control_documents([*report.began, *report.mended]),
        "host_events": host_event_documents(report.host_events),
    }


def _control(item: ControlFailure) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": item.kind.value,
        "subject": json_text(item.subject),
        "cause": json_text(item.cause),
        "actor": None if item.actor is None else process_document(item.actor),
        "start": time_text(item.start_ns),
        "detected": time_text(item.detected_ns),
        "end": optional_time(item.end_ns),
        "remedy": optional_text(item.remedy),
        "notes": [_note(note) for note in item.notes],
    }


def _note(note: ControlNote) -> dict[str, Any]:
    return {
        "note": note.id,
        "time": time_text(note.noted_ns),
        "user": json_text(note.user),
        "remediation": json_text(note.remediation),
        "root_cause": json_text(note.root_cause) or None,
        "ticket": json_text(note.ticket) or None,
    }


def host_event_documents(events: Iterable[HostEvent]) -> list[dict[str, Any]]:
    """One object for each new name and each take-over."""
    return [
        {
            "time": time_text(event.time_ns),
            "kind": event.kind.value,
            "before": json_text(event.before),
            "after": json_text(event.after),
        }
        for event in events
    ]
