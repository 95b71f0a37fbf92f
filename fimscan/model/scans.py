"""Scans, findings, and what differs between two points of the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from fimscan.model.acceptance import AcceptanceRecord
from fimscan.model.answers import Attribution
from fimscan.model.audit import Actor, AuditRule, ProcessView
from fimscan.model.changes import Change
from fimscan.model.files import Unreadable
from fimscan.model.witness import WitnessExtent


class ScanStatus(StrEnum):
    """How a scan ended."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
"""How bad a change of a file is, as its watch is configured."""

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
    ``severity`` and ``category`` are those of the innermost watch that covers the path in the current configuration;
    ``None`` where none does. The database does not store them: whoever loads findings for a report sets them.
    """

    change: Change
    attribution: Attribution
    scan: int = 0
    steps: tuple[Finding, ...] = ()
    severity: Severity | None = None
    category: str | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The last scans, what is accepted, and what waits for acceptance.

    ``baseline`` is the scan that was accepted as a whole last, ``waiting`` counts the differences that nobody accepted,
    and ``head`` is the last digest of ledger and journal. ``unreadable`` is what the last complete scan could not read.
    """

    host: str
    baseline: int | None
    waiting: int
    head: str | None
    witness: tuple[WitnessExtent, ...] = ()
    scans: tuple[Scan, ...] = ()
    accepted: tuple[AcceptanceRecord, ...] = ()
    reconfigurations: tuple[Reconfiguration, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
