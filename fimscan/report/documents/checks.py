"""The documents of ``doctor`` and ``audit status`` (``fimscan.checks/1``), and of ``verify`` (``fimscan.verify/1``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fimscan.model import Check, worst
from fimscan.report.display import json_text


def checks_document(checks: Sequence[Check]) -> dict[str, Any]:
    """The ``fimscan.checks/1`` document."""
    bad = worst(checks)
    return {
        "schema": "fimscan.checks/1",
        "ok": not bad.exit_code,
        "severity": bad.value,
        "checks": [
            {
                "id": check.id,
                "check": check.name,
                "ok": check.ok,
                "severity": check.severity.value,
                "detail": json_text(check.detail),
                "remedy": json_text(check.remedy) or None,
            }
            for check in checks
        ],
    }


def verify_document(checks: Sequence[Check], *, fingerprint: str) -> dict[str, Any]:
    """The ``fimscan.verify/1`` document; ``fingerprint`` is the signer's, empty where there is none."""
    return {
        "schema": "fimscan.verify/1",
        "ok": all(check.ok for check in checks),
        "fingerprint": fingerprint or None,
        "checks": [{"check": check.name, "ok": check.ok, "detail": json_text(check.detail)} for check in checks],
    }
