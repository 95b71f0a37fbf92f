"""'fimscan audit status' against the real kernel: rules loaded, half loaded, removed; its text, JSON and exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from demo import auditd
from tests.conftest import Cli


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The log of the running daemon, or of one for these tests, which takes seconds to end."""
    if reason := auditd.why_not():
        pytest.skip(reason)
    before = auditd.auditctl("-s").stdout.split()
    backlog = before[before.index("backlog_limit") + 1]
    with auditd.audit_daemon(tmp_path_factory.mktemp("auditd")) as log:
        yield log
    auditd.auditctl("-b", backlog)


@pytest.fixture
def watching(cli: Cli, log: str) -> Cli:
    """A configuration that reads what the daemon writes."""
    cli.write_config(f'[audit]\nlogs = ["{log}"]\nkey = "fimscan-test-status"\n')
    return cli


def findings(cli: Cli) -> tuple[int, dict[str, Any]]:
    done = cli("audit", "status", "--format", "json")
    return done.returncode, json.loads(done.stdout)


def of(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [row for row in document["checks"] if row["check"] == name]


@pytest.mark.audit
def test_rules_are_checked_as_loaded_in_the_kernel(watching: Cli) -> None:
    """Without rules: exit code 2. With fimscan's rules: covered. With half of them: the missing half is named."""
    code, document = findings(watching)
    assert (code, document["severity"], document["ok"]) == (2, "critical", False)
    assert "no loaded rule watches it" in of(document, "rules")[0]["detail"]
    text = watching("audit", "rules", code=0).stdout
    with auditd.rules_loaded(text):
        code, document = findings(watching)
        assert [row["severity"] for row in of(document, "rules")] == ["ok"]
        assert code < 2
        # They are loaded, and in no rules file.
        assert "lost at the next boot" in of(document, "next boot")[0]["detail"]
    with auditd.rules_loaded("\n".join(line for line in text.splitlines() if "arch=b32" not in line)):
        (half,) = of(findings(watching)[1], "rules")
        assert (half["severity"], "32-bit programs" in half["detail"]) == ("warning", True)
    assert findings(watching)[0] == 2


@pytest.mark.audit
def test_the_configuration_of_the_running_daemon_is_used(watching: Cli) -> None:
    """Its configuration directory is shown, and its log is read."""
    document = findings(watching)[1]
    (daemon,) = of(document, "audit daemon")
    assert f"pid {auditd.daemon_pid()}, configured by " in daemon["detail"]
    conf = daemon["detail"].partition("configured by ")[2]
    assert os.path.exists(conf)
    assert of(document, "audit log")[0]["severity"] == "ok"
    assert (
        "MB are kept" in of(document, "rotation")[0]["detail"]
        or "rotated away" in of(document, "rotation")[0]["detail"]
    )


@pytest.mark.audit
def test_a_directory_that_was_replaced_is_noticed(watching: Cli) -> None:
    """The rule stays with the directory that was moved away, although auditctl -l still lists it."""
    text = watching("audit", "rules", code=0).stdout
    with auditd.rules_loaded(text):
        watching.scan()
        rules = of(findings(watching)[1], "rules")
        assert [row["severity"] for row in rules] == ["ok"]
        watching.watched.rename(watching.watched.with_name("moved"))
        watching.watched.mkdir()
        rules = of(findings(watching)[1], "rules")
        assert "is another directory than at scan 1" in rules[-1]["detail"]
        # A scan that finds the new one does not bring the rules to it.
        watching.scan(code=6)
        assert "is another directory than at scan 1" in of(findings(watching)[1], "rules")[-1]["detail"]


@pytest.mark.audit
def test_text_says_what_to_do_below_each_finding(watching: Cli) -> None:
    """Without a terminal, each detail and each remedy is one line; the last line is the summary."""
    done = watching("audit", "status", code=2)
    lines = done.stdout.splitlines()
    (finding,) = [number for number, line in enumerate(lines) if line.startswith("CRIT")]
    assert "no loaded rule watches it" in lines[finding]
    assert "audit rules --install" in lines[finding + 1]
    assert "1 critical" in lines[-1]
