"""Append-only logs under logrotate and other programs: which changes are silent, and which alert."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan import compare
from fimscan.config import parse_config
from fimscan.errors import ConfigError
from fimscan.evidence.database import verify_database
from fimscan.model import Approval, Breach, Change, ChangeKind, Diff, FileState
from fimscan.pipeline import run_scan
from fimscan.pipeline.history.accept import accept, propose_everything
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.report.differences import breach_text
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec
from fimscan.store.database import Database
from tests.conftest import Cli

Reported = list[tuple[str, str, Breach | None]]
FIRST = "first line\nsecond line\n"


class Logs:
    """A directory of logs, scanned once."""

    def __init__(self, root: Path, **files: str) -> None:
        self.root = root
        self.directory = root / "log"
        self.directory.mkdir()
        self.database = Database(f"sqlite:///{root}/x.db", host="h")
        self.configure()
        for name, text in (files or {"app_log": FIRST, "other_log": "of another program\n"}).items():
            self.write(name.replace("_", "."), text)
        self.scan()

    def configure(self, extra: str = "") -> None:
        text = f'[scan]\nworkers = 1\n[[watch]]\npath = "{self.directory}"\npolicy = "append-only"\n{extra}'
        self.config = parse_config(text)

    def path(self, name: str) -> Path:
        return self.directory / name

    def write(self, name: str, text: str) -> Path:
        self.path(name).write_text(text)
        return self.path(name)

    def append(self, name: str, text: str) -> None:
        with self.path(name).open("a") as file:
            file.write(text)

    def alter(self, name: str, old: bytes, new: bytes) -> None:
        """Overwrite a log in place."""
        path = self.path(name)
        path.write_bytes(path.read_bytes().replace(old, new))

    def rotate(self, name: str, *, generations: int = 3) -> None:
        """Rename each generation to the next one, as logrotate does."""
        for number in range(generations, 0, -1):
            older = self.path(f"{name}.{number - 1}" if number > 1 else name)
            if older.exists():
                older.rename(self.path(f"{name}.{number}"))

    def scan(self) -> Reported:
        """Scan and return what it reports."""
        found = run_scan(self.database, self.config, source=None).diff
        return reported(found)

    def diff(self) -> Diff:
        return diff_from_baseline(self.database)

    def accept(self) -> None:
        plan = propose_everything(self.database, even_outstanding=True)
        accept(self.database, plan, Approval(accepted_ns=time.time_ns(), user="t"))


def reported(diff: Diff) -> Reported:
    """Return (kind, name, breach) of each row."""
    changes = [finding.change for finding in diff.findings]
    return [(change.kind.value, os.path.basename(os.fsdecode(change.path)), change.breach) for change in changes]


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    made = Logs(tmp_path)
    yield made
    made.database.close()


def only(diff: Diff) -> Change:
    (row,) = diff.findings
    return row.change


def test_growth_is_silent_and_recorded(logs: Logs) -> None:
    """Growth is no change, in the scan and in the diff; the appended part is verified from then on."""
    logs.append("app.log", "third line\n")
    assert logs.scan() == []
    assert (logs.diff().findings, logs.diff().logs_grown, logs.diff().logs_rotated) == ((), 1, 0)
    logs.alter("app.log", b"third", b"THIRD")
    assert logs.scan() == [("modified", "app.log", Breach.REWRITTEN)]
    assert reported(logs.diff()) == [("modified", "app.log", Breach.REWRITTEN)]
    assert "the first 34 bytes verified at " in breach_text(only(logs.diff()))
    logs.append("app.log", "fourth line\n")
    assert logs.scan() == [], "each change alerts once"
    assert reported(logs.diff()) == [("modified", "app.log", Breach.REWRITTEN)], "and waits until it is accepted"
    logs.accept()
    logs.append("app.log", "fifth line\n")
    assert logs.scan() == [] and logs.diff().findings == ()


def test_reports_of_logs(cli: Cli) -> None:
    """A scan of logs that grew prints nothing, and the diff counts them; an alert names the breach and the bytes."""
    cli.write_config(watch='policy = "append-only"')
    cli.scan()
    with (cli.watched / "a").open("a") as file:
        file.write("more\n")
    assert cli.scan(0) == ""
    assert "logs: 1 log grew; its earlier content is unchanged" in cli("diff", code=0).stdout
    summary = cli.diff()["summary"]
    assert (summary["logs_grown"], summary["logs_rotated"]) == (1, 0)
    (cli.watched / "a").write_text("CONTENT of a\nmore\n")
    os.truncate(cli.watched / "b", 3)
    assert "the first 18 bytes verified at " in " ".join(cli.scan(4).split())
    said = " ".join(cli("diff", code=4).stdout.split())
    assert "truncated to 3 bytes: the 13 bytes verified at " in said and "no longer exist anywhere" in said
    assert [row["breach"] for row in cli.diff()["changes"]] == ["rewritten", "truncated"]
    assert "were altered" in cli("diff", "--format", "html", code=4).stdout


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    before=st.binary(max_size=300).map(lambda part: part * 2000),  # smaller and larger than the reader's buffer
    added=st.binary(max_size=300),
    at=st.integers(0, 2**32),
    edit=st.sampled_from(["none", "flip", "cut", "insert", "delete"]),
)
def test_any_append_is_growth_and_no_other_edit_is(
    tmp_path: Path, before: bytes, added: bytes, at: int, edit: str
) -> None:
    """Verified bytes are altered, inserted or removed, or the end is cut off, with lines appended or not."""
    path = tmp_path / "app.log"
    place = at % len(before) if before else 0
    edited = {
        "none": before,
        "flip": before[:place] + bytes(byte ^ 1 for byte in before[place : place + 1]) + before[place + 1 :],
        "cut": before[:place],
        "insert": before[:place] + b"\0" + before[place:],
        "delete": before[:place] + before[place + 1 :],
    }[edit]
    path.write_bytes(before)
    verified = _read(path, None)
    with path.open("r+b") as file:  # the same inode
        file.truncate(0)
        file.write(edited + added)
    assert compare.has_grown(verified, _read(path, verified.size)) == (edited + added).startswith(before)


def _read(path: Path, verified: int | None) -> FileState:
    watch = WatchSpec(path=os.fsencode(path), append_only=True)
    (found,) = scan([watch], workers=1, verified=lambda _path: verified)
    assert isinstance(found, FileState)
    return found


def test_each_breach_has_its_name(tmp_path: Path) -> None:
    """The breaches are rewritten (even if the log has grown), truncated, replaced and removed."""
    logs = Logs(tmp_path, a="content of a\n", b="content of b\n", c="content of c\n", d="content of d\n")
    logs.alter("a", b"content", b"CONTENT")
    logs.append("a", "more\n")
    os.truncate(logs.path("b"), 3)
    logs.write("new", "something else\n").rename(logs.path("c"))
    logs.path("d").unlink()
    expected = [
        ("modified", "a", Breach.REWRITTEN),
        ("modified", "b", Breach.TRUNCATED),
        ("modified", "c", Breach.REPLACED),
        ("removed", "d", Breach.LOST),
    ]
    assert logs.scan() == expected
    assert reported(logs.diff()) == expected
    logs.accept()
    assert logs.scan() == [] and logs.diff().findings == ()


def test_growing_explains_content_and_times_only(logs: Logs) -> None:
    """A mode that changed meanwhile is reported as such, until it is accepted."""
    logs.append("app.log", "more\n")
    logs.path("app.log").chmod(0o666)
    assert logs.scan() == [("attributes", "app.log", None)]
    logs.append("app.log", "more\n")
    assert logs.scan() == []
    assert only(logs.diff()).changed == ("mode",)


def test_a_log_replaced_by_a_copy_is_reported(logs: Logs) -> None:
    """All lines are there, but a program that has the old file open now writes to an unlinked file."""
    shutil.copy(logs.path("app.log"), logs.path("copy"))
    logs.append("copy", "more\n")
    logs.path("copy").rename(logs.path("app.log"))
    assert logs.scan() == [("attributes", "app.log", None)]
    assert "inode" in only(logs.diff()).changed


def test_a_log_that_grows_while_it_is_read(logs: Logs) -> None:
    """A busy log is never unstable: it is recorded as of its opening, and verified by the next scan."""
    writer = subprocess.Popen(
        ["sh", "-c", f"while :; do echo a line that is written again and again; done >> {logs.path('busy.log')}"]
    )
    try:
        time.sleep(0.2)
        found = run_scan(logs.database, logs.config, source=None).diff
        assert reported(found) == [("added", "busy.log", None)] and found.unreadable == ()
        for _ in range(5):
            found = run_scan(logs.database, logs.config, source=None).diff
            assert (reported(found), found.unreadable, found.logs_grown) == ([], (), 1)
    finally:
        writer.kill()
        writer.wait()


# --- rotation, step by step, and what only looks like it -------------------------------------------------------------


def test_rename_and_create(logs: Logs) -> None:
    """The old content is under another name and a new log begins; likewise one generation later."""
    for _ in range(3):
        logs.append("app.log", "more\n")
        logs.rotate("app.log")
        logs.write("app.log", "")
        assert logs.scan() == []
    assert (logs.diff().findings, logs.diff().logs_rotated) == ((), 4)
    assert verify_database(logs.database, every_scan=True).ok  # also what was marked as rotated only afterwards


def test_a_rotated_log_that_was_altered_is_reported(logs: Logs) -> None:
    """The rotated file is not what was verified: the log is lost, and an unknown file was added."""
    logs.write("app.log.1", FIRST.replace("first", "FIRST"))
    logs.write("new", "fresh\n").rename(logs.path("app.log"))
    assert logs.scan() == [("modified", "app.log", Breach.REPLACED), ("added", "app.log.1", None)]


def test_altering_a_log_after_its_rotation_is_reported(logs: Logs) -> None:
    """A rotated log is not even appended to any more, and its beginning is known."""
    logs.rotate("app.log")
    logs.scan()
    logs.alter("app.log.1", b"first", b"FIRST")
    assert logs.scan() == [("modified", "app.log.1", Breach.REWRITTEN)]
    assert reported(logs.diff()) == [("modified", "app.log.1", Breach.REWRITTEN)]


def test_a_copy_that_is_too_short_is_reported(logs: Logs) -> None:
    """A copytruncate that lost the last line is no rotation."""
    logs.write("app.log.1", FIRST[:-3])
    os.truncate(logs.path("app.log"), 0)
    assert ("modified", "app.log", Breach.TRUNCATED) in logs.scan()


def test_a_compressed_log_of_other_content_is_reported(logs: Logs) -> None:
    """A name that ends in .gz proves nothing; a truncated archive counts for what it contains."""
    whole = os.urandom(100_000)
    logs.path("app.log").write_bytes(whole)
    logs.scan()
    logs.accept()
    logs.path("app.log.1.gz").write_bytes(gzip.compress(whole[:-1] + b"!"))
    logs.path("app.log.2.gz").write_bytes(gzip.compress(whole)[:-5000])
    os.truncate(logs.path("app.log"), 0)
    assert ("modified", "app.log", Breach.TRUNCATED) in logs.scan()


@pytest.mark.parametrize("tool", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_logs_are_recognised_by_content(logs: Logs, tool: str) -> None:
    """The name does not matter."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if tool == "zstd":
        pytest.importorskip("zstandard")
    with logs.path("old").open("wb") as out:
        subprocess.run([tool, "-c", logs.path("app.log")], check=True, stdout=out)
    os.truncate(logs.path("app.log"), 0)
    assert logs.scan() == []


