"""``fimscan explain``: text and JSON."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.history.explain_change import explain, explain_all
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.pipeline.test_audit_reading import event
from tests.support import page_data


def execve(serial: int, pid: int, ppid: int, exe: str, *words: str) -> str:
    """The records of a program start in the session of :func:`event`, as auditd writes them."""
    stamp = f"{time.time():.3f}:{serial}"
    arguments = " ".join(f'a{number}="{word}"' for number, word in enumerate(words))
    return (
        f"type=SYSCALL msg=audit({stamp}): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=4 items=0 "
        f'ppid={ppid} pid={pid} auid=1000 uid=0 euid=0 tty=pts0 ses=1 comm="{words[0]}" exe="{exe}" key="p"\n'
        f"type=EXECVE msg=audit({stamp}): argc={len(words)} {arguments}\n"
        f"type=PROCTITLE msg=audit({stamp}): proctitle={words[0].encode().hex().upper()}\n"
    )


@pytest.fixture
def changed(cli: Cli) -> Cli:
    """One file, written by a process that two others started; a third opened it after its last change."""
    log = cli.root / "audit.log"
    log.write_text("")
    cli.write_config(extra=f'[audit]\nlogs = ["{log}"]\n')
    cli("scan", code=0)
    target = cli.watched / "a"
    records = execve(1, 400, 1, "/usr/sbin/sshd", "sshd") + execve(2, 1, 400, "/usr/bin/bash", "bash")
    records += event(target, 3)
    target.write_text("changed")
    time.sleep(0.05)
    records += event(target, 4, pid=4343)
    log.write_text(records)
    cli("scan", code=4)
    return cli


def explained(cli: Cli, what: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(cli("explain", what, "--format", "json", code=0).stdout)
    return document


def test_a_change_is_explained_by_number_and_by_path(changed: Cli) -> None:
    """By the number that diff shows, or by the path of its latest change."""
    number = changed.diff()["changes"][0]["id"]
    by_path = explained(changed, str(changed.watched / "a"))
    assert by_path == explained(changed, str(number))
    assert by_path["schema"] == "fimscan.explanation/1"


def test_every_process_considered_is_listed_with_the_reason(changed: Cli) -> None:
    """The named process, and one that opened the file too late."""
    document = explained(changed, str(changed.watched / "a"))
    judged = {item["actor"]["pid"]: (item["outcome"], item["why"]) for item in document["considered"]}
    assert judged == {4242: ("named", "write-access"), 4343: ("cleared", "after-last-change")}
    shown = changed("explain", str(changed.watched / "a"), code=0).stdout
    assert "NAMED    /usr/bin/tool (pid 4242" in shown
    assert "cleared  /usr/bin/tool (pid 4343" in shown
    assert "read by scan 1" in " ".join(shown.split())


def test_the_records_of_the_named_process_are_shown_unchanged(changed: Cli) -> None:
    """The same lines as in the log, and no others."""
    log = (changed.root / "audit.log").read_text().splitlines()
    document = explained(changed, str(changed.watched / "a"))
    assert document["records"] == [line for line in log if ":3):" in line]


def test_ancestors_are_named_as_far_as_recorded(changed: Cli) -> None:
    """pid 1 is bash here, started by pid 400 of the same session; going further would be a loop."""
    (found,) = explained(changed, str(changed.watched / "a"))["lineages"]
    assert [(a["pid"], a["exe"]) for a in found["ancestors"]] == [(1, "/usr/bin/bash"), (400, "/usr/sbin/sshd")]


def test_an_unknown_change_is_an_error(changed: Cli) -> None:
    """One line, and the exit code of wrong arguments."""
    for what in ("999", str(changed.watched / "b")):
        done = changed("explain", what, code=15)
        assert done.stderr.count("\n") == 1


def test_an_answer_of_an_earlier_version_is_explained_without_reasons(changed: Cli) -> None:
    """Processes considered are not stored then; everything else is explained."""
    database = Database(f"sqlite:///{changed.database}", host="h")
    with database.begin() as session:
        session.execute(text("UPDATE change SET attribution = json_remove(attribution, '$.reasoning')"))
    database.close()
    shown = changed("explain", str(changed.watched / "a"), code=0).stdout
    assert "The processes considered are not stored" in shown
    assert explained(changed, str(changed.watched / "a"))["considered"] is None


def test_a_changed_program_is_reported_as_suspect(cli: Cli) -> None:
    """The accused binary is monitored and was changed itself: diff and explain say so, with the number of that.

    As long as it is as accepted, that clears nothing: nobody saw which file of that name the process ran.
    """
    log = cli.root / "audit.log"
    log.write_text("")
    tool, target = cli.watched / "tool", cli.watched / "a"
    tool.write_text("program")
    cli.write_config(extra=f'[audit]\nlogs = ["{log}"]\n')
    cli("scan", code=0)
    log.write_text(event(target, 1).replace("/usr/bin/tool", str(tool)))
    target.write_text("changed")
    cli("scan", code=4)
    (known,) = explained(cli, str(target))["programs"]
    assert (known["standing"], known["change"]) == ("not-known", None)
    assert "suspect" not in cli("diff", "--flat").stdout

    Path(tool).write_text("something else")
    log.write_text(log.read_text() + event(target, 2).replace("/usr/bin/tool", str(tool)))
    target.write_text("changed again")
    cli("scan", code=4)
    number = next(row["id"] for row in cli.diff()["changes"] if row["path"] == str(tool))
    (known,) = explained(cli, str(target))["programs"]
    assert (known["standing"], known["change"]) == ("changed", number)
    assert (
        f"the program is suspect: {tool}: its own content is not what was accepted (change #{number})"
        in cli("diff", "--flat").stdout
    )


def test_many_changes_explained_at_once_are_explained_as_each_alone(changed: Cli) -> None:
    """What they share is read once; no answer, ancestor, program, rule or record is another one for that."""
    log = changed.root / "audit.log"
    records = log.read_text()
    for number, name in enumerate(("b", "c", "a"), 20):
        target = changed.watched / name
        # The same parent is another program each time.
        records += execve(number, 1, 400, f"/usr/bin/shell{number}", "shell") + event(target, 100 + number, pid=number)
        log.write_text(records)
        target.write_text(f"changed {number}")
        changed("scan")
    database = Database(f"sqlite:///{changed.database}", host=os.uname().nodename)
    try:
        alone = {number: explain(database, number) for number in range(1, 5)}
        assert explain_all(database, [item.finding for item in alone.values()]) == alone
        rows = [row for row in diff_from_baseline(database).findings if not row.steps]
        assert rows and all(explanation == alone[n] for n, explanation in explain_all(database, rows).items())
        parents = [lineage.ancestors[0].exe for item in alone.values() for lineage in item.lineages]
        assert parents == [b"/usr/bin/bash", b"/usr/bin/shell20", b"/usr/bin/shell21", b"/usr/bin/shell22"]
        assert all(item.records for item in alone.values())
    finally:
        database.close()


def test_the_page_has_the_gaps_of_audit_of_its_time(changed: Cli) -> None:
    """Nobody was asked whether audit was watching: that is a gap, and not "none". Without paths, nothing is known."""
    data = page_data(changed("diff", "--format", "html", code=4).stdout)
    assert [scan[0] for scan in data["continuity"]["scans"]] == [1, 2]
    assert data["continuity"]["gaps"] != []
    changed.config.write_text("not a configuration")
    database = f"sqlite:///{changed.database}"
    shown = changed("--db", database, "diff", "--from", "2", "--format", "html").stdout
    assert page_data(shown)["continuity"]["gaps"] is None
