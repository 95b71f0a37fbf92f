"""``01-report.html`` and ``.pdf``: what an assessor reads is what the tables say, row by row."""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.evidence.assessment.html_reader import Heading, Item, Paragraph, Table, read_report
from fimscan.evidence.assessment.mapping import FRAMEWORKS
from fimscan.evidence.assessment.observation import MOST, Observation
from fimscan.evidence.assessment.observers import observe
from fimscan.evidence.assessment.pdf import pdf_report
from fimscan.evidence.assessment.pdf_layout import BODY, NAME, STRONG, Style, shown, width_of, wrapped
from fimscan.evidence.assessment.scope import Scope, scope_of
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.contents import CONTENTS
from fimscan.evidence.inputs import BundleInput, ClockAtScan, CriticalPattern, FoundChange, MonitoredLog, Retained
from fimscan.evidence.tables import FileTotals
from fimscan.evidence.verify import verify_bundle
from fimscan.model import (
    ClockLook,
    Disposition,
    DispositionStatus,
    Effect,
    MessageState,
    Reason,
    RetentionKind,
    SelftestStep,
    StepResult,
    StepState,
    Verdict,
)
from fimscan.signing import SigningKey
from fimscan.store.logs import LogHistory
from tests.evidence.conftest import (
    ALICE,
    DAEMON,
    DAY,
    DECISION,
    FILES,
    MESSAGE,
    START,
    make_finding,
    make_input,
    make_state,
)

HOSTILE = "</td><script>alert(1)</script>\x1b[2J\u202egnp.\"'`\u2028%s"
PDFTOTEXT = shutil.which("pdftotext")


def troubled() -> BundleInput:
    """A host on which each observation has exceptions, among rows that have none."""
    plain = make_input()
    changes = [item.finding for item in plain.changes]
    own = replace(DECISION, is_own=True, number=6)
    (failure,), (selftest,), (change,) = plain.failures, plain.selftests, plain.reconfigurations
    failed = StepResult(step=SelftestStep.DETECTED, state=StepState.FAILED, detail="not seen")
    steps = (*selftest.steps, failed)
    weaker = replace(change.differences[0], key="audit: log", effect=Effect.WEAKER)
    (route,) = plain.routes
    return make_input(
        files=[*FILES, make_state(b"/etc/x", digests=()), make_state(b"/usr/sbin/auditctl", b"tool")],
        scans=[*plain.scans, replace(plain.scans[2], id=5, started_ns=START + 7 * DAY)],
        max_gap_days=3,
        failed_checks=("rows\nare altered",),
        critical=(
            CriticalPattern(path=b"/etc", policy="full", severity="high", category="c", rationale="it is"),
            CriticalPattern(path=b"/srv", policy="full", severity="low", category="c"),
        ),
        routes=(route, replace(route, name="other", problems=False)),
        reconfigurations=(replace(change, differences=(*change.differences, weaker)),),
        changes=(
            *(FoundChange(finding, 17) for finding in changes),
            FoundChange(make_finding(30, ALICE, DAEMON, verdict=Verdict.CONTESTED)),
            FoundChange(
                replace(make_finding(31, verdict=Verdict.UNATTRIBUTED, reason=Reason.NO_EVENT), severity="critical")
            ),
        ),
        alerts=(MESSAGE, replace(MESSAGE, number=4, state=MessageState.GIVEN_UP, changes=(range(30, 31),))),
        decisions=(DECISION, own),
        failures=(failure, replace(failure, id=2, end_ns=START + DAY)),
        logs=(
            MonitoredLog(history=LogHistory(path=b"/var/log/a", first_ns=START), pattern=b"/var/log", size=3),
            MonitoredLog(history=LogHistory(path=b"/var/log/b", first_ns=START), pattern=b"/var/log"),
        ),
        clocks=(
            ClockAtScan(2, START, ClockLook(synchronized=True)),
            ClockAtScan(4, START, ClockLook(synchronized=False)),
        ),
        retention=(
            Retained(kind=RetentionKind.SCANS, what="scans", age="400d", schedule="@daily"),
            Retained(kind=RetentionKind.OUTBOX, what="messages", age="90d", schedule="@daily"),
        ),
        selftests=(selftest, replace(selftest, id=2, steps=steps)),
    )


