"""The document of ``selftest`` (``fimscan.selftest/1``), and its object in ``fimscan.status/1``."""

from __future__ import annotations

from typing import Any

from fimscan.model import Selftest
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import text_fields


def selftest_document(host: str, selftest: Selftest) -> dict[str, Any]:
    """The ``fimscan.selftest/1`` document."""
    return {"schema": "fimscan.selftest/1", "host": json_text(host), **selftest_object(selftest)}


def selftest_object(selftest: Selftest) -> dict[str, Any]:
    """One selftest with its steps."""
    return {
        "selftest": selftest.id,
        "passed": selftest.has_passed,
        "started": time_text(selftest.started_ns),
        "finished": time_text(selftest.finished_ns),
        **text_fields("path", selftest.path),
        "pid": selftest.pid,
        **text_fields("exe", selftest.exe),
        "scan": selftest.scan,
        "steps": [
            {
                "step": item.step.value,
                "state": item.state.value,
                "detail": json_text(item.detail),
                "seconds": item.seconds,
                "output": None if item.output is None else json_text(item.output),
            }
            for item in selftest.steps
        ],
    }
