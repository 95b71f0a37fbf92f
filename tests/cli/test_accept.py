"""``fimscan accept`` by selection: no more than what a reviewer was shown, and exactly what --dry-run printed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.cli.accept import left_out_lines
from fimscan.cli.reviewer import current_reviewer
from fimscan.config import Config, load_config
from fimscan.errors import UsageError
from fimscan.grouping.selection import ByNumber, ByPath, Selection
from fimscan.model import Approval, Diff, PackageAnswer, PackageClass, PackageFact, Verdict
from fimscan.pipeline.history.accept import Limits, Proposal, accept, propose_everything, propose_selected
from fimscan.pipeline.history.shown import Report, present_report
from fimscan.store import acceptance as acceptance_store
from fimscan.store.database import Database
from tests.conftest import Cli, rows
from tests.pipeline.test_audit_reading import event


def names(cli: Cli, *arguments: str) -> list[str]:
    """The base names of the changes that wait."""
    return sorted(name for _, name in rows(cli.diff(*arguments)))


def taken(cli: Cli, *arguments: str) -> dict[str, Any]:
    """What ``accept`` says in JSON."""
    document: dict[str, Any] = json.loads(cli("accept", *arguments, "--format", "json", code=0).stdout)
    return document


@pytest.fixture
def changed(cli: Cli) -> Cli:
    """Two changes, of which one stands out."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    (cli.watched / "open").write_text("x")
    (cli.watched / "open").chmod(0o666)
    cli.scan(5)
    return cli


def test_a_scan_that_came_in_between_is_not_accepted_along(changed: Cli) -> None:
    """Neither new paths nor a later state of a shown one; the text of diff names the same report as JSON."""
    shown = changed.diff()["shown"]
    assert f" accept --all --even-outstanding --shown {shown} --dry-run " in changed("diff", code=5).stdout
    (changed.watched / "a").write_text("a burglar's")
    (changed.watched / "new").write_text("x")
    changed.scan(5)
    changed("accept", "--set", "1", "--shown", shown, code=0)
    document = changed.diff()
    assert rows(document) == [("modified", "a"), ("added", "new")]
    assert document["changes"][0]["before"]["size"] == len("other")


def printed_command(written: str) -> str:
    (line,) = [line for line in written.splitlines() if " accept --" in line]
    return line


def run_as_printed(cli: Cli, line: str) -> str:
    done = subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


