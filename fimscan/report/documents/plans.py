"""The documents of ``fimscan plan``, and ``plans`` in that of ``fimscan diff``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fimscan.model import PlanProgress
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import optional_text, optional_time, text_fields


def plans_document(host: str, plans: Iterable[PlanProgress]) -> dict[str, Any]:
    """The ``fimscan.plans/1`` document."""
    return {"schema": "fimscan.plans/1", "host": json_text(host), "plans": [plan_document(item) for item in plans]}


def plan_document(item: PlanProgress) -> dict[str, Any]:
    """One plan, and what came of it."""
    plan = item.plan
    return {
        "plan": plan.id,
        "state": item.state.value,
        "ticket": json_text(plan.ticket),
        "reason": json_text(plan.reason) or None,
        "opened": time_text(plan.opened_ns),
        "opened_by": json_text(plan.opened_by.name),
        "until": time_text(plan.until_ns),
        "closed": optional_time(plan.closed_ns),
        "closed_by": optional_text(plan.closed_by),
        "paths": [text_fields("path", path) for path in plan.paths],
        "packages": [json_text(name) for name in plan.packages],
        "user": optional_text(plan.user),
        "exe": optional_text(plan.exe),
        "as_planned": len(item.planned) + item.accepted,
        "accepted": item.accepted,
        "waiting": len(item.planned),
        "extra": [text_fields("path", path) for path in item.extra],
        "missing": [text_fields("item", name) for name in item.missing],
        "deed": item.deed,
    }
