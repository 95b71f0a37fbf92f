"""What the audit log says: records, events, accesses, processes, notices and gaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class EventId(NamedTuple):
    """What identifies an audit event: serials restart at every boot, so time and node belong to it.

    ``time_ns`` is the record's ``sec.milli`` stamp, so always a whole number of milliseconds.
    """

    time_ns: int
    serial: int
    node: str = ""

    @property
    def moment(self) -> int:
        """The time with the serial in the place of what is smaller than a millisecond: it orders events of one time."""
        return self.time_ns + self.serial % 1_000_000

    def __str__(self) -> str:
        """``SEC.MS:SERIAL`` as the log and ``ausearch -a`` write it, with ``node/`` in front where there is one."""
        stamp = f"{self.time_ns // 10**9}.{self.time_ns // 10**6 % 1000:03d}:{self.serial}"
        return f"{self.node}/{stamp}" if self.node else stamp


class AuditRecord(NamedTuple):
    """One line of an audit log: its event, its type (``PATH``, ``UNKNOWN[1329]``) and the text after the colon."""

    id: EventId
    type: str
    body: bytes


#: The first line of an event's text.
COMPLETE, INCOMPLETE = b"complete", b"incomplete"


class AuditEvent(NamedTuple):
    """The records of one event, as far as they arrived, as the text that they are stored as.

    ``text`` is a line that tells whether all came that the event announces (``items=``), then ``TYPE BODY`` a line for
    each record, in their order: a body has no line breaks, and no line is empty.
    """

    id: EventId
    text: bytes

    @classmethod
    def of(cls, event: EventId, records: Iterable[AuditRecord], *, complete: bool = True) -> AuditEvent:
        """These records as an event."""
        lines = [b"%b %b" % (kind.encode("latin-1"), body) for _, kind, body in records]
        return cls(event, b"\n".join([COMPLETE if complete else INCOMPLETE, *lines]))

    @property
    def complete(self) -> bool:
        """Whether the records that the event announces came all."""
        return self.text.startswith(COMPLETE)

    @property
    def records(self) -> tuple[AuditRecord, ...]:
        """Its records, one by one."""
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
    SETFLAGS = "setflags"  # file_setattr: what chattr(1) sets


class Role(StrEnum):
    """What an actor had to do with a change."""

    WRITER = "writer"  # opened it for writing, or created it
    PLACER = "placer"  # renamed or linked it into place
    REMOVER = "remover"  # unlinked it, or renamed it away
    CHANGER = "changer"  # mode, owner, extended attributes, times


class LoginSource(StrEnum):
    """Who set a process's login uid. A process that has none may write any into its own, without a privilege."""

    LOGIN_PROGRAM = "login-program"  # one of the system's (sshd, login, cron ...), as root
    ROOT = "root"  # another program of root's
    USER = "user"  # a process of an ordinary user: whose name it wrote says nothing of who it is
    UNSEEN = "unseen"  # no record says: the session began before the log that was read does


class LoginOrigin(NamedTuple):
    """How a process came to its login uid, by the kernel's LOGIN record.

    ``uid``, ``user``, ``pid`` and ``exe`` are those of the process that set it. ``claimed`` is the login uid's name
    where that is no evidence of who the process is, so that the actor's ``login_user`` is ``None``.
    """

    source: LoginSource
    uid: int | None = None
    user: str | None = None
    pid: int | None = None
    exe: bytes | None = None
    claimed: str | None = None
    event: EventId | None = None


class ExeOrigin(StrEnum):
    """Whether the file that a process ran is the one that this host has under the program's name."""

    HOST = "host"  # the same device and inode
    OTHER_ROOT = "other-root"  # another one: the process has another root directory or mount namespace
    UNKNOWN = "unknown"  # it ended before anybody looked, or its file was replaced since


class ProcessView(NamedTuple):
    """What ``/proc`` said of a process while it ran (at ``seen_ns``), or (``exe_id`` alone) its execve record.

    ``exe_id`` is the (device, inode) of the program's file. ``container`` names its container as far as its control
    group does (``docker:0f3c...``, ``lxc:web1``). ``tracer`` is the pid of the process that traced it (ptrace(2)),
    ``preload`` the value of LD_PRELOAD in its environment, which it can have overwritten.
    """

    exe_origin: ExeOrigin = ExeOrigin.UNKNOWN
    exe_id: tuple[int, int] | None = None
    container: str | None = None
    tracer: int | None = None
    preload: bytes | None = None
    seen_ns: int = 0


