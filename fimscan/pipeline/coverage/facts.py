"""What there is to know about coverage: plain values, so that each judgement can be tested without the real thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fimscan.audit import DaemonConfig, Growth, KernelAnswer, Rule
from fimscan.model import AuditObservation
from fimscan.mounts import Mount


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One ``[[watch]]``. ``replaced_since`` is a scan at which it was another directory, no rule having come since."""

    path: bytes
    exists: bool = True
    usable: bool = True
    replaced_since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRules:
    """The rules files: what the kernel will be told at the next boot. ``source`` is where they were found."""

    source: str
    rules: tuple[Rule, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
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
    ``node=`` names that count as this host's.
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
    daemon: Daemon | None = None
    host_names: frozenset[str] = frozenset()
    logs: tuple[LogFile, ...] = ()
    read_every: int | None = None
    scan_every: int | None = None
    previous: AuditObservation | None = None
