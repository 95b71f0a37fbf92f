"""The document of ``fimscan accept``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fimscan.grouping.selection import Selected
from fimscan.model import Approval
from fimscan.report.display import json_text
from fimscan.report.documents.parts import text_fields


def acceptance_document(
    host: str,
    changes: Sequence[Selected],
    report: tuple[int, str],
    counts: Mapping[str, int],
    approval: Approval,
    *,
    dry_run: bool,
    everything: bool,
) -> dict[str, Any]:
    """The ``fimscan.acceptance/1`` document.

    ``report`` is the scan and the name of the report, ``counts`` has ``paths``, ``left_out``, ``look`` and ``own``.
    """
    scan, shown = report
    return {
        "schema": "fimscan.acceptance/1",
        "host": json_text(host),
        "dry_run": dry_run,
        "scan": scan,
        "shown": shown,
        "everything": everything,
        **counts,
        "user": json_text(approval.user),
        "ticket": json_text(approval.ticket),
        "reason": json_text(approval.reason),
        "changes": [_change(item, scan) for item in changes],
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
