"""What the kernel's audit system says of itself: ``auditctl -s`` and ``auditctl -l`` -> :class:`AuditObservation`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

from fimscan.audit.syscalls import CALLS
from fimscan.model import AuditObservation, AuditRule

_TIMEOUT_S = 5
_STATUS = re.compile(rb"\b(enabled|pid|lost|backlog|backlog_limit)[ =](\d+)")
_FIELD = re.compile(rb"([a-z0-9_]+)(!=|>=|<=|&=|=|>|<|&)(.*)", re.DOTALL)

# A list of system calls stands for perm=w (or a) only with all of these in it: what it lacks, nobody would see.
_WRITES = frozenset(
    {"open", "openat", "openat2", "creat", "truncate", "rename", "renameat", "renameat2"}
    | {"link", "linkat", "unlink", "unlinkat"}
)
_ATTRIBUTES = frozenset(
    {"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"}
    | {"setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"}
)
_NEW_CALLS = {b"437": "openat2", b"452": "fchmodat2"}  # numbers, where auditctl is older than the kernel
_NEEDED_TYPES = frozenset({b"SYSCALL", b"PATH", b"CWD", b"1300", b"1302", b"1307"})
_CLOCK_READINGS = 3
_SCOPES = frozenset({b"dir", b"path"})


def observe(now_ns: int) -> AuditObservation:
    """Ask the kernel (as root). What prevents that is in ``error``, with what to do; nothing is raised."""
    boot_id, boottime_ns = _boot_id(), now_ns - _clock_offset()
    try:
        status = parse_status(_auditctl("-s"))
        rules, suppressed = parse_rules(_auditctl("-l"), os.path.isdir)
    except _UnavailableError as problem:
        return AuditObservation(time_ns=now_ns, boot_id=boot_id, boottime_ns=boottime_ns, error=str(problem))
    return AuditObservation(
        time_ns=now_ns,
        boot_id=boot_id,
        boottime_ns=boottime_ns,
        enabled=status.get("enabled"),
        daemon_pid=status.get("pid"),
        lost=status.get("lost"),
        backlog=status.get("backlog"),
        backlog_limit=status.get("backlog_limit"),
        rules=rules,
        suppressed=suppressed,
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


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _clock_offset() -> int:
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
    return {name.decode(): int(value) for name, value in _STATUS.findall(text)}


def parse_rules(text: bytes, is_directory: Callable[[bytes], bool]) -> tuple[tuple[AuditRule, ...], tuple[str, ...]]:
    """(file-watching rules, rules that take events away) in the answer of ``auditctl -l``.

    ``is_directory`` says of a watch's (``-w``) path whether it is one: then the watch includes what is beneath it.
    """
    rules: list[AuditRule] = []
    suppressed: list[str] = []
    for raw in text.splitlines():
        line = raw.strip()
        words = line.split()
        shown = line.decode("utf-8", "backslashreplace")
        if len(words) < 2:
            continue
        if words[0] == b"-w":
            rules.append(_watch(words, shown, is_directory))
        elif words[0] in (b"-a", b"-A"):
            action = frozenset(words[1].split(b","))
            if _suppresses(action, words):
                suppressed.append(shown)
            elif action == {b"always", b"exit"} and (rule := _rule(words, shown)) is not None:
                rules.append(rule)
    return tuple(rules), tuple(suppressed)


def _options(words: list[bytes], option: bytes) -> list[bytes]:
    return [value for name, value in pairwise(words) if name == option]


def _watch(words: list[bytes], shown: str, is_directory: Callable[[bytes], bool]) -> AuditRule:
    permissions = b"".join(_options(words, b"-p")) or b"rwxa"
    return AuditRule(
        scope=_scope(words[1]),
        recursive=is_directory(words[1]),
        arches=frozenset({"b32", "b64"}),
        writes=b"w" in permissions,
        attributes=b"a" in permissions,
        key=_key(_options(words, b"-k")),
        text=shown,
    )


def _rule(words: list[bytes], shown: str) -> AuditRule | None:
    """An ``-a always,exit`` rule; ``None`` for one without a directory or path that does not report file changes."""
    fields = [match.groups() for value in _options(words, b"-F") if (match := _FIELD.fullmatch(value))]
    scope, directory, permissions, narrowed = b"/", True, None, False
    arches = frozenset({"b32", "b64"})
    scoped = False
    for name, operator, value in fields:
        if name in _SCOPES and operator == b"=":
            scope, directory, scoped = _scope(value), name == b"dir", True
        elif name == b"perm" and operator == b"=":
            permissions = value
        elif name == b"arch" and operator == b"=":
            arches = frozenset({_arch(value)})
        elif name != b"key" and (name, operator, value) not in _HARMLESS:
            narrowed = True
    calls = _calls(words)
    reported = _reports(calls, permissions, b"w", _WRITES), _reports(calls, permissions, b"a", _ATTRIBUTES)
    writes, attributes = (kind and not narrowed for kind in reported)
    if not (scoped or writes or attributes):
        return None
    keys = [value for name, _, value in fields if name == b"key"] + _options(words, b"-k")
    return AuditRule(
        scope=scope,
        recursive=directory,
        arches=arches,
        writes=writes,
        attributes=attributes,
        key=_key(keys),
        text=shown,
    )


_HARMLESS = frozenset({(b"success", b"=", b"1"), (b"success", b"!=", b"0"), (b"success", b"=", b"yes")})


def _reports(calls: frozenset[str] | None, permissions: bytes | None, wanted: bytes, essential: frozenset[str]) -> bool:
    return (permissions is None or wanted in permissions) and (calls is None or calls >= essential)


def _calls(words: list[bytes]) -> frozenset[str] | None:
    """The system calls that a rule lists; ``None`` for all."""
    listed = [name for value in _options(words, b"-S") for name in value.split(b",")]
    if not listed or b"all" in listed:
        return None
    return frozenset(_NEW_CALLS.get(name) or name.decode("latin-1") for name in listed)


def _suppresses(action: frozenset[bytes], words: list[bytes]) -> bool:
    """Whether a rule can take file events away, or one of the records that they are made of."""
    if b"exclude" in action:
        return any(value.startswith(b"msgtype=") and value[8:] in _NEEDED_TYPES for value in _options(words, b"-F"))
    if b"never" not in action or not action & {b"task", b"exit", b"filesystem"}:
        return False
    calls = _calls(words)
    return calls is None or any(name in CALLS or name.isdigit() for name in calls)


def _arch(value: bytes) -> str:
    if value in (b"b32", b"i386", b"arm"):
        return "b32"
    return "b64" if value == b"b64" or value.endswith((b"64", b"64le", b"390x")) else value.decode("latin-1")


def _scope(value: bytes) -> bytes:
    return value.rstrip(b"/") or b"/"


def _key(values: list[bytes]) -> str | None:
    return ",".join(value.decode("utf-8", "backslashreplace") for value in values) or None
