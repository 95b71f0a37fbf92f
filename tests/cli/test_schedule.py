"""``fimscan schedule``: a baseline at once, then scheduled scans until it is stopped."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import NoReturn

import pytest

from fimscan import scheduler
from fimscan.config import parse_config
from fimscan.errors import InputError
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


def test_full_scans_have_a_schedule_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With reread = "ctime", only full scans read every file."""
    scans = []

    def run_scan(*_: object, full: bool, **__: object) -> NoReturn:
        scans.append(full)
        if full:
            schedule._stop.set()
        raise InputError("nothing is scanned here")

    monkeypatch.setattr(scheduler, "run_scan", run_scan)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    config = parse_config(f'[schedule]\nscan = "1h"\nfull = "1s"\n[[watch]]\npath = "{tmp_path}"\n')
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    schedule = scheduler.Scheduler(database, config, None, report=lambda _: None, complain=lambda _: None)
    stop = threading.Timer(20, schedule._stop.set)
    stop.start()
    schedule.run()
    stop.cancel()
    database.close()
    assert scans == [False, True]  # the baseline, then that
