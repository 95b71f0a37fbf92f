"""Errors: one clear line, the right exit code, and no lost data."""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import forked
from tests.conftest import Cli, rows
from tests.pipeline.test_audit_reading import event

LARGE = 200 << 30  # a sparse file that takes far longer to read than any test waits


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


# --- configuration --------------------------------------------------------------------------------------------------


def test_every_problem_of_a_configuration_is_reported_at_once(cli: Cli) -> None:
    """With the key and line of each, so that all can be fixed at once."""
    cli.config.write_text('[audti]\nx = 1\n[database]\nurl = 5\n[[watch]]\npath = "etc"\nplicy = "full"\n')
    lines = cli("scan", code=17).stderr.splitlines()
    assert len(lines) == 4
    for line, number, key in zip(lines, (1, 4, 6, 7), ("audti", "database.url", "watch[1].path", "plicy"), strict=True):
        assert f"fimscan.toml:{number}:" in line and key in line


def test_malformed_toml_names_the_line(cli: Cli) -> None:
    """Line 2 is where the value is missing."""
    cli.config.write_text("[database]\nurl = \n")
    assert "fimscan.toml:2: not valid TOML" in only_line(cli("scan", code=17).stderr)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"", b"[database]\n", b"watch = 5\n", b"[watch]\npath='/etc'\n", b"\0"])
def test_an_unusable_configuration_is_one_line(cli: Cli, data: bytes) -> None:
    """Not UTF-8, empty, nothing to watch, the wrong kind of section."""
    cli.config.write_bytes(data)
    only_line(cli("scan", code=17).stderr)


def test_no_configuration_says_how_to_get_one(cli: Cli) -> None:
    """The message has the path and the reason."""
    cli.config.unlink()
    assert "No such file" in only_line(cli("scan", code=17).stderr)


def test_bad_arguments_exit_with_15(cli: Cli) -> None:
    """Unknown commands and options, and arguments that make no sense together."""
    for arguments in (("frob",), ("scan", "--nope"), ("accept",), ("diff", "--from", "x")):
        only_line(cli(*arguments, code=15).stderr)