def test_a_removed_oldest_generation_is_reported_unless_it_is_due(tmp_path: Path) -> None:
    """Removing a log can hide traces: it is expected only if the configuration says how many generations to keep."""
    logs = Logs(tmp_path, app_log_3="three\n", app_log_2="two\n", app_log_1="one\n", app_log="now\n")
    logs.path("app.log.3").unlink()
    assert logs.scan() == reported(logs.diff()) == [("removed", "app.log.3", Breach.LOST)]
    logs.accept()
    logs.configure("keep = 1")
    logs.path("app.log.2").unlink()
    assert logs.scan() == reported(logs.diff()) == []
    logs.path("app.log.1").unlink()
    assert logs.scan() == reported(logs.diff()) == [("removed", "app.log.1", Breach.LOST)]


def test_an_overwritten_oldest_generation_is_reported_unless_it_is_due(tmp_path: Path) -> None:
    """logrotate with numbers renames the last but one over the last: the path exists, its content is gone."""
    logs = Logs(tmp_path, app_log_2="two\n", app_log_1="one\n", app_log="now\n")
    logs.rotate("app.log", generations=2)
    logs.write("app.log", "")
    expected = [("modified", "app.log.2", Breach.LOST)]
    assert logs.scan() == reported(logs.diff()) == expected
    logs.accept()
    logs.configure("keep = 2")
    logs.append("app.log", "more\n")
    logs.rotate("app.log", generations=2)
    assert logs.scan() == reported(logs.diff()) == []


