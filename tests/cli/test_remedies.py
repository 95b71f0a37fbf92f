"""Remedies run as printed: in this user's shell, with this configuration, and without damage when they fail."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fimscan
from fimscan.cli import remedies
from fimscan.cli.context import Settings
from fimscan.model import Check, CheckSeverity
from tests.conftest import Cli

CODE = Path(fimscan.__file__).parent
PLAIN = Settings(config_path=None, db_url=None)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories bin (on the PATH) and sbin (root's programs), and a user who is root."""
    for name in ("bin", "sbin"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(remedies, "_ROOT_PATH", str(tmp_path / "sbin"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install(tmp_path / "bin/fimscan")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin/fimscan")])
    return tmp_path


def install(path: Path) -> str:
    path.touch(mode=0o755)
    return str(path)


def completed(remedy: str, settings: Settings = PLAIN) -> str:
    check = Check(name="x", severity=CheckSeverity.WARNING, detail="", remedy=remedy)
    return remedies.runnable([check], settings)[0].remedy


def test_a_program_off_the_path_is_named_by_its_path(programs: Path) -> None:
    """Debian's PATH of users, and of 'su' without '-', has no /usr/sbin."""
    augenrules = install(programs / "sbin/augenrules")
    assert completed("create it, then augenrules --load") == f"create it, then {augenrules} --load"
    install(programs / "bin/augenrules")
    assert completed("augenrules --load") == "augenrules --load"


def test_the_kill_of_auditd_finds_pidof(programs: Path) -> None:
    """Also inside of $()."""
    pidof = install(programs / "sbin/pidof")
    assert completed("then kill -HUP $(pidof auditd)") == f"then kill -HUP $({pidof} auditd)"


@pytest.mark.parametrize(
    ("manager", "command"),
    [("apt-get", "apt-get install auditd"), ("dnf", "dnf install audit"), ("zypper", "zypper install audit")],
)
def test_without_auditd_it_is_installed_first(programs: Path, manager: str, command: str) -> None:
    """By the package manager of this host."""
    install(programs / "bin" / manager)
    assert completed("augenrules --load") == f"{command}; then augenrules --load"


def test_auditd_that_is_installed_and_stopped_is_only_started(programs: Path) -> None:
    """There is nothing to install."""
    install(programs / "bin/systemctl")
    install(programs / "bin/dnf")
    remedy = "install auditd, then systemctl enable --now auditd"
    assert completed(remedy) == "dnf install audit, then systemctl enable --now auditd"
    install(programs / "sbin/augenrules")
    assert completed(remedy) == "systemctl enable --now auditd"


def test_paths_and_words_are_not_taken_for_commands(programs: Path) -> None:
    """/etc/sysctl.d is no program."""
    install(programs / "sbin/sysctl")
    assert completed("a line in /etc/sysctl.d/x.conf") == "a line in /etc/sysctl.d/x.conf"


def test_other_users_are_told_that_it_needs_root(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only names a key of the configuration does not."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    auditctl = install(programs / "sbin/auditctl")
    install(programs / "sbin/augenrules")
    assert completed("auditctl -e 1") == f"as root: {auditctl} -e 1"
    assert completed("set enabled = true in section [audit]") == "set enabled = true in section [audit]"


def test_fimscan_is_named_as_the_shell_finds_it(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the configuration and database of this run, but no password."""
    assert completed("run 'fimscan scan': it records the baseline") == "run 'fimscan scan': it records the baseline"
    mine = Settings(config_path="/a b/c.toml", db_url="sqlite:////x.db")
    assert completed("fimscan audit rules", mine) == "fimscan --config '/a b/c.toml' --db sqlite:////x.db audit rules"
    secret = Settings(config_path=None, db_url="postgresql://u:secret@h/d")
    assert completed("fimscan scan", secret) == "fimscan scan"
    elsewhere = install(programs / "fimscan")
    monkeypatch.setattr(sys, "argv", [elsewhere])
    assert completed("fimscan scan") == f"{elsewhere} scan"
    monkeypatch.setattr(sys, "argv", [str(CODE / "__main__.py")])
    assert completed("fimscan scan") == f"{sys.executable} -m fimscan scan"


def texts(path: Path) -> Iterator[str]:
    """Every string in a module but docstrings; the values in an f-string are left out."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_no_printed_command_redirects_into_a_file() -> None:
    """A shell empties the file before fimscan runs: when fimscan fails, auditd would load an empty file."""
    modules = [path for part in ("pipeline", "cli", "report", "audit") for path in (CODE / part).rglob("*.py")]
    assert len(modules) > 50
    wrong = [text for path in modules for text in texts(path) if "fimscan" in text and " > " in text]
    assert wrong == []


def test_rules_are_written_completely_or_not_at_all(cli: Cli) -> None:
    """A wrong configuration leaves the old file as it is, and the command fails."""
    rules = cli.root / "rules.d/50-fimscan.rules"
    missing = cli("audit", "rules", "--out", str(rules), code=14)
    assert "cannot write" in missing.stderr
    rules.parent.mkdir()
    cli("audit", "rules", "--out", str(rules), code=0)
    assert rules.read_text() == cli("audit", "rules", code=0).stdout
    good = rules.read_text()
    cli.config.write_text("[watch\n")
    cli("audit", "rules", "--out", str(rules), code=17)
    assert rules.read_text() == good and [*rules.parent.iterdir()] == [rules]


def test_the_next_steps_of_init_run_as_printed(cli: Cli, tmp_path: Path) -> None:
    """Each line is run by a shell, with the rules written elsewhere and no real augenrules."""
    cli.config.unlink()
    done = cli("--db", f"sqlite:///{cli.database}", "init", "--watch", str(cli.watched), code=0)
    _, _, steps = done.stdout.partition("Next")
    lines = [line.strip() for line in steps.splitlines()[1:] if " -m fimscan " in line]
    assert len(lines) == 2
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "augenrules").write_text(f"#!/bin/sh\ncat {shlex.quote(str(tmp_path))}/rules\n")
    (fake / "augenrules").chmod(0o755)
    environment = {**os.environ, "PATH": f"{fake}:/usr/bin:/bin", "PYTHONPATH": str(CODE.parent)}
    words = shlex.split(lines[0])
    script = lines[0].replace(words[words.index("--out") + 1], f"{tmp_path}/rules")
    script = script.replace(words[words.index("&&") + 1], "augenrules")
    shown = subprocess.run(script, shell=True, env=environment, capture_output=True, text=True, check=True)
    assert f"-F dir={cli.watched}" in shown.stdout
    # Without the log, which this test's machine may or may not have: the command line itself is what is tried.
    scan = lines[1].replace(" scan ", " scan --no-audit ")
    assert subprocess.run(scan, shell=True, env=environment, check=False, capture_output=True).returncode == 0
