"""The document of changes in an evidence bundle. It is built in pieces, because it is written as a stream."""

from __future__ import annotations

from typing import Any

from fimscan.model import Finding
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.diff import row_document
from fimscan.report.documents.packages import package_document

OUTCOME = "success"
"""Outcome of every change: its result was seen in the file. A failed attempt changes nothing and is not listed."""


def evidence_changes_head(host: str, period: tuple[int, int]) -> dict[str, Any]:
    """The ``fimscan.evidence.changes/1`` document without its last key, ``changes``."""
    start, end = (time_text(edge) for edge in period)
    return {"schema": "fimscan.evidence.changes/1", "host": json_text(host), "from": start, "to": end}


def evidence_change_document(finding: Finding, set_number: int | None) -> dict[str, Any]:
    """One entry of ``changes``: as in ``fimscan.diff/1``, with its set, its package, and its outcome."""
    return {
        **row_document(finding),
        "set": set_number,
        "package": None if finding.package is None else package_document(finding.package),
        "outcome": OUTCOME,
    }
