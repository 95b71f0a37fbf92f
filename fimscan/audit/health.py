"""What the kernel's audit system says of itself: ``auditctl -s`` and ``auditctl -l`` -> :class:`AuditObservation`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fimscan.audit.ruleset import Rule, parse_all, suppressing, watched_by
from fimscan.audit.targets import with_targets
from fimscan.model import AuditObservation

_TIMEOUT_S = 5
_NAMES = rb"enabled|failure|flag|pid|rate_limit|lost|backlog|backlog_limit|backlog_wait_time|backlog_wait_time_actual"
_STATUS = re.compile(rb"\b(" + _NAMES + rb")[ =](\d+)")

_CLOCK_READINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAnswer:
    """What the kernel answered: its counters and settings by their names in ``auditctl -s``, and its rules in order.

    ``error`` says why it could not be asked, and what to do; the rest is empty then.
    """

    status: Mapping[str, int]
    rules: tuple[Rule, ...] = ()
    error: str | None = None


def ask() -> KernelAnswer:
    """Ask the kernel (as root). What prevents that is in ``error``; nothing is raised."""
    try:
        return KernelAnswer(status=parse_status(_auditctl("-s")), rules=parse_all(_auditctl("-l"), os.path.isdir))
    except _UnavailableError as problem:
        return KernelAnswer(status={}, error=str(problem))


def observe(now_ns: int) -> AuditObservation:
    """:func:`ask`, reduced to what coverage depends on, for the store."""
    answer = ask()
    status, watching = answer.status, (watched_by(rule) for rule in answer.rules)
    return AuditObservation(
        time_ns=now_ns,
        boot_id=boot_id(),
        boottime_ns=now_ns - clock_offset(),
        enabled=status.get("enabled"),
        daemon_pid=status.get("pid"),
        lost=status.get("lost"),
        backlog=status.get("backlog"),
        backlog_limit=status.get("backlog_limit"),
        rules=with_targets([rule for rule in watching if rule is not None], now_ns),
        suppressed=tuple(rule.text for rule in suppressing(answer.rules)),
        error=answer.error,
    )


class _UnavailableError(Exception):
    """The audit system cannot be asked; the message says what to do."""


def _auditctl(option: str) -> bytes:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("auditctl", path=path)
    if program is None:
        raise _UnavailableError("auditctl is not installed: install the package auditd (audit on Fedora and SUSE)")
    try:
        done = subprocess.run(
            [program, option], capture_output=True, timeout=_TIMEOUT_S, env=os.environ | {"LC_ALL": "C"}, check=False
        )
    except subprocess.TimeoutExpired:
        raise _UnavailableError(f"auditctl {option} did not answer within {_TIMEOUT_S} s; try it by hand") from None
    except OSError as error:
        raise _UnavailableError(f"auditctl cannot be run: {error.strerror}") from error
    if done.returncode or (option == "-s" and b"enabled" not in done.stdout):
        said = (done.stderr or done.stdout).decode("utf-8", "backslashreplace").strip().splitlines()
        hint = "run as root" if os.geteuid() else "this kernel or container does not allow it"
        raise _UnavailableError(f"auditctl {option} failed ({said[0] if said else 'no message'}): {hint}")
    return done.stdout


def boot_id() -> str:
    """Which boot this is; empty where the kernel does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def clock_offset() -> int:
    """By how much the wall clock is ahead of CLOCK_BOOTTIME, which nobody can set: the reading least interrupted."""
    readings = []
    for _ in range(_CLOCK_READINGS):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


def parse_status(text: bytes) -> Mapping[str, int]:
    """The numbers in the answer of ``auditctl -s``: a line each, or all in one line before audit 2.3."""
    found = {name.decode(): int(value) for name, value in _STATUS.findall(text)}
    return found if "flag" not in found else {"failure": found.pop("flag")} | found
