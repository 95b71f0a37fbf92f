"""Find what one process can write to without opening it: descriptors, mappings, files registered with an io_uring."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from fimscan.linux.calls import has_same_files, known_identity, mount_id
from fimscan.linux.filesystems import all_mounts
from fimscan.linux.mounts import Mount, own_mounts, parse_mounts
from fimscan.linux.processes import link, living_thread, read
from fimscan.model import Unseen

Identity = tuple[int, int]
"""(device, inode), as :manpage:`stat(2)` gives them."""
Check = Callable[[], None]
"""Called regularly; raises :class:`TooManyError` when the time for a process is up."""

_MOUNT = re.compile(rb"^mnt_id:\s*(\d+)", re.MULTILINE)
_INODE = re.compile(rb"^ino:\s*(\d+)", re.MULTILINE)  # since Linux 5.14
_IN_FLIGHT = re.compile(rb"^scm_fds:\s*[1-9]", re.MULTILINE)  # since Linux 5.11
_REGISTERED = re.compile(rb"^ *\d+: (.*)$", re.MULTILINE)
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_REMOVED = b" (deleted)"
_NAMESPACE = b"mnt:["
_RING = b"anon_inode:[io_uring]"
_NO_FILES = (b"socket:", b"pipe:", b"anon_inode:", b"<none>")
_WRITES = 0o200  # permission bit of the link: the file was opened for writing
_ROUNDS = 20  # passes to find threads that were started meanwhile
_RING_ATTEMPTS = 5
_EVERY = 32  # entries between two checks of the time
_AT_ONCE = 8192  # bytes; by default, Python reads a file of /proc 1,024 bytes at a time
_PRESENT = (FileNotFoundError, ProcessLookupError)


class TooManyError(Exception):
    """A process has more open files than can be examined in time."""


class Mounts:
    """The mounts of all namespaces seen so far, by mount id, which is unique on the host."""

    def __init__(self) -> None:
        self._by_id = {mount.id: mount for mount in own_mounts()}
        self._read: set[bytes] = set()
        self._has_all = False
        self._may_hang: set[int] = set()
        self.has_network = False
        self._note(self._by_id.values())
        self.own_namespace = link("/proc/self/ns/mnt")

    def of(self, number: int, task: str) -> Mount | None:
        """The mount with this id; ``None`` if it is detached or internal to the kernel."""
        if number not in self._by_id:
            namespace = link(f"{task}/ns/mnt") or task.encode()
            if namespace not in self._read:
                self._read.add(namespace)
                found = parse_mounts(read(f"{task}/mountinfo"))
                self._by_id.update((mount.id, mount) for mount in found)
                self._note(found)
        return self._by_id.get(number)

    def is_detached(self, number: int, task: str) -> bool:
        """Whether a mount is in no namespace, such as a tree made by open_tree(2)."""
        if self.of(number, task) is None and not self._has_all:
            self._has_all = True
            self._by_id.update((mount.id, mount) for mount in all_mounts())
        return number not in self._by_id

    def _note(self, mounts: Iterable[Mount]) -> None:
        self._may_hang |= {mount.dev for mount in mounts if mount.may_hang}
        # NFS asks its server even if statx(2) should use the cache (d_weak_revalidate); FUSE does not.
        self.has_network |= any(mount.may_hang and not mount.kind.startswith("fuse") for mount in mounts)

    def may_hang(self, dev: int) -> bool:
        """Whether a device is known not to be local."""
        return dev in self._may_hang


class OpenFilesOf:
    """Examines one process.

    ``files`` are the files that it can write to, ``unseen`` why there may be others. ``namespaces`` are the mount
    namespaces that it could enter by a descriptor, by their links in ``/proc/PID/ns``.
    """

    def __init__(self, pid: int, mounts: Mounts, check: Check, *, is_users: bool = False) -> None:
        self.files: dict[Identity, None] = {}
        self.unseen: set[Unseen] = set()
        self.namespaces: set[bytes] = set()
        self._process = f"/proc/{pid}"
        self._mounts = mounts
        self._check = check
        self._has_ring = False
        self._is_users = is_users

    def examine(self) -> None:
        """Examine the descriptor tables of all threads, and their shared memory.

        Raises:
            PermissionError: we may not inspect it.
            TooManyError: the time is up.
            OSError: it has ended.
        """
        self._examine_tables()
        # A thread group leader that has ended shows no memory.
        alive = living_thread(self._process)
        with suppress(*_PRESENT):
            self._examine_mappings(alive)

    # ---- descriptors -----------------------------------------------------------------------------------------------

    def _examine_tables(self) -> None:
        """Threads normally share one table of descriptors, but each can have its own (CLONE_FILES of clone(2))."""
        examined: set[str] = set()
        tables: list[int] = []
        for _ in range(_ROUNDS):
            tasks = [task for task in os.listdir(f"{self._process}/task") if task not in examined]
            if not tasks:
                return
            for task in tasks:
                self._check()
                examined.add(task)
                self._examine_places(f"{self._process}/task/{task}")
                if any(has_same_files(int(task), table) for table in tables):
                    continue
                with suppress(*_PRESENT):
                    self._examine_table(f"{self._process}/task/{task}")
                    tables.append(int(task))
        self.unseen.add(Unseen.ENDED)

    def _examine_places(self, task: str) -> None:
        """Find out whether the root or working directory of a user's thread is in a tree of mounts without a namespace.

        The tree can keep a removed name of a file (:mod:`fimscan.linux.kept_names`). No mountinfo lists its mounts.
        """
        if not self._is_users or self._mounts.has_network:
            return
        for name in ("cwd", "root"):
            with suppress(OSError):
                number = mount_id(f"{task}/{name}")
                if number is not None and self._mounts.is_detached(number, task):
                    self.unseen.add(Unseen.NAME)

    def _examine_table(self, task: str) -> None:
        directory = os.open(f"{task}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(directory) as entries:
                for number, entry in enumerate(entries):
                    if number % _EVERY == 0:
                        self._check()
                    try:
                        target = os.fsencode(os.readlink(entry.name, dir_fd=directory))
                    except PermissionError:
                        return  # it is refused for the thread, so for the hundreds of others, too
                    except OSError:
                        continue  # closed meanwhile
                    # Closed meanwhile, or its file system has failed as a whole (ENOTCONN, EIO).
                    with suppress(OSError):
                        self._examine_descriptor(task, directory, entry.name, target)
        finally:
            os.close(directory)

    def _examine_descriptor(self, task: str, directory: int, name: str, target: bytes) -> None:
        if not os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode & _WRITES:
            if target.startswith(b"/") and target.endswith(_REMOVED):
                self._examine_removed_name(task, name)
            elif target.startswith(_NAMESPACE):
                self.namespaces.add(target)
            elif target.startswith(b"/") and self._is_users and Unseen.NAME not in self.unseen:
                number = _MOUNT.search(read(f"{task}/fdinfo/{name}"))
                if number is not None and self._mounts.is_detached(int(number[1]), task):
                    self.unseen.add(Unseen.NAME)
            return
        if target.startswith(b"socket:"):
            if _IN_FLIGHT.search(read(f"{task}/fdinfo/{name}")):
                self.unseen.add(Unseen.IN_FLIGHT)
        elif target == _RING:
            self._examine_ring(task, f"{task}/fdinfo/{name}")
        elif target.startswith(b"/"):
            identity = self._identity_of(task, name)
            if identity is not None:
                self.files[identity] = None

    def _examine_removed_name(self, task: str, name: str) -> None:
        """Examine a descriptor whose name was removed while the file has other names.

        The file can then be opened through ``/proc/self/fd/N`` without audit noticing: for the kernel's rules, it is
        still below the directory of the removed name. Any descriptor will do, even read-only or O_PATH.
        """
        identity = self._identity_of(task, name)
        if identity is None or self._mounts.may_hang(identity[0]):
            return
        if os.stat(f"{task}/fd/{name}").st_nlink:
            self.files[identity] = None

    def _identity_of(self, task: str, name: str) -> Identity | None:
        """(device, inode) of a regular file, without accessing a file system that may hang."""
        if not self._mounts.has_network:
            return known_identity(f"{task}/fd/{name}")
        info = read(f"{task}/fdinfo/{name}")
        number, inode = _MOUNT.search(info), _INODE.search(info)
        mount = None if number is None else self._mounts.of(int(number[1]), task)
        if mount is not None and mount.may_hang and inode is not None:
            return mount.dev, int(inode[1])
        if mount is not None:
            found = os.stat(f"{task}/fd/{name}")
            return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
        return known_identity(f"{task}/fd/{name}")

    # ---- io_uring --------------------------------------------------------------------------------------------------

    def _examine_ring(self, task: str, info: str) -> None:
        """Files registered with a ring (IORING_REGISTER_FILES) need no descriptor; the kernel lists their names."""
        self._has_ring = True
        self.unseen.add(Unseen.BUFFERS)
        for _ in range(_RING_ATTEMPTS):
            # While the ring is in use, the kernel lists nothing.
            _, found, registered = read(info).partition(b"\nUserFiles:")
            if found:
                break
            time.sleep(0)
        else:
            self.unseen.add(Unseen.RING)
            return
        for name in _REGISTERED.findall(registered.partition(b"\nUserBufs:")[0]):
            self._check()
            self._examine_registered(task, _ESCAPED.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), name))

    def _examine_registered(self, task: str, name: bytes) -> None:
        if name.startswith(_NO_FILES):
            return
        # A name identifies a file only in our own mount namespace, and while the file still has it.
        identity = None
        if name.startswith(b"/") and link(f"{task}/ns/mnt") == self._mounts.own_namespace:
            with suppress(OSError):
                found = os.lstat(name)
                if stat.S_ISREG(found.st_mode):
                    identity = (found.st_dev, found.st_ino)
                elif not stat.S_ISLNK(found.st_mode):
                    return
        if identity is None:
            self.unseen.add(Unseen.RING)
        else:
            self.files[identity] = None

    # ---- mappings --------------------------------------------------------------------------------------------------

    def _examine_mappings(self, alive: str) -> None:
        """Shared mappings of a file opened for writing: mprotect(2) can make them writable at any time."""
        for address, is_writable, device, inode in self._shared(alive):
            mapped = f"{alive}/map_files/{address}"
            with suppress(*_PRESENT):
                if not is_writable and not os.lstat(mapped).st_mode & _WRITES:
                    continue
                dev = os.makedev(*(int(part, 16) for part in device.split(b":")))
                identity: Identity | None = (dev, inode)
                if not self._mounts.may_hang(dev):
                    # On btrfs, the numbers in maps differ from stat(2). Following these links takes a capability.
                    with suppress(OSError):
                        identity = known_identity(mapped)
                if identity is not None:
                    self.files[identity] = None
                    self._mapped.add((device, inode))

    def _shared(self, alive: str) -> Iterator[tuple[str, bool, bytes, int]]:
        """Shared mappings: (name in map_files, writable now, device, inode). Files in ``_mapped`` are skipped."""
        self._mapped: set[tuple[bytes, int]] = set()
        with open(f"{alive}/maps", "rb", buffering=_AT_ONCE) as maps:
            for number, line in enumerate(maps):
                if number % _EVERY == 0:
                    self._check()
                if line.split(b" ", 2)[1][3:] != b"s":  # nearly all are private
                    continue
                addresses, permissions, _, device, inode, *name = line.split(None, 5)
                if inode == b"0":
                    continue
                if name and name[0].rstrip() == _RING:
                    # A mapped ring without a descriptor: its registered files are listed nowhere.
                    if not self._has_ring:
                        self.unseen.add(Unseen.RING)
                elif (device, int(inode)) not in self._mapped:
                    begin, end = addresses.split(b"-")
                    yield f"{int(begin, 16):x}-{int(end, 16):x}", permissions[1:2] == b"w", device, int(inode)
