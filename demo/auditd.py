"""A real audit daemon for the demonstration, the benchmarks and the tests: the running one, or one of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from fimscan.audit import Completion

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
num_logs = {logs}
max_log_file_action = ROTATE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
plugin_dir = {plugins}
"""

AF_UNIX_CONF = """\
active = yes
direction = out
path = builtin_af_unix
type = builtin
args = 0600 {socket}
format = string
"""


def auditctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run auditctl with these arguments."""
    return subprocess.run(["auditctl", *arguments], capture_output=True, text=True, check=False)


def daemon_pid() -> int:
    """The pid of the running audit daemon; 0 if there is none."""
    return _setting("pid")


def log_of(pid: int) -> str:
    """The log of a running auditd, from the configuration that it was started with."""
    arguments = _arguments(pid)
    directory = arguments[arguments.index("-c") + 1] if "-c" in arguments else "/etc/audit"
    for line in (Path(directory) / "auditd.conf").read_text().splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "log_file":
            return value.strip()
    return "/var/log/audit/audit.log"


def why_not() -> str | None:
    """Why audit cannot be used here; ``None`` if it can."""
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


@dataclass
class Daemon:
    """An auditd that writes ``log``.

    Only a daemon of our own, with its configuration in ``directory``, may be stopped.
    """

    log: str
    directory: Path | None = None

    @property
    def socket(self) -> Path:
        """The socket of its af_unix plugin."""
        assert self.directory is not None, "only our own daemon's configuration is known"
        return self.directory / "events"

    @property
    def is_ours(self) -> bool:
        """Whether the daemon may be stopped and its log rotated at will."""
        return self.directory is not None

    def start(self) -> None:
        """Start the daemon and wait until the kernel knows it."""
        assert self.directory is not None, "only our own daemon may be started"
        _start(["auditd", "-c", str(self.directory)])

    def stop(self) -> None:
        """Stop the daemon and wait until the kernel has forgotten it."""
        assert self.directory is not None, "only our own daemon may be stopped"
        _stop()

    def rotate(self) -> None:
        """Start a new log, as ``service auditd rotate`` does."""
        _signal(signal.SIGUSR1)


def own_daemon(directory: Path, *, logs: int = 5) -> Daemon:
    """Configure a daemon of our own in ``directory``, without starting it; it keeps ``logs`` log files."""
    (directory / "log").mkdir(mode=0o700)
    log = directory / "log" / "audit.log"
    plugins = directory / "plugins"
    plugins.mkdir()
    (directory / "auditd.conf").write_text(AUDITD_CONF.format(log=log, logs=logs, plugins=plugins))
    daemon = Daemon(log=str(log), directory=directory)
    (plugins / "af_unix.conf").write_text(AF_UNIX_CONF.format(socket=daemon.socket))
    (plugins / "af_unix.conf").chmod(0o640)
    return daemon


@contextmanager
def audit_daemon(directory: Path) -> Iterator[str]:
    """The log of the running auditd; if none runs, of a temporary one in ``directory``."""
    with any_daemon(directory) as daemon:
        yield daemon.log


@contextmanager
def any_daemon(directory: Path, *, logs: int = 5, own: bool = False) -> Iterator[Daemon]:
    """The running auditd; if none runs, a temporary one in ``directory``.

    With ``own``, a running daemon is stopped meanwhile, and restarted with its own arguments afterwards.
    """
    running = daemon_pid()
    limit = _setting("backlog_limit")
    if running and not own:
        daemon = Daemon(log=log_of(running))
        auditctl("-b", _BACKLOG)
        yield daemon
        return
    arguments = _arguments(running) if running else []
    if running:
        _stop()
    daemon = own_daemon(directory, logs=logs)
    try:
        daemon.start()
        auditctl("-b", _BACKLOG)
        yield daemon
    finally:
        if daemon_pid():
            daemon.stop()
        if arguments:
            auditctl("-b", str(limit))
            auditctl("-e", "1")
            _start(arguments)


def _setting(name: str) -> int:
    words = auditctl("-s").stdout.split()
    return int(words[words.index(name) + 1]) if name in words else 0


def _arguments(pid: int) -> list[str]:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return [os.fsdecode(argument) for argument in arguments]


def _start(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=20)
    if not _becomes(lambda: daemon_pid() != 0):
        raise RuntimeError("auditd does not start")


def _signal(number: signal.Signals) -> int:
    """Send a signal to the daemon that the kernel knows; return its pid."""
    pid = daemon_pid()
    if not pid:  # kill(2) takes 0 for our own process group
        raise RuntimeError("the audit daemon is no longer running")
    os.kill(pid, number)
    return pid


def _stop() -> None:
    pid = _signal(signal.SIGTERM)
    # The kernel forgets the daemon shortly before its process ends, and a new auditd does not start beside the old one.
    if not _becomes(lambda: daemon_pid() != pid and not Path(f"/proc/{pid}").exists()):
        raise RuntimeError("auditd does not stop")


def _becomes(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


def load_rules(text: str) -> list[str]:
    """Load the rules in the output of 'fimscan audit rules'; return them, to be removed later."""
    rules = [line for line in text.splitlines() if line.startswith("-a ")]
    # A rule for the whole host may already be loaded for another installation.
    expected = ("Rule exists", "There was an error in line ")
    problems = [line for line in _all_at_once(rules) if not any(words in line for words in expected)]
    if problems:
        raise RuntimeError("; ".join(problems))
    return rules


def remove_rules(rules: list[str]) -> None:
    """Remove exactly these rules, and the io_uring rules that fimscan added to them."""
    _all_at_once(rule.replace("-a ", "-d ", 1) for rule in rules)
    for key in {word.removeprefix("key=") for rule in rules for word in rule.split() if word.startswith("key=")}:
        Completion(key).complete()


def _all_at_once(rules: Iterable[str]) -> list[str]:
    """Apply all of these lines, also if the kernel refuses some; return what auditctl reported.

    A single process does it: an installation has ten rules or more, and the tests load them hundreds of times.
    """
    with NamedTemporaryFile("w", prefix="fimscan-", suffix=".rules") as file:
        file.write("\n".join(("-c", *rules, "")))
        file.flush()
        return auditctl("-R", file.name).stderr.splitlines()


@contextmanager
def rules_loaded(text: str) -> Iterator[None]:
    """Keep rules loaded in the kernel within the context."""
    rules = load_rules(text)
    try:
        yield
    finally:
        remove_rules(rules)
