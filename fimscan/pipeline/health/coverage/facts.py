"""The facts about coverage, as plain values, so that each check can be tested without a kernel or auditd."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from fimscan.audit import DaemonConfig, Growth, KernelAnswer, Rule
from fimscan.linux.mounts import Mount
from fimscan.model import AuditNotice, AuditObservation


class Watched(Struct, frozen=True, kw_only=True):
    """One ``[[watch]]``.

    Attributes:
        path: the watched path.
        exists: it exists.
        is_directory: it exists and is a directory.
        can_appear: its parent directory exists. A rule can report the creation of a missing path only then.
        usable: auditctl accepts the path.
        replaced_since: the first scan after the rules were last loaded, if it saw another directory at this path.
    """

    path: bytes
    exists: bool = True
    is_directory: bool = True
    can_appear: bool = True
    usable: bool = True
    replaced_since: int | None = None

    @property
    def can_have_rules(self) -> bool:
        """Whether the kernel accepts rules for it."""
        return self.exists or self.can_appear

    @property
    def within(self) -> bytes:
        """The path that rules have to cover: one inside, where it is a directory."""
        return self.path.rstrip(b"/") + b"/x" if self.exists and self.is_directory else self.path


class BootRules(Struct, frozen=True, kw_only=True):
    """The rules and settings that will be loaded at the next boot.

    Attributes:
        source: the directory or file that they were read from.
        rules: the rules.
        settings: auditctl's options by letter, such as ``{"-b": "8192"}``.
        refused: paths of rules that the kernel would refuse now, since the directory does not exist.
        error: why they could not be read.
    """

    source: str
    rules: tuple[Rule, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[bytes] = frozenset()
    error: str | None = None


class LogFile(Struct, frozen=True, kw_only=True):
    """One of ``[audit] logs``.

    Attributes:
        path: its path.
        size: bytes.
        error: why it could not be opened.
        missing: it does not exist.
        by_daemon: the running auditd writes this file; ``None`` if unknown.
    """

    path: str
    size: int | None = None
    error: str | None = None
    missing: bool = False
    by_daemon: bool | None = None


class Daemon(Struct, frozen=True, kw_only=True):
    """The running auditd.

    Attributes:
        path: its configuration file.
        config: its configuration.
        error: why that could not be read.
        growth: how fast its log grows.
        free: free bytes on the log's file system.
        total: size of that file system in bytes.
    """

    path: str
    config: DaemonConfig | None = None
    error: str | None = None
    growth: Growth | None = None
    free: int | None = None
    total: int = 0


class Facts(Struct, frozen=True, kw_only=True):
    """All facts. Unknown values are ``None``.

    Attributes:
        now_ns: when they were gathered.
        kernel: auditctl's answer: status and loaded rules.
        watched: each ``[[watch]]``.
        boot_id: the running boot.
        expected: the rules that 'fimscan audit rules' prints.
        boot: the rules of the next boot.
        mounts: this process's mounts.
        cross_mounts: scans enter other file systems.
        file_mounts: mount points at which a file is mounted over a file.
        command_line: the words of the kernel's command line.
        older: how many processes were started before auditd.
        io_uring: programs can use io_uring.
        uring: the directories where rules for io_uring are loaded.
        completes: scans load the rules for io_uring.
        removals: removals of fimscan's own rules in the last seven days, oldest first, as far as the log was read.
        daemon: the running auditd.
        host_names: the ``node=`` names that mean this host.
        logs: the configured audit logs.
        read_every: seconds between two looks at the log, by the schedule.
        scan_every: seconds between two scans, by the schedule.
        previous: the last stored answer of the kernel.
    """

    now_ns: int
    kernel: KernelAnswer
    watched: tuple[Watched, ...]
    boot_id: str = ""
    expected: tuple[Rule, ...] = ()
    boot: BootRules | None = None
    mounts: tuple[Mount, ...] = ()
    cross_mounts: bool = False
    file_mounts: frozenset[bytes] = frozenset()
    command_line: frozenset[str] = frozenset()
    older: int | None = None
    io_uring: bool = False
    uring: tuple[bytes, ...] | None = None
    completes: bool = True
    removals: tuple[AuditNotice, ...] = ()
    daemon: Daemon | None = None
    host_names: frozenset[str] = frozenset()
    logs: tuple[LogFile, ...] = ()
    read_every: int | None = None
    scan_every: int | None = None
    previous: AuditObservation | None = None
