"""The CSV report."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.model import ChangeKind, Diff, Reason, Role, Unreadable, UnreadableReason, Verdict
from fimscan.report.csv import write_csv
from fimscan.report.display import are_harmless, cell_text, minute_text


def rows(diff: Diff) -> list[dict[str, str]]:
    out = io.StringIO()
    write_csv(diff, out)
    return list(csv.DictReader(io.StringIO(out.getvalue())))


def test_there_is_a_row_for_each_change_and_actor(make: Any) -> None:
    """Each pair of change and actor is a row; a change without an actor has one row."""
    two = make.attribution(Verdict.CONTESTED, actors=(make.actor(), make.actor(Role.PLACER, pid=5, exe=b"/bin/mv")))
    nobody = make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT)
    found = rows(make.diff(make.finding(attribution=two), make.finding(make.change(path=b"/b"), nobody)))
    cells = [(row["path"], row["verdict"], row["reason"], row["role"], row["pid"]) for row in found]
    assert cells == [
        ("/etc/hosts", "contested", "", "writer", "4242"),
        ("/etc/hosts", "contested", "", "placer", "5"),
        ("/b", "unattributed", "no-event", "", ""),
    ]


def test_a_row_has_what_pci_dss_asks_for(make: Any) -> None:
    """User, type, time, origin, object, old and new state are in the columns of these names."""
    (row,) = rows(make.diff(make.finding()))
    wanted = {
        "host": "web1",
        "from_scan": "1",
        "to_scan": "2",
        "scan": "2",
        "id": "17",
        "kind": "modified",
        "changed": "content size mtime ctime",
        "before_size": "220",
        "after_size": "248",
        "before_mode": "0644",
        "before_sha256": "1f" * 32,
        "after_sha256": "9a" * 32,
        "verdict": "confirmed",
        "coverage_complete": "true",
        "exe": "/usr/bin/vim",
        "cmdline": "vim hosts",
        "auid": "1000",
        "login_user": "alice",
        "user": "root",
        "tty": "pts4",
        "time": "2026-11-23T04:35:13.818Z",
        "event": "1795408513.818:6628017",
    }
    assert {column: row[column] for column in wanted} == wanted


def test_a_decision_a_plan_and_what_is_in_effect_have_columns(make: Any) -> None:
    """Who decided what, when and why; which plan a row is of; who still runs the old content."""
    change = make.change(path=b"/b")
    diff = make.diff(
        make.finding(disposition=make.disposition(is_own=True), in_effect=make.in_effect()),
        make.finding(change),
        plans=(make.progress(b"/b"),),
    )
    decided, planned = rows(diff)
    wanted = {
        "disposition": "violation",
        "disposition_category": "malware",
        "disposition_ticket": "INC-9",
        "disposition_reason": "not ours",
        "reviewer": "ada",
        "disposition_time": "2026-11-23T04:35:13.818Z",
        "decision": "3",
        "disposition_current": "true",
        "disposition_own": "true",
        "plan": "",
        "in_effect": f"nginx (pid 812) still runs the old one: restart it (as of {minute_text(make.now)})",
    }
    assert {column: decided[column] for column in wanted} == wanted
    assert (planned["disposition"], planned["plan"], planned["plan_ticket"]) == ("", "4", "CHG-17")
    undone = rows(make.diff(make.finding(disposition=make.disposition(is_undone=True))))
    assert undone[0]["disposition"] == "pending"


def test_no_ticket_is_a_formula(make: Any) -> None:
    """Tickets are typed by people, and a plan's by others than the reader."""
    diff = make.diff(
        make.finding(disposition=make.disposition(ticket="=1+1")), plans=(make.progress(b"/etc/hosts", ticket="@x"),)
    )
    (row,) = rows(diff)
    assert (row["disposition_ticket"], row["plan_ticket"]) == ("'=1+1", "'@x")


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula(make: Any, start: str) -> None:
    """A spreadsheet does not run a file name as a formula."""
    evil = f"{start}cmd|' /C calc'!A0"
    actor = make.actor(
        exe=evil.encode(),
        comm=evil.encode(),
        cmdline=(b"-sh",),
        cwd=evil.encode(),
        login_user=evil,
        user=evil,
        tty=evil,
    )
    diff = make.diff(make.finding(attribution=make.attribution(actors=(actor,), notes=(evil,))), host=evil)
    (row,) = rows(diff)
    assert row["exe"] == f"'{evil}"
    assert row["cmdline"] == "'-sh"
    assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]


HARMFUL = ["=1", "a;=1", "\t", "-", "@x", "\uff1d1", " =1", '"=1', "a\r=1", "a|=1", "|", ";", "\u202e", "é"]
HARMLESS = ["", "a", "/etc/x y", "7", "a=1", "a|b", "2026-12-01T00:00:00.000Z", "SHA256:1-2"]


@given(st.lists(st.sampled_from(HARMFUL + HARMLESS) | st.text(max_size=4), max_size=6))
def test_cells_that_are_harmless_together_are_so_alone(cells: list[str]) -> None:
    """The quick look at a whole row lets nothing pass that a look at each cell would not."""
    if are_harmless(cells):
        assert [cell_text(cell) for cell in cells] == cells


def test_ordinary_cells_are_harmless() -> None:
    assert are_harmless([]) and are_harmless([cell for cell in HARMLESS if "|" not in cell])


def test_odd_paths_stay_in_their_cell_and_are_exact_in_base64(make: Any) -> None:
    """Commas, quotes, newlines and invalid UTF-8 in a name neither break the row nor lose the name."""
    (row,) = rows(make.diff(make.finding(make.change(ChangeKind.ADDED, b'/a,"b"\r\n=c\xff'))))
    assert (row["path"], row["path_b64"]) == ('/a,"b"\\x0d\\x0a=c\\xff', "L2EsImIiDQo9Y/8=")


def test_unreadable_files_are_rows_of_their_own_kind(make: Any) -> None:
    """An unreadable file is in the table, but not as removed."""
    item = Unreadable(path=b"/etc/shadow", reason=UnreadableReason.PERMISSION, detail="Permission denied")
    (row,) = rows(make.diff(unreadable=(item,)))
    cells = (row["kind"], row["path"], row["reason"], row["notes"])
    assert cells == ("unreadable", "/etc/shadow", "permission", "Permission denied")
