"""Make a large audit log with the kernel's own records: ``python benchmarks/make_audit_log.py --out FILE [--size MB]``.

Needs root, auditd and auditctl. Processes with several names work in a scratch directory, as on a host that is being
upgraded: packages, configuration management, log files, editors, unpacking, cleaning up. The log of the running audit
daemon (or of a temporary one) is copied to FILE meanwhile, across rotations. Whenever the kernel's queue fills up, the
workers are paused, so that no record is lost. Rules and settings are restored at the end.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).resolve().parent.parent
WORKER = ROOT / "benchmarks" / "audit_workload.py"
sys.path.insert(0, str(ROOT))

from demo import auditd  # noqa: E402
from fimscan.audit import parse_status, rules_for  # noqa: E402

KEY = "fimscan-bench"
BACKLOG = 32768
POLL_S = 0.03
QUIET_S = 1.0

# (program name, task, login uid; None for a daemon, which has none)
WORKERS = (
    ("dpkg", "upgrade", 1000),
    ("puppet", "configure", None),
    ("rsyslogd", "log", None),
    ("nginx", "log", None),
    ("vim", "edit", 1001),
    ("tar", "unpack", 1000),
    ("git", "commit", 1001),
    ("bash", "tools", 1000),
    ("make", "tools", 1001),
)


class Follower:
    """Copies what is appended to a log, across renames."""

    def __init__(self, log: str, out: BinaryIO) -> None:
        self._log, self._out = log, out
        self._file = open(log, "rb")  # noqa: SIM115 # open for the object's lifetime
        self._file.seek(0, os.SEEK_END)
        self.bytes = 0

    def copy(self) -> int:
        """Copy what is new; return its size in bytes."""
        copied = self._copy_rest()
        if self._rotated():
            # The daemon opens the new file after closing the old one, so the old one is complete now.
            copied += self._copy_rest()
            if not os.path.samestat(os.stat(f"{self._log}.1"), os.fstat(self._file.fileno())):
                raise RuntimeError(f"{self._log} was rotated more than once within {POLL_S} s: raise max_log_file")
            self._file.close()
            self._file = open(self._log, "rb")  # noqa: SIM115
            copied += self._copy_rest()
        self.bytes += copied
        return copied

    def _rotated(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self._log), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False  # being rotated right now

    def _copy_rest(self) -> int:
        copied = 0
        while block := self._file.read(1 << 20):
            copied += self._out.write(block)
        return copied


class Workers:
    """The processes that change files; all can be paused."""

    def __init__(self, programs: Path, scratch: Path) -> None:
        self._halted = False
        self.halts = 0
        self._processes = [self._start(programs, scratch, *worker) for worker in WORKERS]

    @staticmethod
    def _start(programs: Path, scratch: Path, name: str, task: str, user: int | None) -> subprocess.Popen[bytes]:
        # A copy of the interpreter gives each worker its own exe and comm.
        copy = programs / name
        shutil.copy2(os.path.realpath(sys.executable), copy)
        area = scratch / f"{name}-{task}"
        area.mkdir()
        command = [str(copy), "-S", "-s", "-P", str(WORKER), task, str(area), "" if user is None else str(user)]
        environment = os.environ | {"PYTHONHOME": f"{sys.base_prefix}:{sys.base_exec_prefix}"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)

    def throttle(self, backlog: int, limit: int) -> None:
        """Pause the workers when the kernel's queue is half full; resume them when it is nearly empty."""
        if not self._halted and backlog > limit // 2:
            self._signal(signal.SIGSTOP)
            self._halted, self.halts = True, self.halts + 1
        elif self._halted and backlog < limit // 8:
            self._signal(signal.SIGCONT)
            self._halted = False
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"a worker ended unexpectedly ({process.returncode}): {process.args!r}")

    def end(self) -> None:
        """Kill the workers and their children."""
        self._signal(signal.SIGKILL)
        for process in self._processes:
            process.wait()

    def _signal(self, number: int) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def status() -> dict[str, int]:
    """The kernel's audit status now."""
    return dict(parse_status(auditd.auditctl("-s").stdout.encode()))


