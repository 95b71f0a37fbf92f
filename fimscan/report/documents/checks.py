"""The documents of ``doctor`` and ``audit status`` (``fimscan.checks/1``), and of ``verify`` (``fimscan.verify/1``)."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from fimscan.model import Check, SignerState, worst
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


_RESULTS = {
    None: "intact",
    # Never simply "ok": anybody can sign with a key of their own.
    SignerState.UNCHECKED: "intact, signer not checked",
    SignerState.EXPECTED: "intact, signed by the expected key",
    SignerState.LINKED: "intact, signed by an earlier or later key of the expected signer",
    SignerState.OTHER: "failed",
}


def verify_result(checks: Sequence[Check], signer: SignerState | None) -> str:
    """The result in words; ``signer`` is ``None`` where nothing is signed."""
    return _RESULTS[signer] if all(check.ok for check in checks) else "failed"


def verify_document(
    checks: Sequence[Check],
    *,
    fingerprint: str,
    signer: SignerState | None = None,
    unmade: Set[str] = frozenset(),
) -> dict[str, Any]:
    """The ``fimscan.verify/1`` document; ``fingerprint`` is the signer's, empty where there is none.

    ``unmade`` names checks that could not be made: these are neither ok nor failed. Without a check of the signer, nor
    is the whole.
    """
    failed = any(not check.ok for check in checks)
    unknown = signer is SignerState.UNCHECKED and not failed
    return {
        "schema": "fimscan.verify/1",
        "ok": None if unknown else not failed,
        "result": verify_result(checks, signer),
        "signer": None if signer is None else signer.value,
        "fingerprint": fingerprint or None,
        "checks": [
            {
                "check": check.name,
                "ok": None if check.ok and check.name in unmade else check.ok,
                "detail": json_text(check.detail),
            }
            for check in checks
        ],
    }