Row = Mapping[str, str]
# Which rows are exceptions, said once more and independently.
IS_EXCEPTION: Mapping[str, Callable[[Row], bool]] = {
    "comparisons": lambda row: row["status"] != "ok",
    "missed-runs": lambda row: True,
    "not-compared": lambda row: True,
    "scans": lambda row: row["scan"] == "5",
    "settings": lambda row: row["effect"] == "weaker",
    "alert-routes": lambda row: row["problems"] == "no",
    "critical-files": lambda row: row["rationale"] == "",
    "monitored-files": lambda row: row["type"] == "file" and row["sha256"] == "",
    "audit-coverage": lambda row: True,
    "audit-events": lambda row: row["kind"] == "rule-removed",
    "named": lambda row: row["verdict"] in ("contested", "unattributed") and row["candidate"] in ("none", "1 of 2"),
    "alerted": lambda row: row["change"] in ("30", "31") and row["candidate"] in ("none", "1 of 2"),
    "reviewed": lambda row: row["status"] == "pending" and row["candidate"] in ("none", "1 of 1", "1 of 2"),
    "approved": lambda row: row["ticket"] == "" and row["candidate"] in ("none", "1 of 1", "1 of 2"),
    "alerts": lambda row: row["state"] != "delivered",
    "decisions": lambda row: row["own"] == "yes",
    "control-failures": lambda row: True,
    "logs": lambda row: row["status"] != "ok",
    "clock": lambda row: row["synchronized"] != "yes",
    "retention": lambda row: row["kept_for"] == "90d",  # and there are no 12 months
    "selftests": lambda row: row["state"] == "failed",
}
NO_ROWS = {"schedule", "audit-tools", "records"}  # their exceptions are what is not there


class Bundle:
    """A bundle, its report, and its tables line by line."""

    def __init__(self, data: BundleInput, key: SigningKey, path: Path) -> None:
        build_bundle(data, key, path)
        with zipfile.ZipFile(path) as packed:
            self.members = {name: packed.read(name) for name in packed.namelist()}
        totals = FileTotals(files=0, without_sha256=0, state_digest="")
        self.scope = scope_of(data, data.covered_to_ns, totals)
        self.observations = observe(self._rows, self.scope)

    def _rows(self, name: str) -> list[tuple[int, Row]]:
        text = self.members[name].decode()
        csv.field_size_limit(1 << 30)
        return list(enumerate(csv.DictReader(io.StringIO(text, newline="")), 2))

    def line(self, name: str, number: int) -> Row:
        """What 'sed -n NUMBERp NAME' prints, by column."""
        lines = self.members[name].decode().split("\n")
        (header,), (cells,) = csv.reader([lines[0]]), csv.reader([lines[number - 1]])
        return dict(zip(header, cells, strict=True))

    def lines(self, name: str) -> dict[int, Row]:
        count = self.members[name].decode().count("\n")
        return {number: self.line(name, number) for number in range(2, count + 1)}

    @property
    def html(self) -> str:
        return self.members["01-report.html"].decode()


@pytest.fixture
def made(tmp_path: Path, key: SigningKey) -> Callable[[BundleInput], Bundle]:
    return lambda data: Bundle(data, key, tmp_path / "x.zip")


@pytest.fixture
def trouble(made: Callable[[BundleInput], Bundle]) -> Bundle:
    return made(troubled())


# --------------------------------------------------------------------------------------------------------------------
# The mapping


def test_each_requirement_has_a_page() -> None:
    """Those that an assessor of PCI DSS asks for, and the others by table."""
    found = {framework.id: [item.id for item in framework.requirements] for framework in FRAMEWORKS}
    assert found["pci-dss"] == [
        *("11.5.2", "10.2.2", "10.3.4", "10.4", "10.5.1", "10.6", "10.7.2/10.7.3", "6.5.1", "12.10.5")
    ]
    assert found["nist-800-53"] == ["SI-7 (1)", "SI-7 (2)", "SI-7 (3)", "SI-7 (7)"]
    assert found["stig"] == [f"RHEL-09-6510{number}" for number in (10, 15, 20, 25, 30, 35)]
    assert all(item.asked and item.shown for framework in FRAMEWORKS for item in framework.requirements)
    assert all(item.not_proved for item in FRAMEWORKS[0].requirements)


