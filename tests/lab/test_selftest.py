"""``fimscan selftest`` with a real auditd: a known change is followed to its receivers, and a broken link is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from demo import auditd
from tests.lab.ground import Installation, installed

pytestmark = pytest.mark.audit

OUTPUTS = """
[[output]]
name = "all"
type = "file"
format = "json"
path = "{elsewhere}/all.json"
[[output]]
name = "alarms"
type = "file"
format = "json"
verdicts = ["unattributed"]
path = "{elsewhere}/alarms.json"
"""
FAILED = 26
SECONDS = 60


@pytest.fixture
def host(audit_log: str) -> Iterator[tuple[Installation, list[str]]]:
    """A host with a baseline, two receivers, and the rules of its own."""
    with installed(audit_log, OUTPUTS) as (made, rules):
        (made.watched / "file").write_text("old\n")
        made.run("scan")
        yield made, rules


def run(made: Installation, code: int = 0) -> dict[str, dict[str, Any]]:
    """The steps of a selftest, by name; those of outputs by name and output."""
    done = made.run("selftest", "--format", "json", codes=(code,))
    document = json.loads(done.stdout)
    assert document["passed"] is (code == 0)
    steps = {" ".join(filter(None, (item["step"], item["output"]))): item for item in document["steps"]}
    return {"": document, **steps}


def received(made: Installation, name: str) -> list[dict[str, Any]]:
    path = made.elsewhere / f"{name}.json"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_known_change_is_followed_to_the_receivers(host: tuple[Installation, list[str]]) -> None:
    """Detected, attributed to exactly its process, alerted and acknowledged; afterwards nothing is left of it."""
    made, _ = host
    before = len(received(made, "all"))
    steps = run(made)
    assert {item["state"] for name, item in steps.items() if name} == {"passed"}
    assert f"confirmed: pid {steps['']['pid']}, {steps['']['exe']}" == steps["attributed"]["detail"]
    assert steps[""]["exe"] == os.path.realpath("/proc/self/exe")
    timed = [steps[name]["seconds"] for name in ("detected", "attributed", "alerted all", "delivered all")]
    assert all(0 < one <= other for one, other in pairwise(timed))
    assert sorted(path.name for path in made.watched.iterdir()) == ["file"]

    (message,) = received(made, "all")[before:]
    assert message["subject"].split(": ")[1].startswith("a selftest") and message["severity"] == "low"
    listed = [(row["kind"], row["path"]) for item in message["sets"] for row in item["listed"]]
    assert sorted(listed) == [("added", steps[""]["path"]), ("removed", steps[""]["path"])]
    (test,) = [one for one in received(made, "alarms") if one["kind"] == "test"]
    assert "selftest" in test["subject"]

    # It came and went: no report has it, the history of its path has both changes.
    assert made.run("scan").stdout == b""
    assert json.loads(made.run("diff", "--format", "json").stdout)["changes"] == []
    history = made.run("diff", "--history", "--path", steps[""]["path"], codes=tuple(range(8))).stdout.decode()
    assert "added" in history and "removed" in history
    assert "Last selftest passed" in made.run("status").stdout.decode()


# As systemd does for ProtectSystem=strict and ReadWritePaths=.
SANDBOX = """
mount --bind "$1" "$1" && mount --bind "$1/selftest" "$1/selftest" && mount -o remount,bind,ro "$1" || exit 99
shift
exec "$@"
"""


def test_it_passes_in_the_sandbox_of_the_unit(host: tuple[Installation, list[str]]) -> None:
    """Scans of the service, which sees a directory mounted on itself, and of a shell take turns."""
    made, _ = host
    (made.watched / "selftest").mkdir(mode=0o700)
    made.config.write_text(f'{made.config.read_text()}[selftest]\npath = "{made.watched}/selftest"\n')
    made.run("scan", codes=tuple(range(8)))
    fimscan = [sys.executable, "-m", "fimscan", "--config", str(made.config)]
    sandbox = ["unshare", "--mount", "sh", "-c", SANDBOX, "sh", str(made.watched), *fimscan]
    for inside in (sandbox, fimscan, sandbox):
        done = subprocess.run([*inside, "selftest", "--format", "json"], capture_output=True, check=False)
        steps = {item["step"]: item for item in json.loads(done.stdout)["steps"]}
        assert (done.returncode, steps["attributed"]["state"]) == (0, "passed"), steps
        assert steps["prepared"]["state"] == "passed"
        done = subprocess.run([*inside, "scan"], capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_removed_rules_fail_it_and_are_told(host: tuple[Installation, list[str]]) -> None:
    """As a control, once, with the reason that any change would get; the next one that passes ends it."""
    made, rules = host
    auditd.remove_rules(rules)
    rules[:] = []
    steps = run(made, FAILED)
    assert steps["detected"]["state"] == "passed"
    assert steps["attributed"]["state"] == "failed"
    assert "likely" in steps["attributed"]["detail"] or "unattributed" in steps["attributed"]["detail"]
    assert list(made.watched.iterdir()) == [made.watched / "file"]
    # The change is no selftest of ours for the receivers: nothing proves that it is.
    assert not any("a selftest" in one["subject"] for one in received(made, "all") if one["kind"] == "changes")
    told = [one["problems"] for one in received(made, "all") if one["kind"] == "problems"]
    assert any("Control failed (selftest)" in text for problems in told for text in problems)
    assert "Control failed (selftest)" in made.run("status").stdout.decode()
    check = made.run("doctor", "--format", "json", codes=(1, 2)).stdout
    (last,) = [item for item in json.loads(check)["checks"] if item["id"] == "selftest.last"]
    assert last["severity"] == "warning" and last["remedy"]

    rules[:] = auditd.load_rules(made.run("audit", "rules").stdout.decode())
    made.run("scan", codes=tuple(range(8)))
    run(made)
    assert "Control failed for a while (selftest)" in made.run("status").stdout.decode()


def test_a_receiver_that_fails_is_named(host: tuple[Installation, list[str]]) -> None:
    """With what it said; the others are acknowledged."""
    made, _ = host
    (made.elsewhere / "all.json").unlink(missing_ok=True)
    (made.elsewhere / "all.json").mkdir()
    steps = run(made, FAILED)
    assert steps["alerted all"]["state"] == "passed"
    assert steps["delivered all"]["state"] == "failed" and "directory" in steps["delivered all"]["detail"].lower()
    assert steps["delivered alarms"]["state"] == "passed"


def test_it_goes_wrong_honestly(host: tuple[Installation, list[str]]) -> None:
    """No place for the file, and no scan with this configuration."""
    made, _ = host
    text = made.config.read_text()
    made.config.write_text(f'{text}[selftest]\npath = "{made.elsewhere}"\n')
    assert "is not monitored" in run(made, FAILED)["prepared"]["detail"]
    made.config.write_text(f'{text}[[watch]]\npath = "{made.elsewhere}"\n')
    assert "run 'fimscan scan'" in run(made, FAILED)["prepared"]["detail"]


def test_doctor_leads_to_it(audit_log: str) -> None:
    """From a configuration alone: the commands that it prints, run as printed, until the selftest passes."""
    with installed(audit_log) as (made, rules):
        (made.watched / "file").write_text("old\n")
        auditd.remove_rules(rules)
        rules[:] = []
        assert "audit rules" in remedies(made)["audit.rules"]
        rules[:] = auditd.load_rules(made.run("audit", "rules").stdout.decode())
        assert "audit.rules" not in remedies(made)
        for check in ("database.open", "selftest.last"):
            command = remedies(made)[check]
            done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            assert check not in remedies(made)


def remedies(made: Installation) -> dict[str, str]:
    """The remedies of doctor, by the ids of the checks that ask for something."""
    checks = json.loads(made.run("doctor", "--format", "json", codes=(0, 1, 2)).stdout)["checks"]
    return {item["id"]: item["remedy"] for item in checks if item["severity"] != "ok" and item["remedy"]}


def test_it_passes_beside_a_running_schedule(host: tuple[Installation, list[str]]) -> None:
    """Both read the log, and the schedule looks at what it reports: neither takes the change from the other."""
    made, _ = host
    with (made.root / "err").open("wb") as err:
        command = [sys.executable, "-m", "fimscan", "--config", str(made.config), "schedule"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=err, stderr=err)
    try:
        until = time.monotonic() + SECONDS
        while b"next scan" not in (made.root / "err").read_bytes():
            assert time.monotonic() < until, (made.root / "err").read_text()
            time.sleep(0.1)
        for _ in range(2):
            steps = run(made)
            assert steps["attributed"]["state"] == steps["delivered all"]["state"] == "passed"
    finally:
        process.terminate()
        process.wait(SECONDS)
    assert json.loads(made.run("diff", "--format", "json").stdout)["changes"] == []
    made.run("verify", "--db")
