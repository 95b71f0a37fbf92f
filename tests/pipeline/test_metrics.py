"""Metrics: parsed by Prometheus' own library, true to the store, and neither half written nor open to others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fimscan.config import parse_config
from fimscan.errors import ConfigError
from fimscan.model import (
    ControlFailure,
    ControlKind,
    MessageKind,
    MissedCause,
    MissedRuns,
    NewMessage,
    Selftest,
    SelftestStep,
    StepResult,
    StepState,
)
from fimscan.pipeline.metrics import expose, gather
from fimscan.pipeline.metrics.checks import metrics_checks
from fimscan.pipeline.metrics.expose import Server, replace_file, write_textfile
from fimscan.store import controls, missed_runs, outbox, selftests
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.outputs.conftest import free_port

NS = 10**9
SECONDS = 30
UNITS = ("seconds", "bytes", "files", "total", "info")
# Gauges that count or say yes or no have no unit.
NO_UNIT = {
    *("stored_changes", "last_scan_unreadable_files", "controls_failed", "changes_waiting", "outbox_messages_waiting"),
    *("audit_enabled", "audit_daemon_up", "selftest_passed"),
}


def samples(text: str) -> dict[str, float]:
    """The samples by name and labels, as Prometheus' parser reads them."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def written(cli: Cli) -> dict[str, float]:
    return samples((cli.root / "fimscan.prom").read_text())


@pytest.fixture
def host(cli: Cli) -> Cli:
    """A host with a text file, and one receiver whose directory is missing."""
    output = f'[[output]]\nname = "mail"\ntype = "file"\npath = "{cli.root}/none/out"\n'
    cli.write_config(f'[metrics]\ntextfile = "{cli.root}/fimscan.prom"\n{output}')
    cli.scan()
    return cli


def test_each_scan_writes_what_the_store_has(host: Cli) -> None:
    """Times, durations, numbers, and what failed; with the time at which all of it was true."""
    (host.watched / "a").write_text("changed")
    host.scan(4)
    now = time.time()
    database = Database(f"sqlite:///{host.database}", host=os.uname().nodename)
    with database.begin() as session:
        failure = ControlFailure(kind=ControlKind.DISK, subject="/secret", start_ns=1, detected_ns=1, cause="full")
        controls.add(session, [failure])
        missed = MissedRuns(job="full", cause=MissedCause.DOWN, first_ns=1, last_ns=2, count=3, noted_ns=3)
        missed_runs.add(session, missed)
        steps = (
            StepResult(step=SelftestStep.DETECTED, state=StepState.PASSED, detail="", seconds=0.5),
            StepResult(step=SelftestStep.DELIVERED, state=StepState.PASSED, detail="", seconds=2.5, output="mail"),
        )
        selftests.add(session, Selftest(started_ns=7 * NS, finished_ns=8 * NS, steps=steps))
        failed = StepResult(step=SelftestStep.DETECTED, state=StepState.FAILED, detail="", seconds=9.0)
        selftests.add(session, Selftest(started_ns=9 * NS, finished_ns=9 * NS, steps=(failed,)))
        message = NewMessage(id="m", kind=MessageKind.TEST, scan=None, urgent=True, body=b"{}")
        outbox.add(session, "mail", [message], 5 * NS)
    config = parse_config(host.config.read_text())
    assert write_textfile(database, config) is None
    database.close()
    found = written(host)
    assert found["fimscan_last_scan_files"] == 4
    assert found["fimscan_last_scan_unreadable_files"] == 0
    assert 0 < found["fimscan_last_scan_duration_seconds"] < SECONDS
    assert found["fimscan_last_scan_success_timestamp_seconds"] == pytest.approx(now, abs=SECONDS)
    assert found["fimscan_metrics_success_timestamp_seconds"] == pytest.approx(now, abs=SECONDS)
    assert found["fimscan_stored_changes{verdict=unattributed}"] == 1
    assert found["fimscan_stored_changes{verdict=confirmed}"] == 0
    assert found["fimscan_changes_waiting"] == 1
    assert found["fimscan_controls_failed{kind=disk}"] == 1
    assert found["fimscan_controls_failed{kind=audit}"] == 0
    assert found["fimscan_missed_runs_total{job=full}"] == 3
    assert found["fimscan_outbox_messages_waiting{output=mail}"] >= 1
    assert found["fimscan_outbox_oldest_message_timestamp_seconds{output=mail}"] == 5
    assert found["fimscan_database_size_bytes"] >= os.path.getsize(host.database)
    assert found["fimscan_selftest_passed"] == 0
    assert found["fimscan_selftest_last_pass_timestamp_seconds"] == 7
    assert found["fimscan_selftest_last_run_timestamp_seconds"] == 9
    assert_conventions((host.root / "fimscan.prom").read_text())
    # What failed has no latency: an alert on slow steps must not see 9 seconds.
    assert "fimscan_selftest_step_seconds{output=,step=detected}" not in found


def assert_conventions(text: str) -> None:
    """Check names and labels by Prometheus' conventions: base units, _total for counters only. No path or user."""
    for family in text_string_to_metric_families(text):
        name = family.name.removeprefix("fimscan_")
        assert family.name.startswith("fimscan_")
        is_counter = family.type == "counter"
        assert is_counter or name in NO_UNIT or name.endswith(UNITS), name
        assert all(sample.name.endswith("_total") is is_counter for sample in family.samples)
        for sample in family.samples:
            assert set(sample.labels) <= {"verdict", "kind", "job", "output", "step", "version"}
    values = re.findall(r'="([^"]*)"', text)
    assert values and not any("/" in value or os.uname().nodename == value for value in values)
    assert "python_" not in text and "process_" not in text


