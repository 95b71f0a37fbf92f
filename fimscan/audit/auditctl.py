"""Observe the kernel's audit system: ``auditctl -s`` and ``auditctl -l`` -> :class:`AuditObservation`."""

from __future__ import annotations

import ctypes
import errno
import gzip
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from functools import cache
from typing import NamedTuple

from msgspec import Struct

from fimscan.audit.guards import guarding, wanted_guards
from fimscan.audit.netlink import KernelAudit
from fimscan.audit.rule_parser import Rule, parse_all, suppressing
from fimscan.audit.targets import with_targets
from fimscan.audit.uring_rules import parse_rule, watched_directories
from fimscan.model import AuditObservation, GapReason

_TIMEOUT_S = 5
_LOADING_S = 120  # the kernel takes some 15 ms to delete one rule
_NAMES = rb"enabled|failure|flag|pid|rate_limit|lost|backlog|backlog_limit|backlog_wait_time|backlog_wait_time_actual"
_STATUS = re.compile(rb"\b(" + _NAMES + rb")[ =](\d+)")

_CLOCK_READINGS = 3
_IO_URING_SETUP = 425  # on every architecture
_NAMESPACE_SETTINGS = ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone")


class KernelAnswer(Struct, frozen=True, kw_only=True):
    """The kernel's answer: counters and settings, named as in ``auditctl -s``, and the rules in order.

    If the kernel could not be asked, ``error`` is the cause and the action, and the rest is empty.
    """

    status: Mapping[str, int]
    rules: tuple[Rule, ...] = ()
    error: str | None = None


def ask() -> KernelAnswer:
    """Ask the kernel for status and rules (as root). A failure is in ``error``; nothing is raised."""
    try:
        return KernelAnswer(status=parse_status(_auditctl("-s")), rules=parse_all(_auditctl("-l"), os.path.isdir))
    except _UnavailableError as problem:
        return KernelAnswer(status={}, error=str(problem))


def observe(now_ns: int) -> AuditObservation:
    """Status and rules, reduced to what coverage depends on, for the store."""
    answer = ask()
    status = answer.status
    found = [watched for rule in answer.rules if (watched := guarding(rule)) is not None]
    return AuditObservation(
        time_ns=now_ns,
        boot_id=boot_id(),
        boottime_ns=now_ns - clock_offset(),
        enabled=status.get("enabled"),
        daemon_pid=status.get("pid"),
        lost=status.get("lost"),
        backlog=status.get("backlog"),
        backlog_limit=status.get("backlog_limit"),
        rules=with_targets(found, now_ns),
        guards=wanted_guards(os.uname().machine, user_namespaces=_users_have_namespaces()),
        uring=None if answer.error else loaded_uring_directories(),
        holes=(GapReason.X32_CALL,) if _has_x32_calls() else (),
        suppressed=tuple(rule.text for rule in suppressing(answer.rules)),
        error=answer.error,
    )


def uring_directories(listed: Iterable[bytes]) -> tuple[bytes, ...]:
    """The directories in which the kernel's rules report io_uring operations; ``/`` where io_uring is not usable."""
    if not is_uring_usable():
        return (b"/",)
    return watched_directories([rule for data in listed if (rule := parse_rule(data)) is not None])


def loaded_uring_directories() -> tuple[bytes, ...] | None:
    """The same for the loaded rules; ``None`` where the kernel does not answer."""
    try:
        with closing(KernelAudit()) as kernel:
            return uring_directories(kernel.rules())
    except OSError:
        return None


def is_uring_usable() -> bool:
    """Whether programs can use io_uring: by its sysctl since Linux 6.6, before that by a test call."""
    disabled = _setting("/proc/sys/kernel/io_uring_disabled")
    if disabled is not None:
        return disabled != "2"
    libc = ctypes.CDLL(None, use_errno=True)
    # Without parameters the call creates nothing: a kernel that has it refuses with EFAULT or EINVAL.
    libc.syscall(ctypes.c_long(_IO_URING_SETUP), ctypes.c_long(0), None)
    return ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM)


def _users_have_namespaces() -> bool:
    """Whether an unprivileged user can create a user namespace; Debian's own setting is 0 where that is forbidden."""
    return not any(_setting(path) == "0" for path in _NAMESPACE_SETTINGS)


