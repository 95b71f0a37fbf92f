"""Audit: records, events, accesses, processes, notices and gaps, as read from the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from msgspec import Struct


class EventId(NamedTuple):
    """The identity of an audit event. Serials restart at every boot, so time and node belong to it.

    ``time_ns`` is the record's ``sec.milli`` stamp, so always a whole number of milliseconds.
    """

    time_ns: int
    serial: int
    node: str = ""

    @property
    def moment(self) -> int:
        """The time, with the serial in the digits below a millisecond: it orders events of the same time."""
        return self.time_ns + self.serial % 1_000_000

    def __str__(self) -> str:
        """``SEC.MS:SERIAL`` as in the log and for ``ausearch -a``, preceded by ``node/`` if there is a node."""
        stamp = f"{self.time_ns // 10**9}.{self.time_ns // 10**6 % 1000:03d}:{self.serial}"
        return f"{self.node}/{stamp}" if self.node else stamp


class AuditRecord(NamedTuple):
    """One line of an audit log: event, type (``PATH``, ``UNKNOWN[1329]``) and the text after the colon."""

    id: EventId
    type: str
    body: bytes


#: First line of an event's text.
COMPLETE, INCOMPLETE = b"complete", b"incomplete"


@lru_cache(maxsize=1024)
def _beginning(kind: str) -> bytes:
    """The beginning of a line of :attr:`AuditEvent.text`. Cached: there are few types, but many records."""
    return b"\n%b " % kind.encode("latin-1")


class AuditEvent(NamedTuple):
    """The records of one event that arrived, as the text in which they are stored.

    The first line of ``text`` says whether all announced records (``items=``) arrived. Then each record is a line
    ``TYPE BODY``, in order: a body has no line breaks, and no line is empty.
    """

    id: EventId
    text: bytes

    @classmethod
    def of(cls, event: EventId, records: Iterable[AuditRecord], *, complete: bool = True) -> AuditEvent:
        """Build an event from records."""
        parts = [COMPLETE if complete else INCOMPLETE]
        for _, kind, body in records:
            parts += (_beginning(kind), body)
        return tuple.__new__(cls, (event, b"".join(parts)))

    @property
    def complete(self) -> bool:
        """Whether all announced records arrived."""
        return self.text.startswith(COMPLETE)

    @property
    def records(self) -> tuple[AuditRecord, ...]:
        """Its records in order."""
        lines = [line.partition(b" ") for line in self.text.split(b"\n")[1:]]
        return tuple([AuditRecord(self.id, kind.decode("latin-1"), body) for kind, _, body in lines])


class Action(StrEnum):
    """What a system call did to a file."""

    CREATE = "create"
    OPEN_WRITE = "open-write"
    TRUNCATE = "truncate"
    RENAME = "rename"
    LINK = "link"
    SYMLINK = "symlink"
    MKDIR = "mkdir"
    UNLINK = "unlink"
    RMDIR = "rmdir"
    MKNOD = "mknod"
    CHMOD = "chmod"
    CHOWN = "chown"
    SETXATTR = "setxattr"
    UTIME = "utime"
    SETFLAGS = "setflags"  # file_setattr: the flags of chattr(1)


class Role(StrEnum):
    """The part of an actor in a change."""

    WRITER = "writer"  # opened it for writing, or created it
    PLACER = "placer"  # renamed or linked it into place
    REMOVER = "remover"  # unlinked it, or renamed it away
    CHANGER = "changer"  # mode, owner, extended attributes, times


class LoginSource(StrEnum):
    """Who set a process's login uid. An unset login uid can be set by the process itself, without privileges."""

    LOGIN_PROGRAM = "login-program"  # a login program of the system (sshd, login, cron ...), as root
    ROOT = "root"  # another program, as root
    USER = "user"  # an unprivileged process: the name is its own claim and proves nothing
    UNSEEN = "unseen"  # unknown: the session began before the log that was read


class LoginOrigin(NamedTuple):
    """How a process got its login uid, according to the kernel's LOGIN record.

    ``uid``, ``user``, ``pid`` and ``exe`` describe the process that set it. ``claimed`` is the name of a login uid that
    proves nothing about the user; then ``login_user`` of the actor is ``None``.
    """

    source: LoginSource
    uid: int | None = None
    user: str | None = None
    pid: int | None = None
    exe: bytes | None = None
    claimed: str | None = None
    event: EventId | None = None


