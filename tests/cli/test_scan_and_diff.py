"""``fimscan scan``, ``diff`` and ``accept``."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import Cli, rows
from tests.support import page_paths


def test_a_device_is_written_to_and_not_replaced(cli: Cli) -> None:
    """Replacing it would, as root, turn /dev/null into a file."""
    cli.scan()
    link = cli.root / "null"
    link.symlink_to("/dev/null")
    cli("diff", "--format", "json", "--out", str(link), code=0)
    assert link.is_symlink()


def test_the_first_scan_is_the_baseline_and_exits_0(cli: Cli) -> None:
    """Nothing can have changed yet."""
    assert "Baseline recorded: scan 1, 4 files" in cli.scan()
    assert cli("diff", code=0).stdout.startswith("nothing differs")


def test_a_scan_that_finds_nothing_prints_nothing(cli: Cli) -> None:
    """cron sends a mail for any output, so no output means no change."""
    cli.scan()
    done = cli("scan", "--no-audit", code=0)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("deeds", "code"),
    [("+", 1), ("-", 2), ("~", 4), ("+-", 3), ("+~", 5), ("-~", 6), ("+-~", 7), ("m", 4), ("x", 4)],
)
def test_exit_codes_are_aides_sum(cli: Cli, deeds: str, code: int) -> None:
    """1 added + 2 removed + 4 changed, for scan and for diff."""
    cli.scan()
    if "+" in deeds:
        (cli.watched / "new").write_text("new")
    if "-" in deeds:
        (cli.watched / "a").unlink()
    if "~" in deeds:
        (cli.watched / "b").write_text("other")
    if "m" in deeds:
        (cli.watched / "c").rename(cli.watched / "moved")
    if "x" in deeds:
        (cli.watched / "c").chmod(0o777)
    cli.scan(code)
    cli("diff", code=code)


def test_each_change_alerts_once_and_waits_until_it_is_accepted(cli: Cli) -> None:
    """scan reports new changes, diff all differences from the baseline."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli.scan(4)
    (cli.watched / "new").write_text("new")
    said = cli.scan(1)
    assert "1 more to accept from earlier scans" in said
    cli.scan(0)
    assert rows(cli.diff()) == [("modified", "a"), ("added", "new")]
    assert "Accepted 1 path" in cli("accept", str(cli.watched / "a"), code=0).stdout
    assert rows(cli.diff()) == [("added", "new")]
    cli("accept", "--all", "--ticket", "CHG-1", "--reason", "release", code=0)
    cli("diff", code=0)


def test_accepting_a_change_by_its_number_keeps_later_ones(cli: Cli) -> None:
    """The reviewed change is accepted, but no later one."""
    cli.scan()
    (cli.watched / "a").write_text("reviewed")
    cli.scan(4)
    number = cli.diff()["changes"][0]["id"]
    (cli.watched / "a").write_text("not reviewed")
    cli.scan(4)
    cli("accept", str(number), code=0)
    (row,) = cli.diff()["changes"]
    assert row["before"]["size"] == len("reviewed") and "steps" not in row


def test_accepting_a_directory_accepts_what_is_below(cli: Cli) -> None:
    """All paths below it are accepted, and no others."""
    (cli.watched / "pkg").mkdir()
    cli.scan()
    (cli.watched / "pkg" / "one").write_text("1")
    (cli.watched / "pkg" / "two").write_text("2")
    (cli.watched / "pkg-not").write_text("3")
    cli.scan(1)
    assert "2 paths" in cli("accept", str(cli.watched / "pkg"), "--ticket", "CHG-2", code=0).stdout
    assert rows(cli.diff()) == [("added", "pkg-not")]
    assert "CHG-2" in cli("status", code=0).stdout


