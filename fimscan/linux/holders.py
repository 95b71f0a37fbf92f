"""Find the processes that can write to a file without opening it: by a descriptor or a shared writable mapping."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

from msgspec import Struct

from fimscan.linux.kept_names import kept_by_mounts
from fimscan.linux.mounts import MountTables, served_by
from fimscan.linux.open_files import Identity, Mounts, OpenFilesOf, TooManyError
from fimscan.linux.processes import UserName, actor_of, has_our_rights, link, read_status, rights_of
from fimscan.model import Actor, Doubt, Holder, Rights, Unseen

_PASSES = 30  # passes over /proc to find processes that were started meanwhile
_PASSES_SECONDS = 0.5
_USER_SECONDS = 1.0  # for all processes of a user: an unprivileged user must not be able to slow down a scan
_USERS_SECONDS = 3.0  # for all users together: one user can have many ids (subuid(5))
_ROOT_SECONDS = 20.0
_UNNOTICED_SECONDS = 0.01  # before it, root's processes are not asked again whether they became a user's
_CHAINED = 20
_UNKNOWN: tuple[Actor | None, ...] = (None,)
_NAMED = 3  # number of processes that are named for one doubt


class OpenFiles(Struct, frozen=True, kw_only=True):
    """Which processes can write to which regular files without opening them again.

    ``doubts`` are processes that could not be inspected completely. ``refused`` counts the processes that we may not
    inspect. Root may inspect all of them, except those with capabilities that root was not given (usually the init of a
    container). Such processes, if they run as root themselves, are counted but are no doubt.
    """

    holders: tuple[Holder, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    refused: int = 0


def open_for_writing(
    own_pid: int,
    *,
    user_name: UserName | None = None,
    of: Collection[Identity] | None = None,
    times: int = 2,
    in_memory: bool = False,
) -> OpenFiles:
    """Examine all processes except ``own_pid`` ``times`` times, and those that start meanwhile.

    Once is not enough unless the kernel is also asked about the files: a descriptor can be passed to a process that was
    examined before. A process that ends without having started another is left out. ``user_name`` names the users of
    the processes. With ``of``, only the holders of these files are returned. ``in_memory``: files of a file system in
    memory (tmpfs) are of interest.
    """
    look = _Examination(own_pid, user_name, of, with_rings=in_memory and _users_have_rings())
    for _ in range(times):
        look.begin()
        look.examine_all()
    return OpenFiles(
        holders=tuple(
            Holder(dev=dev, inode=inode, actor=actor)
            for (dev, inode), actors in look.held.items()
            for actor in actors.values()
        ),
        doubts=tuple(
            Doubt(why, actor, rights) for (why, rights), actors in look.doubts.items() for actor in (actors or _UNKNOWN)
        ),
        refused=look.refused,
    )


class _Examination:
    def __init__(
        self, own_pid: int, user_name: UserName | None, of: Collection[Identity] | None, *, with_rings: bool
    ) -> None:
        self.held: dict[Identity, dict[int, Actor]] = {}
        self.doubts: dict[tuple[Unseen, Rights], list[Actor]] = {}
        self.refused = 0
        self._spent: dict[int, float] = {}
        self._own_pid = own_pid
        self._user_name = user_name
        self._of = of
        self._with_rings = with_rings
        self._mounts = Mounts()

    def begin(self) -> None:
        """Reset the doubts: only those of the last examination count."""
        self.doubts, self.refused, self._spent = {}, 0, {}
        self._tables = MountTables()
        self._namespaces: set[bytes] = set()  # mount namespaces whose mounts were read
        self._serving: set[bytes] = set()  # mount namespaces other than ours that have a FUSE file system
        self._entrances: dict[bytes, int] = {}  # by mount namespace, a process that is in it or can enter it

    def examine_all(self) -> None:
        """Examine all processes, then new ones until there are none."""
        self._examine_processes()
        for namespace, pid in self._entrances.items():
            if namespace not in self._namespaces:
                self._doubt(Unseen.NAME, rights_of(f"/proc/{pid}"), pid)

    def _examine_processes(self) -> None:
        examined = {self._own_pid}
        self._examine_new(examined)
        deadline = time.monotonic() + _PASSES_SECONDS
        missed: dict[int, int | None] | None = {}
        for _ in range(_PASSES):
            if (missed := self._examine_new(examined)) is None:
                return
            if time.monotonic() > deadline:
                break
        # New processes kept appearing. Each may have ended before its examination, after starting the next one.
        for uid in set((missed or {}).values()):
            self._doubt(Unseen.ENDED, _rights_of_user(uid))

    def _examine_new(self, examined: set[int]) -> dict[int, int | None] | None:
        """Examine new processes: the user of each, if known; ``None`` if there are no new ones."""
        new = [pid for name in os.listdir("/proc") if name.isdigit() and (pid := int(name)) not in examined]
        if not new:
            return None
        users = {pid: _user_of(f"/proc/{pid}") for pid in new}
        for pid in new:
            self._examine(pid, users[pid])
        examined.update(new)
        return users

    def _examine(self, pid: int, user: int | None) -> None:
        process = f"/proc/{pid}"
        budget = _Budget(process, user or 0, self._spent)
        seen = OpenFilesOf(pid, self._mounts, budget.check, is_users=bool(user))
        try:
            seen.examine()
            self._examine_namespace(pid, process)
        except PermissionError:
            self.refused += 1
            if not (os.geteuid() == 0 and has_our_rights(process)):
                seen.unseen.add(Unseen.REFUSED)
        except TooManyError:
            seen.unseen.add(Unseen.TOO_MANY)
        except (FileNotFoundError, ProcessLookupError):
            return
        except OSError:  # no memory or no descriptor left, so not examined
            seen.unseen.add(Unseen.REFUSED)
        finally:
            self._hold(pid, seen.files)
            self._entrances.update(dict.fromkeys(seen.namespaces, pid))
            budget.end()
        for why in seen.unseen:
            self._doubt(why, rights_of(process), pid)
        if self._with_rings and Unseen.BUFFERS not in seen.unseen:
            rights = rights_of(process)
            if any(rights.uids):
                self._doubt(Unseen.HIDDEN_RING, rights, pid)

    def _examine_namespace(self, pid: int, process: str) -> None:
        """Find files of which a mount keeps a removed name, and FUSE file systems; read each namespace once."""
        namespace = link(f"{process}/ns/mnt")
        if namespace is not None and namespace not in self._namespaces:
            self._examine_mounts(pid, process, namespace)
        if namespace in self._serving and any((rights := rights_of(process)).uids):
            self._doubt(Unseen.SERVES, rights, pid)

    def _examine_mounts(self, pid: int, process: str, namespace: bytes) -> None:
        if link(f"{process}/root") != b"/":  # its mountinfo lists only the mounts below its root
            self._entrances.setdefault(namespace, pid)
            return
        self._namespaces.add(namespace)
        mounts = self._tables.of(process)
        kept = list(kept_by_mounts(process, mounts))
        self._hold(pid, [identity for identity in kept if identity is not None])
        if None in kept:
            self._doubt(Unseen.NAME, rights_of(process), pid)
        servers = {user for mount in mounts if (user := served_by(mount)) is not None}
        if servers and namespace != self._mounts.own_namespace:
            self._serving.add(namespace)
        elif servers:
            for user in servers - {0}:
                self._doubt(Unseen.SERVES, _rights_of_user(user))

    def _hold(self, pid: int, files: Iterable[Identity]) -> None:
        """Record the files of a process, even if it was not inspected completely."""
        found = [one for one in files if (self._of is None or one in self._of) and pid not in self.held.get(one, {})]
        if not found:
            return
        with suppress(OSError):  # it has ended, so it writes no more
            actor = actor_of(pid, self._user_name, self._tables)
            for one in found:
                held = self.held.setdefault(one, {})
                # In a chain of processes that pass a descriptor on, a few are enough.
                if sum((a.uid, a.comm) == (actor.uid, actor.comm) for a in held.values()) < _CHAINED:
                    held[pid] = actor

    def _doubt(self, why: Unseen, rights: Rights, pid: int | None = None) -> None:
        actors = self.doubts.setdefault((why, rights), [])
        if pid is not None and len(actors) < _NAMED:
            with suppress(OSError):  # it has ended
                actors.append(actor_of(pid, self._user_name, self._tables))


class _Budget:
    """The processor time for all processes of one user together."""

    def __init__(self, process: str, user: int, spent: dict[int, float]) -> None:
        self._process = process
        self._user = user
        self._spent = spent
        self._begun = time.thread_time()

    def check(self) -> None:
        """Raise :class:`TooManyError` when the time is up."""
        taken = time.thread_time() - self._begun
        if not self._user and taken > _UNNOTICED_SECONDS:
            self._user = _user_of(self._process) or 0
        spent = self._spent.get(self._user, 0) + taken
        if not self._user:
            is_over = spent > _ROOT_SECONDS
        else:
            is_over = (
                spent > _USER_SECONDS or sum(self._spent.values()) - self._spent.get(0, 0) + taken > _USERS_SECONDS
            )
        if is_over:
            raise TooManyError

    def end(self) -> None:
        """Add the time to the user's total."""
        self._spent[self._user] = self._spent.get(self._user, 0) + time.thread_time() - self._begun


def _users_have_rings() -> bool:
    """Whether users may make an io_uring (io_uring_setup(2)).

    A ring need not show in /proc: it can be registered with its thread, in memory of the user's, and have neither
    descriptor nor mapping (IORING_SETUP_REGISTERED_FD_ONLY, since Linux 6.5).
    """
    try:
        with open("/proc/sys/kernel/io_uring_disabled") as file:
            disabled = file.read().strip()
        with open("/proc/sys/kernel/io_uring_group") as file:
            group = file.read().strip()
    except OSError:
        return True  # before Linux 6.6
    return disabled == "0" or (disabled == "1" and group != "-1")


def _rights_of_user(uid: int | None) -> Rights:
    """The rights of a process that has ended; ``None`` is an unknown user."""
    if uid is None:
        return Rights(any_file=True)
    return Rights(uids=(uid,), gids=None, any_file=uid == 0)


def _user_of(process: str) -> int | None:
    """The user who started a process: a setuid program keeps some of the user's ids. ``None`` if it has ended.

    Its directory in /proc belongs to its effective user (task_dump_owner in fs/proc/base.c), so to root then.
    """
    try:
        return max(read_status(process).uids[:3], default=0)
    except OSError:
        return None