def make_room() -> None:
    """Make the queue large enough for bursts, and remove the rate limit."""
    auditd.auditctl("-b", str(max(BACKLOG, status()["backlog_limit"])))
    auditd.auditctl("-r", "0")


@contextmanager
def settings_kept() -> Iterator[None]:
    """Restore the kernel's audit settings at the end."""
    text = auditd.auditctl("-s").stdout
    before = dict(re.findall(r"^(backlog_limit|rate_limit) (\d+)", text, re.MULTILINE))
    try:
        yield
    finally:
        auditd.auditctl("-b", before["backlog_limit"])
        auditd.auditctl("-r", before["rate_limit"])


def require_daemon(now: dict[str, int]) -> None:
    """Raise if there is no daemon, because nothing would be written."""
    if not now["pid"]:
        raise RuntimeError("auditd ended during the recording: start it, then run this again")


def record(follower: Follower, workers: Workers, size: int) -> None:
    """Let the workers run until ``size`` bytes are copied, then copy what is still in the queue."""
    shown = time.monotonic()
    while follower.bytes < size:
        now = status()
        require_daemon(now)
        workers.throttle(now["backlog"], now["backlog_limit"])
        follower.copy()
        if sys.stderr.isatty() and time.monotonic() - shown > 1:
            shown = time.monotonic()
            print(f"\r{follower.bytes / 1e6:6.0f} MB", end="", file=sys.stderr, flush=True)
        time.sleep(POLL_S)
    workers.end()
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < QUIET_S:
        now = status()
        require_daemon(now)
        if follower.copy() or now["backlog"]:
            quiet_since = time.monotonic()
        time.sleep(POLL_S)


def make(path: str, size: int, directory: Path) -> tuple[int, int]:
    """Write the log ``path``; return (records that the kernel lost, how often the workers were paused)."""
    programs, scratch = directory / "bin", directory / "files"
    programs.mkdir()
    scratch.mkdir()
    rules = rules_for([(os.fsencode(scratch), True)], KEY, machine=os.uname().machine)
    with open(path, "wb") as out, settings_kept(), auditd.audit_daemon(directory) as log:
        make_room()
        lost = status()["lost"]
        follower = Follower(log, out)
        with auditd.rules_loaded(rules):
            workers = Workers(programs, scratch)
            try:
                record(follower, workers, size)
            finally:
                workers.end()
        return status()["lost"] - lost, workers.halts


def figures(path: str) -> str:
    """The size of a log, and how many records and events it has."""
    stamp = re.compile(rb"audit\(([\d.]+:\d+)\)")
    records, events = 0, set()
    with open(path, "rb") as file:
        for line in file:
            records += 1
            if match := stamp.search(line):
                events.add(match[1])
    return f"{os.path.getsize(path):,} bytes, {records:,} records, {len(events):,} events"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=float, default=300, metavar="MB", help="size of the log (default: 300)")
    parser.add_argument("--out", required=True, metavar="FILE", help="the log to write; must not exist yet")
    parser.add_argument("--dir", default="/var/tmp", metavar="DIR", help="parent of the scratch directory")
    options = parser.parse_args()
    if Path(options.out).exists():
        parser.error(f"{options.out} exists already")
    if reason := auditd.why_not():
        parser.error(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fimscan-bench-", dir=options.dir) as directory:
        try:
            lost, halts = make(options.out, int(options.size * 1_000_000), Path(directory))
        except BaseException:
            Path(options.out).unlink(missing_ok=True)  # an incomplete log must not be used for measurements
            raise
    seconds = time.monotonic() - start
    print(f"{figures(options.out)}; lost: {lost}; {seconds:.0f} s, workers paused {halts} times")
    if lost:
        sys.exit(1)


if __name__ == "__main__":
    main()
