"""A running process with its start time and ancestors, so that a reused process id is not mistaken for it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from fimscan.linux.processes import UserName, actor_of, read
from fimscan.model import Actor

_HOST_PID_NAMESPACE = 0xEFFF_FFFC  # PROC_PID_INIT_INO in include/linux/proc_ns.h
_MOST_ANCESTORS = 16
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A running process. ``started_ns`` is in CLOCK_BOOTTIME, in steps of 10 ms.

    ``ancestors`` are process ids, the parent first.
    """

    actor: Actor
    started_ns: int
    ancestors: tuple[int, ...]


def read_process(pid: int, user_name: UserName | None = None) -> Process | None:
    """Read a process; ``None`` if it has ended. Only with its pidfd held is it certain to be the same process."""
    try:
        ppid, started = _stat(pid)
        return Process(actor_of(pid, user_name), started * _TICK_NS, _ancestors(ppid))
    except (OSError, ValueError):
        return None


def sees_all() -> bool:
    """Whether this process is in the host's pid namespace, whose process ids audit records."""
    with suppress(OSError):
        return os.stat("/proc/self/ns/pid").st_ino == _HOST_PID_NAMESPACE
    return False


def _ancestors(pid: int) -> tuple[int, ...]:
    found: list[int] = []
    while pid > 0 and len(found) < _MOST_ANCESTORS:
        found.append(pid)
        try:
            pid = _stat(pid)[0]
        except (OSError, ValueError):
            break
    return tuple(found)


def _stat(pid: int) -> tuple[int, int]:
    """(parent's process id, start time in ticks since boot)."""
    fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]), int(fields[19])
