"""Configuration changes between scans, as an object that several documents contain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fimscan.model import Reconfiguration, Scan
from fimscan.report.display import json_text
from fimscan.report.documents.parts import optional_text


def configuration_document(start: Scan, end: Scan, items: Iterable[Reconfiguration]) -> dict[str, Any]:
    """The object ``configuration``."""
    changes = [reconfiguration_document(item) for item in items]
    return {
        "from": start.config_digest or None,
        "to": end.config_digest or None,
        "weaker": any(change["weaker"] for change in changes),
        "changes": changes,
    }


def reconfiguration_document(item: Reconfiguration) -> dict[str, Any]:
    """The changes that one scan was the first to have; its number is ``None`` for the next scan."""
    return {
        "scan": item.scan or None,
        "from": item.before,
        "to": item.after,
        "weaker": item.is_weaker,
        "differences": [
            {
                "key": json_text(difference.key),
                "before": optional_text(difference.before),
                "after": optional_text(difference.after),
                "effect": difference.effect.value,
            }
            for difference in item.differences
        ],
    }