@pytest.mark.parametrize("arguments", [(), ("--flat",), ("--set", "1")])
def test_the_command_of_a_report_runs_as_printed(cli: Cli, arguments: tuple[str, ...]) -> None:
    """From any directory, with the configuration of the run. Something that stands out is only shown."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli.scan(4)
    run_as_printed(cli, printed_command(cli("diff", *arguments, code=4).stdout))
    assert names(cli) == []
    (cli.watched / "open").write_text("x")
    (cli.watched / "open").chmod(0o666)
    cli.scan(1)
    if arguments != ("--set", "1"):
        written = run_as_printed(cli, printed_command(cli("diff", *arguments, code=1).stdout))
        assert "Would accept 1 change, 1 of them standing out" in written
        assert names(cli) == ["open"]


def test_the_screen_offers_a_set_in_which_nothing_stands_out(cli: Cli) -> None:
    """It is the largest one."""
    cli.scan()
    for number in range(30):
        (cli.watched / f"new{number}").write_text("x")
    cli.scan(1)
    (cli.watched / "open").write_text("x")
    (cli.watched / "open").chmod(0o666)
    cli.scan(1)
    command = printed_command(cli("diff", code=1).stdout)
    assert " accept --set 2 --shown " in command
    run_as_printed(cli, command)
    assert names(cli) == ["open"]


def test_lines_and_cells_have_the_name_of_the_report(changed: Cli) -> None:
    """A script accepts what it has read; a filtered report has no name."""
    shown = changed.diff()["shown"]
    lines = [json.loads(line) for line in changed("diff", "--format", "ndjson", code=5).stdout.splitlines()]
    assert {line["shown"] for line in lines} == {shown}
    table = csv.DictReader(io.StringIO(changed("diff", "--format", "csv", code=5).stdout))
    assert {row["shown"] for row in table} == {shown}
    part = changed("diff", "--format", "csv", "--path", "*open", code=1).stdout
    assert {row["shown"] for row in csv.DictReader(io.StringIO(part))} == {""}
    one = changed("diff", "--format", "ndjson", "--set", "1", code=5).stdout.splitlines()
    assert json.loads(one[0])["shown"] == f"{shown}.1"


@pytest.mark.parametrize("name", ["path", "pattern", "--all"])
def test_every_way_to_accept_can_be_limited_to_a_report(changed: Cli, name: str) -> None:
    """Paths, patterns and everything."""
    shown = changed.diff()["shown"]
    (changed.watched / "new").write_text("x")
    changed.scan(1)
    chosen = {"path": [str(changed.watched)], "pattern": [f"{changed.watched}/*"]}
    changed("accept", *chosen.get(name, ["--all", "--even-outstanding"]), "--shown", shown, code=0)
    assert names(changed) == ["new"]


def test_sets_keep_their_numbers_within_a_report(changed: Cli) -> None:
    """The second command of a script means the set that its author saw, although another one is number 1 by then."""
    (changed.watched / "b").write_text("other")
    changed.scan(4)
    document = changed.diff()
    sets = {os.path.basename(row["path"]): row["set"] for row in document["changes"]}
    assert sets["a"] == sets["open"] == 1 and sets["b"] == 2
    changed("accept", "--set", "1", "--shown", document["shown"], code=0)
    assert changed.diff()["changes"][0]["set"] == 1
    again = changed("accept", "--set", "1", "--shown", document["shown"], code=15).stderr
    assert "accepted since" in again and names(changed) == ["b"]
    changed("accept", "--set", "2", "--shown", document["shown"], code=0)
    changed("diff", code=0)


def test_a_selection_needs_the_report(changed: Cli) -> None:
    """By options and patterns; --dry-run needs none, and names it."""
    for chosen in (["--set", "1"], ["--exe", "*"], ["--verdict", "unattributed"], [f"{changed.watched}/o*"]):
        failed = changed("accept", *chosen, code=15).stderr
        assert "--shown" in failed and len(failed.splitlines()) == 1
    assert names(changed) == ["a", "open"]
    said = changed("accept", f"{changed.watched}/o*", "--dry-run", code=0).stdout
    assert re.search(r"^    stands out: world-writable", said, re.MULTILINE)
    assert "Would accept 1 change, 1 of them standing out: 1 path as of scan 2.\n" in said
    assert f"replace --dry-run by --shown {changed.diff()['shown']}." in said
    assert names(changed) == ["a", "open"]


def test_a_filtered_report_has_no_name_and_an_opened_set_one_of_its_own(changed: Cli) -> None:
    """With the name of one set, nothing else can be accepted."""
    (changed.watched / "b").write_text("other")
    changed.scan(4)
    assert changed.diff("--path", "/nowhere")["shown"] is None
    assert changed.diff("--from", "1", "--to", "2")["shown"] is None
    shown = changed.diff("--set", "2")["shown"]
    assert "not all" in changed("accept", "--all", "--even-outstanding", "--shown", shown, code=15).stderr
    changed("accept", str(changed.watched / "a"), "--shown", shown, code=15)
    changed("accept", "--verdict", "unattributed", "--shown", shown, code=0)
    assert names(changed) == ["a", "open"]


def test_a_name_of_no_report_is_refused(changed: Cli) -> None:
    """Mistyped, or of a report that would be another one now."""
    shown = changed.diff()["shown"]
    scan, number, digest = shown.split(".")
    for wrong in ("", "x", f"{scan}.{number}", f"{scan}.9.{digest}", f"1.{number}.{digest}", f"77.{number}.{digest}"):
        changed("accept", "--set", "1", "--shown", wrong, code=15)
    changed("accept", "--set", "1", "--shown", f"{shown}.2", code=15)
    assert names(changed) == ["a", "open"]


def test_an_older_report_does_not_take_a_newer_acceptance_back(changed: Cli) -> None:
    """A path that was accepted since in a later state is left out, and reported."""
    shown = changed.diff()["shown"]
    (changed.watched / "a").write_text("later")
    changed.scan(4)
    changed("accept", str(changed.watched / "a"), code=0)
    refused = changed("accept", "--all", "--even-outstanding", "--shown", shown, code=15).stderr
    assert "take it back" in refused
    document = taken(changed, "--set", "1", "--shown", shown)
    assert document["left_out"] == 1 and [os.path.basename(row["path"]) for row in document["changes"]] == ["open"]
    changed("diff", code=0)


def test_all_refuses_while_something_stands_out(changed: Cli) -> None:
    """It names it; without it, or when told to, everything is accepted."""
    failed = changed("accept", "--all", code=15).stderr
    assert f"1 change stands out ({changed.watched}/open)" in failed and "--even-outstanding" in failed
    assert names(changed) == ["a", "open"]
    changed("accept", str(changed.watched / "open"), code=0)
    changed("accept", "--all", code=0)
    changed("diff", code=0)
    (changed.watched / "open2\x1b[31m").write_text("x")
    (changed.watched / "open2\x1b[31m").chmod(0o666)
    changed.scan(1)
    assert "\x1b" not in changed("accept", "--all", code=15).stderr
    changed("accept", "--all", "--even-outstanding", code=0)
    changed("diff", code=0)


def test_numbers_and_ranges(changed: Cli) -> None:
    """'#1', and '#1-#2', which need no report: they name changes, each in its own state."""
    (changed.watched / "a").write_text("later")
    changed.scan(4)
    document = taken(changed, "#1-#2")
    assert [(row["id"], row["as_of"]) for row in document["changes"]] == [(1, 2), (2, 2)]
    assert names(changed) == ["a"]
    assert "a range ends with a change that waits" in changed("accept", "1-9", code=15).stderr
    assert "it ends before it begins" in changed("accept", "#2-#1", code=15).stderr
    changed("accept", "3-3", code=0)
    changed("diff", code=0)


def test_options_that_contradict_each_other(changed: Cli) -> None:
    """Each is an error, and nothing is accepted."""
    shown = ("--shown", changed.diff()["shown"])
    for wrong in (
        ("--all", "--set", "1"),
        ("--all", "a"),
        ("--even-outstanding", "--set", "1"),
        ("--dry-run",),
        ("--set", "9"),
        ("--exe", "/usr/bin/none"),
        ("a", "typo"),
    ):
        changed("accept", *wrong, *shown, code=15)
    assert names(changed) == ["a", "open"]


def test_who_accepts_changes_of_their_own_is_warned(cli: Cli) -> None:
    """By the login user of the named process; --user and --exe take the same change."""
    log = cli.root / "audit.log"
    log.write_text("")
    cli.write_config(extra=f'[audit]\nlogs = ["{log}"]\n')
    cli("scan", code=0)
    for number, (name, auid, user) in enumerate((("a", 1000, current_reviewer().name), ("b", 54321, "carol"))):
        (cli.watched / name).write_text("changed")
        records = event(cli.watched / name, 10 + number, pid=4242 + number).replace("auid=1000", f"auid={auid}")
        with log.open("a") as file:
            file.write(records.replace("\n", f'\x1dAUID="{user}"\n', 1))
    cli("scan", code=4)
    shown = cli.diff()["shown"]
    done = cli("accept", "--user", "carol", "--exe", "/usr/bin/tool", "--shown", shown, "--dry-run", code=0)
    assert done.stderr == "" and "Would accept 1 change: 1 path" in done.stdout
    with cli.config.open("a") as file:
        file.write('[review]\nown_changes = "refuse"\n')
    own = ("--user", current_reviewer().name, "--shown", shown)
    assert "nothing was stored" in cli("accept", *own, code=15).stderr
    done = cli("accept", *own, "--dry-run", code=0)
    assert "Another person has to decide" in done.stderr and "Would accept 1 change: 1 path" in done.stdout
    cli.config.write_text(cli.config.read_text().replace("refuse", "warn"))
    done = cli(
        "accept", "--user", current_reviewer().name, "--session", "1", "--shown", shown, "--format", "json", code=0
    )
    assert "1 change of 1 may be your own" in done.stderr and json.loads(done.stdout)["own"] == 1
    assert names(cli) == ["b"]


# --------------------------------------------------------------------------------------------------------------------
# What holds for every selection from every report


class History:
    """A database, and its reports at different times. Not a dataclass: hypothesis prints arguments."""

    def __init__(self, config: Config, watched: Path, reports: list[Report]) -> None:
        self.config, self.watched, self.reports = config, watched, reports


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Four scans with changes, moves and removals, and the report as of each, from the third on with acceptances."""
    root = tmp_path_factory.mktemp("accept")
    made = Cli(root=root, watched=root / "watched")
    made.watched.mkdir()
    for name in ("a", "b", "c", "d", "e"):
        (made.watched / name).write_text(name)
    made.write_config()
    config = load_config(str(made.config))
    made.scan()
    reports = []
    for number in range(3):
        (made.watched / "a").write_text(f"{number}" * (number + 2))
        (made.watched / f"new{number}").write_text("x")
        (made.watched / f"new{number}").chmod(0o666 if number else 0o644)
        (made.watched / "bcd"[number]).rename(made.watched / f"moved{number}")
        if number == 1:
            (made.watched / "e").unlink()
        made("scan", "--no-audit")
        if number == 2:
            made("accept", str(made.watched / "new0"), code=0)
        database = Database(config.database.url, host=os.uname().nodename)
        reports.append(present_report(database, config))
        database.close()
    return History(config, made.watched, reports)


CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "number": st.integers(1, 3),
        "verdicts": st.just(frozenset({Verdict.UNATTRIBUTED})),
        "names": st.lists(
            st.one_of(
                st.sampled_from(["a", "new0", "new1", "moved0", "moved2", "b", "e", ""]),
                st.tuples(st.integers(1, 4), st.integers(4, 11)),
                st.sampled_from(["*new*", "*", "*d1"]),
            ),
            min_size=1,
            max_size=2,
        ),
    },
)


def selection_of(choice: dict[str, Any], watched: Path) -> Selection:
    def name(item: Any) -> ByPath | ByNumber:
        if isinstance(item, tuple):
            return ByNumber(*item)
        path = os.fsencode(watched / item) if "*" not in item else os.fsencode(item)
        return ByPath(path, (path,) if "*" in item else ())

    return Selection(**choice | {"names": tuple(map(name, choice.get("names", [])))})


def contents(plan: Proposal) -> object:
    return plan.changes, plan.states, plan.scan, plan.shown


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 2), choice=CHOICES)
def test_what_is_accepted_is_what_was_shown_and_printed(history: History, which: int, choice: dict[str, Any]) -> None:
    """Exactly the planned rows, none that the report did not have, and nothing later than its scan."""
    config, watched, report = history.config, history.watched, history.reports[which]
    with tempfile.TemporaryDirectory() as scratch:
        copy = f"{scratch}/fim.db"
        shutil.copy(config.database.url.removeprefix("sqlite:///"), copy)
        database = Database(f"sqlite:///{copy}", host=os.uname().nodename)
        try:
            with database.read() as session:
                before = acceptance_store.last_number(session)
            try:
                if choice:
                    chosen = selection_of(choice, watched)
                    printed = propose_selected(database, chosen, config, Limits(shown=report.name, is_dry_run=True))
                    plan = propose_selected(database, chosen, config, Limits(shown=report.name))
                else:
                    printed, plan = (
                        propose_everything(database, config, Limits(shown=report.name), even_outstanding=True)
                        for _ in range(2)
                    )
            except UsageError:
                return
            accept(database, plan, Approval(accepted_ns=time.time_ns(), user="t"))
            with database.read() as session:
                count = acceptance_store.last_number(session) - before
                made = acceptance_store.latest_acceptances(session, count)
        finally:
            database.close()
    assert contents(plan) == contents(printed)
    changes = [part.change for row in report.diff.findings for part in (row, *row.steps)]
    shown = {path for change in changes for path in (change.path, change.moved_from)}
    if plan.states is None:
        assert [(item.path, item.scan) for item in made] == [(None, report.diff.end.id)]
    else:
        assert {item.path: item.scan for item in made} == {path: scan for path, (_, scan) in plan.states.items()}
        assert len(made) == plan.paths
    assert {item.path for item in made} - {None} <= shown
    assert max(item.scan for item in made) <= report.diff.end.id


