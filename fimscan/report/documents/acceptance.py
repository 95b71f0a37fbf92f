"""The documents of ``fimscan accept``, ``reject`` and ``undo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fimscan.grouping.selection import Selected
from fimscan.model import Approval, DispositionStatus
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import text_fields


def acceptance_document(
    host: str,
    changes: Sequence[Selected],
    report: tuple[int, str],
    counts: Mapping[str, int],
    approval: Approval,
    *,
    decision: tuple[DispositionStatus, int | None],
    everything: bool,
) -> dict[str, Any]:
    """The ``fimscan.acceptance/1`` document.

    ``report`` is the scan and the name of the report. ``counts`` has ``paths``, ``left_out``, ``later``, ``withheld``,
    ``look`` and ``own``. ``decision`` is its status and its number; no number if nothing was stored.
    """
    status, act = decision
    scan, shown = report
    return {
        "schema": "fimscan.acceptance/1",
        "host": json_text(host),
        "dry_run": act is None,
        "status": status.value,
        "decision": act,
        "scan": scan,
        "shown": shown,
        "everything": everything,
        **counts,
        "user": json_text(approval.user),
        "ticket": json_text(approval.ticket),
        "reason": json_text(approval.reason),
        "category": None if approval.category is None else approval.category.value,
        "changes": [_change(item, scan) for item in changes],
    }


def undo_document(host: str, act: int, undone: int, approval: Approval) -> dict[str, Any]:
    """The ``fimscan.undo/1`` document."""
    return {
        "schema": "fimscan.undo/1",
        "host": json_text(host),
        "decision": act,
        "undoes": undone,
        "time": time_text(approval.accepted_ns),
        "user": json_text(approval.user),
        "ticket": json_text(approval.ticket),
        "reason": json_text(approval.reason),
    }


def _change(item: Selected, scan: int) -> dict[str, Any]:
    change = item.finding.change
    return {
        "id": change.id,
        **text_fields("path", change.path),
        **text_fields("moved_from", change.moved_from),
        "kind": change.kind.value,
        "verdict": item.finding.attribution.verdict.value,
        "as_of": scan if item.number is None else item.finding.scan,
        "set": item.row.number,
        "level": item.row.rank.level.value,
    }