def test_the_page_has_every_metric() -> None:
    """And no other one."""
    source = Path(gather.__file__).read_text()
    made = {
        name
        for found in re.findall(r'(?:_gauge|_labelled)\(\s*f?"([a-z_{}]+)"|"fimscan_(\w+)"', source)
        for name in found
    }
    made = (made - {""}) - {"last_scan_{unit}"} | {
        f"last_scan_{unit}" for unit in ("files", "bytes", "unreadable_files")
    }
    page = (Path(__file__).parents[2] / "docs/how-to/monitor-with-prometheus.md").read_text()
    described = set(re.findall(r"^\| `fimscan_(\w+?)(?:_total)?` \|", page, re.MULTILINE))
    assert described == made


def test_a_file_that_cannot_be_written_is_told_and_the_scan_stands(host: Cli) -> None:
    """The old file stays whole, and no other one is left."""
    target = host.root / "dir"
    target.mkdir()
    host.write_config(f'[metrics]\ntextfile = "{target}/none/x.prom"\n')
    done = host("scan", "--no-audit", code=0)
    assert f"metrics: {target}/none/x.prom cannot be written: No such file" in done.stderr
    replace_file(str(target / "x.prom"), b"old")
    (target / "x.prom").chmod(0o600)
    with pytest.raises(TypeError):
        replace_file(str(target / "x.prom"), "no bytes")  # type: ignore[arg-type]
    assert (target / "x.prom").read_bytes() == b"old" and os.listdir(target) == ["x.prom"]
    replace_file(str(target / "x.prom"), b"new")
    assert (target / "x.prom").read_bytes() == b"new"
    assert (target / "x.prom").stat().st_mode & 0o777 == 0o644


def test_a_link_in_its_place_is_replaced_not_followed(tmp_path: Path) -> None:
    """The directory may belong to node_exporter's user."""
    (tmp_path / "shadow").write_text("secret")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x.prom").symlink_to(tmp_path / "shadow")
    replace_file(str(tmp_path / "d/x.prom"), b"numbers")
    assert (tmp_path / "shadow").read_text() == "secret" and not (tmp_path / "d/x.prom").is_symlink()


def test_without_the_library_it_is_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it for this interpreter. Nothing else needs it."""
    monkeypatch.setattr(expose, "find_spec", lambda _name: None)
    problem = expose.missing_library()
    assert problem is not None and f"{sys.executable} -m pip install 'prometheus_client" in problem
    code = "import sys; sys.modules['prometheus_client'] = None\nfrom fimscan.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--config", str(cli.config), "scan", "--no-audit"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('listen = "0.0.0.0:9808"', "only on the loopback"),
        ('listen = "192.0.2.1:9808"', "only on the loopback"),
        ('listen = "127.0.0.1"', "only on the loopback"),
        ('listen = "[::]:9808"', "only on the loopback"),
        ('listen = "127.0.0.1:99999"', "only on the loopback"),
        ('textfile = "/x/fimscan.txt"', "must end in .prom"),
        ('textfile = "x.prom"', "absolute path"),
    ],
)
def test_wrong_places_are_refused(keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f'[metrics]\n{keys}\n[[watch]]\npath = "/x"\n')
    assert words in caught.value.problems[0]


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:9808", ("127.0.0.1", 9808)), ("[::1]:1", ("::1", 1)), ("", None)],
)
def test_the_loopback_is_understood(listen: str, address: tuple[str, int] | None) -> None:
    config = parse_config(f'[metrics]\nlisten = "{listen}"\n[[watch]]\npath = "/x"\n')
    assert config.metrics.listen_address == address


def test_they_are_served_over_http(host: Cli) -> None:
    """While the schedule runs, and not any more afterwards. A port that is taken is a problem, not an error."""
    port = free_port()
    config = parse_config(f'[metrics]\nlisten = "127.0.0.1:{port}"\n[[watch]]\npath = "{host.watched}"\n')
    database = Database(f"sqlite:///{host.database}", host=os.uname().nodename)
    server, other = Server(database, config), Server(database, config)
    try:
        assert server.start() is None
        problem = other.start()
        assert problem is not None and f"cannot listen on 127.0.0.1, port {port}" in problem
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS) as answer:
            found = samples(answer.read().decode())
        assert found["fimscan_last_scan_files"] == 4
    finally:
        server.stop()
        other.stop()
        database.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS)


def test_doctor_says_how_old_they_are(host: Cli) -> None:
    """Nothing if none are configured; a warning if they are missing or old."""
    text = host.config.read_text()
    (check,) = metrics_checks(parse_config(text))
    assert check.severity == "ok" and "written 0 minutes ago" in check.detail
    os.utime(host.root / "fimscan.prom", (1, 1))
    (check,) = metrics_checks(parse_config(text))
    assert check.severity == "warning" and "hours ago" in check.detail
    (host.root / "fimscan.prom").unlink()
    (check,) = metrics_checks(parse_config(text))
    assert check.severity == "warning" and check.remedy.startswith("fimscan scan")
    assert list(metrics_checks(parse_config('[[watch]]\npath = "/x"\n'))) == []
