"""The objects of decisions in JSON documents."""

from __future__ import annotations

from typing import Any

from fimscan.model import AcceptanceRecord, Disposition
from fimscan.report.display import json_text, time_text


def disposition_document(item: Disposition | None) -> dict[str, Any] | None:
    """``disposition`` of a row: what was decided about it."""
    if item is None:
        return None
    return {
        "status": item.record.status.value,
        **decision_fields(item.record),
        "scan": item.record.scan,
        "time": time_text(item.record.approval.accepted_ns),
        "user": json_text(item.record.approval.user),
        "ticket": json_text(item.record.approval.ticket) or None,
        "reason": json_text(item.record.approval.reason) or None,
        "current": item.is_current,
    }


def decision_fields(record: AcceptanceRecord) -> dict[str, Any]:
    """The fields of an event that are the same in every document."""
    category = record.approval.category
    return {
        "decision": record.act,
        "category": None if category is None else category.value,
        "own": record.is_own,
        "plan": record.plan,
        "undone": record.is_undone,
    }
