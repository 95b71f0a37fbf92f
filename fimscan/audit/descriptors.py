"""Who holds a file open for writing right now: a descriptor, or a shared writable mapping, opened before the window."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress

from fimscan.audit.actors import UserName
from fimscan.audit.flags import writes
from fimscan.audit.proc import seen_view, started_ns
from fimscan.audit.records import device_value, id_value
from fimscan.model import Actor, Holder
from fimscan.mounts import parse_mounts

_SHARED = re.compile(rb"^[0-9a-f]+-[0-9a-f]+ ...s ", re.MULTILINE)
# "mw": the mapping may be made writable (mprotect(2)) at any time, without another open. Writable ones have it, too.
_MAY_WRITE = re.compile(
    rb"^[0-9a-f]+-[0-9a-f]+ ...s [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d+)[^\n]*\n"
    rb"(?:[A-Z]\w+:[^\n]*\n)*?VmFlags:[^\n]* mw\b",
    re.MULTILINE,
)
_FLAGS = re.compile(rb"^flags:\s*([0-7]+)", re.MULTILINE)
_MOUNT = re.compile(rb"^mnt_id:\s*(\d+)", re.MULTILINE)
_INODE = re.compile(rb"^ino:\s*(\d+)", re.MULTILINE)  # since Linux 5.14


def writable_descriptors(
    own_pid: int, *, user_name: UserName | None = None, of: Collection[tuple[int, int]] | None = None
) -> tuple[tuple[Holder, ...], int]:
    """The processes, but for ``own_pid``, that can write to a regular file without opening it again.

    Gives them, and how many processes could not be examined: those of others may be examined by root only. One that
    ends meanwhile is left out. See :manpage:`proc(5)` for ``fd``, ``fdinfo``, ``smaps``. The device numbers of
    mappings are the file system's own, which on btrfs and overlayfs are not those of :manpage:`stat(2)`; descriptors
    are asked directly. ``user_name`` names the users of the processes. With ``of`` (device and inode of some files),
    only their holders are looked for, which takes less time.
    """
    holders: list[Holder] = []
    unexamined = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == own_pid:
            continue
        try:
            found = dict.fromkeys(_writable(f"/proc/{entry}", of))
            if found:
                actor = _actor(int(entry), user_name)
                holders += [Holder(dev=dev, inode=inode, actor=actor) for dev, inode in found]
        except PermissionError:
            unexamined += 1
        except (FileNotFoundError, ProcessLookupError):
            continue
    return tuple(holders), unexamined


def _writable(process: str, of: Collection[tuple[int, int]] | None) -> Iterator[tuple[int, int]]:
    """(device, inode) of what the process can write to, as far as it is ``of`` interest."""
    seen: set[tuple[str, ...]] = set()
    for task in os.listdir(f"{process}/task"):
        # Threads share one table of descriptors as a rule, but each can have its own, and a leader that has ended has
        # none. A table that lists the same numbers as another one is taken to be the same.
        with suppress(FileNotFoundError, ProcessLookupError):
            table = tuple(os.listdir(f"{process}/task/{task}/fd"))
            if table not in seen:
                seen.add(table)
                yield from _descriptors(f"{process}/task/{task}", table, of)
    # All threads share the memory, but a leader that has ended shows none of it.
    alive = _living(process)
    if _SHARED.search(_read(f"{alive}/maps")):
        for dev, inode in _MAY_WRITE.findall(_read(f"{alive}/smaps")):
            device = device_value(dev)
            if device is not None and inode != b"0" and (of is None or (device, int(inode)) in of):
                yield device, int(inode)


def _living(process: str) -> str:
    """The directory of a thread that has not ended; the process's own, where there is none (or it is the kernel's)."""
    if _link(f"{process}/exe") is None:
        for task in os.listdir(f"{process}/task"):
            if _link(f"{process}/task/{task}/exe") is not None:
                return f"{process}/task/{task}"
    return process


def _descriptors(
    task: str, table: tuple[str, ...], of: Collection[tuple[int, int]] | None
) -> Iterator[tuple[int, int]]:
    for descriptor in table:
        try:
            info = _read(f"{task}/fdinfo/{descriptor}")
            flags = _FLAGS.search(info)
            if flags is None or not writes(int(flags[1], 8)):
                continue
            identity = _told(task, info) or _asked(f"{task}/fd/{descriptor}")
        except PermissionError:
            raise
        except OSError:  # closed meanwhile; or its file system has failed (ENOTCONN, EIO), with all that is on it
            continue
        if identity is not None and (of is None or identity in of):
            yield identity


def _asked(descriptor: str) -> tuple[int, int] | None:
    """(device, inode) of a regular file, from its file system."""
    found = os.stat(descriptor)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _told(task: str, info: bytes) -> tuple[int, int] | None:
    """(device, inode) as the kernel tells it, where asking might take forever; ``None`` where one has to ask."""
    mount, inode = _MOUNT.search(info), _INODE.search(info)
    if mount is None or inode is None:
        return None
    found = (m for m in parse_mounts(_read(f"{task}/mountinfo")) if m.id == int(mount[1]))
    return next(((m.dev, int(inode[1])) for m in found if m.may_hang), None)


def _actor(pid: int, user_name: UserName | None) -> Actor:
    process = f"/proc/{pid}"
    alive = _living(process)
    status = dict(line.split(b":\t", 1) for line in _read(f"{process}/status").splitlines() if b":\t" in line)
    uids = status.get(b"Uid", b"").split()
    uid = id_value(uids[0]) if uids else None
    auid = _id(f"{process}/loginuid")
    cmdline = _read(f"{alive}/cmdline")
    return Actor(
        pid=pid,
        ppid=int(status.get(b"PPid", b"0")),
        exe=_link(f"{alive}/exe"),
        comm=_read(f"{process}/comm").removesuffix(b"\n"),
        cmdline=tuple(cmdline.removesuffix(b"\0").split(b"\0")) if cmdline else None,
        cwd=_link(f"{alive}/cwd"),
        auid=auid,
        login_user=None if user_name is None or auid is None else user_name(auid),
        session=_id(f"{process}/sessionid"),
        uid=uid,
        user=None if user_name is None or uid is None else user_name(uid),
        euid=id_value(uids[1]) if len(uids) > 1 else None,
        since_ns=started_ns(process),
        view=seen_view(process),
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _link(path: str) -> bytes | None:
    try:
        return os.fsencode(os.readlink(path))
    except OSError:
        return None  # a kernel thread has none


def _id(path: str) -> int | None:
    try:
        return id_value(_read(path))
    except FileNotFoundError:
        return None  # a kernel without audit
