"""Remedies run as printed: in this user's shell, with this configuration, and without damage when they fail."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fimscan
from fimscan.cli import remedies
from fimscan.cli.commands import COMMANDS
from fimscan.cli.context import Settings
from fimscan.model import Check, CheckSeverity
from fimscan.pipeline.health.coverage import judge
from fimscan.pipeline.health.remedies import SET_AT_BOOT, set_in_auditd_conf
from tests.conftest import Cli
from tests.pipeline.test_coverage import RULES, daemon, facts, kernel

CODE = Path(fimscan.__file__).parent
PLAIN = Settings(config_path=None, db_url=None)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories bin (on the PATH) and sbin (root's programs), and a user who is root."""
    for name in ("bin", "sbin"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(remedies, "_ROOT_PATH", str(tmp_path / "sbin"))
    monkeypatch.setattr(remedies, "_SYSTEMD", str(tmp_path))
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
    assert completed("augenrules --load  # after each mount") == f"{augenrules} --load  # after each mount"
    install(programs / "bin/augenrules")
    assert completed("augenrules --load") == "augenrules --load"


def test_the_kill_of_auditd_finds_pidof(programs: Path) -> None:
    """Also inside of $()."""
    pidof = install(programs / "sbin/pidof")
    install(programs / "sbin/augenrules")
    assert completed("kill -HUP $(pidof auditd)") == f"kill -HUP $({pidof} auditd)"


@pytest.mark.parametrize(
    ("manager", "command"),
    [("apt-get", "apt-get install auditd"), ("dnf", "dnf install audit"), ("zypper", "zypper install audit")],
)
def test_without_auditd_it_is_installed_first(programs: Path, manager: str, command: str) -> None:
    """By the package manager of this host."""
    install(programs / "bin" / manager)
    assert completed("augenrules --load") == f"{command} && augenrules --load"


def test_auditd_that_is_installed_and_stopped_is_only_started(programs: Path) -> None:
    """There is nothing to install."""
    install(programs / "bin/systemctl")
    install(programs / "bin/dnf")
    remedy = "systemctl enable --now auditd"
    assert completed(remedy) == "dnf install audit && systemctl enable --now auditd"
    install(programs / "sbin/augenrules")
    assert completed(remedy) == "systemctl enable --now auditd"


def test_auditd_is_started_without_systemd(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: by its init script, or as a program."""
    monkeypatch.setattr(remedies, "_SYSTEMD", str(programs / "none"))
    install(programs / "sbin/augenrules")
    assert completed("systemctl enable --now auditd") == "auditd"
    service = install(programs / "sbin/service")
    assert completed("systemctl start auditd  # or x") == f"{service} auditd start  # or x"


def test_paths_and_words_are_not_taken_for_commands(programs: Path) -> None:
    """/etc/sysctl.d is no program."""
    install(programs / "sbin/sysctl")
    assert completed("a line in /etc/sysctl.d/x.conf") == "a line in /etc/sysctl.d/x.conf"


def test_other_users_get_a_command_that_runs_as_root(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By sudo, or by su where there is no sudo. What only names a key of the configuration is a sentence."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    auditctl = install(programs / "sbin/auditctl")
    install(programs / "sbin/augenrules")
    assert completed("auditctl -e 1") == f"su -c '{auditctl} -e 1'"
    install(programs / "bin/sudo")
    assert completed("auditctl -e 1  # x") == f"sudo {auditctl} -e 1  # x"
    assert completed("auditctl -f 1 && echo '-f 1' >> /e") == (
        "sudo sh -c " + shlex.quote(f"{auditctl} -f 1 && echo '-f 1' >> /e")
    )
    assert completed("fimscan scan  # it records the baseline") == "fimscan scan  # it records the baseline"
    assert completed("set enabled = true in section [audit]") == "set enabled = true in section [audit]"


def test_fimscan_is_named_as_the_shell_finds_it(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the configuration and database of this run, but no password."""
    assert completed("fimscan scan  # it records the baseline") == "fimscan scan  # it records the baseline"
    mine = Settings(config_path="/a b/c.toml", db_url="sqlite:////x.db")
    assert completed("fimscan audit rules", mine) == "fimscan --config '/a b/c.toml' --db sqlite:////x.db audit rules"
    secret = Settings(config_path=None, db_url="postgresql://u:secret@h/d")
    assert completed("fimscan scan", secret) == "fimscan scan"
    elsewhere = install(programs / "fimscan")
    monkeypatch.setattr(sys, "argv", [elsewhere])
    assert completed("fimscan scan") == f"{elsewhere} scan"
    monkeypatch.setattr(sys, "argv", [str(CODE / "__main__.py")])
    assert completed("fimscan scan") == f"{sys.executable} -m fimscan scan"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_a_message_quotes_gets_the_options_of_the_run(programs: Path, name: str) -> None:
    """Whatever the command is; words that only begin so are left alone."""
    mine = Settings(config_path="/c.toml", db_url=None)
    assert remedies.complete_quoted(f"x; 'fimscan {name}' helps", mine) == f"x; 'fimscan --config /c.toml {name}' helps"
    assert remedies.complete_quoted(f"x; 'fimscan {name}-er'", mine) == f"x; 'fimscan {name}-er'"


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        (("accept", "/no/such/path"), "diff"),
        (("undo", "77"), "status"),
        (("plan", "close", "77"), "plan list"),
        (("review",), "accept"),
        (("schema", "nothing"), "schema"),
        (("import", "DEBSUMS"), "import dpkg all.md5sums"),
    ],
)
def test_messages_name_commands_that_run_here(cli: Cli, arguments: tuple[str, ...], quoted: str) -> None:
    """With the configuration that the failed command was given."""
    (cli.root / "debsums").write_text("/bin/cat                                   OK\n")
    if arguments[0] != "import":
        cli.scan()
    failed = cli(*(str(cli.root / "debsums") if word == "DEBSUMS" else word for word in arguments))
    assert failed.returncode >= 14
    assert f"fimscan --config {cli.config} {quoted}" in failed.stderr


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("update-grub", "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{} /' /etc/default/grub && {}"),
        ("grubby", "{1} --update-kernel=ALL --args='{0}'"),
        ("grub2-mkconfig", "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{} /' /etc/default/grub && {} -o /boot/grub2/grub.cfg"),
    ],
)
def test_the_kernels_command_line_is_set_as_the_distribution_does(programs: Path, program: str, expected: str) -> None:
    """Debian, Fedora, SUSE."""
    path = install(programs / "sbin" / program)
    command = expected.format("audit=1 audit_backlog_limit=8192", path)
    assert completed(f"{SET_AT_BOOT}  # then reboot") == f"{command}  # then reboot"


