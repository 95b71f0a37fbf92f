"""A process as /proc shows it (proc_pid(5)): who it is, when it started, whose child it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fimscan.model import Actor

UserName = Callable[[int], str | None]

_HOST_PID_NAMESPACE = 0xEFFF_FFFC  # PROC_PID_INIT_INO in include/linux/proc_ns.h
_UNSET = 0xFFFF_FFFF
_MOST_ANCESTORS = 16
_TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """``started_ns`` is by CLOCK_BOOTTIME, in steps of 10 ms; ``ancestors`` are process ids, the parent first."""

    actor: Actor
    started_ns: int
    ancestors: tuple[int, ...]


def look_at(pid: int, user_name: UserName | None = None) -> Process | None:
    """What is known of a process; ``None`` when it is gone. Whoever holds its pidfd knows that it is that one."""
    try:
        ppid, started = _stat(pid)
        status = dict(line.split(b":\t", 1) for line in _read(f"/proc/{pid}/status").splitlines() if b":\t" in line)
        comm = _read(f"/proc/{pid}/comm").removesuffix(b"\n")
        cmdline = _read(f"/proc/{pid}/cmdline")
    except (OSError, ValueError):
        return None
    uids = [int(word) for word in status.get(b"Uid", b"").split()]
    auid = _number(pid, "loginuid")
    uid = uids[0] if uids else None
    actor = Actor(
        pid=pid,
        ppid=ppid,
        exe=_link(f"/proc/{pid}/exe"),
        comm=comm,
        cmdline=tuple(cmdline.removesuffix(b"\0").split(b"\0")) if cmdline else None,
        cwd=_link(f"/proc/{pid}/cwd"),
        auid=auid,
        login_user=None if user_name is None or auid is None else user_name(auid),
        uid=uid,
        user=None if user_name is None or uid is None else user_name(uid),
        euid=uids[1] if len(uids) > 1 else None,
        session=_number(pid, "sessionid"),
    )
    return Process(actor, started * _TICK_NS, _ancestors(ppid))


def sees_all() -> bool:
    """Whether process ids here are those of the host, as audit has them: not those of a container."""
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
    """(parent, start time in ticks since boot)."""
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]), int(fields[19])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _link(path: str) -> bytes | None:
    with suppress(OSError):
        return os.fsencode(os.readlink(path))
    return None


def _number(pid: int, name: str) -> int | None:
    """A login uid or session; a kernel without audit has none."""
    with suppress(OSError, ValueError):
        number = int(_read(f"/proc/{pid}/{name}"))
        return None if number == _UNSET else number
    return None