def test_an_older_change_cannot_be_accepted_over_a_newer_baseline(cli: Cli) -> None:
    """Its number means a state that is older than the baseline."""
    cli.scan()
    (cli.watched / "a").write_text("one")
    cli.scan(4)
    number = cli.diff()["changes"][0]["id"]
    (cli.watched / "a").write_text("two")
    cli.scan(4)
    cli("accept", "--all", code=0)
    cli("accept", str(number), code=15)
    cli("diff", code=0)


def test_a_symlinked_watch_is_pointed_out(cli: Cli) -> None:
    """/sbin is a link to usr/sbin: a message says that only the link is monitored."""
    link = cli.root / "link"
    link.symlink_to(cli.watched)
    cli.config.write_text(cli.config.read_text().replace(f'path = "{cli.watched}"', f'path = "{link}"'))
    done = cli("scan", "--no-audit", code=0)
    assert "symbolic link" in done.stderr and str(cli.watched) in done.stderr
    assert cli("scan", "--no-audit", code=0).stderr == ""


def test_accepting_what_does_not_differ_is_an_error(cli: Cli) -> None:
    """A mistyped path is an error, and none of the other paths is accepted."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli.scan(4)
    done = cli("accept", str(cli.watched / "a"), str(cli.watched / "typo"), code=15)
    assert "typo" in done.stderr
    assert rows(cli.diff()) == [("modified", "a")]


def test_a_move_is_accepted_as_a_whole(cli: Cli) -> None:
    """Removal of the old name and addition of the new one are accepted together."""
    cli.scan()
    (cli.watched / "a").rename(cli.watched / "z")
    cli.scan(4)
    assert rows(cli.diff()) == [("moved", "z")]
    cli("accept", str(cli.watched / "z"), code=0)
    cli("diff", code=0)


def test_several_changes_of_one_path_are_one_row_with_steps(cli: Cli) -> None:
    """The row has the net change, its steps the single changes."""
    cli.scan()
    for text in ("one", "two", "three"):
        (cli.watched / "a").write_text(text)
        cli.scan(4)
    document = cli.diff()
    (row,) = document["changes"]
    assert [step["scan"] for step in row["steps"]] == [2, 3, 4]
    jsonschema.Draft202012Validator(json.loads(cli("diff", "--schema", code=0).stdout)).validate(document)


def test_changed_and_changed_back_is_no_row_but_stays_in_the_history(cli: Cli) -> None:
    """Nothing differs, but --history shows both changes."""
    target = cli.watched / "a"
    before = target.stat()
    cli.scan()
    target.rename(cli.watched / "away")
    cli.scan(4)
    (cli.watched / "away").rename(target)
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    cli.scan(4)
    (row,) = cli.diff()["changes"]
    assert (row["kind"], row["changed"]) == ("attributes", ["ctime"])
    history = cli.diff("--history", "--path", str(target))
    assert [r["kind"] for r in history["changes"]] == ["moved", "moved"]


def test_any_two_scans_can_be_compared(cli: Cli) -> None:
    """The history is kept: an earlier state can be reconstructed."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    cli.scan(4)
    (cli.watched / "b").unlink()
    cli.scan(2)
    assert rows(cli.diff("--from", "1", "--to", "2")) == [("modified", "a")]
    assert rows(cli.diff("--from", "2", "--to", "3")) == [("removed", "b")]
    assert "exchange them" in cli("diff", "--from", "3", "--to", "1", code=15).stderr
    assert "no finished scan 9" in cli("diff", "--to", "9", code=15).stderr


