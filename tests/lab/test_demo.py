"""``make demo``: with real audit, and as the replay that it falls back to."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from demo.replay import replay
from fimscan.model import Verdict

ROOT = Path(__file__).parents[2]


@pytest.mark.audit
@pytest.mark.usefixtures("audit_log")
def test_the_demonstration_names_every_process_rightly() -> None:
    """It compares fimscan's answer with the pids that it started, and fails when they differ."""
    done = subprocess.run([sys.executable, "-m", "demo.demo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "For 12 of 12 files, fimscan names exactly the processes that changed them." in done.stdout


def test_the_recorded_demonstration_gives_the_same_answers_without_root_or_auditd() -> None:
    """Every stage can be replayed from files: ten changes are confirmed, one is contested."""
    diff = replay(ROOT / "demo" / "recorded", io.StringIO())
    verdicts = [finding.attribution.verdict for finding in diff.findings]
    assert sorted(verdicts) == sorted([Verdict.CONFIRMED] * 10 + [Verdict.CONTESTED])
    assert [item.path.rpartition(b"/")[2] for item in diff.opened_unmodified] == [b"untouched"]