def test_a_removed_newest_generation_is_always_reported(tmp_path: Path) -> None:
    """Retention removes the oldest generation, so the removal of the newest one is reported."""
    logs = Logs(tmp_path, app_log_2="two\n", app_log_1="one\n", app_log="now\n")
    logs.configure("keep = 1")
    logs.path("app.log.1").unlink()
    assert logs.scan() == [("removed", "app.log.1", Breach.LOST)]


def test_a_scan_between_the_copy_and_the_truncation(logs: Logs) -> None:
    """The copy is recognised when it appears, even if the log is truncated only after the next scan."""
    shutil.copy(logs.path("app.log"), logs.path("app.log.1"))
    assert logs.scan() == []
    os.truncate(logs.path("app.log"), 0)
    assert logs.scan() == [] and logs.diff().findings == ()


def test_rotation_of_an_empty_log_is_silent(tmp_path: Path) -> None:
    """ifempty is logrotate's default; a new log that no family explains is reported all the same."""
    logs = Logs(tmp_path, empty_log="")
    logs.rotate("empty.log")
    logs.write("empty.log", "")
    assert logs.scan() == []
    logs.path("empty.log.1").unlink()
    with gzip.open(logs.path("empty.log.1.gz"), "wb"):
        pass
    assert logs.scan() == []
    logs.write("unknown.log", "")
    assert logs.scan() == [("added", "unknown.log", None)]