def test_without_a_known_boot_loader_a_sentence_says_what_to_add(programs: Path) -> None:
    """A command that is not there cannot run."""
    assert completed(SET_AT_BOOT) == "add audit=1 audit_backlog_limit=8192 to the kernel's command line, then reboot"


def test_a_setting_of_auditd_is_replaced(tmp_path: Path) -> None:
    """The command runs: older lines of the key go, in any case, and the others stay."""
    conf = tmp_path / "auditd.conf"
    conf.write_text("num_logs = 5\nmax_log_file = 8\nNum_Logs=4")
    command = set_in_auditd_conf(str(conf), num_logs="10", write_logs="yes").partition(" && ")[0]
    for _ in range(2):
        subprocess.run(command, shell=True, check=True)
        assert conf.read_text().splitlines() == ["max_log_file = 8", "num_logs = 10", "write_logs = yes"]


def test_every_remedy_is_a_command_that_a_shell_can_parse_or_a_sentence(programs: Path) -> None:
    """A command begins with a program; whatever explains it is a comment, which a shell skips."""
    for name in ("auditctl", "augenrules", "aureport", "pidof", "systemctl", "sysctl", "update-grub"):
        install(programs / "sbin" / name)
    found = [check.remedy for check in some_checks() if check.remedy]
    assert len(set(found)) > 20
    for remedy in found:
        line = completed(remedy)
        if line == remedy and not remedy.startswith(("fimscan ", "sed ", "kill ", "echo ")):
            commands = [word for word in ("auditctl", "augenrules", "fimscan ", "kill ") if word in remedy]
            assert commands == [] or remedy.startswith("nothing, if"), remedy
            continue
        assert subprocess.run(["/bin/bash", "-n", "-c", line], check=False).returncode == 0, line


