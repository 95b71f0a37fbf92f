"""An assessor who has only the ZIP, openssl, sha256sum, a browser and python3 gets answers, with file and row."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.conftest import Cli
from tests.pipeline.test_evidence_export import today

CHROMIUM = shutil.which("chromium")
TOOLS = {"PATH": os.environ["PATH"]}
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")]


@pytest.fixture
def unpacked(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a host, in a directory of its own: change 17 is approved, the others wait, audit was blind."""
    cli.scan()
    for number in range(20):
        (cli.watched / f"f{number:02}").write_text("new\n")
    cli("scan", code=1)  # no audit log is read, and no rule covers the directory
    seventeen = next(change for change in cli.diff()["changes"] if change["id"] == 17)
    cli("accept", seventeen["path"], "--ticket", "CHG-17", "--reason", "release 2", code=0)
    out = cli.root / "q.zip"
    cli("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(out), code=0)
    directory = tmp_path_factory.mktemp("assessor")
    with zipfile.ZipFile(out) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture
def report(unpacked: Path) -> Iterator[Page]:
    """The report, opened from the disk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((unpacked / "01-report.html").as_uri())
        yield page
        browser.close()


def test_the_four_questions(unpacked: Path, report: Page) -> None:
    """Compared every seven days? Who approved change 17, on what ticket? When and why blind? Altered afterwards?"""
    text = report.inner_text("body")
    # Compared at least every seven days: the longest time between two comparisons, and the file that shows each.
    longest = re.search(r"the longest has ([\d.]+) hours\. Allowed: 168 hours\.\s+08-continuity\.csv", text)
    assert longest is not None and float(longest[1]) < 168
    intervals = [row for row in rows(unpacked / "08-continuity.csv") if row["status"] != "not-monitored"]
    assert intervals and max(float(row["actual_hours"]) for row in intervals) == float(longest[1])
    # Who approved change 17.
    (change,) = [row for row in rows(unpacked / "09-changes.csv") if row["change"] == "17"]
    assert (change["status"], change["ticket"], change["decision_reason"]) == ("approved", "CHG-17", "release 2")
    (decision,) = [row for row in rows(unpacked / "11-dispositions.csv") if row["decision"] == change["decision"]]
    assert (decision["path"], decision["reviewer"]) == (change["object"], change["reviewer"])
    assert change["reviewer"] and change["decided_utc"]
    # Blind: the page names the rows, and the rows say when and why.
    blind = re.findall(r"^(\d+)\s+audit was blind for [\d.]+ hours \(([a-z-]+)\), (\S+) to (\S+)", text, re.MULTILINE)
    assert {why for _, why, _, _ in blind} >= {"no-rule"}
    for number, *said in blind:
        row = line(unpacked, "08-audit-coverage.csv", int(number))
        assert all(part in row for part in said)
    # Altered afterwards: the openssl, sha256sum and python3 commands of the README, and nothing of ours.
    assert checked(unpacked)


@pytest.mark.parametrize("name", ["09-changes.csv", "11-dispositions.csv", "07-rows.jsonl"])
def test_what_was_altered_afterwards_is_noticed(unpacked: Path, name: str) -> None:
    """Also if whoever altered it signs again with a key of their own: the program of the README replays the records."""
    path = unpacked / name
    path.write_text(path.read_text().replace("CHG-17", "CHG-71"))
    assert not checked(unpacked)
    assert "BROKEN" in replay(unpacked).stdout


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def line(unpacked: Path, name: str, number: int) -> str:
    """A row, as the report says to print it."""
    return subprocess.run(
        ["sed", "-n", f"{number}p", name], cwd=unpacked, capture_output=True, text=True, check=True
    ).stdout


def checked(unpacked: Path) -> bool:
    """Whether the signature, the digests and the records hold, by the commands of the README."""
    readme = (unpacked / "00-README.txt").read_text()
    signature = re.search(r"^openssl pkeyutl .*\n.*$", readme, re.MULTILINE)
    digests = re.search(r"^sha256sum -c .*$", readme, re.MULTILINE)
    assert signature is not None and digests is not None
    done = [
        subprocess.run(command, shell=True, cwd=unpacked, env=TOOLS, check=False)
        for command in (signature[0], digests[0])
    ]
    return all(one.returncode == 0 for one in done) and replay(unpacked).returncode == 0


def replay(unpacked: Path) -> subprocess.CompletedProcess[str]:
    """Run the program at the end of the README with Python's standard library alone."""
    readme = (unpacked / "00-README.txt").read_text()
    program = readme[readme.index("\n#!") + 1 :]
    command = [sys.executable, "-I", "-S", "-c", program]
    return subprocess.run(command, cwd=unpacked, env={}, capture_output=True, text=True, check=False)
