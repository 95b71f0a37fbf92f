"""A real audit system for the tests: the one that runs here, or an auditd of our own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REQUIRED = os.environ.get("FIMSCAN_REQUIRE_AUDIT") == "1"

AUDITD_CONF = """\
local_events = yes
write_logs = yes
log_file = {log}
log_group = root
log_format = ENRICHED
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file = 50
num_logs = 5
max_log_file_action = ROTATE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
"""


def unavailable(reason: str) -> None:
    """Skip with the reason; where audit is required, fail."""
    if REQUIRED:
        pytest.fail(f"audit is required here (FIMSCAN_REQUIRE_AUDIT=1), but {reason}")
    pytest.skip(reason)


def auditctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["auditctl", *arguments], capture_output=True, text=True, check=False, timeout=20)


def daemon_pid() -> int:
    words = auditctl("-s").stdout.split()
    return int(words[words.index("pid") + 1]) if "pid" in words else 0


def log_of(pid: int) -> str:
    """The log file of a running auditd, from its own configuration."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    directory = os.fsdecode(arguments[arguments.index(b"-c") + 1]) if b"-c" in arguments else "/etc/audit"
    for line in (Path(directory) / "auditd.conf").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "log_file":
            return value.strip()
    return "/var/log/audit/audit.log"


@pytest.fixture(scope="session")
def audit_log() -> Iterator[str]:
    """The path of a log that a real auditd writes."""
    if os.geteuid() != 0:
        unavailable("not running as root")
    if shutil.which("auditctl") is None or shutil.which("auditd") is None:
        unavailable("auditd is not installed (apt-get install auditd)")
    status = auditctl("-s")
    if status.returncode != 0:
        unavailable(f"the kernel's audit system cannot be used: {status.stderr.strip()}")
    if running := daemon_pid():
        auditctl("-b", "8192")
        yield log_of(running)
        return
    directory = Path(tempfile.mkdtemp(prefix="fimscan-auditd-"))
    (directory / "log").mkdir(mode=0o700)
    log = directory / "log" / "audit.log"
    (directory / "auditd.conf").write_text(AUDITD_CONF.format(log=log))
    subprocess.run(["auditd", "-c", str(directory)], check=True, timeout=20)
    deadline = time.monotonic() + 10
    while not (pid := daemon_pid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not pid:
        unavailable("auditd does not start")
    auditctl("-b", "8192")
    yield str(log)
    os.kill(pid, signal.SIGTERM)
    while daemon_pid() == pid and time.monotonic() < deadline + 10:
        time.sleep(0.05)
    shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True)
class Installation:
    """fimscan as a user runs it: its own configuration and database, a scratch directory, rules loaded for it."""

    root: Path
    watched: Path
    elsewhere: Path
    config: Path

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
        """Run a command; its exit code has to be one of ``codes``."""
        done = subprocess.run(
            [sys.executable, "-m", "fimscan", "--config", str(self.config), *arguments],
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode in codes, (arguments, done.returncode, done.stdout, done.stderr)
        return done


def write_config(root: Path, watched: list[Path], log: str) -> Path:
    config = root / "fimscan.toml"
    sections = "".join(f'[[watch]]\npath = "{path}"\n' for path in watched)
    config.write_text(
        f'[database]\nurl = "sqlite:///{root}/fimscan.db"\n'
        f'[audit]\nlogs = ["{log}"]\nkey = "fimscan-lab"\n'
        f'[evidence]\nkey = "{root}/key.pem"\n{sections}'
    )
    return config


def load_rules(installation: Installation) -> list[str]:
    """Load what 'fimscan audit rules' prints; gives the rules, to be removed again."""
    text = installation.run("audit", "rules").stdout.decode()
    rules = [line for line in text.splitlines() if line.startswith("-a ")]
    for line in rules:
        done = auditctl(*line.split())
        assert done.returncode == 0, (line, done.stderr)
    return rules


def remove_rules(rules: list[str]) -> None:
    for line in rules:
        auditctl(*("-d" if word == "-a" else word for word in line.split()))


@pytest.fixture(scope="module")
def installation(audit_log: str) -> Iterator[Installation]:
    """An installation with its rules in the kernel."""
    # Not pytest's tmp_path: a short, plain path on a disk file system, as audit rules take it.
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    watched, elsewhere = root / "watched", root / "elsewhere"
    for directory in (watched, watched / "sub", watched / "other", elsewhere):
        directory.mkdir()
    config = write_config(root, [watched], audit_log)
    made = Installation(root=root, watched=watched, elsewhere=elsewhere, config=config)
    rules = load_rules(made)
    yield made
    remove_rules(rules)
    shutil.rmtree(root)
