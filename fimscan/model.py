r"""The vocabulary: what flows between the stages, as frozen values.

    directories --scan--> FileState ----compare----> Change --------+
                                                                    +--attribute--> Attribution --> report / evidence
    audit log  --audit--> AuditRecord -> AuditEvent -> FileAccess --+
                                                   \-> Gap ---------+

Conventions that hold everywhere:

* Paths, names, command lines and everything else that the kernel treats as bytes are ``bytes``: Linux names need
  not be UTF-8.
* Times are integers, nanoseconds since the Unix epoch, and their names end in ``_ns``.
* ``None`` means *unknown* or *unset*. An unset audit user id is ``None``, never 0.
* What there are millions of (an audit record and all that is read from it) are named tuples, the others dataclasses,
  frozen, slotted and keyword-only: a frozen dataclass takes up to eight times as long to make.
* This module imports nothing of ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import NamedTuple

# --------------------------------------------------------------------------------------------------------------------
# Files


class FileKind(StrEnum):
    """What an inode is (``inode(7)``, the file type)."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHAR_DEVICE = "char-device"
    BLOCK_DEVICE = "block-device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A hash value with the name of its algorithm (``xxh3_128``, ``sha256``, ``sha512``, ``blake3``)."""

    algorithm: str
    value: bytes


