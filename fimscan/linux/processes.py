"""Processes as ``/proc`` shows them to every user: identity, credentials, and which files these let them write."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from fimscan.linux.mounts import MountTables
from fimscan.linux.views import read_view, started_ns
from fimscan.model import Actor, FileState, Rights

UserName = Callable[[int], str | None]
"""The name of a user id; ``None`` if unknown."""

_UNSET = 0xFFFFFFFF
# Capabilities that bypass file permissions, or lead to one that does (capabilities(7)): CHOWN, DAC_OVERRIDE, FOWNER,
# SETGID, SETUID, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN.
_BYPASS_PERMISSIONS = sum(1 << bit for bit in (0, 1, 3, 6, 7, 16, 17, 19, 21))


class Status(NamedTuple):
    """From ``/proc/PID/status``: user ids (real, effective, saved, file system), all group ids, capabilities."""

    ppid: int
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    capabilities: int


def read_status(process: str) -> Status:
    """Read the credentials of a process (``/proc/PID``), which every user may.

    Raises:
        OSError: it has ended.
    """
    text = read(f"{process}/status")
    return Status(
        ppid=int(_field(text, b"PPid") or b"0"),
        uids=tuple(map(int, _field(text, b"Uid").split())),
        gids=tuple(dict.fromkeys(map(int, _field(text, b"Gid").split() + _field(text, b"Groups").split()))),
        capabilities=int(_field(text, b"CapPrm") or b"0", 16) | int(_field(text, b"CapEff") or b"0", 16),
    )


def _field(text: bytes, name: bytes) -> bytes:
    """One field of ``status``; a process cannot imitate it: the kernel escapes line feeds in its name."""
    before = b"\n" + name + b":\t"
    start = text.find(before) + len(before)
    return text[start : text.find(b"\n", start)] if start >= len(before) else b""


def rights_of(process: str) -> Rights:
    """Which files a process may open for writing; any file, if that is unknown."""
    try:
        status, ids = read_status(process), read(f"{process}/uid_map")
    except OSError:
        return Rights(any_file=True)
    powerful = bool(status.capabilities & _BYPASS_PERMISSIONS)
    # Capabilities apply within the user namespace of a process: in its own namespace it has all of them.
    is_own = ids == _own_ids()
    owned = () if is_own or not powerful else tuple(_ranges(ids))
    return Rights(uids=tuple(dict.fromkeys(status.uids)), gids=status.gids, any_file=powerful and is_own, owned=owned)


def has_our_rights(process: str) -> bool:
    """Whether a process runs as root in our own user namespace."""
    try:
        return set(read_status(process).uids) == {0} and read(f"{process}/uid_map") == _own_ids()
    except OSError:
        return False


def may_write(rights: Rights, state: FileState) -> bool:
    """Whether a process may open a file for writing, by its owner, mode and ACL."""
    if rights.any_file or state.uid in rights.uids:
        return True
    if any(first <= state.uid < first + count for first, count in rights.owned):
        return True
    if state.mode & 0o002 or (state.mode & 0o020 and (rights.gids is None or state.gid in rights.gids)):
        return True
    # An ACL can name any user; older rows have only its digest.
    return state.xattr_digest is not None and (state.xattrs is None or any(x.field == "acl" for x in state.xattrs))


def actor_of(pid: int, user_name: UserName | None, tables: MountTables | None = None) -> Actor:
    """Read a running process, as far as we may; ``tables`` has mounts that were just read.

    Raises:
        OSError: it has ended.
    """
    process = f"/proc/{pid}"
    alive = living_thread(process)
    status = read_status(process)
    uid = _id(status.uids[0]) if status.uids else None
    auid = _id_in(f"{process}/loginuid")
    cmdline = read(f"{alive}/cmdline")
    return Actor(
        pid=pid,
        ppid=status.ppid,
        exe=link(f"{alive}/exe"),
        comm=read(f"{process}/comm").removesuffix(b"\n"),
        cmdline=tuple(cmdline.removesuffix(b"\0").split(b"\0")) if cmdline else None,
        cwd=link(f"{alive}/cwd"),
        auid=auid,
        login_user=None if user_name is None or auid is None else user_name(auid),
        session=_id_in(f"{process}/sessionid"),
        uid=uid,
        user=None if user_name is None or uid is None else user_name(uid),
        euid=_id(status.uids[1]) if len(status.uids) > 1 else None,
        since_ns=started_ns(process),
        view=read_view(process, tables or MountTables()),
    )


def living_thread(process: str) -> str:
    """The directory of a living thread; the process's own directory if there is none, or it is a kernel thread.

    It is directly in ``/proc``, although not listed there: the entries in ``task`` have no ``map_files``.
    """
    if link(f"{process}/exe") is None:
        for task in os.listdir(f"{process}/task"):
            if link(f"{process}/task/{task}/exe") is not None:
                return f"/proc/{task}"
    return process


def read(path: str) -> bytes:
    """The content of a file in ``/proc``."""
    with open(path, "rb") as file:
        return file.read()


def link(path: str) -> bytes | None:
    """The target of a link; ``None`` if it is missing or may not be read."""
    try:
        return os.fsencode(os.readlink(path))
    except OSError:
        return None  # a kernel thread has none


def _ranges(ids: bytes) -> list[tuple[int, int]]:
    """(first, count) of the user ids of a namespace, as ids of ours (user_namespaces(7))."""
    return [(int(line.split()[1]), int(line.split()[2])) for line in ids.splitlines()]


@cache
def _own_ids() -> bytes:
    return read("/proc/self/uid_map")


def _id_in(path: str) -> int | None:
    try:
        return _id(int(read(path)))
    except FileNotFoundError:
        return None  # a kernel without audit


def _id(value: int) -> int | None:
    return None if value == _UNSET else value