def test_the_mapping_names_what_there_is(trouble: Bundle) -> None:
    """Each observation is on some page, no page names one that there is not, and each is of a file of the bundle."""
    named = {name for framework in FRAMEWORKS for item in framework.requirements for name in item.shown}
    assert named == set(trouble.observations) == {*IS_EXCEPTION, *NO_ROWS}
    assert {item.file for item in trouble.observations.values()} <= set(trouble.members)


def test_the_index_has_the_report_for_each_requirement(trouble: Bundle) -> None:
    """Whoever begins at the index finds both files."""
    index = trouble.lines("02-evidence-index.csv").values()
    for name in ("01-report.html", "01-report.pdf"):
        found = {row["requirement"] for row in index if row["file"] == name}
        assert found >= {"11.5.2", "10.2.2", "10.3.4", "10.4", "10.5.1", "10.6", "10.7.2", "10.7.3", "6.5.1", "12.10.5"}
        assert f"  {name}" in trouble.members["00-README.txt"].decode()
    assert {entry.name for entry in CONTENTS} <= set(trouble.members)


# --------------------------------------------------------------------------------------------------------------------
# Exceptions


@pytest.mark.parametrize("name", sorted(IS_EXCEPTION))
def test_exceptions_are_the_rows_that_are_exceptions(trouble: Bundle, name: str) -> None:
    """No row that deserves attention is left out, no other one is named, and each row number is the right one."""
    observation = trouble.observations[name]
    expected = {number for number, row in trouble.lines(observation.file).items() if IS_EXCEPTION[name](row)}
    assert expected
    assert {item.row for item in observation.deviations if item.row is not None} == expected
    assert {item.row for item in observation.deviations} <= {*expected, None}
    assert observation.count == len(observation.deviations)
    for item in observation.deviations:
        if item.row is not None:
            cells = set(trouble.line(observation.file, item.row).values())
            words = {item.subject, item.subject.rpartition(" ")[2], item.subject.partition(" ")[0]}
            assert words & cells, (name, item)


def test_the_page_has_each_exception_with_file_and_row(trouble: Bundle) -> None:
    """What is computed is what is on the page, in the section of its requirement, before what was observed."""
    page = trouble.html
    (section,) = re.findall(r'<section class="page" id="pci-dss-11-5-2".*?</section>', page, re.DOTALL)
    assert section.index("Exceptions: ") < section.index(">Observed<") < section.index(">Not proved<")
    for name in FRAMEWORKS[0].requirements[0].shown:
        observation = trouble.observations[name]
        for item in observation.deviations:
            cell = item.row if item.row is not None else "-"
            text = re.escape(item.text).replace("'", "&#39;")
            assert re.search(rf'<td class="row">{cell}</td><td>{text}</td>', section), item


def test_audit_tools_that_are_not_monitored_are_named(trouble: Bundle) -> None:
    assert "auditctl" not in [item.subject for item in trouble.observations["audit-tools"].deviations]
    assert {"auditd", "ausearch"} <= {item.subject for item in trouble.observations["audit-tools"].deviations}


def test_records_that_do_not_verify_are_said_first(trouble: Bundle) -> None:
    """On the cover, in both files, and as an exception of 10.3.4."""
    assert "These records do not verify as a whole" in trouble.html.partition("How to read it")[0]
    assert "rows\\x0aare altered" in trouble.html.partition("How to read it")[0]
    assert b"These records do not verify as a whole" in trouble.members["01-report.pdf"]
    assert trouble.observations["records"].count


def test_whole_records_raise_no_alarm(made: Callable[[BundleInput], Bundle]) -> None:
    page = made(make_input(failed_checks=())).html
    assert "do not verify as a whole" not in page
    assert "The records are whole" in page