def test_filters(cli: Cli) -> None:
    """A path, a pattern and a verdict narrow the diff, and the exit code with it."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    (cli.watched / "[odd]*").write_text("x")
    cli.scan(5)
    assert rows(cli.diff("--path", f"{cli.watched}/a")) == [("modified", "a")]
    assert rows(cli.diff("--path", f"{cli.watched}/[odd]*")) == [("added", "[odd]*")]
    assert rows(cli.diff("--verdict", "confirmed")) == []
    for same in (f"{cli.watched}", f"{cli.watched}/", f"/{cli.watched}//", f"{cli.root}/*/", "./watched/*", "watched"):
        assert len(rows(cli.diff("--path", same))) == 2, same


def test_the_history_of_an_unchanged_path_says_what_is_known_of_it(cli: Cli) -> None:
    """Since when it is recorded, and when it was last read: "nothing differs" would not show that it is monitored."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    cli.scan(4)
    done = cli("diff", "--history", "--path", f"{cli.watched}/b", code=0).stdout
    known = rf"no change of {cli.watched}/b is recorded on \S+: first recorded by scan 1 \(.* UTC\), last read .* UTC"
    assert re.match(known, done), done
    assert "no change" not in cli("diff", "--history", "--path", f"{cli.watched}/a", code=4).stdout


def test_filters_that_match_nothing_are_no_all_clear(cli: Cli) -> None:
    """How many there are is said where the report has a headline, else on standard error; the exit code is 0."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    (cli.watched / "new").write_text("x")
    cli.scan(5)
    for filters, words in (
        (("--path", "/nowhere/*"), "0 of 2 match"),
        (("--verdict", "confirmed"), "0 of 2 match"),
        (("--path", "/nowhere/", "--history"), "nothing is recorded of /nowhere"),
    ):
        for form in ("text", "html", "json", "ndjson", "csv"):
            done = cli("diff", *filters, "--format", form, code=0)
            assert "nothing differs" not in done.stdout
            assert words in (done.stdout if form in ("text", "html") else done.stderr)
    cli("accept", "--all", code=0)
    assert cli("diff", "--path", "/nowhere", code=0).stdout.startswith("nothing differs")


@pytest.mark.parametrize("command", ["accept", "explain", "explain-path", "diff --path"])
def test_an_empty_path_is_not_the_current_directory(cli: Cli, command: str) -> None:
    """accept "$UNSET" must not accept everything below it."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    cli.scan(4)
    assert "the path is empty" in cli(*command.split(), "", code=15).stderr
    assert rows(cli.diff()) == [("modified", "a")]


def test_paths_of_any_bytes_survive(cli: Cli) -> None:
    """Names that are not UTF-8 are escaped, exact in base64, and can be accepted by number."""
    cli.scan()
    name = os.fsencode(cli.watched) + b"/\xff\n\x1b[31m"
    Path(os.fsdecode(name)).write_text("x")
    assert "\x1b" not in cli.scan(1)
    (row,) = cli.diff()["changes"]
    import base64

    assert base64.b64decode(row["path_b64"]) == name
    cli("accept", str(row["id"]), code=0)
    cli("diff", code=0)


@pytest.mark.parametrize("form", ["text", "json", "ndjson", "csv", "html"])
def test_every_format_names_the_change(cli: Cli, form: str) -> None:
    """Each format has the path and the kind of change."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    cli.scan(4)
    said = cli("diff", "--format", form, code=4).stdout
    paths = page_paths(said) if form == "html" else said
    assert str(cli.watched / "a") in paths and "modified" in said
    out = cli.root / "report"
    cli("diff", "--format", form, "--out", str(out), code=4)
    assert out.read_text() == said


def test_without_audit_the_reason_is_a_gap_not_an_alarm(cli: Cli) -> None:
    """No audit log was read: that must not look like 'audit recorded no event'."""
    cli.scan()
    (cli.watched / "a").write_text("two")
    cli.scan(4)
    (row,) = cli.diff()["changes"]
    assert (row["attribution"]["verdict"], row["attribution"]["reason"]) == ("unattributed", "coverage-gap")
    assert [gap["reason"] for gap in row["attribution"]["coverage"]["gaps"]] == ["not-observed"]


def test_a_widened_configuration_does_not_flood(cli: Cli) -> None:
    """Newly monitored paths are not reported as added; later changes of them are."""
    cli.write_config(watch='exclude = ["b"]')
    cli.scan()
    cli.write_config()
    assert "New configuration: 1 path newly monitored." in cli.scan(0)
    cli("diff", code=0)
    (cli.watched / "b").write_text("changed later")
    cli.scan(4)
    assert rows(cli.diff()) == [("modified", "b")]


def test_a_narrowed_configuration_reports_nothing_as_removed(cli: Cli) -> None:
    """A path that is no longer monitored is reported as that, and not as removed."""
    cli.scan()
    cli.write_config(watch='exclude = ["b"]')
    assert "1 path no longer monitored." in cli.scan(0)
    cli("diff", code=0)


def test_times_beyond_2262_are_kept(cli: Cli) -> None:
    """Anybody may set a file's time to a year whose nanoseconds do not fit 64 bits."""
    os.utime(cli.watched / "a", (10_000_000_000, 10_000_000_000))
    if (cli.watched / "a").stat().st_mtime != 10_000_000_000:
        pytest.skip("this file system does not hold such a time")
    cli.scan()
    os.utime(cli.watched / "a", (10_000_000_001, 10_000_000_001))
    cli.scan(4)
    assert cli.diff()["changes"][0]["after"]["mtime"].startswith("2286-11-20")


