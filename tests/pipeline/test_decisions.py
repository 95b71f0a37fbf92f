"""The last decision about a change that is in effect, found without looking at all of them."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from fimscan.model import AcceptanceRecord, Approval, Change, ChangeKind, Finding, Verdict, Window
from fimscan.pipeline.history.dispositions import Decisions, LastDecisions, in_effect
from fimscan.store import acceptance, findings
from tests.evidence.conftest import make_finding
from tests.support import state

PATH = b"/w/f"


def test_it_is_the_one_that_all_decisions_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """For any order of scans, of decisions about everything and about the path, some of them taken back."""
    chosen = random.Random(7)
    change = Change(kind=ChangeKind.ADDED, before=None, after=state(PATH), window=Window(after_ns=0, before_ns=1))
    finding = replace(make_finding(1, verdict=Verdict.UNATTRIBUTED), change=change)
    for _ in range(500):
        scans = sorted(chosen.sample(range(1, 20), chosen.randint(1, 6)))
        records = [made(chosen, number) for number in range(chosen.randint(0, 8))]
        monkeypatch.setattr(acceptance, "records_of", lambda *_, found=records: found)
        monkeypatch.setattr(findings, "scans_of", lambda *_, found=scans: {PATH: found})
        decisions = Decisions(None, [PATH])  # type: ignore[arg-type]
        last = LastDecisions(records)
        for scan in scans:
            row: Finding = replace(finding, scan=scan)
            later = next((other for other in scans if other > scan), None)
            assert last.about(row, later) == in_effect(decisions.about(row))


def made(chosen: random.Random, number: int) -> AcceptanceRecord:
    return AcceptanceRecord(
        path=chosen.choice((None, PATH)),
        scan=chosen.randint(1, 20),
        approval=Approval(accepted_ns=number, user="u"),
        act=number + 1,
        number=number + 1,
        is_undone=chosen.random() < 0.2,
    )