def test_a_log_that_becomes_a_symlink_is_reported(logs: Logs) -> None:
    """It is reported even if its content is kept: from now on, lines are appended elsewhere."""
    logs.path("app.log").rename(logs.path("app.log.1"))
    logs.path("app.log").symlink_to("/dev/null")
    (row,) = [row for row in logs.scan() if row[1] == "app.log"]
    assert row == ("modified", "app.log", None)


def test_keep_is_for_logs_only() -> None:
    """With another policy it would have no effect, so it is an error."""
    with pytest.raises(ConfigError) as problem:
        parse_config('[[watch]]\npath = "/etc"\nkeep = 3\n')
    assert 'only with policy = "append-only"' in problem.value.problems[0]


# --- the real logrotate ---------------------------------------------------------------------------------------------

FORMS = {
    "create": "create",
    "copytruncate": "copytruncate",
    "compress": "compress\ncreate",
    "delaycompress": "compress\ndelaycompress\ncreate",
    "dateext": "dateext\ndateformat -%Y%m%d-%s\ncreate",
    "dateext, compress": "dateext\ndateformat -%Y%m%d-%s\ncompress\ncreate",
    "extension": "extension .log\ncreate",
    "copytruncate, compress": "copytruncate\ncompress",
    "bzip2": "compress\ncompresscmd /usr/bin/bzip2\ncompressext .bz2\ncreate",
    "xz": "compress\ncompresscmd /usr/bin/xz\ncompressext .xz\ncreate",
}