def test_own_files_are_never_monitored(cli: Cli) -> None:
    """The database is in the watched directory, but is not reported."""
    config = cli.config.read_text().replace(str(cli.database), str(cli.watched / "own.db"))
    cli.config.write_text(config)
    cli.scan()
    cli.scan(0)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv (util-linux)")
def test_unreadable_files_are_reported_until_they_are_read_and_never_removed(cli: Cli) -> None:
    """Files in an unreadable directory are neither removed nor unchanged: they are not compared."""
    (cli.watched / "d").mkdir()
    (cli.watched / "d" / "inside").write_text("x")
    # Root without the capabilities that make it read everything.
    weak = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]

    def scan(code: int) -> str:
        command = [*weak, *cli.command("scan", "--no-audit")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    scan(0)
    (cli.watched / "d").chmod(0o000)
    for _ in range(2):
        said = scan(4)
        assert said.startswith("1 unreadable (1 changed since last read) since scan ")
        assert "permission denied; not compared since " in said
    document = cli.diff()
    assert rows(document) == []
    assert [(item["reason"], item["changed"]) for item in document["unreadable"]] == [("permission", ["mode", "ctime"])]
    assert cli("diff", code=4).stdout.startswith("1 unreadable (1 changed since last read)")
    assert "At the last scan: permission denied; not compared since " in cli("status").stdout
    assert json.loads(cli("status", "--format", "json").stdout)["unreadable"] == document["unreadable"]
    assert "; 1 readable before, unread for up to 0.0 days" in cli("doctor").stdout
    assert "d/inside" not in str(document["opened_unmodified"])
    history = cli("diff", "--history", "--path", f"{cli.watched}/d/inside").stdout
    assert f"the last scan could not read {cli.watched}/d (permission denied)" in history, "no all-clear"
    (cli.watched / "d").chmod(0o755)
    scan(0)
    assert cli.diff()["unreadable"] == []


def test_a_mail_fits_on_one_screen_whatever_is_in_it(cli: Cli) -> None:
    """Ten new programs have three lines each, and a failed control one more: then names are listed, and counted."""
    cli.scan()
    for number in range(10):
        path = cli.watched / f"program{number}"
        path.write_text("code")
        path.chmod(0o755)
    mail = cli("scan", "--no-audit", code=1).stdout
    lines = mail.splitlines()
    assert len(lines) <= 24, mail
    assert all(len(line) <= 80 for line in lines if not re.search(r"fimscan|/", line)), mail
    named = [line for line in lines if re.match(r"added +#", line)]
    more = re.search(r"^\.\.\. and (\d+) more to look at: ", mail, re.MULTILINE)
    assert named and len(named) + (int(more[1]) if more else 0) == 10
