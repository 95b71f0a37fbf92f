"""The document of ``fimscan explain``."""

from __future__ import annotations

from typing import Any

from fimscan.model import Doubt, Explanation, Lineage, Ruling, Verdict
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.diff import row_document
from fimscan.report.documents.dispositions import disposition_document
from fimscan.report.documents.packages import package_document
from fimscan.report.documents.parts import actor_document, optional_time
from fimscan.report.reasons import OPENS_ONLY, program_text, why_text


def explanation_document(explanation: Explanation, *, texts: bool = False) -> dict[str, Any]:
    """The ``fimscan.explanation/1`` document: the row of ``fimscan diff``, and the evidence for its verdict.

    With ``texts``, the row has what changed in its text.
    """
    finding = explanation.finding
    reasoning = finding.attribution.reasoning
    last = None if reasoning is None else reasoning.last_change_ns
    considered = None if reasoning is None else [_ruling(ruling) for ruling in reasoning.rulings]
    return {
        "schema": "fimscan.explanation/1",
        "host": json_text(explanation.host),
        "change": {
            **row_document(finding, texts=texts),
            "package": None if finding.package is None else package_document(finding.package),
        },
        "window": {"after_scan": explanation.after_scan, "before_scan": explanation.before_scan},
        "last_change": optional_time(last),
        "considered": considered,
        "omitted": 0 if reasoning is None else reasoning.omitted,
        "holders": _holders_document(explanation),
        "rules": [json_text(rule.text) for rule in explanation.rules],
        "lineages": [_lineage(item) for item in explanation.lineages],
        "programs": [
            {
                "path": json_text(item.path),
                "standing": item.standing.value,
                "change": item.change,
                "words": program_text(item),
            }
            for item in explanation.programs
        ],
        "dispositions": [disposition_document(item) for item in explanation.dispositions],
        "records": [json_text(line) for line in explanation.records],
        "notes": [] if finding.attribution.verdict is Verdict.UNATTRIBUTED else [OPENS_ONLY],
    }


def _ruling(ruling: Ruling) -> dict[str, Any]:
    return {
        "outcome": "named" if ruling.why.names else "cleared" if ruling.why.clears else "noted",
        "why": ruling.why.value,
        "words": why_text(ruling),
        "action": None if ruling.action is None else ruling.action.value,
        "count": ruling.calls,
        "first": optional_time(ruling.first_ns),
        "events": [json_text(str(event)) for event in ruling.events],
        "actor": actor_document(ruling.actor),
    }


def _doubt(doubt: Doubt) -> dict[str, Any]:
    return {"why": doubt.why.value, "actor": doubt.actor and actor_document(doubt.actor)}


def _holders_document(explanation: Explanation) -> dict[str, Any] | None:
    holders = explanation.finding.change.holders
    if holders is None:
        return None
    return {
        "as_of": time_text(holders.as_of_ns),
        "complete": holders.complete,
        "protected": explanation.protected,
        "actors": [actor_document(actor) for actor in holders.actors],
        "later": [actor_document(actor) for actor in holders.later],
        "earlier": [actor_document(actor) for actor in holders.earlier],
        "doubts": [_doubt(doubt) for doubt in holders.doubts],
        "earlier_doubts": [_doubt(doubt) for doubt in holders.earlier_doubts],
    }


def _lineage(lineage: Lineage) -> dict[str, Any]:
    return {
        "actor": actor_document(lineage.actor),
        "ancestors": [actor_document(actor) for actor in lineage.ancestors],
        "unknown": lineage.unknown,
    }
