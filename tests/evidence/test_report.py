"""The report for people: each requirement has a page, and each exception the file and line that show it."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.contents import CONTENTS
from fimscan.evidence.inputs import BundleInput, ClockAtScan, FoundChange
from fimscan.evidence.requirements import MAPPED, REQUIREMENTS
from fimscan.evidence.signing import SigningKey
from fimscan.model import ClockLook, MessageState, Verdict
from tests.evidence.conftest import ALICE, MESSAGE, START, make_finding

Make = Callable[..., BundleInput]
Built = Callable[..., tuple[str, dict[str, list[list[str]]]]]
Exceptions = dict[str, list[tuple[str, str, str]]]


@pytest.fixture
def built(tmp_path: Path, bundle_input: Make, key: SigningKey) -> Built:
    """The report of an input, and the lines of the tables."""

    def build(**other: object) -> tuple[str, dict[str, list[list[str]]]]:
        build_bundle(bundle_input(**other), key, tmp_path / "x.zip")
        with zipfile.ZipFile(tmp_path / "x.zip") as bundle:
            names = [name for name in bundle.namelist() if name.endswith(".csv")]
            tables = {name: list(csv.reader(io.StringIO(bundle.read(name).decode(), newline=""))) for name in names}
            return bundle.read("01-report.html").decode(), tables

    return build


def exceptions(page: str) -> Exceptions:
    """(file, line, text) of each exception, by requirement."""
    found: Exceptions = {}
    for section in re.findall(r'<section id="r.*?</section>', page, re.DOTALL):
        title = re.search(r"<h2[^>]*>(.*?): ", section)
        assert title is not None
        rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", section)
        found[title[1]] = [(html.unescape(a), html.unescape(b), html.unescape(c)) for a, b, c in rows]
    return found


def test_there_is_a_page_for_each_requirement(built: Built) -> None:
    """With what is asked, what was observed and what is not proved; its files are in the bundle."""
    page, tables = built()
    assert list(exceptions(page)) == [one.number for one in REQUIREMENTS]
    for one in REQUIREMENTS:
        assert html.escape(one.asked, quote=False) in html.unescape(page)
        assert one.not_proved in html.unescape(page)
        assert set(one.files) <= {entry.name for entry in CONTENTS}
    assert tables
    numbers = {one.number for one in REQUIREMENTS}
    assert all(set(one.pages) <= numbers and one.control in page for one in MAPPED)


def test_file_and_line_show_the_exception(built: Built) -> None:
    """Also behind a change with several candidates, which has several lines."""
    changes = [
        FoundChange(make_finding(4, ALICE, ALICE._replace(pid=9), verdict=Verdict.CONTESTED)),
        FoundChange(make_finding(7, verdict=Verdict.UNATTRIBUTED)),
    ]
    alerts = [MESSAGE, replace(MESSAGE, number=8, state=MessageState.GIVEN_UP, done_ns=None, answer="limits")]
    clocks = [ClockAtScan(1, START, ClockLook(synchronized=True)), ClockAtScan(2, START, ClockLook())]
    page, tables = built(changes=changes, alerts=alerts, clocks=clocks)
    found = exceptions(page)
    (unnamed,) = found["10.2.2"]
    assert unnamed[:2] == ("09-changes.csv", "4")
    for file, line, text in (row for rows in found.values() for row in rows if row[1]):
        cells = tables[file][int(line) - 1]
        number = re.match(r"(?:change|message|scan|decision) (\d+)", text)
        words = [number[1]] if number is not None else [text.split(",")[0].split(":")[0].split(" ")[0]]
        assert any(word in cell for word in words for cell in cells), (file, line, text, cells)
    assert ("10-alerts.csv", "3", "message 8 to mail: given-up, limits") in found["12.10.5"]
    assert ("14-time-sync.csv", "3", "scan 2: unknown") in found["10.6"]
    assert {row[2].split(":")[0] for row in found["11.5.2"] if row[0] == "09-changes.csv"} == {"change 4", "change 7"}


def test_what_is_missing_is_an_exception(built: Built) -> None:
    """No receiver, no log, no look at the clock, a database that does not verify: nobody takes silence for success."""
    page, _ = built(routes=(), logs=(), clocks=(), alerts=(), failed_checks=["rows: change 1 was altered"])
    found = {number: [text for _, _, text in rows] for number, rows in exceptions(page).items()}
    assert "the database does not verify: rows: change 1 was altered" in found["11.5.2"]
    assert "was altered or is damaged" in page
    for number in ("11.5.2", "12.10.5"):
        assert "no receiver is configured: nobody is alerted" in found[number]
    assert found["10.3.4"] == ["no log has the policy append-only"]
    assert found["10.6"] == ["no scan of the period recorded it"]


def test_nothing_in_it_runs_or_loads(built: Built) -> None:
    """Names of files and users are text; the style is the one that the policy names. Many exceptions are counted."""
    evil = ALICE._replace(login_user="<script>alert(1)</script>")
    one = make_finding(1, evil, verdict=Verdict.UNATTRIBUTED)
    path = b'/etc/<img src=x onerror="alert(1)">'
    after = None if one.change.after is None else replace(one.change.after, path=path)
    hostile = replace(one, change=replace(one.change, after=after))
    page, _ = built(host="<b>h</b>", changes=[FoundChange(hostile)] * 200)
    assert "<script" not in page and "<img" not in page and "<b>" not in page
    assert "&lt;img src=x" in page and "and 150 more" in page
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in html.unescape(page)
    assert "url(" not in style and "@import" not in style