@cache
def _has_x32_calls() -> bool:
    """Whether the kernel accepts x86_64's x32 calls, which match no rule; without a kernel configuration: no.

    Debian builds them in, but disables them unless ``syscall.x32=y`` is on the command line.
    """
    host = os.uname()
    if host.machine != "x86_64":
        return False
    options = x32_options(_kernel_configuration(host.release))
    switch = [word for word in (_setting("/proc/cmdline") or "").split() if word.startswith("syscall.x32=")]
    return options.built and (switch[-1].endswith(("=y", "=1")) if switch else not options.off)


class X32(NamedTuple):
    """Whether the x32 calls are ``built`` into the kernel, and ``off`` unless the command line enables them."""

    built: bool
    off: bool


def x32_options(configuration: bytes) -> X32:
    """The x32 options in a kernel configuration."""
    lines = configuration.splitlines()
    return X32(b"CONFIG_X86_X32_ABI=y" in lines, b"CONFIG_X86_X32_DISABLED=y" in lines)


def _kernel_configuration(release: str) -> bytes:
    for path, opener in ((f"/boot/config-{release}", open), ("/proc/config.gz", gzip.open)):
        with suppress(OSError, EOFError), opener(path, "rb") as file:
            return bytes(file.read())
    return b""


def _setting(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None


class _UnavailableError(Exception):
    """The audit system cannot be asked; the message says what to do."""


def run_rules(lines: Iterable[str]) -> None:
    """Have auditctl add (``-a``) and delete (``-d``) these rules. What the kernel refuses is left out.

    Whether it worked, :func:`ask` says afterwards.

    Raises:
        OSError: auditctl is missing, or does not answer.
    """
    text = "".join(f"{line}\n" for line in ("-c", *lines))
    try:
        program = _program()
    except _UnavailableError as problem:
        raise FileNotFoundError(errno.ENOENT, str(problem)) from problem
    # auditctl takes only a file, of root's own.
    with tempfile.NamedTemporaryFile("w", prefix="fimscan-", suffix=".rules", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            subprocess.run([program, "-R", file.name], capture_output=True, timeout=_LOADING_S, check=False)
        except subprocess.TimeoutExpired:
            raise TimeoutError(errno.ETIMEDOUT, f"auditctl did not load the rules within {_LOADING_S} s") from None


def _program() -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    program = shutil.which("auditctl", path=path)
    if program is None:
        raise _UnavailableError("auditctl is not installed: install the package auditd (audit on Fedora and SUSE)")
    return program


def _auditctl(option: str) -> bytes:
    program = _program()
    try:
        done = subprocess.run(
            [program, option], capture_output=True, timeout=_TIMEOUT_S, env=os.environ | {"LC_ALL": "C"}, check=False
        )
    except subprocess.TimeoutExpired:
        raise _UnavailableError(
            f"auditctl {option} did not answer within {_TIMEOUT_S} s: run it in a shell to see why"
        ) from None
    except OSError as error:
        raise _UnavailableError(f"auditctl cannot be run: {error.strerror}") from error
    if done.returncode or (option == "-s" and b"enabled" not in done.stdout):
        messages = (done.stderr or done.stdout).decode("utf-8", "backslashreplace").strip().splitlines()
        hint = "run as root" if os.geteuid() else "this kernel or container does not allow it"
        raise _UnavailableError(f"auditctl {option} failed ({messages[0] if messages else 'no message'}): {hint}")
    return done.stdout


def boot_id() -> str:
    """The id of this boot; empty where the kernel does not give one."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def clock_offset() -> int:
    """By how many nanoseconds the wall clock is ahead of CLOCK_BOOTTIME, which nobody can set.

    Of several readings, the one with the shortest interruption counts.
    """
    readings = []
    for _ in range(_CLOCK_READINGS):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


def parse_status(text: bytes) -> Mapping[str, int]:
    """The numbers in the output of ``auditctl -s``: one per line, or all in one line before audit 2.3."""
    found = {name.decode(): int(value) for name, value in _STATUS.findall(text)}
    return found if "flag" not in found else {"failure": found.pop("flag")} | found