class Actor(NamedTuple):
    """A process at the moment of one system call, as the kernel recorded it.

    ``auid`` is the login uid: the user who logged in, whatever sudo or setuid did since; ``login_user`` and ``user``
    are its and ``uid``'s names (from an ENRICHED record or the local user database). ``event`` and ``time_ns`` are
    ``None`` when the process was not seen in the audit log but found holding a descriptor; ``event`` alone is when
    fanotify saw it write, by ``time_ns`` at the latest. ``role`` is set in an :class:`Attribution` only; so is
    ``earlier``: what the process did, it did to a file that had the path before the file that has it now.

    ``since_ns`` tells apart the processes that had one pid one after the other: the start of this one, where it was
    seen alive, or its first record; ``None`` where nothing speaks for more than one. ``login`` and ``view`` say what
    is known of its login uid and of its program; ``None`` where nobody asked.
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
        """What tells two processes apart: pid, login, session, program, and since when the pid is this process."""
        exe = self.exe
        return self.pid, self.auid, self.session, exe and exe.removesuffix(b" (deleted)"), self.since_ns

    @property
    def moment(self) -> int:
        """When it was seen, as a number that also orders the events of one time; 0 where that is not known."""
        if self.event is not None:
            return self.event.moment
        return self.time_ns or 0


class Login(NamedTuple):
    """A LOGIN record: process ``pid``, which ran with ``uid``, got another login uid and a new session.

    ``old_auid`` is ``None`` where it had none before. ``user`` and ``name`` are the names of ``uid`` and ``auid``.
    ``exe`` is of the system call's record, where there is one. ``session`` is unique within a boot. ``record`` is the
    line without its header.
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
    """A process that a signal ended so that the kernel may have written a core file (an ANOM_ABEND record)."""

    event: EventId
    actor: Actor
    signal: int
    record: bytes = b""


class Name(NamedTuple):
    """One name in an audit event, with the identities that the kernel put beside it.

    ``path`` is absolute, and only set where it is sure: an absolute name, or one relative to a recorded working
    directory. A name relative to a directory descriptor has ``path=None``; then ``parent`` (device and inode of the
    directory, from the PARENT record) says where it is, to whoever knows the directories.
    ``text`` is what the record said (``None`` for calls on a descriptor).
    """

    text: bytes | None = None
    path: bytes | None = None
    parent: tuple[int, int] | None = None

    @property
    def base(self) -> bytes | None:
        """The last component of the name; ``None`` when there is none that can be trusted (``.``, ``..``)."""
        if self.text is None:
            return None
        last = self.text.rstrip(b"/").rpartition(b"/")[2]
        return None if last in (b"", b".", b"..") else last