@pytest.mark.parametrize("group", [[], ["audit"], ["export"], ["import"]])
def test_a_group_without_a_command_prints_its_help(group: list[str]) -> None:
    """The help text on standard output, and exit code 0."""
    done = subprocess.run([sys.executable, "-m", "fimscan", *group], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {' '.join(['fimscan', *group])} [OPTIONS] COMMAND [ARGS]...\n")
    assert "\nCommands:\n" in done.stdout


# --- what is watched ------------------------------------------------------------------------------------------------


def test_a_missing_directory_is_reported_and_the_others_are_scanned(cli: Cli) -> None:
    """One wrong path must not stop the monitoring of the rest."""
    cli.write_config(watch=f'[[watch]]\npath = "{cli.root}/missing"')
    assert f"{cli.root}/missing" in cli.scan(0)
    (cli.watched / "a").write_text("other")
    cli.scan(4)


def test_no_directory_at_all_is_an_error_and_no_baseline(cli: Cli) -> None:
    """An empty baseline would be misleading."""
    cli.config.write_text(cli.config.read_text().replace(str(cli.watched), f"{cli.root}/no/where"))
    assert f"{cli.root}/no/where" in only_line(cli("scan", "--no-audit", code=18).stderr)
    assert "no scan has been finished" in only_line(cli("diff", code=15).stderr)


def test_a_missing_only_directory_is_an_error_and_not_a_removal(cli: Cli) -> None:
    """If it is all that is monitored, it may just not be mounted."""
    cli.scan()
    cli.watched.rename(cli.root / "away")
    assert str(cli.watched) in only_line(cli("scan", "--no-audit", code=18).stderr)
    (cli.root / "away").rename(cli.watched)
    cli.scan(0)


def test_an_unreadable_log_is_a_warning_and_the_scan_goes_on(cli: Cli) -> None:
    """Content is compared even if no process can be named; the warning is printed once."""
    cli("scan", "--audit-log", str(cli.root / "no.log"), code=0)
    (cli.watched / "a").write_text("other")
    done = cli("scan", "--audit-log", str(cli.root / "no.log"), code=4)
    assert "no.log" not in done.stderr
    assert rows(cli.diff()) == [("modified", "a")]


# --- the database ---------------------------------------------------------------------------------------------------

IMPATIENT = """
from fimscan.cli.main import main
from fimscan.pipeline import scan
from fimscan.store import database

scan._LIVE_LOOK_SECONDS = database._BUSY_SECONDS = 1
main()
"""


def impatient_scan(cli: Cli) -> subprocess.CompletedProcess[str]:
    """A scan with lock timeouts of one second."""
    command = [sys.executable, "-c", IMPATIENT, *cli.command("scan", "--no-audit")[3:]]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_not_a_database_at_all(cli: Cli) -> None:
    """The message has the name of the text file, which is not changed."""
    cli.database.write_text("this is not a database, and longer than a header: " * 10)
    before = cli.database.read_bytes()
    assert str(cli.database) in only_line(cli("scan", "--no-audit", code=24).stderr)
    assert cli.database.read_bytes() == before


def test_another_programs_database_is_left_alone(cli: Cli) -> None:
    """SQLite, but not ours."""
    with sqlite3.connect(cli.database) as connection:
        connection.execute("CREATE TABLE precious (x)")
    assert "another program" in only_line(cli("scan", "--no-audit", code=24).stderr)


def test_a_database_of_a_newer_version(cli: Cli) -> None:
    """It is not changed, and the message says what to install."""
    cli.scan()
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert "newer fimscan" in only_line(cli("diff", code=24).stderr)


def test_a_locked_database(cli: Cli) -> None:
    """A scan exits with 21 if another process holds the writer lock for longer than a live look takes."""
    cli.scan()
    import fcntl

    with open(f"{cli.database}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = impatient_scan(cli)
        assert done.returncode == 21 and "another fimscan scan" in only_line(done.stderr)
    cli.scan(0)


def test_a_database_that_another_program_locks(cli: Cli) -> None:
    """Reading works; a scan waits, then exits with 24; after the lock is released, it works."""
    cli.scan()
    with sqlite3.connect(cli.database, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        cli("diff", code=0)
        done = impatient_scan(cli)
        assert done.returncode == 24 and "locked by another program" in only_line(done.stderr)
    cli.scan(0)


def test_a_short_lock_is_waited_for(cli: Cli) -> None:
    """A scan and the reading of the audit log can use the database at the same time."""
    cli.scan()
    with sqlite3.connect(cli.database, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen(cli.command("scan", "--no-audit"))
        time.sleep(3)
        other.execute("COMMIT")
    assert process.wait(timeout=30) == 0


def test_output_that_cannot_be_written(cli: Cli) -> None:
    """Writing a report to a full disk exits with 14 and leaves no partial report."""
    cli.scan()
    with open("/dev/full", "w") as full:
        done = subprocess.run(cli.command("diff"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 14 and "could not be written" in only_line(done.stderr)
    assert "No such file" in only_line(cli("diff", "--out", str(cli.root / "no" / "x"), code=14).stderr)


def test_a_reader_that_stops_reading_is_no_traceback(cli: Cli) -> None:
    """fimscan diff | head."""
    cli.scan()
    for number in range(300):
        (cli.watched / f"new{number}").write_text("x")
    cli.scan(1)
    process = subprocess.Popen(cli.command("diff", "--flat"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=30)


# --- interruptions --------------------------------------------------------------------------------------------------


@pytest.fixture
def long_scan(cli: Cli) -> Iterator[subprocess.Popen[str]]:
    """A running scan, after a baseline and a change."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    large = cli.watched / "large"
    with open(large, "wb") as file:
        file.truncate(LARGE)
    # Tests that were started in the background ignore SIGINT, and so would the scan.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        cli.command("scan", "--no-audit"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        deadline = time.monotonic() + 20
        while _running_scans(cli.database) == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        assert process.poll() is None, "the scan was over before it could be interrupted"
        yield process
    finally:
        process.kill()
        process.communicate()


def _running_scans(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM scan WHERE status = 'running'").fetchone()[0])


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
    ids=["INT", "TERM", "HUP", "KILL"],
)
def test_an_interrupted_scan_loses_nothing(
    cli: Cli, long_scan: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    """The last finished scan is kept, the interrupted one is marked, and the next scan finds the change."""
    long_scan.send_signal(number)
    _, said = long_scan.communicate(timeout=20)
    assert long_scan.returncode == code
    if number is not signal.SIGKILL:
        assert "interrupted" in only_line(said)
    assert "interrupted" in cli("status", code=0).stdout
    assert rows(cli.diff()) == []
    (cli.watched / "large").unlink()
    cli.scan(4)
    assert rows(cli.diff()) == [("modified", "a")]
    assert not _group(long_scan.pid)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["TERM", "HUP"])
def test_a_signal_does_not_wait_for_a_lock(cli: Cli, number: signal.Signals, code: int) -> None:
    """SQLite waits for another writer for 15 seconds, in which Python handles no signal."""
    cli.scan()
    with sqlite3.connect(cli.database, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        command = [sys.executable, "-m", "fimscan", "--config", str(cli.config), "scan", "--no-audit"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
            while str(cli.database) not in _open_files(waiting.pid):
                time.sleep(0.05)
            time.sleep(1)
            begin = time.monotonic()
            waiting.send_signal(number)
            _, said = waiting.communicate(timeout=60)
        took = time.monotonic() - begin
        other.execute("ROLLBACK")
    assert waiting.returncode == code and "interrupted" in only_line(said)
    assert took < 10
    cli.scan(0)


def _open_files(pid: int) -> list[str]:
    with suppress(OSError):
        return [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    return []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
def test_a_signal_ends_the_reading_of_a_pipe(cli: Cli, number: signal.Signals) -> None:
    """Nobody writes to it, and it never ends."""
    pipe = cli.root / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "fimscan", "audit", "events", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
        end = os.open(pipe, os.O_WRONLY)  # returns when it is opened for reading
        waiting.send_signal(number)
        _, said = waiting.communicate(timeout=60)
        os.close(end)
    assert waiting.returncode == 128 + number and "interrupted" in only_line(said)


def _group(number: int) -> list[str]:
    """The remaining processes of a process group."""
    found = subprocess.run(["pgrep", "-g", str(number)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_a_full_disk_leaves_the_last_scan_intact(cli: Cli, tmp_path: Path) -> None:
    """On a small file system, the scan exits with 24, and the baseline is unchanged; with space again, it works."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "none", disk], check=False)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        config = cli.config.read_text().replace(str(cli.database), str(disk / "fim.db"))
        cli.config.write_text(config)
        cli.scan()
        for number in range(6000):
            (cli.watched / f"{number}-{'x' * 150}").write_text("")
        done = cli("scan", "--no-audit", code=24)
        assert "no space left" in only_line(done.stderr)
        subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
        for path in cli.watched.glob("*-*"):
            path.unlink()
        (cli.watched / "a").write_text("other")
        cli.scan(4)
        assert rows(cli.diff()) == [("modified", "a")]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_emptied_database_is_not_a_new_beginning(cli: Cli) -> None:
    """': > fimscan.db' must not end in a fresh baseline and an exit code of 0."""
    cli.scan()
    cli.database.write_bytes(b"")
    assert "is empty" in only_line(cli("scan", "--no-audit", code=24).stderr)


def test_relative_and_unknown_databases_are_refused(cli: Cli) -> None:
    """A relative path would mean different databases for cron and a shell."""
    for url in ("sqlite:///rel.db", "sqlite://", "mysql://root@h/d"):
        done = subprocess.run(
            [sys.executable, "-m", "fimscan", "--db", url, "diff"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 24
        only_line(done.stderr)


def test_a_report_that_could_not_be_written_is_repeated(cli: Cli) -> None:
    """The report of a scan went to a full disk: the next scan reports its changes."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    with open("/dev/full", "w") as full:
        done = subprocess.run(cli.command("scan", "--no-audit"), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 14
    assert str(cli.watched / "a") in cli.scan(4)
    assert cli.scan(0) == ""


def test_closed_standard_output_is_an_error_before_anything_is_done(cli: Cli) -> None:
    """'scan >&-' exits with 14 and one line; no change is recorded as reported."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    command = " ".join(cli.command("scan", "--no-audit"))
    done = subprocess.run(f"exec {command} >&-", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 14
    assert "standard output is closed" in only_line(done.stderr)
    cli.scan(4)


PRINTING = [
    *(["--help"], ["--version"], [], ["audit"], ["schema"], ["schema", "diff"], ["audit", "rules"], ["explain", "1"]),
    *(["diff", "--format", form] for form in ("text", "json", "ndjson", "csv", "html")),
    *(["audit", "events", "--format", form] for form in ("text", "json", "ndjson")),
    *(["audit", "events", "--format", form, "audit.log"] for form in ("text", "json", "ndjson")),
    *(["status"], ["status", "--vouched"], ["status", "--format", "json"], ["verify", "--db"], ["doctor"], ["init"]),
    *(["explain-path", "/"], ["scan", "--no-audit", "-v"]),
]


@pytest.fixture(scope="module")
def much(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A database with 300 changes and 300 accesses."""
    root = tmp_path_factory.mktemp("much")
    cli = Cli(root=root, watched=root / "watched")
    cli.watched.mkdir()
    cli.write_config(watch='reread = "ctime"')
    cli.scan()
    names = [cli.watched / f"new{number}" for number in range(300)]
    for name in names:
        name.write_text("x")
    log = root / "audit.log"
    log.write_text("".join(event(name, number, at=time.time()) for number, name in enumerate(names, 1)))
    cli("scan", "--audit-log", str(log), code=1)
    return cli


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_closed_pipe_ends_every_command_quietly(much: Cli, arguments: list[str]) -> None:
    """141, as a shell shows SIGPIPE; never 1, which would mean 'something was added', and never 14."""
    is_group = arguments in ([], ["audit"])
    command = [*([] if is_group else ["--config", str(much.config)]), *arguments]
    assert forked.can_run()
    done = forked.run(command, much.root, 60, closed=[1])
    assert (done.returncode, done.stderr) == (141, b"")
    if arguments[:1] in (["diff"], ["doctor"], ["audit"]):  # 2>&1
        assert forked.run(command, much.root, 60, closed=[1, 2]).returncode == 141


@pytest.mark.parametrize(
    "arguments", ["diff --flat", "audit events", "audit events --format ndjson", "audit events audit.log"]
)
def test_head_reads_the_first_line_and_no_error_follows(much: Cli, arguments: str) -> None:
    """The pipe closes in the middle of the output, which is longer than what the pipe holds."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command = much.command(*arguments.split())
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, cwd=much.root) as process:
        os.close(writer)
        assert os.read(reader, 100)
        os.close(reader)
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 141


def test_an_error_that_nobody_reads_keeps_its_exit_code(cli: Cli) -> None:
    """Standard error is a closed pipe: a bad argument is still 15, and a scan with warnings goes on."""
    reader, writer = os.pipe()
    os.close(reader)
    log = str(cli.root / "no.log")
    for code, arguments in ((15, ["frob"]), (0, ["scan", "--audit-log", log]), (15, ["diff", "--from", "9"])):
        done = subprocess.run(cli.command(*arguments), stdout=subprocess.PIPE, stderr=writer, check=False)
        assert done.returncode == code
    os.close(writer)


def test_what_a_closed_pipe_did_not_show_is_reported_by_the_next_scan(cli: Cli) -> None:
    """scan | true: the change is recorded, and not marked as reported."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(cli.command("scan", "--no-audit"), stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    assert str(cli.watched / "a") in cli.scan(4)
    assert "ok" in cli("verify", "--db", "--all", code=0).stdout


def test_debug_shows_where_an_error_came_from(cli: Cli) -> None:
    """A traceback is printed only with --debug."""
    done = subprocess.run(
        [sys.executable, "-m", "fimscan", "--debug", "--config", str(cli.root / "no"), "scan"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" in done.stderr and done.returncode == 17