def test_nothing_observed_is_not_called_good(made: Callable[[BundleInput], Bundle]) -> None:
    """Where nothing was compared, empty tables show nothing, and the page says so."""
    empty = ("changes", "unreadable", "failures", "missed_runs", "selftests", "routes", "audit_gaps", "alerts")
    more = ("decisions", "logs", "notices", "clocks", "retention", "reconfigurations", "critical")
    found = made(make_input(scans=(), files=(), **dict.fromkeys((*empty, *more), ()))).observations
    for name in ("not-compared", "audit-coverage", "named", "reviewed", "approved", "alerted", "settings"):
        assert "shows nothing" in found[name].text
    for name in ("scans", "comparisons", "logs", "alert-routes", "alerts", "monitored-files", "audit-tools"):
        assert found[name].count, name


def test_time_before_monitoring_is_no_gap_but_is_told(made: Callable[[BundleInput], Bundle]) -> None:
    """The largest gap is between comparisons; of the time before, nothing is known."""
    observation = made(make_input(start_ns=START - 30 * DAY)).observations["comparisons"]
    assert "the longest has 120.000 hours" in observation.text
    assert [item.text for item in observation.deviations] == [
        "696.000 hours of the period before monitoring began: nothing is known of them"
    ]


def test_many_exceptions_are_counted_and_the_worst_listed(made: Callable[[BundleInput], Bundle]) -> None:
    """So long a table does not make the report long, and the critical change is not lost in it."""
    low = replace(make_finding(1, verdict=Verdict.UNATTRIBUTED, reason=Reason.NO_EVENT), severity="low")
    found = [replace(low, change=replace(low.change, id=number)) for number in range(1, 1001)]
    found[700] = replace(found[700], severity="critical")
    bundle = made(make_input(changes=[FoundChange(finding) for finding in found]))
    observation = bundle.observations["named"]
    assert observation.count == 1000
    assert [item.row for item in observation.deviations] == [702, *range(2, MOST + 1)]
    assert bundle.line("09-changes.csv", 702)["severity"] == "critical"
    assert f"{1000 - MOST} more are not listed here" in bundle.html


def test_odd_cells_do_not_stop_the_export(made: Callable[[BundleInput], Bundle]) -> None:
    """A clock that was set back makes negative seconds; a message can be about many single changes."""
    many = replace(MESSAGE, number=4, changes=tuple(range(n, n + 1) for n in range(1, 100_000, 2)))
    early = replace(MESSAGE, number=5, done_ns=MESSAGE.made_ns - DAY)
    finding = replace(make_finding(17, ALICE, verdict=Verdict.CONFIRMED))
    odd = replace(finding, change=replace(finding.change, id=18))
    bundle = made(make_input(alerts=(many, early), changes=[FoundChange(finding), FoundChange(odd)]))
    assert len(bundle.line("10-alerts.csv", 2)["changes"]) > 200_000
    assert bundle.line("10-alerts.csv", 3)["seconds"].startswith("'-")
    assert bundle.observations["alerted"].count == 0  # 17 is odd, and the second message has 17 to 19
    assert "2 messages made" in bundle.observations["alerts"].text


def test_a_message_about_many_single_changes_verifies(tmp_path: Path, key: SigningKey) -> None:
    """csv's own limit of a cell would stop verification, too."""
    many = replace(MESSAGE, changes=tuple(range(n, n + 1) for n in range(1, 100_000, 2)))
    build_bundle(make_input(alerts=(many,)), key, tmp_path / "x.zip")
    assert verify_bundle(tmp_path / "x.zip").ok


def test_no_comparison_at_all_is_no_interval(made: Callable[[BundleInput], Bundle]) -> None:
    observation = made(make_input(scans=(), files=())).observations["comparisons"]
    assert observation.text == "No comparison was finished in the period or before it."
    assert observation.count == 1


@pytest.mark.parametrize(("months", "is_told"), [(11, True), (13, False)])
def test_a_short_history_is_told(made: Callable[[BundleInput], Bundle], months: int, *, is_told: bool) -> None:
    """10.5.1 asks for 12 months: with less, the page does not say that there are no exceptions."""
    oldest = START + 8 * DAY - months * 30 * DAY - 5 * DAY
    one = Retained(kind=RetentionKind.SCANS, what="scans", age="400d", schedule="@daily", oldest_ns=oldest)
    observation = made(make_input(retention=(one,))).observations["retention"]
    assert ["no 12 months of history" in item.text for item in observation.deviations] == [True] * is_told


