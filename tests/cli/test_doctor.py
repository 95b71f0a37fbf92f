"""``fimscan doctor``: what it checks beside audit, and its document for programs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.config import parse_config
from fimscan.model import Check, ControlFailure, ControlKind
from fimscan.pipeline.controls import checks as control_checks
from fimscan.pipeline.controls import observe
from fimscan.pipeline.controls.facts import Space
from fimscan.pipeline.health import started
from fimscan.store import controls as control_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.conftest import Cli

DAY_NS = 86400 * 10**9


def found(cli: Cli) -> dict[str, list[dict[str, str]]]:
    """The checks by id."""
    checks: dict[str, list[dict[str, str]]] = {}
    for check in json.loads(cli("doctor", "--format", "json").stdout)["checks"]:
        checks.setdefault(check["id"], []).append(check)
    return checks


def test_without_a_configuration_programs_get_a_document(cli: Cli) -> None:
    """With the remedy; the exit code stays that of the error."""
    cli.config.unlink()
    document = json.loads(cli("doctor", "--format", "json", code=17).stdout)
    assert [check["id"] for check in document["checks"]] == ["configuration.file"]
    cli.config.write_text("[watch]\n")
    document = json.loads(cli("doctor", "--format", "json", code=17).stdout)
    assert "[[watch]]" in document["checks"][0]["detail"] and not document["ok"]


def test_a_host_without_a_baseline_is_led_to_one(cli: Cli) -> None:
    (check,) = found(cli)["database.open"]
    assert f"--config {cli.config} scan  #" in check["remedy"]
    cli.scan()
    assert found(cli)["database.open"][0]["severity"] == "ok"


def test_failed_controls_and_a_clock_that_was_set_are_checks(cli: Cli) -> None:
    """Each failure with what ends it. A clock that jumped long ago is none."""
    cli.scan()
    assert found(cli)["controls.failed"][0]["severity"] == "ok"
    now = time.time_ns()
    failures = [
        ControlFailure(kind=ControlKind.SCAN, subject="scans", start_ns=now, detected_ns=now, cause="it failed"),
        *(
            ControlFailure(
                kind=ControlKind.CLOCK, subject="clock", start_ns=at, end_ns=at, detected_ns=at, cause=f"set {at}"
            )
            for at in (now - 8 * DAY_NS, now - DAY_NS)
        ),
    ]
    database = Database(f"sqlite:///{cli.database}", host=os.uname().nodename)
    with database.begin() as session:
        control_store.add(session, failures)
    database.close()
    checks = found(cli)
    (failed,) = checks["controls.failed"]
    assert failed["severity"] == "warning" and "it failed" in failed["detail"] and " scan  #" in failed["remedy"]
    clock = [check["detail"] for check in checks["clock.set"]]
    assert any(f"set {now - DAY_NS}" in text for text in clock)
    assert not any("times in the last seven days" in text for text in clock)


def test_a_secret_that_others_can_read_is_critical(cli: Cli) -> None:
    cli.scan()
    assert found(cli)["files.trusted"][0]["severity"] == "ok"
    key = cli.root / "key.pem"
    key.write_text("secret")
    key.chmod(0o644)
    (check,) = found(cli)["files.trusted"]
    assert check["severity"] == "critical" and check["remedy"].endswith(f"chmod 600 {key}")


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the control has it, before the next scan finds it."""
    space = Space(path="/var/lib/x y", free=1 << 20, total=1 << 34, free_inodes=10**6, inodes=10**6)
    monkeypatch.setattr(observe, "spaces", lambda *_: [space])
    config = parse_config('[[watch]]\npath = "/x"\n')
    with_disk = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    by_id = {check.id: check for check in control_checks.control_checks(config, with_disk)}
    with_disk.close()
    assert "1 MB of 16,384 MB" in by_id["disk.space"].detail
    assert by_id["disk.space"].remedy.startswith("du -xm '/var/lib/x y' | sort -n | tail  # ")


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ("*/30 * * * * root fimscan --config /x scan --trigger cron", "ok"),
        ("# */30 * * * * root fimscan scan", "warning"),
        ("0 1 * * * root fimscan status", "warning"),
    ],
)
def test_a_cron_job_starts_scans(no_units: Path, line: str, severity: str) -> None:
    """A comment starts nothing, nor does another command."""
    (no_units / "cron").write_text(f"MAILTO=root\n{line}\n")
    assert what_starts(no_units).severity == severity


def test_a_unit_or_recent_scans_show_what_starts_them(no_units: Path) -> None:
    """An enabled unit; or, as in a container, scans that the schedule or cron started not long ago."""
    (no_units / "multi-user.target.wants").mkdir()
    link = no_units / "multi-user.target.wants/fimscan.service"
    link.symlink_to("/nowhere")
    assert "fimscan.service enabled" in what_starts(no_units).detail
    link.unlink()
    assert what_starts(no_units).severity == "warning"
    now = time.time_ns()
    for number, (trigger, age_ns) in enumerate((("cron", 9 * DAY_NS), ("manual", 0), ("schedule", DAY_NS)), 1):
        database = Database(f"sqlite:///{no_units}/x.db", host="h")
        with database.begin() as session:
            begun = scan_store.begin(
                session, trigger=trigger, started_ns=now - age_ns, config_digest="d", config_text="{}"
            )
            scan = scan_store.one_scan(session, begun)
            assert scan is not None
            scan_store.finish(session, replace(scan, finished_ns=now), read_clock=b"")
        database.close()
        assert (what_starts(no_units).severity == "ok") is (number == 3)


@pytest.fixture
def no_units(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory in place of those of systemd and cron."""
    monkeypatch.setattr(started, "_CRON_FILES", (str(tmp_path / "cron"),))
    monkeypatch.setattr(started, "_WANTS", str(tmp_path / "*.wants"))
    return tmp_path


def what_starts(root: Path) -> Check:
    database = Database(f"sqlite:///{root}/x.db", host="h")
    (check,) = started.started_checks(parse_config('[[watch]]\npath = "/x"\n'), database)
    database.close()
    return check
