"""What there is to know about coverage: plain values, so that each judgement can be tested without the real thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fimscan.audit import DaemonConfig, Growth, KernelAnswer, Rule
from fimscan.linux.mounts import Mount
from fimscan.model import AuditNotice, AuditObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One ``[[watch]]``.

    ``can_appear`` says of one that does not exist whether its directory does: then a rule can report its creation.
    ``usable``: auditctl takes its path. ``replaced_since`` is a scan at which it was another directory, no rule having
    come since.
    """

    path: bytes
    exists: bool = True
    is_directory: bool = True
    can_appear: bool = True
    usable: bool = True
    replaced_since: int | None = None

    @property
    def can_have_rules(self) -> bool:
        """Whether the kernel takes rules for it."""
        return self.exists or self.can_appear

    @property
    def within(self) -> bytes:
        """A path that rules for it have to watch: of a directory, one inside."""
        return self.path.rstrip(b"/") + b"/x" if self.exists and self.is_directory else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRules:
    """The rules files: what the kernel will be told at the next boot. ``source`` is where they were found.

    ``refused`` are the paths of rules that the kernel would not take now: the directory is not there.
    """

    source: str
    rules: tuple[Rule, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[bytes] = frozenset()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One of ``[audit] logs``. ``by_daemon``: it is the file that the running daemon writes; ``None`` is unknown."""

    path: str
    size: int | None = None
    error: str | None = None
    missing: bool = False
    by_daemon: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """The audit daemon that runs: its configuration, its log, and the file system (bytes) that this lies on."""

    path: str
    config: DaemonConfig | None = None
    error: str | None = None
    growth: Growth | None = None
    free: int | None = None
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything. Intervals are in seconds, ``None`` where unknown; ``expected`` is what 'fimscan audit rules' prints.

    ``file_mounts`` are the places where a file is mounted over a file. ``older`` counts the processes that are older
    than the audit daemon. ``previous`` is the last answer of the kernel that was stored, ``host_names`` are the
    ``node=`` names that count as this host's. ``io_uring`` says whether programs can use it, ``uring`` in which
    directories what they do by it is reported, ``completes`` whether scans load the rules for it. ``removals`` are of
    our rules, oldest first, as far as the log was read.
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