#: Extended attributes that differ under a name of their own, among those of :attr:`Change.changed`.
_XATTR_FIELDS = {
    b"system.posix_acl_access": "acl",
    b"system.posix_acl_default": "acl",
    b"system.nfs4_acl": "acl",
    b"security.capability": "capabilities",
    b"security.selinux": "selinux",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Xattr:
    """One extended attribute. ``data`` is its value or, where that is long, the SHA-256 of it."""

    name: bytes
    size: int
    data: bytes

    @property
    def is_whole(self) -> bool:
        """Whether ``data`` is the value itself."""
        return len(self.data) == self.size

    @property
    def field(self) -> str:
        """What it is called where it differs: ``acl``, ``capabilities``, ``selinux`` or ``xattr``."""
        return _XATTR_FIELDS.get(self.name, "xattr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The beginning of a file's content: so many bytes, and their digests."""

    size: int
    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file as it was observed.

    ``mode`` holds the twelve permission bits only (``st_mode & 0o7777``), sizes are bytes. ``dev`` is ``st_dev`` as
    ``stat(2)`` gave it when the file system was first seen: it is kept when a boot or a remount gives another one (see
    :mod:`fimscan.filesystems`). ``digests`` is in the order of
    :data:`fimscan.packed.ALGORITHMS` and empty for everything but regular files (and for
    regular files under a policy that reads no content). ``xattr_digest`` is SHA-256 over all extended attributes
    (ACLs, SELinux label, capabilities), ``None`` where there are none; ``xattrs`` are those attributes, in byte order
    of their names, ``None`` where nothing but the digest was recorded. ``flags`` are those that ``chattr(1)`` sets
    (``ioctl_iflags(2)``), ``None`` where the file system has none, or where they were not recorded.

    ``prefix`` is of a log that is only appended to, up to the length that it had when it was last verified; ``None``
    where nobody asked for that, or where the file is shorter now. It is a step of the comparison, and not recorded.

    The content was read between ``read_start_ns`` and ``read_end_ns``; a change seen later happened after
    ``read_start_ns``.
    """

    path: bytes
    kind: FileKind
    dev: int
    inode: int
    nlink: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digests: tuple[Digest, ...] = ()
    link_target: bytes | None = None
    xattr_digest: bytes | None = None
    xattrs: tuple[Xattr, ...] | None = ()
    flags: int | None = None
    prefix: Prefix | None = None
    read_start_ns: int
    read_end_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """(device, inode): which file this is, whatever it is called. Reused by the kernel once the file is gone."""
        return self.dev, self.inode

    @property
    def is_on_disk(self) -> bool:
        """Whether the file system has a block device; tmpfs, overlayfs, btrfs and network file systems have none."""
        return os.major(self.dev) != 0

    def digest(self, algorithm: str) -> bytes | None:
        """The value of one digest, or ``None`` when it was not taken."""
        return next((d.value for d in self.digests if d.algorithm == algorithm), None)


class UnreadableReason(StrEnum):
    """Why a file that exists (or existed a moment ago) has no trustworthy state in this scan."""

    PERMISSION = "permission"  # EACCES, EPERM
    VANISHED = "vanished"  # listed by its directory, gone when it was opened
    LEASED = "leased"  # another process holds a lease on it (fcntl(2), F_SETLEASE) and does not give way
    UNSTABLE = "unstable"  # kept changing while it was read, so no digest describes one state of it
    IO_ERROR = "io-error"  # the medium or the file system failed
    TIMEOUT = "timeout"  # the file system did not answer, or the file was not read to its end in the time for it
    MISSING = "missing"  # a configured directory that does not exist


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """What could not be read, and why. A known file that is unreadable is reported neither as removed nor as the same.

    ``since_ns`` is when it was last read, so that nobody could compare it since; ``None`` where it never was.
    ``differs`` names what ``lstat(2)`` says otherwise than at that reading, in the order of
    :data:`fimscan.join.compare.FIELDS`: something was done to it, and nobody can say what it holds.
    """

    path: bytes
    reason: UnreadableReason
    detail: str = ""
    since_ns: int | None = None
    differs: tuple[str, ...] = ()


# --------------------------------------------------------------------------------------------------------------------
# Changes


class ChangeKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"  # the content (or the kind, or a link's target) differs
    MOVED = "moved"  # the same file, unmodified, under another name
    ATTRIBUTES = "attributes"  # everything else that is recorded


class Breach(StrEnum):
    """What was done to a log that is only to be appended to."""

    REWRITTEN = "rewritten"  # what was verified is not the same any more
    TRUNCATED = "truncated"  # it is shorter than what was verified
    REPLACED = "replaced"  # another file is in its place
    LOST = "lost"  # it is gone, and nothing has its content
    REORDERED = "reordered"  # its content is kept in another generation, where no rotation brings it


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time in which a change must have happened: old content read .. new content read, for this very file."""

    after_ns: int
    before_ns: int


class Unseen(StrEnum):
    """Why it is not known which files a process can write to without opening them again."""

    REFUSED = "refused"  # the kernel does not show us what it has open
    ENDED = "ended"  # it ended before it was examined, and started others that did the same
    TOO_MANY = "too-many"  # it has more descriptors or mappings than there was time for
    IN_FLIGHT = "in-flight"  # descriptors wait in a socket until they are received
    RING = "ring"  # files are registered with an io_uring, and which ones is not known
    NO_PROCESS = "no-process"  # the kernel counts a writer, and no process shows the file among those it has open
    NOT_ALONE = (
        "not-alone"  # others may write to the file than those who show it, and the kernel does not say how many do
    )


class Rights(NamedTuple):
    """Which files a process may open for writing.

    ``uids`` and ``gids`` are all of its user and group ids, supplementary groups included (``None``: not known).
    ``any_file`` is set where
    its capabilities go past permissions, or where nothing is known of it. ``owned`` are the ranges (first, count) of
    user ids whose files it may write as the root user of a user namespace.
    """

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] | None = ()
    any_file: bool = False
    owned: tuple[tuple[int, int], ...] = ()


class Doubt(NamedTuple):
    """A process that may have a file open for writing without showing it; ``actor`` is ``None`` where none is known.

    ``rights`` is ``None`` once it was decided that they suffice for a certain file.
    """

    why: Unseen
    actor: Actor | None = None
    rights: Rights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Who could write to a file without opening it again when the window of its change began.

    ``actors`` held a writable descriptor or mapping at ``as_of_ns``, which is no later than the reading of the old
    content: whoever had opened the file before that and is not among them had closed it. ``complete`` is false when
    not every process could be examined (only root may). ``later`` held one when that was looked at again, at
    ``later_ns``, before the new content was read: a descriptor can be handed on, so that its holder need not be who
    opened the file. ``earlier`` are those who held the file that had the path before, where that is another one than
    the file that has it now, at ``earlier_ns``: no later than the last reading of the old content. ``doubts`` are those
    who may have held the file as well, and ``earlier_doubts`` those of the earlier one: where there are any, nobody is
    proven to be the only one who could write.
    """

    as_of_ns: int
    actors: tuple[Actor, ...] = ()
    complete: bool = True
    later_ns: int = 0
    later: tuple[Actor, ...] = ()
    earlier_ns: int = 0
    earlier: tuple[Actor, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    earlier_doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file that differs between two observations.

    ``changed`` names what differs, in the order of :data:`fimscan.join.compare.FIELDS`: ``kind``, ``content``,
    ``link_target``, ``size``, ``mode``, ``uid``, ``gid``, ``acl``, ``capabilities``, ``selinux``, ``xattr`` (all other
    extended attributes), ``flags``, ``nlink``, ``dev``, ``inode``, ``mtime``, ``ctime``. It is empty for added and
    removed files. ``holders`` is ``None`` where nobody looked who held the file open. ``id`` is given by the store, 0
    before that. ``breach`` is set where a log that is only to be appended to lost what was verified of it, ``before``:
    no other file has that content.
    """

    kind: ChangeKind
    before: FileState | None
    after: FileState | None
    changed: tuple[str, ...] = ()
    window: Window
    holders: Holders | None = None
    breach: Breach | None = None
    id: int = 0

    @property
    def state(self) -> FileState:
        """The state that names the change: the new one, or the last known one of a removed file."""
        state = self.after if self.after is not None else self.before
        assert state is not None, "a change has at least one side"
        return state

    @property
    def sides(self) -> tuple[FileState, ...]:
        """The states that there are: of an added or removed file just one."""
        return tuple(state for state in (self.before, self.after) if state is not None)

    @property
    def path(self) -> bytes:
        """Where the file is now, or was when it was last seen."""
        return self.state.path

    @property
    def moved_from(self) -> bytes | None:
        """The earlier name of a moved file."""
        return self.before.path if self.kind is ChangeKind.MOVED and self.before is not None else None


# --------------------------------------------------------------------------------------------------------------------
# Audit


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
    OTHER_NAME = "other-name"  # the file has a hard link outside of the watched directories: rules go by directory
    # Holes in the rules: calls that change files, and that no loaded rule asked for (fimscan.join.holes).
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process found holding a writable descriptor (or a writable shared mapping) of a file when a scan began."""

    dev: int
    inode: int
    actor: Actor


# --------------------------------------------------------------------------------------------------------------------
# The second witness: fanotify


class WitnessMask(IntFlag):
    """What fanotify saw a process do to a file: the bits of its events (``fanotify_mark(2)``) that are recorded."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80


class WitnessEvent(NamedTuple):
    """What one process did to one file, as fanotify told it.

    The kernel gives no time: it happened after ``since_ns``, when all earlier events had been read, and before
    ``until_ns``, when this one was read. What a process does to a file in that time is one event. ``handle`` is the
    file's handle (``name_to_handle_at(2)``), which no later file has; ``name`` the last component of its name then.
    ``actor`` has the process id alone where the process had ended before it could be looked at; ``started_ns`` and
    ``ancestors`` (process ids, the parent first) are unknown then, too.
    """

    dev: int
    inode: int
    handle: bytes
    mask: WitnessMask
    since_ns: int
    until_ns: int
    name: bytes
    actor: Actor
    started_ns: int | None = None
    ancestors: tuple[int, ...] = ()


class WitnessHole(StrEnum):
    """A way to change what a file holds that fanotify does not show, and that needs no mapping of the file."""

    ASYNC_IO = "async-io"  # io_submit(2), as long as fs.aio-max-nr is not 0: no FAN_MODIFY (seen on 6.18)
    MOVE_EXTENT = "move-extent"  # ext4's EXT4_IOC_MOVE_EXT: it can make blocks of a file zero, unseen (seen on 6.18)
    OLD_KERNEL = "old-kernel"  # before Linux 6.6: splice(2), and io_uring before 5.19


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessExtent:
    """A stretch of time over which fanotify told everything that it sees of one file system, and all was read.

    ``ended`` says why it did not go on; it is empty for the one that goes on, and where fimscan did not live to say it.
    """

    dev: int
    start_ns: int
    end_ns: int
    holes: tuple[WitnessHole, ...] = ()
    ended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What the second witness says of some files: its events by (device, inode), its extents by device."""

    events: Mapping[tuple[int, int], tuple[WitnessEvent, ...]] = field(default_factory=dict)
    extents: Mapping[int, tuple[WitnessExtent, ...]] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------------------------------
# The answer


class Verdict(StrEnum):
    """How sure the answer is, strongest first."""

    CONFIRMED = "confirmed"
    LIKELY = "likely"
    CONTESTED = "contested"
    UNATTRIBUTED = "unattributed"

    @property
    def strength(self) -> int:
        """Larger is stronger; a row with several steps takes the weakest."""
        return _STRENGTHS.index(self)


_STRENGTHS = (Verdict.UNATTRIBUTED, Verdict.CONTESTED, Verdict.LIKELY, Verdict.CONFIRMED)


class Reason(StrEnum):
    """What a verdict below ``confirmed`` lacks."""

    COVERAGE_GAP = "coverage-gap"
    HELD_DESCRIPTOR = "held-descriptor"
    PATH_ONLY = "path-only"
    SEVERAL_WRITERS = "several-writers"
    CORE_DUMP = "core-dump"  # the kernel wrote it, for a process that crashed: no event says which file that was
    NOT_COVERED = "not-covered"
    NO_EVENT = "no-event"
    WITNESS_ONLY = "witness-only"  # fanotify saw it write, audit did not see it open the file


class Coverage(NamedTuple):
    """Whether audit was watching this path over the whole window, and where it was not."""

    complete: bool
    gaps: tuple[Gap, ...] = ()


class Why(StrEnum):
    """Why a process was named, or why it was not."""

    # Named
    WRITE_ACCESS = "write-access"  # had the file open for writing when it can have been changed
    HELD_OPEN = "held-open"  # had it open when the window began, or got a descriptor without opening it
    MADE = "made"
    PLACED = "placed"
    TOOK_AWAY = "took-away"
    SET = "set"  # the attributes
    SAME_PATH = "same-path"  # by a record that matches the path, and says no (or another) inode
    CRASHED = "crashed"  # and the kernel wrote its core dump
    WROTE = "wrote"  # fanotify saw it write, and audit did not see it open the file
    EARLIER_WRITER = "earlier-writer"  # wrote, made or placed a file that had the path before the present one
    EARLIER_HOLDER = "earlier-holder"  # had such a file open when the window began
    EARLIER_CHANGER = "earlier-changer"  # set attributes of such a file
    REMOVED_TOO = "removed-too"  # removed the file, too; nothing shows how it came back in between
    # Neither named nor cleared: had a part in what happened within the window, and not in what is there now
    EARLIER_PART = "earlier-part"  # in an earlier file of the path, where nobody can be named for the present one
    TOOK_ANOTHER = "took-another"  # removed another file of the path, or moved it away, within the window
    NOT_MATCHED = "not-matched"  # the record does not say in which subvolume or layer the file was
    OVERRULED = "overruled"  # a later call decided what is there now
    UNDONE = "undone"  # it was put back
    ONLY_PLACED = "only-placed"  # put it there, but did not write the content that it has
    # Cleared
    FAILED = "failed"
    CLOSED_BEFORE = "closed-before"  # opened it before the window, and did not hold it any more when that began
    BEFORE_WINDOW = "before-window"
    AFTER_WINDOW = "after-window"
    AFTER_LAST_CHANGE = "after-last-change"  # opened it after the time that its ctime says
    EARLIER_FILE = "earlier-file"  # what the name, or the inode number, stood for before
    LATER_FILE = "later-file"  # what they stood for afterwards
    OTHER_FILE = "other-file"  # a file of that name with another inode
    NO_WRITE = "no-write"  # what it did cannot change content
    NO_PART = "no-part"  # what it did cannot bring about what differs
    WROTE_NOTHING = "wrote-nothing"  # fanotify saw it close the file, which it could not map, and no write by it

    @property
    def names(self) -> bool:
        """Whether it is a reason for naming a process."""
        return self in _NAMING

    @property
    def clears(self) -> bool:
        """Whether it is a reason why a process cannot have had a part in what differs."""
        return not self.names and self not in _NOTED

    @property
    def is_earlier(self) -> bool:
        """Whether it is about a file that had the path before: a part in the present content is possible, not known."""
        return self in _EARLIER


_NOTED = frozenset({Why.EARLIER_PART, Why.TOOK_ANOTHER, Why.NOT_MATCHED, Why.OVERRULED, Why.UNDONE, Why.ONLY_PLACED})
_EARLIER = frozenset({Why.EARLIER_WRITER, Why.EARLIER_HOLDER, Why.EARLIER_CHANGER})
_NAMING = _EARLIER | {
    Why.WRITE_ACCESS,
    Why.HELD_OPEN,
    Why.MADE,
    Why.PLACED,
    Why.TOOK_AWAY,
    Why.SET,
    Why.SAME_PATH,
    Why.WROTE,
    Why.CRASHED,
    Why.REMOVED_TOO,
}


class Ruling(NamedTuple):
    """One process that had to do with a file, and how that was judged.

    ``actor`` is its latest call of this kind (``action``; ``None`` for one that was found holding a descriptor),
    ``calls`` how many of them there were since ``first_ns``, ``events`` the latest of them, newest first.
    """

    actor: Actor
    action: Action | None
    why: Why
    calls: int = 1
    first_ns: int | None = None
    events: tuple[EventId, ...] = ()


class Reasoning(NamedTuple):
    """How an answer was found: everybody who was considered, those named first; ``omitted`` more were left out.

    ``last_change_ns`` is the moment after which, by the file's ctime, nothing was changed any more; ``None`` where the
    ctime was no help.
    """

    rulings: tuple[Ruling, ...] = ()
    omitted: int = 0
    last_change_ns: int | None = None


class Attribution(NamedTuple):
    """Who made a change, how sure that is, and why it is not surer. ``notes`` are sentences for the reader.

    ``reasoning`` is ``None`` for answers that were given before it was kept.
    """

    verdict: Verdict
    reason: Reason | None = None
    actors: tuple[Actor, ...] = ()
    coverage: Coverage = Coverage(complete=False)
    notes: tuple[str, ...] = ()
    reasoning: Reasoning | None = None


# --------------------------------------------------------------------------------------------------------------------
# Scans and reports


class ScanStatus(StrEnum):
    """How a scan ended."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


LIVE = "live"
"""The trigger of a partial scan: one that looked at just the paths that the audit log spoke of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One comparison of the monitored files, or (``is_partial``) of just the few that something was done to.

    ``counts`` has the number of ``files`` seen, ``bytes`` read and, of the changes that it found, each
    :class:`ChangeKind`, ``unreadable``, and each :class:`Verdict`; where files were vouched for, also ``vouched`` and
    ``vouched_ns`` (:attr:`vouched`). ``entry`` is its ledger digest (hex), ``previous``
    that of the finished scan before it, ``state_digest`` covers every file state, and ``config_digest`` the effective
    configuration, ``journal`` all that was written besides. See :mod:`fimscan.store.ledger` and
    :mod:`fimscan.store.journal` for how they are made. ``problems`` says, a line each, why the audit
    log could not (all) be read.
    """

    id: int
    host: str
    trigger: str
    status: ScanStatus
    started_ns: int
    finished_ns: int | None
    counts: Mapping[str, int] = field(default_factory=dict)
    config_digest: str = ""
    state_digest: str = ""
    journal: str = ""
    previous: str = ""
    entry: str = ""
    problems: tuple[str, ...] = ()

    @property
    def vouched(self) -> tuple[int, int] | None:
        """How many files were not read since their ctime vouched for them, and after what time all of them had been."""
        count = self.counts.get("vouched", 0)
        return (count, self.counts["vouched_ns"]) if count else None

    @property
    def is_partial(self) -> bool:
        """Whether it looked at some paths only: then it says nothing of the others."""
        return self.trigger == LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A change with its answer: one row of a report.

    When the span has several scans and the file changed more than once, ``steps`` holds the single changes in order.
    """

    change: Change
    attribution: Attribution
    scan: int = 0
    steps: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmodifiedOpen:
    """A file that was opened for writing, and whose content is known to be the same after it."""

    path: bytes
    actors: tuple[Actor, ...]


class Standing(StrEnum):
    """What is known of a program that changed something: whether it is the one that was accepted."""

    ACCEPTED = "accepted"  # the content that the accepted baseline has
    CHANGED = "changed"  # monitored, and not what was accepted
    GONE = "gone"  # monitored and accepted, and not there any more
    NOT_MONITORED = "not-monitored"
    NOT_KNOWN = "not-known"  # the file of that name is as accepted; whether that is the one that ran is not known
    OTHER_ROOT = "other-root"  # another file than this host's of that name ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program's file as of the scan that found a change. ``change`` is the number of its own latest change.

    ``view`` is what was seen of the process that ran it, ``seen_after_ns`` how long after its deed that was; ``None``
    where nobody saw it.
    """

    path: bytes
    standing: Standing
    change: int | None = None
    view: ProcessView | None = None
    seen_after_ns: int | None = None


class Effect(StrEnum):
    """What a changed setting means for what is seen, worst first."""

    WEAKER = "weaker"
    STRONGER = "stronger"
    OTHER = "other"  # neither, or nobody can say


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting that differs between two configurations; ``None`` where it is not there.

    ``key`` is as the configuration has it; those of a watch begin with its path: ``[[watch]] /etc: policy``.
    """

    key: str
    before: str | None
    after: str | None
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconfiguration:
    """A scan that was made with another configuration than the one before it; by their digests, and what differs."""

    scan: int
    before: str
    after: str
    differences: tuple[SettingChange, ...]

    @property
    def is_weaker(self) -> bool:
        """Whether something is seen less, or less well."""
        return any(item.effect is Effect.WEAKER for item in self.differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs between two points, and who did it: the value that every report format renders.

    ``logs_grown`` and ``logs_rotated`` count the logs that were only appended to, and those of which all that was
    verified before is found under another name. ``suspect_programs`` are those of the actors that are monitored and not
    what was accepted. ``reconfigurations`` are those between the two points, oldest first.
    """

    host: str
    start: Scan
    end: Scan
    findings: tuple[Finding, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    opened_unmodified: tuple[UnmodifiedOpen, ...] = ()
    suspect_programs: tuple[Program, ...] = ()
    logs_grown: int = 0
    logs_rotated: int = 0
    reconfigurations: tuple[Reconfiguration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a process came from: its parent, that one's parent and so on, as far as the records tell.

    ``unknown`` is the process id at which they stop telling; ``None`` where the last one has no parent.
    """

    actor: Actor
    ancestors: tuple[Actor, ...] = ()
    unknown: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a change got its verdict: the answer, with what it rests on.

    ``after_scan`` and ``before_scan`` are the scans whose readings bound the window; ``None`` where the file was read
    by itself, between scans. ``protected`` counts the processes that not even root may ask what they hold open,
    ``records`` are the lines of the audit log about those who are named.
    """

    host: str
    finding: Finding
    after_scan: int | None
    before_scan: int | None
    protected: int = 0
    rules: tuple[AuditRule, ...] = ()
    lineages: tuple[Lineage, ...] = ()
    programs: tuple[Program, ...] = ()
    records: tuple[bytes, ...] = ()


def device_text(dev: int) -> str:
    """A device number as audit prints it: hexadecimal major and minor, ``fe:00``."""
    return f"{os.major(dev):02x}:{os.minor(dev):02x}"