class ExeOrigin(StrEnum):
    """Whether a process ran the file that this host has under the program's name."""

    HOST = "host"  # the same device and inode
    OTHER_ROOT = "other-root"  # another file: the process has another root directory or mount namespace
    UNKNOWN = "unknown"  # it ended before it was inspected, or its file was replaced since


class ProcessView(NamedTuple):
    """What ``/proc`` showed of a running process (at ``seen_ns``), or only ``exe_id`` from its execve record.

    ``exe_id`` is the (device, inode) of the program's file. ``container`` names the container, if the control group
    does (``docker:0f3c...``, ``lxc:web1``). ``tracer`` is the pid of the process that traced it (ptrace(2)).
    ``preload`` is LD_PRELOAD in its environment, which the process can have overwritten.
    """

    exe_origin: ExeOrigin = ExeOrigin.UNKNOWN
    exe_id: tuple[int, int] | None = None
    container: str | None = None
    tracer: int | None = None
    preload: bytes | None = None
    seen_ns: int = 0


class Actor(NamedTuple):
    """A process at the moment of one system call, as the kernel recorded it.

    ``auid`` is the login uid: the user who logged in, whatever sudo or setuid did since. ``login_user`` and ``user``
    are the names of ``auid`` and ``uid`` (from an ENRICHED record or the local user database).

    ``event`` and ``time_ns`` are ``None`` for a process that audit did not report, but that was found as a holder. Only
    ``event`` is ``None`` if fanotify reported it; it wrote no later than ``time_ns``. ``role`` and ``earlier`` are set
    in an :class:`Attribution` only. ``earlier`` means that its part concerns an earlier file of the path.

    ``since_ns`` distinguishes processes that had the same pid one after the other. It is the start time, if the process
    was seen alive, or its first record; ``None`` if nothing suggests more than one. ``login`` and ``view`` say what is
    known of its login uid and its program; ``None`` if that was not examined.
    """

    pid: int
    ppid: int | None = None
    exe: bytes | None = None
    comm: bytes | None = None
    cmdline: tuple[bytes, ...] | None = None
    cwd: bytes | None = None
    auid: int | None = None
    login_user: str | None = None
    uid: int | None = None
    user: str | None = None
    euid: int | None = None
    session: int | None = None
    tty: str | None = None
    syscall: str | None = None
    flags: tuple[str, ...] = ()
    time_ns: int | None = None
    event: EventId | None = None
    key: str | None = None
    role: Role | None = None
    earlier: bool = False
    since_ns: int | None = None
    login: LoginOrigin | None = None
    view: ProcessView | None = None

    @property
    def process(self) -> tuple[int, int | None, int | None, bytes | None, int | None]:
        """What distinguishes two processes: pid, login, session, program, and since when the pid is this process."""
        found: tuple[int, int | None, int | None, bytes | None, int | None] = _PROCESS_FIELDS(self)
        exe = found[3]
        if exe is not None and exe.endswith(b" (deleted)"):
            return (*found[:3], exe.removesuffix(b" (deleted)"), found[4])
        return found

    @property
    def moment(self) -> int:
        """When it was seen, as a number that also orders events of the same time; 0 if unknown."""
        event = self.event
        # As EventId.moment: one call less, since reports compare some hundred thousands of them.
        return (self.time_ns or 0) if event is None else event[0] + event[1] % 1_000_000


#: One call for all fields: this is asked for every access that concerns a change.
_PROCESS_FIELDS = itemgetter(*map(Actor._fields.index, ("pid", "auid", "session", "exe", "since_ns")))


class Login(NamedTuple):
    """A LOGIN record: process ``pid``, running as ``uid``, got a new login uid and a new session.

    ``old_auid`` is ``None`` if it had none. ``user`` and ``name`` are the names of ``uid`` and ``auid``. ``exe`` comes
    from the system call's record, if there is one. ``session`` is unique within a boot. ``record`` is the line without
    its header.
    """

    event: EventId
    pid: int
    uid: int | None
    user: str | None
    old_auid: int | None
    auid: int
    name: str | None
    session: int
    exe: bytes | None = None
    record: bytes = b""


class Crash(NamedTuple):
    """A process killed by a signal after which the kernel may write a core file (an ANOM_ABEND record)."""

    event: EventId
    actor: Actor
    signal: int
    record: bytes = b""