def some_checks() -> Iterator[Check]:
    """The checks of hosts with one problem each."""
    kernels: list[dict[str, Any]] = [
        *({"enabled": 0}, {"pid": 0}, {"rate_limit": 100}, {"backlog": 7000}, {"backlog_limit": 64}),
        *({"backlog_wait_time": 0}, {"backlog_wait_time_actual": 77}, {"failure": 0}, {"failure": 2}, {"lost": 12}),
    ]
    daemons = [
        *("local_events = no", "write_logs = no", "log_format = RAW", "name_format = user\nname = web-frontend"),
        *("max_log_file_action = ignore", "max_log_file_action = suspend", "disk_error_action = halt"),
    ]
    for status in kernels:
        yield from judge(facts(kernel=kernel(**status)))
    for text in daemons:
        yield from judge(facts(daemon=daemon(text)))
    for rules in (b"", b"-a never,task\n" + RULES, b"-a never,exit -S all -F auid>=1000\n" + RULES):
        yield from judge(facts(kernel=kernel(rules)))
        yield from judge(facts(kernel=kernel(rules, enabled=2)))
    yield from judge(facts(uring=()))
    yield from judge(facts(command_line=frozenset()))


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


def test_the_command_in_an_error_runs_as_printed(cli: Cli) -> None:
    """With the configuration of the command that failed."""
    failed = cli("diff", code=24).stderr
    command = re.search(r"'(.* scan)' records the first baseline", failed)
    assert command is not None, failed
    environment = {**os.environ, "PYTHONPATH": str(CODE.parent)}
    line = f"{command[1]} --no-audit"
    subprocess.run(line, shell=True, cwd="/", env=environment, check=True, capture_output=True)
    cli("diff", code=0)
    verify = re.search(r"later run '(.* verify --db --head [0-9a-f]{64})'", cli("status").stdout)
    assert verify is not None
    subprocess.run(verify[1], shell=True, cwd="/", env=environment, check=True, capture_output=True)


def test_the_command_that_opens_a_set_runs_as_printed(cli: Cli) -> None:
    """In the report of a scan with more rows than a screen shows."""
    cli.scan()
    for number in range(20):
        (cli.watched / f"new{number}").touch()
    command = re.search(r"^(.* diff .*--set 1  # .*)$", cli.scan(1), re.MULTILINE)
    assert command is not None
    environment = {**os.environ, "PYTHONPATH": str(CODE.parent)}
    done = subprocess.run(command[1], shell=True, cwd="/", env=environment, check=False, capture_output=True, text=True)
    assert done.stdout.count("\nadded ") == 20


def test_the_next_steps_of_init_run_as_printed(cli: Cli, tmp_path: Path) -> None:
    """Each line is run by a shell; the rules are only planned, and for another directory."""
    cli.config.unlink()
    done = cli("--db", f"sqlite:///{cli.database}", "init", "--watch", str(cli.watched), code=0)
    _, _, steps = done.stdout.partition("Next")
    lines = [line.strip() for line in steps.splitlines()[1:] if " -m fimscan " in line]
    assert len(lines) == (3 if Path("/etc/apt/apt.conf.d").is_dir() else 2)
    environment = {**os.environ, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(CODE.parent)}
    # Nothing is loaded: this test's machine may have no audit. The directory is made for it.
    (tmp_path / "rules.d").mkdir()
    script = f"{lines[0]} --rules-dir {tmp_path}/rules.d --dry-run"
    shown = subprocess.run(script, shell=True, env=environment, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/rules.d/50-fimscan.rules: would be written" in shown.stdout
    # Without the log, which this test's machine may or may not have: the command line itself is what is tried.
    scan = lines[1].replace(" scan ", " scan --no-audit ")
    assert subprocess.run(scan, shell=True, env=environment, check=False, capture_output=True).returncode == 0
    for hook in lines[2:]:
        here = hook.replace("/etc/apt/apt.conf.d/50fimscan", f"{tmp_path}/hook")
        subprocess.run(here, shell=True, env=environment, check=True, capture_output=True)
        assert "Pre-Install-Pkgs" in (tmp_path / "hook").read_text()