# --------------------------------------------------------------------------------------------------------------------
# Without --shown: the last report that was seen in this session


def elsewhere(cli: Cli) -> dict[str, str]:
    """The environment of somebody who was shown other reports than this user: cron, or another login."""
    return {**os.environ, "XDG_STATE_HOME": str(cli.root / "elsewhere")}


def test_the_last_report_in_a_session_is_the_limit(changed: Cli) -> None:
    """A path that changed after it is left out, and reported; numbers of sets are those of that report."""
    changed("diff", code=5)
    (changed.watched / "a").write_text("a burglar's")
    (changed.watched / "new").write_text("x")
    # By cron, whose output goes elsewhere: what it found was not shown.
    changed("scan", "--no-audit", code=5, env=elsewhere(changed))
    failed = changed("accept", str(changed.watched / "new"), code=15).stderr
    assert "1 path changed after scan 2, of which you saw the report last" in failed
    done = changed("accept", str(changed.watched), code=0)
    assert "2 changes left out: found after scan 2" in done.stderr and "as of scan 2" in done.stdout
    assert names(changed) == ["a", "new"]
    document = changed.diff()
    assert document["changes"][0]["before"]["size"] == len("other")
    changed("accept", "--all", code=0)
    changed("diff", code=0)


def test_sets_are_those_of_the_report_that_was_seen(changed: Cli) -> None:
    """Without --shown, the number means the set of that report; a scan that was seen as a whole moves the limit."""
    changed("diff", code=5)
    (changed.watched / "b").write_text("x")
    changed("scan", "--no-audit", code=4, env=elsewhere(changed))
    changed("accept", "--set", "1", code=0)
    assert names(changed) == ["b"]
    (changed.watched / "c").write_text("x")
    changed.scan(4)  # its output says all that is new since the report above
    changed("accept", str(changed.watched / "c"), code=0)
    assert "--shown" in changed("accept", "--set", "1", code=15).stderr
    assert names(changed) == ["b"]