class Name(NamedTuple):
    """One name in an audit event, with the identities that the kernel recorded with it.

    ``path`` is absolute and only set if it is certain: an absolute name, or one relative to a recorded working
    directory. A name relative to a directory descriptor has ``path=None``. Then ``parent``, the (device, inode) of the
    directory in the PARENT record, locates it if the directory is known. ``text`` is the name in the record (``None``
    for system calls on a descriptor).
    """

    text: bytes | None = None
    path: bytes | None = None
    parent: tuple[int, int] | None = None

    @property
    def base(self) -> bytes | None:
        """The last component of the name; ``None`` if it cannot be trusted (``.``, ``..``)."""
        if self.text is None:
            return None
        last = self.text.rstrip(b"/").rpartition(b"/")[2]
        return None if last in (b"", b".", b"..") else last


class FileAccess(NamedTuple):
    """One system call on one file: who did what.

    ``dev`` and ``inode`` identify the file itself. ``old`` is the other name: the source of a rename or a link, the
    target text of a symlink. ``replaced`` is the (device, inode) of the file that a rename overwrote. ``mode`` is the
    full ``st_mode`` before the call, ``argument`` the new mode of a chmod. ``item`` numbers the accesses of one event
    from 0.

    ``time_ns`` of the event is that of the call's begin. If ``serial_at_end``, the kernel gave the event its serial
    when the call ended: at its first record (auditsc_get_stamp in kernel/auditsc.c), which is the SYSCALL record unless
    the call caused another one before, such as an AVC.
    """

    event: EventId
    action: Action
    name: Name
    actor: Actor
    dev: int | None = None
    inode: int | None = None
    mode: int | None = None
    success: bool = True
    old: Name | None = None
    replaced: tuple[int, int] | None = None
    argument: int | None = None
    item: int = 0
    serial_at_end: bool = True

    @property
    def identity(self) -> tuple[int, int] | None:
        """(device, inode) of the file, if the record has both."""
        return None if self.dev is None or self.inode is None else (self.dev, self.inode)

    @property
    def flags_unknown(self) -> bool:
        """Whether it is an open that may have been for reading only.

        Records of io_uring do not say how an existing file was opened; neither do those of openat2(2) before Linux
        5.16. Such a process may have been able to write, but that is not certain.
        """
        return self.action is Action.OPEN_WRITE and not self.actor.flags

    @property
    def is_directory(self) -> bool:
        """Whether the file is a directory."""
        return self.mode is not None and self.mode & 0o170000 == 0o040000


class GapReason(StrEnum):
    """Why audit is known to have missed events for a while."""

    NOT_OBSERVED = "not-observed"  # the audit system was not observed then, so nothing is known
    NO_RULE = "no-rule"  # no loaded rule covered the path
    RULE_REMOVED = "rule-removed"  # one of our rules was deleted
    AUDIT_DISABLED = "audit-disabled"  # auditctl -e 0
    DAEMON_STOPPED = "daemon-stopped"
    BOOT = "boot"  # the host was restarted
    EVENTS_LOST = "events-lost"  # the kernel's lost counter went up
    LOG_MISSING = "log-missing"  # rotated away or truncated before it was read
    UNSEEN_CALL = "unseen-call"  # possible with a system call without a path: chattr's ioctl(2)
    TIMES_CALL = "times-call"  # times, or flags set and reset, by system calls without a path: futimens(3)
    OTHER_NAME = "other-name"  # the file has a hard link outside of the watched directories; rules apply by directory
    # Holes: system calls that change files and that no loaded rule reports (fimscan.attribution.holes).
    IO_URING = "io-uring"
    UNNAMED_FILE = "unnamed-file"  # io_uring opened a file that its record does not name
    READ_ONLY_OPEN = "read-only-open"  # opens that truncate or create a file without asking for write access
    HANDLE_OPEN = "handle-open"  # open_by_handle_at
    ATTRIBUTE_CALL = "attribute-call"  # utimensat, file_setattr, setxattrat, removexattrat
    X32_CALL = "x32-call"  # x32 system calls of x86_64, which match no rule
    OVERLAY = "overlay"  # a user mounted a file system that can have this directory as its upper layer
    EXTENT_MOVE = "extent-move"  # a user moved blocks between files: content changes, all times stay
    MOUNT = "mount"  # something was mounted over it or unmounted: the path shows another file
    SUBVOLUME = "subvolume"  # a btrfs subvolume or snapshot was made, deleted or replaced here, with all its files
    LOOP_IMAGE = "loop-image"  # it backs a loop device: the kernel itself writes to it
    OVERLAY_LAYER = "overlay-layer"  # it is in a layer of a mounted overlay: changes there change it
    SERVED_ELSEWHERE = "served-elsewhere"  # another machine or process serves the file system (NFS, FUSE)
    CLOCK_CHANGED = "clock-changed"  # the host's clock was set: earlier and later times cannot be compared


