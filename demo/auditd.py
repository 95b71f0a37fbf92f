"""A real audit system to work with, in the demonstration and in the tests: the running one, or one of our own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BACKLOG = "8192"

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


def auditctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Ask or tell the kernel's audit system something."""
    return subprocess.run(["auditctl", *arguments], capture_output=True, text=True, check=False)


def daemon_pid() -> int:
    """The running audit daemon's pid, 0 when there is none."""
    words = auditctl("-s").stdout.split()
    return int(words[words.index("pid") + 1]) if "pid" in words else 0


def log_of(pid: int) -> str:
    """Where a running auditd writes, from the configuration that it was started with."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    directory = os.fsdecode(arguments[arguments.index(b"-c") + 1]) if b"-c" in arguments else "/etc/audit"
    for line in (Path(directory) / "auditd.conf").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "log_file":
            return value.strip()
    return "/var/log/audit/audit.log"


def why_not() -> str | None:
    """Why audit cannot be used here, ``None`` when it can."""
    if os.geteuid() != 0:
        return "only root may use the kernel's audit system"
    if shutil.which("auditctl") is None:
        return "auditd is not installed (apt-get install auditd)"
    status = auditctl("-s")
    if status.returncode != 0:
        return f"the kernel's audit system does not answer: {status.stderr.strip()}"
    if "enabled 2" in status.stdout:
        return "audit rules are locked until the next boot (-e 2)"
    return None


@contextmanager
def audit_daemon(directory: Path) -> Iterator[str]:
    """The log of the auditd that runs; where none does, one of our own (in ``directory``) for as long as needed."""
    if running := daemon_pid():
        auditctl("-b", _BACKLOG)
        yield log_of(running)
        return
    (directory / "log").mkdir(mode=0o700)
    log = directory / "log" / "audit.log"
    (directory / "auditd.conf").write_text(AUDITD_CONF.format(log=log))
    subprocess.run(["auditd", "-c", str(directory)], check=True, timeout=20)
    deadline = time.monotonic() + 10
    while not (pid := daemon_pid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not pid:
        raise RuntimeError("auditd does not start")
    auditctl("-b", _BACKLOG)
    try:
        yield str(log)
    finally:
        os.kill(pid, signal.SIGTERM)
        while daemon_pid() == pid and time.monotonic() < deadline + 20:
            time.sleep(0.05)


def load_rules(text: str) -> list[str]:
    """Load the rules of what 'fimscan audit rules' printed; gives them, to be removed again."""
    rules = [line for line in text.splitlines() if line.startswith("-a ")]
    for rule in rules:
        done = auditctl(*rule.split())
        if done.returncode != 0:
            raise RuntimeError(f"{rule}: {done.stderr.strip()}")
    return rules


def remove_rules(rules: list[str]) -> None:
    """Take back just these rules."""
    for rule in rules:
        auditctl(*("-d" if word == "-a" else word for word in rule.split()))


@contextmanager
def rules_loaded(text: str) -> Iterator[None]:
    """Our rules in the kernel, for as long as it takes."""
    rules = load_rules(text)
    try:
        yield
    finally:
        remove_rules(rules)