@pytest.mark.parametrize("form", FORMS)
def test_logrotate_is_followed(logs: Logs, form: str) -> None:
    """Rotations with growth in between are silent; altering a rotated log is not."""
    logrotate = shutil.which("logrotate") or pytest.skip("logrotate is not installed")
    if form in ("bzip2", "xz") and not Path(f"/usr/bin/{form}").exists():
        pytest.skip(f"{form} is not installed")
    conf = logs.root / "logrotate.conf"
    conf.write_text(f"{logs.directory}/*.log {{\nsu root root\nrotate 5\nsize 1\n{FORMS[form]}\n}}\n")
    conf.chmod(0o644)
    for number in range(3):
        logs.append("app.log", f"line of round {number}\n")
        if number == 1:
            assert logs.scan() == []
            logs.append("app.log", "another line\n")
        if "dateext" in form:
            time.sleep(1.1)  # the name has the second in it
        command = [logrotate, "-f", "-s", str(logs.root / "state"), str(conf)]
        subprocess.run(command, check=True, capture_output=True)
        assert logs.scan() == reported(logs.diff()) == [], (number, sorted(os.listdir(logs.directory)))
    (oldest, *_) = sorted(
        (path for path in logs.directory.iterdir() if path.name not in ("app.log", "other.log")),
        key=lambda path: path.stat().st_mtime,
    )
    oldest.write_bytes(oldest.read_bytes()[:-1] + b"!")
    assert logs.scan() == reported(logs.diff()) == [("modified", oldest.name, Breach.REWRITTEN)]


def test_directories_and_links_among_logs_are_compared_as_usual(logs: Logs) -> None:
    """Directories and links in a directory of logs are compared as everywhere."""
    logs.path("d").mkdir()
    assert logs.scan() == [(ChangeKind.ADDED.value, "d", None)]


# --- every generation on its own --------------------------------------------------------------------------------------

LOGROTATE = "rotate 3\ncompress\ndelaycompress\ncreate"


class Rotated(Logs):
    """A log with all generations verified, rotated as Debian configures logrotate: 2.gz, 1 and the log itself."""

    def __init__(self, root: Path, form: str = LOGROTATE) -> None:
        self.form = form
        super().__init__(root, app_log="".join(f"{number}\n" for number in range(200)))
        self.configure("keep = 3\n")
        for text in ("a\nb\n", "ok\nattacker login\nok\n"):
            self.logrotate()
            self.append("app.log", text)
            assert self.scan() == []

    def logrotate(self) -> None:
        logrotate = shutil.which("logrotate") or pytest.skip("logrotate is not installed")
        conf = self.root / "logrotate.conf"
        conf.write_text(f"{self.directory}/app.log {{\nsu root root\n{self.form}\n}}\n")
        conf.chmod(0o644)
        command = [logrotate, "-f", "-s", str(self.root / "state"), str(conf)]
        subprocess.run(command, check=True, capture_output=True)

    def cut(self, name: str, line: bytes) -> None:
        """Remove a line as ``sed -i`` does, which replaces the file; a compressed file is compressed again."""
        path = self.path(name)
        packed = name.endswith(".gz")
        before = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
        after = before.replace(line, b"")
        assert before != after
        scratch = self.root / "scratch"
        scratch.write_bytes(gzip.compress(after) if packed else after)
        scratch.rename(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="logrotate gives logs to root")
