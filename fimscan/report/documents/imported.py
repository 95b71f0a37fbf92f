"""The document of ``fimscan import``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fimscan.report.display import time_text

_COUNTS = ("same", "differing", "gone", "new", "adopted", "outside", "without_digest", "unreadable")


def import_document(scan: int, taken_ns: int, counts: Mapping[str, int]) -> dict[str, Any]:
    """The ``fimscan.import/1`` document: the scan that became the baseline, and the number of files of each kind."""
    return {
        "schema": "fimscan.import/1",
        "scan": scan,
        "taken": time_text(taken_ns),
        **{name: counts[name] for name in _COUNTS},
    }
