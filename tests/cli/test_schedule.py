"""``fimscan schedule``: a baseline at once, then scheduled scans until it is stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from typing import Any

import pytest

from fimscan.model import MissedCause
from fimscan.store import missed_runs, schema
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.conftest import Cli, rows


def wait_for(cli: Cli, words: str, seconds: float = 30) -> str:
    """Wait until 'fimscan status' prints ``words``."""
    deadline = time.monotonic() + seconds
    while True:
        said = cli("status").stdout
        if words in said:
            return said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


def test_it_scans_on_schedule_and_stops_on_sigterm(cli: Cli) -> None:
    """A baseline is made at once; a change is found by the next scan; SIGTERM ends it with 0."""
    cli.write_config(extra='[schedule]\nscan = "1s"\n')
    process = subprocess.Popen(
        cli.command("schedule", "--no-audit"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(cli, "Accepted baseline: scan 1")
        (cli.watched / "a").write_text("other")
        assert "schedule" in wait_for(cli, "1 modified")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert str(cli.watched / "a") in out
    assert "Baseline recorded" in out and "stopped" in err
    assert rows(cli.diff()) == [("modified", "a")]


def test_a_failing_scan_does_not_end_the_schedule(cli: Cli) -> None:
    """The directory is missing for a while: each failure is reported, and the next scan works."""
    cli.write_config(extra='[schedule]\nscan = "1s"\n')
    cli.scan()
    away = cli.root / "away"
    cli.watched.rename(away)
    process = subprocess.Popen(
        cli.command("schedule", "--no-audit"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert any("none of the configured paths exists" in line for line in process.stderr)
        away.rename(cli.watched)
        wait_for(cli, "scan 2")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0


def started(cli: Cli, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Start the schedule; its standard output and error are in files."""
    with (cli.root / "err").open("a") as err, (cli.root / "out").open("a") as out:
        return subprocess.Popen(
            cli.command("schedule", "--no-audit", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, **environment},
        )


def wait_for_line(cli: Cli, words: str, stream: str = "err") -> str:
    """Wait until standard error (or output) has ``words``; return all of it."""
    deadline = time.monotonic() + 60
    while words not in (said := (cli.root / stream).read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)
    return said


def scans(cli: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(cli("status", "--format", "json").stdout)["scans"]
    return found


def test_killed_and_restarted_more_often_than_the_interval_it_scans(cli: Cli) -> None:
    """Each start lasts less than the interval since the last scan: the schedule goes on where it was."""
    cli.write_config(extra='[schedule]\nscan = "12s"\n')
    cli.scan()
    deadline = time.monotonic() + 120
    while len(found := scans(cli)) < 2:
        assert time.monotonic() < deadline, found
        process = started(cli)
        try:
            process.wait(6)
        except subprocess.TimeoutExpired:
            process.kill()
        process.wait(30)
    assert {scan["trigger"] for scan in found[1:]} == {"schedule"}


def test_what_was_missed_is_recorded_and_made_up_for(cli: Cli) -> None:
    """The last scan is three hours old, by the database."""
    cli.scan()
    database = Database(f"sqlite:///{cli.database}", host=os.uname().nodename)
    with database.begin() as session:
        ago = scan_store.last_done_ns(session, full=True)
        assert ago is not None
        then = ago - 3 * 3600 * 10**9
        session.execute(schema.scan.update().values(started_ns=then, finished_ns=then))
    cli.write_config(extra='[schedule]\nscan = "1h"\nfull = "@yearly"\n')
    process = started(cli)
    try:
        wait_for(cli, "scan 2")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert "2 scans were missed" in (cli.root / "err").read_text()
    with database.read() as session:
        (stored,) = missed_runs.latest(session, 10)
    assert (stored.job, stored.cause, stored.count) == ("scan", MissedCause.DOWN, 2)
    assert "missed scans" in (said := cli("doctor").stdout) and "2 scans in the last seven days" in said
    said = cli("status").stdout
    assert "Schedule: 2 scans were missed, from " in said and "fimscan was not running" in said
    document = json.loads(cli("status", "--format", "json").stdout)
    (shown,) = document["missed_runs"]
    assert (shown["job"], shown["cause"], shown["runs"]) == ("scan", "down", 2)
    # The failed control counts as the schedule does.
    (failure,) = (one for one in document["controls"] if one["kind"] == "scan")
    assert "2 runs were missed" in failure["cause"]
    assert "missed runs" not in cli("verify", "--db").stdout
    with database.begin() as session:
        session.execute(schema.missed_run.update().values(runs=1))
    database.close()
    assert "missed runs 1" in cli("verify", "--db").stdout


def test_sighup_takes_a_valid_configuration_and_keeps_the_old_one_otherwise(cli: Cli) -> None:
    """Both are said, to systemd as well; SIGTERM then ends the schedule with 0."""
    address = cli.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(60)
        process = started(cli, NOTIFY_SOCKET=str(address), WATCHDOG_USEC="4000000")
        try:
            assert "next scan" in until(manager, "READY=1")
            until(manager, "WATCHDOG=1")
            cli.config.write_text("[schedule]\nscan = 5\n[[watch]]\npath = '/etc'\n")
            process.send_signal(signal.SIGHUP)
            until(manager, "RELOADING=1")
            until(manager, "READY=1")
            said = wait_for_line(cli, "the configuration is invalid; the old one stays in use")
            assert "schedule.scan" in said
            process.send_signal(signal.SIGHUP)
            cli.write_config()
            process.send_signal(signal.SIGHUP)
            wait_for_line(cli, "SIGHUP: the configuration is as it was")
            cli.write_config(extra='[schedule]\nscan = "1s"\n')
            process.send_signal(signal.SIGHUP)
            wait_for_line(cli, "SIGHUP: the configuration is valid, and in use from now on")
            wait_for(cli, "scan 3")
            cli.config.write_text("[schedule\n")  # somebody edits it: it does not count before SIGHUP
            (cli.watched / "a").write_text("other")
            wait_for_line(cli, str(cli.watched / "a"), "out")
            assert "not valid TOML" not in (cli.root / "err").read_text()
            process.send_signal(signal.SIGTERM)
            until(manager, "STOPPING=1")
            assert process.wait(30) == 0
        finally:
            process.kill()


def until(manager: socket.socket, word: str) -> str:
    """Receive messages until one has a word."""
    while word not in (message := manager.recv(4096).decode()):
        pass
    return message


@pytest.mark.parametrize("command", ["scan --no-audit", "status", "schedule --no-audit"])
def test_any_time_zone_does(cli: Cli, command: str) -> None:
    """A scan from cron does not depend on it; the schedule says what it takes instead."""
    cli.write_config(extra='[schedule]\nscan = "*/30 * * * *"\n')
    environment = {**os.environ, "TZ": "Nowhere/City"}
    if command.startswith("schedule"):
        process = started(cli, TZ="Nowhere/City")
        try:
            said = wait_for_line(cli, "next scan")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert "The system knows no time zone TZ='Nowhere/City'. Schedules follow the system's offset" in said
        return
    cli.scan()
    done = cli(*command.split(), env=environment)
    assert done.returncode <= 2, done.stderr