class TestTwoRotations:
    """The verified content of each generation has to be found completely, whatever happened to the others."""

    def test_a_line_cut_out_of_the_log_after_two_rotations(self, tmp_path: Path) -> None:
        """A generation that is replaced by a copy of itself does not stand for another generation."""
        logs = Rotated(tmp_path)
        logs.cut("app.log", b"attacker login\n")
        shutil.copy(logs.path("app.log.1"), logs.root / "same")
        (logs.root / "same").rename(logs.path("app.log.1"))
        found = {name: (kind, breach) for kind, name, breach in logs.scan()}
        assert found["app.log"] == ("modified", Breach.REPLACED)
        assert ("modified", "app.log", Breach.REPLACED) in reported(logs.diff())

    @pytest.mark.parametrize(
        ("name", "line"), [("app.log", b"attacker login\n"), ("app.log.1", b"a\n"), ("app.log.2.gz", b"100\n")]
    )
    @pytest.mark.parametrize("again", [0, 1, 2])
    def test_a_line_cut_out_of_any_generation(self, tmp_path: Path, name: str, line: bytes, again: int) -> None:
        """It is reported, even if the log is rotated again before the next scan."""
        logs = Rotated(tmp_path, LOGROTATE.replace("3", "9"))
        logs.configure()
        logs.cut(name, line)
        for _ in range(again):
            logs.append("app.log", "more\n")
            logs.logrotate()
        found = logs.scan()
        assert [name for _, name, breach in found if breach is not None] == [name]

    @pytest.mark.parametrize("form", [LOGROTATE, "rotate 9\ncopytruncate", "rotate 9\ncompress\ncopytruncate"])
    @pytest.mark.parametrize("rotations", [1, 2, 3])
    def test_rotations_between_two_scans(self, tmp_path: Path, form: str, rotations: int) -> None:
        """One or several rotations with growth in between: intact logs are not reported."""
        logs = Rotated(tmp_path, form.replace("rotate 3", "rotate 9"))
        logs.configure()
        for number in range(rotations):
            logs.append("app.log", f"round {number}\n")
            logs.logrotate()
        assert [row for row in logs.scan() if row[0] != "added"] == []

    @pytest.mark.parametrize("rotations", [1, 2, 3])
    def test_rotations_between_two_scans_under_retention(self, tmp_path: Path, rotations: int) -> None:
        """The oldest generations are deleted as due, even if the file with their number now was never seen before."""
        logs = Rotated(tmp_path)
        for number in range(rotations):
            logs.append("app.log", f"round {number}\n")
            logs.logrotate()
        assert [row for row in logs.scan() if row[0] != "added"] == []
        logs.cut("app.log.2.gz", b"\n")
        assert [row for row in logs.scan() if row[2]] == [("modified", "app.log.2.gz", Breach.REPLACED)]

    def test_the_tail_that_was_verified_later_is_missing(self, tmp_path: Path) -> None:
        """What an earlier scan verified exists, what the last scan verified does not."""
        logs = Rotated(tmp_path)
        logs.append("app.log", "the last line\n")
        assert logs.scan() == []
        logs.cut("app.log", b"the last line\n")
        logs.logrotate()
        assert [(name, breach) for _, name, breach in logs.scan() if breach] == [("app.log", Breach.REPLACED)]

    def test_a_generation_is_emptied(self, tmp_path: Path) -> None:
        """Emptied alone, and emptied and then rotated."""
        logs = Rotated(tmp_path)
        os.truncate(logs.path("app.log.1"), 0)
        assert logs.scan() == [("modified", "app.log.1", Breach.TRUNCATED)]
        logs.accept()
        os.truncate(logs.path("app.log"), 0)
        logs.logrotate()
        assert [name for _, name, breach in logs.scan() if breach is not None] == ["app.log"]

    def test_a_generation_is_replaced_by_a_copy_of_an_older_one(self, tmp_path: Path) -> None:
        """The copy of a known generation does not replace the content that is gone."""
        logs = Rotated(tmp_path)
        logs.path("app.log.1").write_bytes(gzip.decompress(logs.path("app.log.2.gz").read_bytes()))
        assert [(name, bool(breach)) for _, name, breach in logs.scan()] == [("app.log.1", True)]

    def test_removal_of_the_newest_generation_during_a_rotation(self, tmp_path: Path) -> None:
        """After a rotation the right number of files exists, all with a new ctime; yet the newest one was removed."""
        logs = Rotated(tmp_path)
        logs.logrotate()  # now there are three
        logs.append("app.log", "now\n")
        assert logs.scan() == []
        shutil.copy2(logs.path("app.log.3.gz"), logs.root / "kept")
        logs.logrotate()  # the oldest would go
        shutil.move(logs.root / "kept", logs.path("app.log.4.gz"))
        logs.path("app.log.2.gz").unlink()
        assert [(name, breach) for _, name, breach in logs.scan() if breach] == [("app.log.1", Breach.LOST)]


