"""Who holds a file open for writing right now: a descriptor, or a shared writable mapping, opened before the window."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from fimscan.audit.flags import writes
from fimscan.audit.records import device_value, id_value
from fimscan.model import Actor, Holder

_MAPPING = re.compile(rb"[0-9a-f]+-[0-9a-f]+ .w.s [0-9a-f]+ ([0-9a-f]+:[0-9a-f]+) (\d+)")
_FLAGS = re.compile(rb"^flags:\s*([0-7]+)", re.MULTILINE)


def writable_descriptors(own_pid: int) -> tuple[tuple[Holder, ...], bool]:
    """(processes but ``own_pid`` that can write to a regular file without opening it, whether all could be examined).

    A process that ends meanwhile is left out; one that may not be examined makes the second value false. See
    :manpage:`proc(5)` for ``fd``, ``fdinfo`` and ``maps``. The device numbers in ``maps`` are the file system's own,
    which on btrfs and overlayfs are not those of :manpage:`stat(2)`; descriptors are asked directly.
    """
    holders: list[Holder] = []
    complete = True
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == own_pid:
            continue
        try:
            found = dict.fromkeys(_writable(f"/proc/{entry}"))
            if found:
                actor = _actor(int(entry))
                holders += [Holder(dev=dev, inode=inode, actor=actor) for dev, inode in found]
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            complete = False
    return tuple(holders), complete


def _writable(process: str) -> Iterator[tuple[int, int]]:
    """(device, inode) of what the process can write to."""
    for descriptor in os.listdir(f"{process}/fd"):
        try:
            info = os.stat(f"{process}/fd/{descriptor}")
            if stat.S_ISREG(info.st_mode):
                flags = _FLAGS.search(_read(f"{process}/fdinfo/{descriptor}"))
                if flags and writes(int(flags[1], 8)):
                    yield info.st_dev, info.st_ino
        except FileNotFoundError:
            continue  # closed meanwhile
    for dev, inode in _MAPPING.findall(_read(f"{process}/maps")):
        device = device_value(dev)
        if device is not None and inode != b"0":
            yield device, int(inode)


def _actor(pid: int) -> Actor:
    process = f"/proc/{pid}"
    status = dict(line.split(b":\t", 1) for line in _read(f"{process}/status").splitlines() if b":\t" in line)
    uids = status.get(b"Uid", b"").split()
    cmdline = _read(f"{process}/cmdline")
    return Actor(
        pid=pid,
        ppid=int(status.get(b"PPid", b"0")),
        exe=_link(f"{process}/exe"),
        comm=_read(f"{process}/comm").removesuffix(b"\n"),
        cmdline=tuple(cmdline.removesuffix(b"\0").split(b"\0")) if cmdline else None,
        cwd=_link(f"{process}/cwd"),
        auid=_id(f"{process}/loginuid"),
        session=_id(f"{process}/sessionid"),
        uid=id_value(uids[0]) if uids else None,
        euid=id_value(uids[1]) if len(uids) > 1 else None,
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