class NoticeKind(StrEnum):
    """What a record says about the audit system itself."""

    DAEMON_START = "daemon-start"
    DAEMON_END = "daemon-end"
    RULE_ADDED = "rule-added"
    RULE_REMOVED = "rule-removed"
    URING_RULE_REMOVED = "uring-removed"  # from the filter list for io_uring
    UNNAMED_FILE = "unnamed-file"  # an io_uring operation on a watched file that its record does not name
    EXTENTS_MOVED = "extents-moved"  # an unprivileged process moved blocks of one file into another
    USER_MOUNT = "user-mount"  # an unprivileged process mounted a file system, in a user namespace of its own
    ENABLED = "enabled"
    DISABLED = "disabled"
    BOOT = "boot"
    RESUMED = "resumed"  # auditd writes its log again; when it stopped is not in the log


class AuditNotice(Struct, frozen=True, kw_only=True):
    """A record about the audit system itself (DAEMON_*, CONFIG_CHANGE, SYSTEM_BOOT, KERNEL), needed for coverage.

    ``key`` is the key of the rule that was added or removed. ``actor`` is the process that did it, if the event says.
    """

    event: EventId
    kind: NoticeKind
    key: str | None = None
    actor: Actor | None = None


class DamagedLine(Struct, frozen=True, kw_only=True):
    """A line that could not be parsed. It is stored for inspection, never dropped silently.

    ``offset`` is its byte offset in ``source``, the path of the log; for a compressed log, the decompressed offset.
    ``count`` is more than 1 for lines that came after too many others: these are only counted.
    """

    source: bytes
    offset: int
    line: bytes
    problem: str
    count: int = 1


class Gap(Struct, frozen=True, kw_only=True):
    """A stretch of time in which audit is known not to have seen everything; ``actor`` caused it."""

    start_ns: int
    end_ns: int
    reason: GapReason
    lost: int | None = None
    actor: Actor | None = None


class AuditRule(Struct, frozen=True, kw_only=True):
    """One loaded audit rule for files, reduced to what coverage needs.

    ``scope`` is the watched directory (``recursive``) or single path. ``arches`` are its ABIs (``b64``, ``b32``); a
    rule without ``arch=`` applies to both. ``writes`` and ``attributes`` say whether it matches system calls of perm=w
    and perm=a, for every process.

    ``target`` is the (device, inode) found at ``scope`` when the rule was first seen, at ``since_ns``. The kernel ties
    a rule for a directory to that inode. ``stale`` is set if another directory is there now, which is not watched. A
    rule for a single path follows the name and is never stale.

    ``guards`` are the system calls beyond perm=wa that it reports (``b64:openat2``; :mod:`fimscan.audit.guards`).
    """

    scope: bytes
    recursive: bool
    arches: frozenset[str]
    writes: bool
    attributes: bool
    key: str | None
    text: str
    target: tuple[int, int] | None = None
    since_ns: int = 0
    stale: bool = False
    guards: frozenset[str] = frozenset()


class AuditObservation(Struct, frozen=True, kw_only=True):
    """The state of the kernel's audit system at one moment (``auditctl -s``, ``auditctl -l``).

    ``enabled`` is 0, 1 or 2 (locked until reboot). ``suppressed`` lists loaded rules that suppress events (``never``
    rules, excluded record types), as text. ``error`` is set, and the rest unknown, if the kernel could not be asked.
    ``boottime_ns`` is CLOCK_BOOTTIME at ``time_ns``, which nobody can set.

    ``guards`` are the system calls that rules have to cover on this machine. ``uring`` are the directories in which
    io_uring is reported (``/`` if nothing can use it). ``holes`` are open for the whole host. ``None`` means unknown,
    as in observations that were stored before these were recorded.
    """

    time_ns: int
    boot_id: str = ""
    boottime_ns: int | None = None
    enabled: int | None = None
    daemon_pid: int | None = None
    lost: int | None = None
    backlog: int | None = None
    backlog_limit: int | None = None
    rules: tuple[AuditRule, ...] = ()
    suppressed: tuple[str, ...] = ()
    guards: tuple[str, ...] | None = None
    uring: tuple[bytes, ...] | None = None
    holes: tuple[GapReason, ...] = ()
    error: str | None = None
