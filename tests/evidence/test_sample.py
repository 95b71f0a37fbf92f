"""A sample of the changes: drawn reproducibly, with all that is asked about each."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.inputs import BundleInput, FoundChange, Sample
from fimscan.evidence.sample import draw
from fimscan.evidence.verify import verify_bundle
from fimscan.model import Checkpoint, MessageState, Verdict
from fimscan.signing import SigningKey
from tests.evidence.conftest import ALICE, DAY, DECISION, MESSAGE, START, make_decided, make_finding

Make = Callable[..., BundleInput]
Drawn = Callable[..., list[dict[str, str]]]


@pytest.fixture
def drawn(tmp_path: Path, bundle_input: Make, key: SigningKey) -> Drawn:
    """The rows of the sample of an input."""

    def build(size: int, seed: int, **other: object) -> list[dict[str, str]]:
        path = tmp_path / "x.zip"
        build_bundle(replace(bundle_input(**other), sample=Sample(size, seed)), key, path)
        with zipfile.ZipFile(path) as bundle:
            return list(csv.DictReader(io.StringIO(bundle.read("17-sample.csv").decode(), newline="")))

    return build


def many(count: int) -> list[FoundChange]:
    return [FoundChange(make_finding(number, ALICE, verdict=Verdict.CONFIRMED)) for number in range(1, count + 1)]


def test_the_draw_can_be_done_by_hand(drawn: Drawn) -> None:
    """The smallest digests of seed and number, in order; as many as there are if there are fewer."""
    rows = drawn(25, 7, changes=many(500))
    numbers = [int(row["change"]) for row in rows]
    by_hand = sorted(range(1, 501), key=lambda number: hashlib.sha256(f"7\n{number}\n".encode()).hexdigest())[:25]
    assert numbers == by_hand
    assert [row["sample"] for row in rows] == [str(place) for place in range(1, 26)]
    assert [row["change"] for row in drawn(25, 7, changes=many(500)[::-1])] == [row["change"] for row in rows]
    assert {row["change"] for row in drawn(25, 8, changes=many(500))} != {str(number) for number in numbers}
    assert len(drawn(25, 7, changes=many(3))) == 3
    assert draw(7, 12) != draw(71, 2)


def test_a_row_has_detection_alert_review_and_gaps(drawn: Drawn) -> None:
    """Of a change that was handled as it should be, and of others, with what is missing."""
    rows = {row["change"]: row for row in drawn(25, 1)}
    handled, contested, unnamed = rows["17"], rows["18"], rows["19"]
    assert handled["detected_utc"] == "2023-11-16T22:13:20.000Z" and handled["detected_within_hours"] == "24.000"
    assert (handled["alerts"], handled["receivers"]) == ("1", "mail")
    assert handled["acknowledged_utc"] == "2023-11-16T22:13:21.000Z"
    assert (handled["reviewer"], handled["reviewer_among_actors"], handled["ticket"]) == ("'=bob", "no", "CHG-1")
    assert (handled["status"], handled["decided_within_hours"]) == ("approved", "24.000")
    assert (handled["audit_complete"], handled["exceptions"]) == ("yes", "")
    assert contested["exceptions"] == "not reviewed; several processes are possible"
    assert (unnamed["candidates"], unnamed["exe"]) == ("0", "")
    assert unnamed["exceptions"] == "not reviewed; no process is named"


def test_what_an_assessor_would_ask_about(drawn: Drawn) -> None:
    """A reviewer of own changes, a missing ticket, an alert that nobody acknowledged, and none at all."""
    finding = make_decided(make_finding(17, ALICE, verdict=Verdict.CONFIRMED))
    own = replace(DECISION, is_own=True, approval=replace(DECISION.approval, ticket=""))
    assert finding.disposition is not None
    judged = replace(finding, disposition=replace(finding.disposition, record=own))
    waiting = replace(MESSAGE, state=MessageState.WAITING, done_ns=None)
    (row,) = drawn(1, 1, changes=[FoundChange(judged)], alerts=[waiting])
    assert row["exceptions"] == (
        "no alert was acknowledged; no ticket; the reviewer is among the users of the named processes"
    )
    (row,) = drawn(1, 1, changes=[FoundChange(finding)], alerts=[replace(MESSAGE, changes=(range(1, 17),))])
    assert (row["alerts"], row["exceptions"]) == ("0", "no alert")


def test_a_bundle_with_a_sample_verifies_and_says_so(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """The README says how many, of how many, and with which seed; the index lists the file. Without, nothing does."""
    for sample in (None, Sample(2, 5)):
        build_bundle(replace(bundle_input(), sample=sample), key, tmp_path / "x.zip")
        assert verify_bundle(tmp_path / "x.zip").ok
        with zipfile.ZipFile(tmp_path / "x.zip") as bundle:
            readme = bundle.read("00-README.txt").decode()
            index = bundle.read("02-evidence-index.csv").decode()
        assert ("2 of 3 changes, drawn with the seed 5" in readme) == (sample is not None)
        assert ("17-sample.csv" in index) == ("17-sample.csv" in readme) == (sample is not None)


def test_pruned_messages_are_no_missing_alerts(drawn: Drawn, bundle_input: Make) -> None:
    """Messages are kept for a shorter time than changes: nobody is told that there was no alert."""
    known = bundle_input()
    seal = Checkpoint(scan=0, entry="", journal="", digest="", user="root", before_ns={"outbox": START + 3 * DAY})
    scans = [*known.scans[:-1], replace(known.scans[-1], checkpoint=seal)]
    (row,) = drawn(1, 1, changes=[FoundChange(make_finding(40, ALICE, verdict=Verdict.CONFIRMED))], scans=scans)
    assert row["exceptions"] == "messages of that time were pruned; not reviewed"
