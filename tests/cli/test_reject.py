"""Dispositions: violations stay reported, decisions are taken back by further ones, and nothing is ever removed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fimscan.cli.reviewer import current_reviewer
from tests.conftest import Cli
from tests.pipeline.test_audit_reading import event


@pytest.fixture
def changed(cli: Cli) -> Cli:
    """Two changes."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    (cli.watched / "b").write_text("other")
    cli.scan(4)
    return cli


def row(cli: Cli, name: str, *arguments: str) -> dict[str, Any]:
    """One row of ``diff``."""
    found: dict[str, Any] = next(r for r in cli.diff(*arguments)["changes"] if r["path"].endswith(f"/{name}"))
    return found


def decided(cli: Cli, *arguments: str) -> dict[str, Any]:
    """A decision, in JSON."""
    document: dict[str, Any] = json.loads(cli(*arguments, "--format", "json", code=0).stdout)
    return document


def test_a_violation_stays_reported_with_its_ticket(changed: Cli) -> None:
    """It does not move the baseline, it stands out, and every view of the change says so."""
    document = decided(changed, "reject", "1", "--ticket", "INC-9", "--category", "malware", "--reason", "a miner")
    assert (document["status"], document["category"], document["decision"]) == ("violation", "malware", 2)
    found = row(changed, "a")
    assert found["rank"]["reasons"][0] == "violation" and found["rank"]["level"] == "look"
    words = found["disposition"]
    assert (words["status"], words["ticket"], words["category"], words["current"]) == (
        "violation",
        "INC-9",
        "malware",
        True,
    )
    said = f"violation, INC-9, malware, a miner, by {current_reviewer().name}, "
    assert said in changed("diff", code=4).stdout
    assert said in changed("explain", "1", code=0).stdout.split("Decisions")[1]
    assert said in changed("diff", "--history", "--path", str(changed.watched / "a"), code=4).stdout
    explained = json.loads(changed("explain", "1", "--format", "json", code=0).stdout)
    assert [item["status"] for item in explained["dispositions"]] == ["violation"]
    listed = json.loads(changed("status", "--format", "json", code=0).stdout)["accepted"]
    assert [(item["status"], item["decision"]) for item in listed] == [("approved", 1), ("violation", 2)]
    assert "decision 2" in changed("status", code=0).stdout


def test_a_violation_is_not_swept_along(changed: Cli) -> None:
    """By a set, a directory or --all; by its number it is accepted, and the history keeps both decisions."""
    changed("reject", "1", "--ticket", "INC-9", code=0)
    assert "stands out" in changed("accept", "--all", code=15).stderr
    done = changed("accept", str(changed.watched), code=0)
    assert "1 change left out: marked as a violation" in done.stderr
    assert [r["path"] for r in changed.diff()["changes"]] == [str(changed.watched / "a")]
    changed("accept", "1", "--ticket", "CHG-1", code=0)
    changed("diff", code=0)
    history = row(changed, "a", "--history", "--path", str(changed.watched / "a"))
    assert (history["disposition"]["status"], history["disposition"]["ticket"]) == ("approved", "CHG-1")
    explained = json.loads(changed("explain", "1", "--format", "json", code=0).stdout)
    assert [item["status"] for item in explained["dispositions"]] == ["violation", "approved"]


def test_a_later_change_is_not_part_of_the_violation(changed: Cli) -> None:
    """It says that the file changed again."""
    changed("reject", "1", code=0)
    (changed.watched / "a").write_text("yet another")
    changed.scan(4)
    assert row(changed, "a")["disposition"]["current"] is False
    assert "the file changed again since" in changed("diff", code=4).stdout


def test_decisions_are_taken_back_by_further_ones(changed: Cli) -> None:
    """Of a path, of everything, and of a violation; nothing is removed, and the journal covers all of it."""
    changed("accept", "1", "--ticket", "CHG-1", code=0)
    assert [r["path"] for r in changed.diff()["changes"]] == [str(changed.watched / "b")]
    assert "Decision 2 is taken back (decision 3)" in changed("undo", "2", "--reason", "wrong host", code=0).stdout
    assert len(changed.diff()["changes"]) == 2
    changed("accept", "--all", code=0)
    changed("diff", code=0)
    changed("undo", "4", code=0)
    assert len(changed.diff()["changes"]) == 2
    changed("reject", "2", code=0)
    undone = decided(changed, "undo", "6")
    assert (undone["undoes"], undone["decision"]) == (6, 7)
    assert row(changed, "b")["disposition"] is None
    listed = json.loads(changed("status", "--format", "json", code=0).stdout)["accepted"]
    assert [(item["decision"], item["undoes"], item["undone"]) for item in listed] == [
        *((1, None, False), (2, None, True), (3, 2, False), (4, None, True)),
        *((5, 4, False), (6, None, True), (7, 6, False)),
    ]
    assert "decision 2 taken back" in changed("status", code=0).stdout
    assert "unaltered" in changed("verify", "--db", code=0).stdout or changed("verify", "--db").returncode == 0