class FileAccess(NamedTuple):
    """One event x one file: who did what to it.

    ``dev`` and ``inode`` identify the file itself. ``old`` is the other name of a rename (where it came from), a link
    (its source) or a symlink (its target's text). ``replaced`` is the (device, inode) of the file that a rename
    overwrote. ``mode`` is the full ``st_mode`` before the call; ``argument`` the new mode of a chmod.
    ``item`` numbers the accesses of one event from 0.
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

    @property
    def identity(self) -> tuple[int, int] | None:
        """(device, inode) of the file, where the record has both."""
        return None if self.dev is None or self.inode is None else (self.dev, self.inode)

    @property
    def flags_unknown(self) -> bool:
        """Whether it is an open that may have been for reading only.

        io_uring's records do not say how an existing file was opened, nor do those of openat2(2) before Linux 5.16. Who
        opened it so can have written to it; that they could is not known.
        """
        return self.action is Action.OPEN_WRITE and not self.actor.flags

    @property
    def is_directory(self) -> bool:
        """Whether the file that the call was about is a directory."""
        return self.mode is not None and self.mode & 0o170000 == 0o040000


class GapReason(StrEnum):
    """Why audit is known not to have seen everything for a while."""

    NOT_OBSERVED = "not-observed"  # nobody looked at the audit system then, so nothing is known of it
    NO_RULE = "no-rule"  # no loaded rule covered the path
    RULE_REMOVED = "rule-removed"  # one of our rules was deleted
    AUDIT_DISABLED = "audit-disabled"  # auditctl -e 0
    DAEMON_STOPPED = "daemon-stopped"
    BOOT = "boot"  # the host was restarted
    EVENTS_LOST = "events-lost"  # the kernel's lost counter went up
    LOG_MISSING = "log-missing"  # rotated away, or truncated, before it was read
    UNSEEN_CALL = "unseen-call"  # it takes a call that says no path: chattr's ioctl(2)
    TIMES_CALL = "times-call"  # times are set, and flags set and taken back, by calls that say no path: futimens(3)
    OTHER_NAME = "other-name"  # the file has a hard link outside of the watched directories: rules go by directory
    # Holes in the rules: calls that change files, and that no loaded rule asked for (fimscan.attribution.holes).
    IO_URING = "io-uring"
    UNNAMED_FILE = "unnamed-file"  # io_uring opened a file, and its record does not say which
    READ_ONLY_OPEN = "read-only-open"  # opens that empty or create a file without asking for write access
    HANDLE_OPEN = "handle-open"  # open_by_handle_at
    ATTRIBUTE_CALL = "attribute-call"  # utimensat, file_setattr, setxattrat, removexattrat
    X32_CALL = "x32-call"  # the x32 calls of x86_64, which match no rule
    OVERLAY = "overlay"  # a user mounted a file system of his own, which can have this directory as its upper layer
    EXTENT_MOVE = "extent-move"  # a user moved blocks between files: other content, and all times as they were
    MOUNT = "mount"  # something was mounted over it, or unmounted: what is seen there is another file
    LOOP_IMAGE = "loop-image"  # it is what a loop device reads and writes: the kernel itself writes to it
    OVERLAY_LAYER = "overlay-layer"  # it is in a layer of a mounted overlay: what is done there is done to it
    SERVED_ELSEWHERE = "served-elsewhere"  # another machine or process serves the file system (NFS, FUSE)
    CLOCK_CHANGED = "clock-changed"  # the host's clock was set, so that times on both sides do not compare


class NoticeKind(StrEnum):
    """What the log says about the audit system itself."""

    DAEMON_START = "daemon-start"
    DAEMON_END = "daemon-end"
    RULE_ADDED = "rule-added"
    RULE_REMOVED = "rule-removed"
    URING_RULE_REMOVED = "uring-removed"  # of the filter list for io_uring
    UNNAMED_FILE = "unnamed-file"  # an io_uring operation on a watched file that its record does not name
    EXTENTS_MOVED = "extents-moved"  # somebody who is not root moved blocks of one file into another
    USER_MOUNT = "user-mount"  # somebody who is not root mounted a file system, in a user namespace of his own
    ENABLED = "enabled"
    DISABLED = "disabled"
    BOOT = "boot"
    RESUMED = "resumed"  # auditd writes its log again: until then it did not, since when the log does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditNotice:
    """One record about the audit system itself (DAEMON_*, CONFIG_CHANGE, SYSTEM_BOOT, KERNEL), where coverage needs it.

    ``key`` is that of the rule added or removed. ``actor`` is the process that did it, where the event says.
    """

    event: EventId
    kind: NoticeKind
    key: str | None = None
    actor: Actor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLine:
    """A line that could not be understood, kept for inspection: never dropped without a trace.

    ``offset`` is its byte offset in ``source`` (the log's path, decompressed offset for a compressed one).
    """

    source: bytes
    offset: int
    line: bytes
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch of time in which audit is known not to have seen everything; ``actor`` is who brought that about."""

    start_ns: int
    end_ns: int
    reason: GapReason
    lost: int | None = None
    actor: Actor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRule:
    """One loaded file-watching rule, reduced to what coverage depends on.

    ``scope`` is the directory (``recursive``) or the single path watched. ``arches`` are the ABIs it applies to
    (``b64``, ``b32``); a rule without ``arch=`` applies to both. ``writes`` and ``attributes`` say whether it fires on
    perm=w and perm=a system calls, for every process.

    ``target`` is what was found at ``scope``, by device and inode, when the rule was first seen, at ``since_ns``. The
    kernel ties a rule for a directory to that very one: ``stale`` is set when another one is there now, which nobody
    watches. A rule for a single path follows the name, and is never stale.

    ``guards`` are the calls beyond those of perm=wa that it reports (``b64:openat2``; :mod:`fimscan.audit.guards`).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditObservation:
    """What the kernel's audit system said of itself at one moment (``auditctl -s``, ``auditctl -l``).

    ``enabled`` is 0, 1 or 2 (locked until reboot). ``suppressed`` lists loaded rules that take events away again
    (``never`` rules, excluded record types), as text. ``error`` is set, and the rest unknown, when it could not be
    asked. ``boottime_ns`` is what CLOCK_BOOTTIME said at ``time_ns``: nobody can set that one.

    ``guards`` are those that rules have to have on this machine, ``uring`` the directories in which what io_uring does
    is reported (``/`` where nothing can use it), ``holes`` what is open for the whole host. ``None``: not known, as in
    the answers that were stored before these were asked for.
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
