"""Read a running process from ``/proc``: start time, program file, container.

A pid alone does not identify a process, because it is reused. The start time (proc_pid_stat(5)) does.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fimscan.linux.mounts import MountTables, mount_of, path_may_hang
from fimscan.model import Actor, ExeOrigin, ProcessView

START_SLACK_NS = 50_000_000
"""How much later than a call of the process its start time may appear: a clock tick and two coarse clocks."""

_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")
_STARTED = 19  # field 22 of stat, counted after the name, which may have spaces and parentheses
_DELETED = b" (deleted)"
_UNSET = 0xFFFFFFFF
_ENVIRONMENT = 1 << 17  # bytes of the environment that are searched for LD_PRELOAD
_PRELOAD = re.compile(rb"(?:\A|\0)LD_PRELOAD=([^\0]+)")
_TRACER = re.compile(rb"^TracerPid:\t(\d+)", re.MULTILINE)

# Names that container managers give to control groups, the most specific first.
_HEX = rb"([0-9a-f]{12})[0-9a-f]{52}"
_CONTAINERS = (
    ("docker", re.compile(rb"/docker[-/]" + _HEX)),
    ("podman", re.compile(rb"/libpod-" + _HEX)),
    ("crio", re.compile(rb"/crio-" + _HEX)),
    ("containerd", re.compile(rb"/cri-containerd-" + _HEX)),
    ("lxc", re.compile(rb"/lxc(?:\.payload[./]|/)([\w.-]+)")),
    ("nspawn", re.compile(rb"/systemd-nspawn@([^/\n]+?)\.service")),
    ("machine", re.compile(rb"/machine\.slice/machine-([^/\n]+?)\.scope")),
    ("kubernetes", re.compile(rb"/kubepods[^\n]*?/" + _HEX)),
)


class RunningProcess(NamedTuple):
    """One running process as it was seen. ``exe`` is the path of its program in its own root."""

    pid: int
    start_ns: int
    exe: bytes | None
    auid: int | None
    session: int | None
    view: ProcessView
    time_ns: int

    def is_of(self, actor: Actor) -> bool:
        """Whether it is the process of a record: started before it, same login and program."""
        if actor.time_ns is None or self.start_ns > actor.time_ns + START_SLACK_NS:
            return False
        same_exe = _without_mark(self.exe) == _without_mark(actor.exe)
        return same_exe and (self.auid, self.session) == (actor.auid, actor.session)


def inspect_process(pid: int, tables: MountTables | None = None) -> RunningProcess | None:
    """Read a process; ``None`` if it has ended, may not be inspected, or changed during the reading.

    ``tables`` has mounts that were just read.
    """
    process = f"/proc/{pid}"
    try:
        before = _ticks(process), os.readlink(f"{process}/exe")
        exe = own_path(process)
        found = RunningProcess(
            pid=pid,
            start_ns=started_ns(process),
            exe=exe,
            auid=_number(f"{process}/loginuid"),
            session=_number(f"{process}/sessionid"),
            view=view_of(process, exe, tables or MountTables()),
            time_ns=time.time_ns(),
        )
        # All values belong to one process only if the pid was not reused, and no other program executed, in between.
        unchanged = before == (_ticks(process), os.readlink(f"{process}/exe"))
    except (OSError, ValueError, IndexError):  # it has ended, or is a kernel thread, which has no program
        return None
    return found if unchanged else None


def running_pids() -> set[int]:
    """The pids of all processes."""
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def started_ns(process: str) -> int:
    """When a process started: nanoseconds since the epoch, to about 10 ms. ``process`` is ``/proc/PID``.

    Raises:
        OSError: it has ended.
    """
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return boot_ns + _ticks(process) * _TICK_NS


def _ticks(process: str) -> int:
    return int(_read(f"{process}/stat").rpartition(b") ")[2].split()[_STARTED])


def own_path(process: str) -> bytes:
    """The program's path below the process's own root directory, as audit records it."""
    exe, root = os.fsencode(os.readlink(f"{process}/exe")), os.fsencode(os.readlink(f"{process}/root"))
    return exe.removeprefix(root) if root != b"/" and exe.startswith(root + b"/") else exe


def read_view(process: str, tables: MountTables) -> ProcessView | None:
    """What a process runs; ``None`` if that cannot be read."""
    try:
        return view_of(process, own_path(process), tables)
    except OSError:
        return None


def view_of(process: str, exe: bytes | None, tables: MountTables) -> ProcessView:
    """What a process runs, with its container, tracer and LD_PRELOAD. Raises ``OSError`` if it has ended."""
    try:
        environment = _read(f"{process}/environ")[:_ENVIRONMENT]
    except PermissionError:
        environment = b""
    preload = _PRELOAD.search(environment)
    tracer = _TRACER.search(_read(f"{process}/status"))
    origin, exe_id = (ExeOrigin.UNKNOWN, None) if exe is None else _program(process, exe, tables)
    return ProcessView(
        exe_origin=origin,
        exe_id=exe_id,
        container=container_of(_read(f"{process}/cgroup")),
        tracer=int(tracer[1]) or None if tracer else None,
        preload=preload[1] if preload else None,
        seen_ns=time.time_ns(),
    )


def _program(process: str, exe: bytes, tables: MountTables) -> tuple[ExeOrigin, tuple[int, int] | None]:
    """(origin of the program's file, its device and inode)."""
    is_elsewhere = _differs(process, "ns/mnt", os.readlink) or _differs(process, "root", _identity)
    on = mount_of(tables.of(process), exe)
    if on is None or on.may_hang:  # a stat would wait for a server or another process
        return (ExeOrigin.OTHER_ROOT if is_elsewhere and on is None else ExeOrigin.UNKNOWN), None
    exe_id = _identity(f"{process}/exe")
    here = None
    if not path_may_hang(exe, tables.own):
        with suppress(OSError):
            here = _identity(os.fsdecode(exe))
    if here == exe_id:
        return ExeOrigin.HOST, exe_id
    # With this host's root, it is an older file of that name, or one that is hidden by a mount.
    return (ExeOrigin.OTHER_ROOT if is_elsewhere else ExeOrigin.UNKNOWN), exe_id


def _differs(process: str, name: str, ask: Callable[[str], object]) -> bool:
    return ask(f"{process}/{name}") != ask(f"/proc/self/{name}")


def container_of(cgroup: bytes) -> str | None:
    """The container of a control group, from its name (``/proc/PID/cgroup``); ``None`` for none."""
    for manager, pattern in _CONTAINERS:
        if match := pattern.search(cgroup):
            return f"{manager}:{match[1].decode('utf-8', 'backslashreplace')}"
    return None


def _without_mark(exe: bytes | None) -> bytes | None:
    return None if exe is None else exe.removesuffix(_DELETED)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _number(path: str) -> int | None:
    try:
        value = int(_read(path))
    except FileNotFoundError:
        return None  # a kernel without audit
    return None if value == _UNSET else value