def test_pruned_messages_are_no_missing_alerts(made: Callable[[BundleInput], Bundle]) -> None:
    """Messages are kept for a shorter time than changes: of older changes, nothing is known, and the page says so."""
    outbox = Retained(
        kind=RetentionKind.OUTBOX, what="messages", age="90d", schedule="off", removed_before_ns=START + 3 * DAY
    )
    observation = made(make_input(alerts=(), retention=(outbox,))).observations["alerted"]
    assert observation.count == 0
    assert "3 from before 2023-11-17T22:13:20.000Z, whose messages were pruned" in observation.text
    earlier = replace(outbox, removed_before_ns=START + DAY)
    assert made(make_input(alerts=(), retention=(earlier,))).observations["alerted"].count == 3


def test_a_violation_comes_first(made: Callable[[BundleInput], Bundle]) -> None:
    """It was reviewed, and has to be followed up (10.4.3); it is no approved change either (6.5.1)."""
    finding = make_finding(40, ALICE, verdict=Verdict.CONFIRMED)
    record = replace(DECISION, status=DispositionStatus.VIOLATION)
    found = replace(finding, disposition=Disposition(record=record))
    bundle = made(make_input(changes=[*make_input().changes, FoundChange(found)]))
    for name, words in (("reviewed", "found to be a violation by '=bob, ticket CHG-1"), ("approved", "violation")):
        assert [words in item.text for item in bundle.observations[name].deviations].count(True) == 1
    assert "violation" in bundle.observations["reviewed"].deviations[0].text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ticket": ""}, "approved by &#39;=bob without a ticket"),
        ({"reason": ""}, "approved by &#39;=bob without a reason"),
    ],
)
def test_incomplete_approvals(made: Callable[[BundleInput], Bundle], change: dict[str, str], text: str) -> None:
    """A change that was approved without ticket or reason is an exception of 6.5.1."""
    (item, *_) = make_input().changes
    assert item.finding.disposition is not None
    record = replace(DECISION, approval=replace(DECISION.approval, **change))
    finding = replace(item.finding, disposition=replace(item.finding.disposition, record=record))
    assert text in made(make_input(changes=[FoundChange(finding)])).html


# --------------------------------------------------------------------------------------------------------------------
# Hostile names, and the PDF file


def hostile_input() -> BundleInput:
    name = HOSTILE.encode()
    finding = make_finding(17, ALICE._replace(exe=name, login_user=HOSTILE), DAEMON, verdict=Verdict.CONTESTED)
    path = b"/etc/" + name + "漢字 עברית ".encode() + b"\xff\n" + b"\xe9" * 4000
    after = make_state(path)
    return make_input(
        host=HOSTILE,
        organization=HOSTILE + "\udc80",
        addresses=(HOSTILE,),
        failed_checks=(HOSTILE,),
        changes=[FoundChange(replace(finding, change=replace(finding.change, before=after, after=after)))],
        schedule={"scan": HOSTILE + "\r\n"},
    )


