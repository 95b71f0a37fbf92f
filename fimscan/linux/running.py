"""Find the processes that execute or map given files, or belong to given systemd units. One pass over ``/proc``.

A file is known by device and inode. A process keeps the file that it started with, also after another one was renamed
to its path: its mapping then ends in ``(deleted)``, and its inode is not reused.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

from fimscan.linux.processes import link, living_thread, read, read_status
from fimscan.linux.views import container_of, running_pids, started_ns

_SECONDS = 20.0
_DELETED = b" (deleted)"
_UNITS = re.compile(rb"^(?:0::|\d+:name=systemd:)(/.*)$", re.MULTILINE)
_ENDED = (FileNotFoundError, ProcessLookupError)


class MappedFile(NamedTuple):
    """A file that a process has mapped. ``identity`` is (device, inode); ``None`` if only the path is known.

    ``size`` and ``mtime_ns`` belong to the identity. ``is_program`` is set for the file that the process executes.
    """

    path: bytes
    is_deleted: bool
    identity: tuple[int, int] | None = None
    size: int = 0
    mtime_ns: int = 0
    is_program: bool = False


class Sighting(NamedTuple):
    """A process with those of its mapped files that were asked for, and the systemd units around it, outermost first.

    ``is_here`` says that it has our mount namespace and root: its paths mean what they mean here.
    """

    pid: int
    ppid: int
    start_ns: int
    exe: bytes | None
    uid: int | None
    container: str | None
    is_here: bool
    files: tuple[MappedFile, ...]
    units: tuple[bytes, ...]


class Sightings(NamedTuple):
    """What was found. ``unseen`` counts the processes that could not be inspected, or not in time."""

    processes: tuple[Sighting, ...]
    unseen: int
    as_of_ns: int


def processes_with(inodes: Collection[int], paths: Collection[bytes], *, with_units: bool = False) -> Sightings:
    """Look at all processes: which have a file with one of these inode numbers or paths mapped.

    With ``with_units``, every process of a systemd unit is reported as well.
    """
    as_of_ns = time.time_ns()
    deadline = time.monotonic() + _SECONDS
    here = _root_of("/proc/self")
    found, unseen = [], 0
    for pid in sorted(running_pids()):
        if time.monotonic() > deadline:
            unseen += 1
            continue
        try:
            seen = _sighting(pid, inodes, paths, here, with_units=with_units)
        except _ENDED:
            continue
        except (OSError, ValueError, IndexError):
            unseen += 1
            continue
        if seen is not None:
            found.append(seen)
    return Sightings(tuple(found), unseen, as_of_ns)


def _sighting(
    pid: int, inodes: Collection[int], paths: Collection[bytes], here: object, *, with_units: bool
) -> Sighting | None:
    process = f"/proc/{pid}"
    alive = living_thread(process)  # a thread group leader that has ended shows no memory
    files = tuple(_files(alive, inodes, paths))
    cgroup = read(f"{process}/cgroup") if files or with_units else b""
    units = _units_of(cgroup) if with_units else ()
    if not files and not units:
        return None
    status = read_status(process)
    return Sighting(
        pid=pid,
        ppid=status.ppid,
        start_ns=started_ns(process),
        exe=link(f"{alive}/exe"),
        uid=status.uids[0] if status.uids else None,
        container=container_of(cgroup),
        is_here=_root_of(alive) == here,
        files=files,
        units=units,
    )


def _files(process: str, inodes: Collection[int], paths: Collection[bytes]) -> Iterator[MappedFile]:
    """The wanted files among the mappings. Most files have several mappings, of which one is looked at."""
    seen: set[tuple[bytes, bytes, bytes]] = set()
    program = None
    for line in read(f"{process}/maps").splitlines():
        fields = line.split(None, 5)
        if len(fields) < 6 or fields[4] == b"0":
            continue
        shown = fields[5].replace(b"\\012", b"\n")
        path = shown.removesuffix(_DELETED)
        # On some file systems, the inode here is not that of stat.
        if int(fields[4]) not in inodes and path not in paths:
            continue
        key = (fields[3], fields[4], shown)
        if key in seen:
            continue
        seen.add(key)
        if program is None:
            program = _stat(f"{process}/exe") or ()
        found = _stat(f"{process}/map_files/{fields[0].decode('ascii')}")
        if found is None and program and program[1] == int(fields[4]):
            found = program  # only root may read map_files
        if found is None:
            yield MappedFile(path, shown != path)
            continue
        dev, inode, size, mtime_ns = found
        yield MappedFile(path, shown != path, (dev, inode), size, mtime_ns, is_program=found == program)


def _stat(path: str) -> tuple[int, int, int, int] | None:
    with suppress(OSError):
        found = os.stat(path)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    return None


def _root_of(process: str) -> object:
    with suppress(OSError):
        found = os.stat(f"{process}/root")
        return os.readlink(f"{process}/ns/mnt"), found.st_dev, found.st_ino
    return None


def _units_of(cgroup: bytes) -> tuple[bytes, ...]:
    for match in _UNITS.finditer(cgroup):
        units = tuple(part for part in match[1].split(b"/") if part.endswith(b".service"))
        if units:
            return units
    return ()
