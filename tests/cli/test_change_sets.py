"""``fimscan diff`` and ``scan`` with more changes than fit on a screen."""

from __future__ import annotations

import csv
import io
import json
import os
import re

import pytest

from tests.cli.test_explain import execve
from tests.conftest import Cli
from tests.pipeline.test_audit_reading import event
from tests.support import page_paths

MANY = 40


def make_changes(cli: Cli) -> None:
    """Forty new files, and one that everybody may write to."""
    for number in range(MANY):
        (cli.watched / f"new{number:02}").write_text("x")
    (cli.watched / "open").write_text("x")
    (cli.watched / "open").chmod(0o666)


@pytest.fixture
def upgraded(cli: Cli) -> Cli:
    """Many changes of which audit saw nothing."""
    cli.scan()
    make_changes(cli)
    cli.scan(1)
    return cli


def names(cli: Cli, *arguments: str) -> list[str]:
    """The names of the files whose rows a report has."""
    written = cli("diff", *arguments, code=1).stdout
    return re.findall(rf"^added .* {cli.watched}/(\w+)$", written, re.MULTILINE)


def test_many_changes_are_one_screen(upgraded: Cli) -> None:
    """What stands out is a row, all are counted in their set, and the whole is one option away."""
    written = upgraded("diff", code=1).stdout
    assert len(written.splitlines()) <= 24
    assert names(upgraded) == ["open"]
    assert "    world-writable, " in written
    # The reason is shortened if the window crosses a minute.
    assert re.search(r"^ 1     41  no process named.*, found by scan 2, .*; 1 above$", written, re.M)
    assert " diff --set 1 # open a set; --flat: every row" in " ".join(written.split())
    assert f"--config {upgraded.config} review  # decide, set by set" in written
    assert len(names(upgraded, "--flat")) == MANY + 1


def test_a_set_can_be_opened_in_every_format(upgraded: Cli) -> None:
    """With its number in this report; another number is an error."""
    assert len(names(upgraded, "--set", "1")) == MANY + 1
    assert names(upgraded, "--set", "1")[0] == "open"
    document = upgraded.diff("--set", "1")
    assert [item["set"] for item in document["sets"]] == [1] and len(document["changes"]) == MANY + 1
    written = upgraded("diff", "--set", "1", "--format", "csv", code=1).stdout
    assert len(list(csv.DictReader(io.StringIO(written)))) == MANY + 1
    failed = upgraded("diff", "--set", "2", code=15).stderr
    assert "no change set 2 in this report" in failed and "--sets' lists them" in failed
    # The reason is shortened if the window crosses a minute.
    assert re.search(r"^ 1     41  no process named", upgraded("diff", "--sets", code=1).stdout, re.MULTILINE)


def test_filters_are_repeated_in_the_line_that_says_how_to_go_on(upgraded: Cli) -> None:
    """With them, the numbers of the sets are others."""
    written = upgraded("diff", "--path", f"{upgraded.watched}/new*", code=1).stdout
    assert f" diff --path '{upgraded.watched}/new*' --set 1" in " ".join(written.split())
    assert " review" not in written, "a review has all changes"
    assert "None of the 40 changes stands out by itself.\n" in written


def test_the_other_formats_list_every_row(upgraded: Cli) -> None:
    """With the number of its set and its rank, where it is JSON."""
    document = upgraded.diff()
    assert len(document["changes"]) == MANY + 1
    levels = {row["path"].rpartition("/")[2]: row["rank"]["level"] for row in document["changes"]}
    assert {name for name, level in levels.items() if level == "look"} == {"open"}
    assert {row["set"] for row in document["changes"]} == {1}
    lines = upgraded("diff", "--format", "ndjson", code=1).stdout.splitlines()
    (loud,) = [line for line in map(json.loads, lines) if line["rank"]["level"] == "look"]
    assert loud["rank"]["reasons"][0] == "world-writable" and loud["rank"]["techniques"] == ["T1222.002"]
    assert len(lines) == MANY + 1
    paths = page_paths(upgraded("diff", "--format", "html", code=1).stdout)
    assert paths[0] == f"{upgraded.watched}/open" and len(paths) == MANY + 1


def test_the_mail_of_cron_is_the_same_screen(cli: Cli) -> None:
    """It names what stands out, and says how to see the rest of this scan."""
    cli.scan()
    make_changes(cli)
    mail = cli.scan(1)
    assert len(mail.splitlines()) <= 24
    assert re.search(rf"^added .* {cli.watched}/open$", mail, re.MULTILINE)
    assert " diff --from 1 --to 2 --set 1 # open a set" in " ".join(mail.split())
    assert f"--config {cli.config} review  # decide, set by set" in mail


def test_a_history_is_never_folded(upgraded: Cli) -> None:
    """It lists the changes of one path."""
    for number in range(8):
        (upgraded.watched / "a").write_text(f"{number}")
        upgraded.scan(4)
    written = upgraded("diff", "--history", "--path", f"{upgraded.watched}/a", code=4).stdout
    assert written.count("\nmodified ") == 8


def test_a_set_is_named_after_the_command_that_began_it(cli: Cli) -> None:
    """Its ancestors come from the records of the audit log: sudo, below a shell, ran apt-get, which ran tool."""
    log = cli.root / "audit.log"
    log.write_text("")
    paths = [cli.watched / f"new{number:02}" for number in range(MANY)]
    for path in paths:
        path.write_text("x")
    cli.write_config(extra=f'[audit]\nlogs = ["{log}"]\n')
    cli("scan", code=0)
    records = execve(1, 380, 370, "/usr/bin/bash", "-bash")
    records += execve(2, 390, 380, "/usr/bin/sudo", "sudo", "apt-get", "upgrade")
    records += execve(3, 400, 390, "/usr/bin/apt-get", "apt-get", "upgrade")
    for number, path in enumerate(paths):
        path.write_text("changed")
        # Not the time of this line: on a busy machine, it can be later than the write by more than a clock tick.
        records += event(path, 10 + number, at=path.stat().st_mtime).replace("ppid=1 ", "ppid=400 ")
    log.write_text(records)
    cli("scan", code=4)
    (item,) = cli.diff()["sets"]
    assert item["programs"] == ["/usr/bin/apt-get"] and item["via"] == ["sudo"]
    assert re.fullmatch(r"apt-get upgrade, by .+ \(sudo, login not seen\), \d\d:\d\d(-\d\d:\d\d)?", item["title"])
    assert item["changes"] == MANY


@pytest.mark.skipif(not os.path.exists("/var/lib/dpkg/status"), reason="there is no dpkg here")
def test_every_row_has_its_package_unless_that_is_not_wanted(upgraded: Cli) -> None:
    """No package has the files of this test; without the question, nothing is said."""
    assert {row["package"]["class"] for row in upgraded.diff()["changes"]} == {"unowned"}
    assert {row["package"] for row in upgraded.diff("--no-packages")["changes"]} == {None}
    assert "package:" not in upgraded("diff", "--flat", code=1).stdout
    written = upgraded("diff", "--format", "csv", code=1).stdout
    assert {row["package_class"] for row in csv.DictReader(io.StringIO(written))} == {"unowned"}
