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


UNCHECKED = "intact, signer not checked"
"""The result for a bundle without any problem whose signer was not compared with a known one: anybody can sign."""


def verify_result(checks: Sequence[Check], *, is_signer_checked: bool | None) -> str:
    """The result in words; ``is_signer_checked`` is ``None`` where nothing is signed."""
    if not all(check.ok for check in checks):
        return "failed"
    if is_signer_checked is None:
        return "intact"
    return "intact, signed by the expected key" if is_signer_checked else UNCHECKED


def verify_document(
    checks: Sequence[Check], *, fingerprint: str, is_signer_checked: bool | None = None
) -> dict[str, Any]:
    """The ``fimscan.verify/1`` document; ``fingerprint`` is the signer's, empty where there is none.

    Without a check of the signer, neither that check nor the whole is "ok": it is unknown.
    """
    failed = any(not check.ok for check in checks)
    unknown = is_signer_checked is False and not failed

    def is_ok(check: Check) -> bool | None:
        return None if check.ok and check.name == "signer" and is_signer_checked is False else check.ok

    return {
        "schema": "fimscan.verify/1",
        "ok": None if unknown else not failed,
        "result": verify_result(checks, is_signer_checked=is_signer_checked),
        "fingerprint": fingerprint or None,
        "checks": [{"check": check.name, "ok": is_ok(check), "detail": json_text(check.detail)} for check in checks],
    }