def test_hostile_names_are_text(made: Callable[[BundleInput], Bundle]) -> None:
    """No name ends an element, and no control or bidirectional character reaches either file."""
    bundle = made(hostile_input())
    page, paper = bundle.html, bundle.members["01-report.pdf"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for character in ("\x1b", "\u202e", "\u2028", "\r"):
        assert character not in page
    assert "default-src 'none'; style-src 'sha256-" in page
    assert set(paper.partition(b"\n")[2].partition(b"\n")[2]) <= {*range(0x20, 0x7F), *range(0xA1, 0x100), 0x0A}


def test_the_pdf_file_is_well_formed(made: Callable[[BundleInput], Bundle]) -> None:
    """Each object is where the table of references says, and each stream is as long as it says."""
    paper = made(hostile_input()).members["01-report.pdf"]
    start = int(paper.split(b"startxref\n")[1].split(b"\n")[0])
    entries = re.findall(rb"(\d{10}) \d{5} n ", paper[start:])
    assert len(entries) > 20
    for number, offset in enumerate(entries, 1):
        assert paper[int(offset) :].startswith(b"%d 0 obj\n" % number)
    streams = re.findall(rb"/Length (\d+)>>\nstream\n(.*?)\nendstream", paper, re.DOTALL)
    assert streams
    assert all(int(length) == len(content) for length, content in streams)


@pytest.mark.skipif(PDFTOTEXT is None, reason="pdftotext is not installed (apt-get install poppler-utils)")
def test_another_program_reads_the_pdf_file(made: Callable[[BundleInput], Bundle], tmp_path: Path) -> None:
    """All text of the page is in the file, and characters that the fonts do not have are written in ASCII."""
    (tmp_path / "x.pdf").write_bytes(made(hostile_input()).members["01-report.pdf"])
    done = subprocess.run(["pdftotext", "-raw", tmp_path / "x.pdf", "-"], capture_output=True, check=True)
    text, run_together = done.stdout.decode(), re.sub(r"\s", "", done.stdout.decode())
    assert done.stderr == b""
    for framework in FRAMEWORKS:
        for item in framework.requirements:
            assert f"{item.id} {item.title}" in " ".join(text.split())
    assert "\\u6f22\\u5b57" in run_together
    assert "charactersintherow)" in run_together  # a name of 4,096 bytes does not fill pages


@pytest.mark.parametrize("style", [BODY, NAME, STRONG])
@pytest.mark.parametrize("text", ["", "a b  c", "x" * 500, "short " + "W" * 90 + " end", "漢" * 100, "é ü ß ÿ"])
def test_no_line_is_wider_than_its_place(style: Style, text: str) -> None:
    """Nothing runs into the next column, and no character is lost."""
    lines = wrapped(text, style, 100)
    assert all(width_of(line, style) <= 100 for line in lines)
    assert "".join(lines).replace(" ", "") == shown(text).replace(" ", "")


def test_the_pdf_file_is_made_from_the_page(trouble: Bundle) -> None:
    """The same page is the same file; what another page says, the file says."""
    assert pdf_report(trouble.html) == trouble.members["01-report.pdf"]
    assert b"(How to trust it)" in pdf_report(trouble.html.replace("How to read it", "How to trust it"))


@pytest.mark.parametrize("make", [troubled, hostile_input])
def test_the_pdf_file_says_all_of_the_page(
    made: Callable[[BundleInput], Bundle], make: Callable[[], BundleInput]
) -> None:
    """Each character between the tags of the page is in a block, in its place."""
    bundle = made(make())
    said = html.unescape(re.sub(r"<[^>]*>", "", bundle.html.partition("<body>")[2]))
    assert re.sub(r"\s", "", "".join(_texts(bundle.html))) == re.sub(r"\s", "", said)
    drawn = re.findall(rb"(?<=\()(?:[^()\\]|\\.)*(?=\) Tj)", bundle.members["01-report.pdf"])
    paper = re.sub(r"\s", "", re.sub(r"\\(.)", r"\1", b"".join(drawn).decode("latin-1")))
    for text in _texts(bundle.html):
        for word in shown(text).split():
            assert word[:10] in paper, text


def _texts(page: str) -> Iterator[str]:
    """The texts of all blocks, in their order."""
    for block in read_report(page).blocks:
        match block:
            case Heading() | Paragraph() | Item():
                yield block.text
            case Table():
                yield from (block.caption, *block.header)
                for group in block.groups:
                    yield group.title
                    for row in group.rows:
                        yield from row.cells


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ("<ul>", "<ul><hr>"),
        ("<h2 ", "<h5 "),
        ("<p>", '<p class="loud">'),
        ('<table class="facts">', '<table class="other">'),
        ("<main>", "<main>words"),
        ("<main>", "<main><b>words</b>"),
        ("<li>", "<li><p>words</p>"),
        ("</main>", ""),
        ("</body>", "</body></body>"),
    ],
)
def test_what_the_pdf_file_would_leave_out_is_an_error(trouble: Bundle, known: str, other: str) -> None:
    """An element, a class, or text at a place that the writer does not know."""
    assert known in trouble.html
    with pytest.raises(ValueError, match=r"line \d+ of the report: "):
        pdf_report(trouble.html.replace(known, other, 1))


def test_observations_are_pure(trouble: Bundle) -> None:
    """The tables and the scope are all that they depend on: whoever has the bundle can compute them again."""
    again: dict[str, Observation] = observe(trouble._rows, trouble.scope)
    assert isinstance(trouble.scope, Scope)
    assert again == trouble.observations
