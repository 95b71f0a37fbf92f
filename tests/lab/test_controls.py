"""A real audit system goes blind: each failure is reported once, with who and since when, and again when mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from demo import auditd
from tests.lab.conftest import unavailable
from tests.lab.ground import Installation, installed
from tests.lab.runner import Ground

pytestmark = pytest.mark.audit

FAILED = 8


@pytest.fixture
def site(audit_log: str) -> Iterator[tuple[Installation, list[str]]]:
    with installed(audit_log) as (installation, rules):
        (installation.watched / "file").write_text("old\n")
        yield installation, rules


def scan(site: Installation, code: int) -> list[dict[str, Any]]:
    """A scan with ``--strict``; the failures of audit that it reports."""
    found = json.loads(site.run("scan", "--strict", "--format", "json", codes=(code,)).stdout)["controls"]
    return [item for item in found if item["kind"] == "audit"]


def test_removed_rules_cannot_pass_unnoticed(site: tuple[Installation, list[str]]) -> None:
    """Somebody removes the rules: the next scan says so, names the process, and fails until they are back."""
    installation, rules = site
    auditd.remove_rules(rules)
    (failed,) = scan(installation, FAILED)  # the first scan warns
    assert failed["subject"] == str(installation.watched) and failed["end"] is None
    auditd.load_rules("\n".join(rules))
    (mended,) = scan(installation, 0)
    assert mended["id"] == failed["id"] and mended["end"] is not None
    assert scan(installation, 0) == []

    auditd.remove_rules(rules)
    (removed,) = scan(installation, FAILED)
    assert "removed" in removed["cause"] and removed["actor"]["exe"].endswith("/auditctl")
    assert scan(installation, FAILED) == []  # reported once; the exit code stays
    assert installation.run("scan").returncode == 0  # without --strict, it is as before
    status = installation.run("status").stdout.decode()
    assert f"Control failed (audit): {installation.watched}: its audit rules were removed, by " in status
    auditd.load_rules("\n".join(rules))
    (back,) = scan(installation, 0)
    assert back["id"] == removed["id"] and removed["start"] < back["end"]

    # Removed and loaded again between two scans: over, and still told.
    auditd.remove_rules(rules)
    auditd.load_rules("\n".join(rules))
    (short,) = scan(installation, FAILED)
    assert short["end"] is not None and short["actor"]["exe"].endswith("/auditctl")
    assert scan(installation, 0) == []
    assert "FAIL" not in installation.run("verify", "--db").stdout.decode()


def test_a_stopped_auditd_cannot_pass_unnoticed(site: tuple[Installation, list[str]], ground: Ground) -> None:
    """Since when and by which process auditd was stopped; and that it runs again."""
    if not ground.daemon.is_ours:
        unavailable("only our own auditd may be stopped (FIMSCAN_LAB_OWN_DAEMON=1)")
    installation, _ = site
    scan(installation, 0)
    ground.daemon.stop()
    try:
        (failed,) = scan(installation, FAILED)
        assert failed["subject"] == "auditd" and failed["end"] is None
        assert scan(installation, FAILED) == []
    finally:
        ground.daemon.start()
    (mended,) = scan(installation, 0)
    assert mended["id"] == failed["id"] and mended["end"] is not None