def test_what_cannot_be_taken_back(changed: Cli) -> None:
    """The first baseline, what is taken back already, what takes something back, and what is not there."""
    changed("accept", "1", code=0)
    changed("undo", "2", code=0)
    for number, words in (
        ("1", "first baseline"),
        ("2", "already"),
        ("3", "takes decision 2 back"),
        ("9", "no decision"),
    ):
        assert words in changed("undo", number, code=15).stderr
    changed("verify", "--db", code=0)


def test_an_acceptance_that_was_taken_back_leaves_the_one_before(changed: Cli) -> None:
    """The baseline is the fold of the decisions that stand."""
    changed("accept", "1", code=0)
    (changed.watched / "a").write_text("third state")
    changed.scan(4)
    changed("accept", "3", code=0)
    changed("undo", "3", code=0)
    assert row(changed, "a")["before"]["size"] == len("other")
    changed("undo", "2", code=0)
    assert row(changed, "a")["before"]["size"] == len("content of a\n")


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE acceptance SET status = 'approved' WHERE status = 'violation'",
        "UPDATE acceptance SET own = 1 WHERE status = 'violation'",
        "UPDATE acceptance SET undoes = NULL WHERE undoes = 3",
        "UPDATE acceptance SET category = NULL WHERE category = 'malware'",
        "UPDATE acceptance SET act = 9 WHERE act = 2",
        "DELETE FROM acceptance WHERE act = 4",
    ],
)
def test_the_journal_covers_decisions(changed: Cli, edit: str) -> None:
    """An altered or removed decision shows."""
    changed("reject", "1", "--category", "malware", code=0)
    changed("accept", "2", code=0)
    changed("undo", "3", code=0)
    changed("verify", "--db", code=0)
    with closing(sqlite3.connect(changed.database)) as connection:
        connection.execute(edit)
        connection.commit()
    assert "acceptance " in changed("verify", "--db", code=25).stdout


def test_a_report_of_before_is_made_again_whatever_was_decided_since(changed: Cli) -> None:
    """With its name; what was taken back since does not come along with --all."""
    shown = changed.diff()["shown"]
    changed("reject", "1", code=0)
    changed("accept", "--set", "1", "--shown", shown, "--dry-run", code=0)
    failed = changed("accept", "--all", "--even-outstanding", "--shown", shown, code=15).stderr
    assert "marked as a violation" in failed


def by(cli: Cli, log: Path, name: str, auid: int, user: str) -> None:
    """Change a file, with the records of a process of this login user."""
    (cli.watched / name).write_text(f"by {user}")
    records = event(cli.watched / name, 10 + auid, pid=4242).replace("auid=1000", f"auid={auid}")
    with log.open("a") as file:
        file.write(records.replace("\n", f'\x1dAUID="{user}"\n', 1))


@pytest.mark.parametrize("rule", ["warn", "refuse", "allow"])
def test_own_changes(cli: Cli, rule: str) -> None:
    """Warned, refused or allowed, and stored in each case; an unset login user is nobody's."""
    log = cli.root / "audit.log"
    log.write_text("")
    cli.write_config(extra=f'[audit]\nlogs = ["{log}"]\n[review]\nown_changes = "{rule}"\n')
    cli("scan", code=0)
    reviewer = current_reviewer()
    assert reviewer.number is not None
    by(cli, log, "a", reviewer.number, reviewer.name)
    by(cli, log, "b", 54321, "carol")
    cli("scan", code=4)
    for verb in ("accept", "reject"):
        done = cli(verb, str(cli.watched / "a"), "--format", "json", code=15 if rule == "refuse" else 0)
        assert ("may be your own" in done.stderr) is (rule != "allow")
        if rule == "refuse":
            assert "Another person has to decide" in done.stderr and len(done.stderr.splitlines()) == 1
            continue
        assert json.loads(done.stdout)["own"] == 1
        listed = json.loads(cli("status", "--format", "json", code=0).stdout)["accepted"]
        assert listed[-1]["own"] is True
        cli("undo", str(listed[-1]["decision"]), code=0)
    assert cli("accept", str(cli.watched / "b"), code=0).stderr == ""