def test_two_generations_with_equal_content_both_have_to_exist(tmp_path: Path) -> None:
    """A log has the same line each day: if one of two equal generations is removed, the other does not stand for it."""
    logs = Logs(tmp_path, app_log_2="started\n", app_log_1="started\n", app_log="started\n")
    logs.rotate("app.log")
    logs.write("app.log", "started\n")
    assert logs.scan() == []
    logs.path("app.log.2").unlink()
    assert logs.scan() == [("removed", "app.log.2", Breach.LOST)]
    os.truncate(logs.path("app.log"), 0)
    assert logs.scan() == [("modified", "app.log", Breach.TRUNCATED)]


def test_a_short_generation_is_not_found_in_the_beginning_of_another(tmp_path: Path) -> None:
    """All logs begin with the same banner, which is all that the removed one held."""
    logs = Logs(tmp_path, app_log_2="== begin\n", app_log_1="== begin\nlogin\n", app_log="now\n")
    logs.path("app.log.2").unlink()
    logs.rotate("app.log")
    logs.write("app.log", "")
    assert logs.scan() == reported(logs.diff()) == [("modified", "app.log.2", Breach.LOST)]


@pytest.mark.parametrize("copied", [False, True])
def test_exchanged_generations_are_reported(tmp_path: Path, copied: bool) -> None:
    """All content exists, but in an order that no rotation produces."""
    logs = Logs(tmp_path, app_log_2="two\n", app_log_1="one\n", app_log="now\n")
    if copied:
        logs.write("app.log.1", "two\n")
        logs.write("app.log.2", "one\n")
    else:
        logs.path("app.log.1").rename(logs.root / "between")
        logs.path("app.log.2").rename(logs.path("app.log.1"))
        (logs.root / "between").rename(logs.path("app.log.2"))
    expected = [("modified", f"app.log.{number}", Breach.REORDERED) for number in (1, 2)]
    assert logs.scan() == reported(logs.diff()) == expected
    assert "are in another generation of this log" in breach_text(logs.diff().findings[0].change)


def test_a_rotated_log_renamed_back_to_the_log_is_reported(tmp_path: Path) -> None:
    """The content of the log itself is gone."""
    logs = Logs(tmp_path, app_log_1="one\n", app_log="now\n")
    logs.path("app.log.1").rename(logs.path("app.log"))
    assert ("modified", "app.log", Breach.LOST) in logs.scan()


def test_generations_that_count_upwards_are_rotated_as_well(tmp_path: Path) -> None:
    """As with log4j: the newest generation has the highest number, and all are renamed to the next lower one."""
    logs = Logs(tmp_path, app_log_1="oldest\n", app_log_2="older\n", app_log_3="old\n", app_log="now\n")
    logs.configure("keep = 3")
    logs.path("app.log.1").unlink()
    for number in (2, 3):
        logs.path(f"app.log.{number}").rename(logs.path(f"app.log.{number - 1}"))
    logs.path("app.log").rename(logs.path("app.log.3"))
    logs.write("app.log", "")
    assert logs.scan() == reported(logs.diff()) == []


def test_content_is_moved_to_a_second_place_if_needed() -> None:
    """A content gives up its place if it has a second one and another content has only this one."""
    found = compare.assign_files([[b"x", b"y"], [b"x"], [b"y", b"z"], []])
    assert found == {0: b"y", 1: b"x", 2: b"z"}
    assert compare.assign_files([[b"x"], [b"x"]]) in ({0: b"x"}, {1: b"x"})


@given(st.lists(st.sets(st.integers(0, 5), max_size=4), max_size=6))
def test_the_assignment_is_as_large_as_possible(options: list[set[int]]) -> None:
    """The assignment is as large as the best possible one; each place is used once."""
    places = [[b"%d" % place for place in sorted(some)] for some in options]
    found = compare.assign_files(places)
    assert len(set(found.values())) == len(found)
    assert all(place in places[number] for number, place in found.items())

    def best(number: int, taken: frozenset[int]) -> int:
        if number == len(options):
            return 0
        free = (1 + best(number + 1, taken | {place}) for place in options[number] - taken)
        return max([best(number + 1, taken), *free])

    assert len(found) == best(0, frozenset())