def test_nobody_sees_what_goes_to_dev_null(changed: Cli) -> None:
    """A report or scan that was thrown away does not move the limit: what it found is not taken along."""
    changed("diff", code=5)
    (changed.watched / "new").write_text("x")
    for verb in (("scan", "--no-audit"), ("diff",)):
        thrown_away = subprocess.run(changed.command(*verb), stdout=subprocess.DEVNULL, check=False, timeout=120)
        assert thrown_away.returncode in (1, 5)
    done = changed("accept", str(changed.watched), code=0)
    assert "1 change left out: found after scan 2" in done.stderr
    assert names(changed) == ["new"]


def test_another_session_has_seen_nothing(changed: Cli) -> None:
    """There, a path is taken as of the last scan, and a set needs the name of a report."""
    changed("diff", code=5)
    (changed.watched / "b").write_text("x")
    changed("scan", "--no-audit", code=4, env=elsewhere(changed))
    assert "--shown" in changed("accept", "--set", "1", code=15, env=elsewhere(changed)).stderr
    said = changed("accept", str(changed.watched / "b"), code=0, env=elsewhere(changed)).stdout
    assert "Accepted 1 path as of scan 3" in said


def test_the_number_of_a_change_means_its_own_state(changed: Cli) -> None:
    """Whatever was shown: nothing else can be taken by it."""
    changed("diff", code=5)
    (changed.watched / "b").write_text("x")
    changed("scan", "--no-audit", code=4, env=elsewhere(changed))
    changed("accept", "3", code=0)
    assert names(changed) == ["a", "open"]


def test_exactly_what_packages_shipped_is_taken(changed: Cli) -> None:
    """By the answer about its package; a fact that deserves attention keeps a file out."""
    (changed.watched / "b").write_text("shipped, but by whom?")
    (changed.watched / "c").write_text("shipped")
    changed("scan", "--no-audit", code=4)
    classes = {
        "a": (PackageClass.NOT_AS_SHIPPED, ()),
        "b": (PackageClass.AS_SHIPPED, (PackageFact.NOT_WRITTEN_BY_MANAGER,)),
        "c": (PackageClass.AS_SHIPPED, (PackageFact.BEING_INSTALLED,)),
        "open": (PackageClass.UNOWNED, ()),
    }

    def asked(diff: Diff) -> tuple[Diff, None]:
        found = []
        for finding in diff.findings:
            kind, facts = classes[os.path.basename(finding.change.path).decode()]
            found.append(replace(finding, package=PackageAnswer(path=finding.change.path, kind=kind, facts=facts)))
        return replace(diff, findings=tuple(found)), None

    config = load_config(str(changed.config))
    database = Database(config.database.url, host=os.uname().nodename)
    plan = propose_selected(database, Selection(as_shipped=True), config, Limits(is_dry_run=True), asked)
    accept(database, plan, Approval(accepted_ns=time.time_ns(), user="t"))
    database.close()
    where = changed.watched
    assert left_out_lines(plan) == [
        f"1 change left out: not as its package shipped it ({where}/a)",
        f"1 change left out: as shipped, but written by something else than the package manager ({where}/b)",
        f"1 change left out: no package owns it ({where}/open)",
    ]
    assert names(changed) == ["a", "b", "open"]
    refused = changed("accept", "--package-as-shipped", "--dry-run", code=15).stderr
    assert "no change matches" in refused and "3 changes left out: " in refused
