"""Scans, findings, and the difference between two points of the history."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, TypeAlias

from msgspec import Struct, field

from fimscan.model.acceptance import AcceptanceRecord, Disposition
from fimscan.model.answers import Attribution
from fimscan.model.audit import Actor, AuditRule, Gap, ProcessView
from fimscan.model.changes import Change
from fimscan.model.controls import ControlFailure
from fimscan.model.files import FileState, Unreadable
from fimscan.model.in_effect import InEffect
from fimscan.model.packages import PackageAnswer
from fimscan.model.plans import ChangePlan, PlanProgress
from fimscan.model.pruning import Checkpoint
from fimscan.model.selftests import Selftest
from fimscan.model.texts import ContentUsage, TextChange
from fimscan.model.witness import WitnessExtent


class ScanStatus(StrEnum):
    """The state of a scan."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
"""The severity of a change, as configured in its watch."""


class MissedCause(StrEnum):
    """Why a scheduled run was missed."""

    DOWN = "down"  # fimscan was not running
    ASLEEP = "asleep"  # fimscan was stopped, or the machine suspended
    BUSY = "busy"  # an earlier run was still going on


class MissedRuns(Struct, frozen=True, kw_only=True):
    """Scheduled runs of one job, ``scan`` or ``full``, that did not happen: how many there were from first to last.

    ``noted_ns`` is when they were noted, just before one run made up for all of them.
    """

    job: str
    cause: MissedCause
    first_ns: int
    last_ns: int
    count: int
    noted_ns: int


LIVE = "live"
"""The trigger of a partial scan, made of live looks."""

PRUNE = "prune"
"""The trigger of a checkpoint: an entry in the ledger that seals what was pruned. It compared no file."""

IMPORT = "import"
"""The trigger of a scan that stands for the baseline of another program."""


class Scan(Struct, frozen=True, kw_only=True):
    """One comparison of the monitored files, or (``is_partial``) of only the few files in the audit log.

    ``counts`` has the number of ``files`` seen and ``bytes`` read. It also counts changes by :class:`ChangeKind` and by
    :class:`Verdict`, and ``unreadable`` files. If ctime vouched for files, it has ``vouched`` and ``vouched_ns``
    (:attr:`vouched`).

    ``entry`` is its ledger digest (hex), ``previous`` that of the finished scan before it. ``state_digest`` covers
    every file state, ``config_digest`` the effective configuration, ``journal`` all other stored rows. See
    :mod:`fimscan.store.ledger` and :mod:`fimscan.store.journal`. ``problems`` has one line per reason why the audit log
    could not be read completely. ``checkpoint`` is set if it is no scan, but seals what was pruned.
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
    checkpoint: Checkpoint | None = None

    @property
    def vouched(self) -> tuple[int, int] | None:
        """(number of files not read because ctime vouched for them, oldest of their last readings)."""
        count = self.counts.get("vouched", 0)
        return (count, self.counts["vouched_ns"]) if count else None

    @property
    def is_partial(self) -> bool:
        """Whether it covers some paths only, or none (a checkpoint), and says nothing about the others."""
        return self.trigger in (LIVE, PRUNE)


class Finding(Struct, frozen=True, kw_only=True):
    """A change with its answer: one row of a report.

    If the report covers several scans and the file changed more than once, ``steps`` are the single changes in order.
    ``severity`` and ``category`` come from the innermost watch that covers the path in the current configuration;
    ``None`` if none does. ``package`` says whether the file is what its package shipped; ``None`` if packages were not
    asked. ``text`` says what changed in its text; ``None`` if its content is not kept. ``disposition`` is what was
    decided about it, if that is known and in effect. The database stores none of these with a finding; they are set
    when findings are loaded for a report. ``in_effect`` are the processes that ran a changed program, library or unit
    when the scan found it; ``None`` for other files.
    """

    change: Change
    attribution: Attribution
    scan: int = 0
    steps: tuple[Finding, ...] = ()
    severity: Severity | None = None
    category: str | None = None
    package: PackageAnswer | None = None
    in_effect: InEffect | None = None
    text: TextChange | None = None
    disposition: Disposition | None = None


class UnmodifiedOpen(Struct, frozen=True, kw_only=True):
    """A file that was opened for writing and whose content is known to be unchanged."""

    path: bytes
    actors: tuple[Actor, ...]


class Standing(StrEnum):
    """Whether a program that changed something is the accepted one."""

    ACCEPTED = "accepted"  # its content is that of the baseline
    CHANGED = "changed"  # monitored, and differs from the baseline
    GONE = "gone"  # monitored and accepted, but removed
    NOT_MONITORED = "not-monitored"
    NOT_KNOWN = "not-known"  # the file of that name is as accepted, but another may have run
    OTHER_ROOT = "other-root"  # a file of that name from another root directory ran


class Program(Struct, frozen=True, kw_only=True):
    """A program's file as of the scan that found a change. ``change`` is the number of its own latest change.

    ``view`` is what was seen of the process that ran it, ``seen_after_ns`` how long after its system call; ``None`` if
    it was not seen.
    """

    path: bytes
    standing: Standing
    change: int | None = None
    view: ProcessView | None = None
    seen_after_ns: int | None = None


class Effect(StrEnum):
    """The effect of a changed setting on monitoring, worst first."""

    WEAKER = "weaker"
    STRONGER = "stronger"
    OTHER = "other"  # neither, or unknown


class SettingChange(Struct, frozen=True, kw_only=True):
    """One setting that differs between two configurations; ``None`` if it is missing there.

    ``key`` is as in the configuration; keys of a watch begin with its path: ``[[watch]] /etc: policy``.
    """

    key: str
    before: str | None
    after: str | None
    effect: Effect


class Reconfiguration(Struct, frozen=True, kw_only=True):
    """A scan with another configuration than the one before it: both digests, and the differences."""

    scan: int
    before: str
    after: str
    differences: tuple[SettingChange, ...]

    @property
    def is_weaker(self) -> bool:
        """Whether any setting weakens monitoring."""
        return any(item.effect is Effect.WEAKER for item in self.differences)


class StoredPath(Struct, frozen=True, kw_only=True):
    """What is stored of a path: the accepted state (as of ``accepted_scan``) and the last state that was read.

    ``first`` is the scan that recorded the path first, ``None`` if none did. ``accepted`` is ``None`` if the baseline
    does not have the path, ``accepted_scan`` if there is no baseline. ``latest`` is ``None`` if the path is not
    recorded any more.
    """

    path: bytes
    first: Scan | None = None
    accepted: FileState | None = None
    accepted_scan: int | None = None
    latest: FileState | None = None
    last_read_ns: int | None = None
    unreadable: Unreadable | None = None


class Diff(Struct, frozen=True, kw_only=True):
    """The difference between two points, with answers: the value that every report format renders.

    ``logs_grown`` counts the logs that were only appended to. ``logs_rotated`` counts those whose verified content is
    complete under another name. ``suspect_programs`` are programs of the actors that are monitored and differ from the
    baseline. ``reconfigurations`` are those between the two points, oldest first. ``unfiltered`` is the number of
    differences before a filter was applied; ``None`` without a filter. ``unchanged`` is set in the history of a path of
    which no change is recorded. ``accepted`` is the number of the last acceptance in the baseline; ``None`` if the diff
    is not one from the baseline. ``shown`` names this report for ``fimscan accept --shown``, if it has
    a name. ``plans`` says what came of plans. Of a diff that is not all that waits,
    ``planned`` has the plan of each path. ``signing_key`` is the fingerprint of the key that signs evidence, if it was
    asked for and there is one.
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
    unfiltered: int | None = None
    unchanged: StoredPath | None = None
    accepted: int | None = None
    shown: str | None = None
    plans: tuple[PlanProgress, ...] = ()
    planned: Mapping[bytes, ChangePlan] = field(default_factory=dict)
    signing_key: str | None = None


class Continuity(Struct, frozen=True, kw_only=True):
    """What was looked at over a time: the scans, also interrupted ones, and the gaps of audit at the watched paths.

    ``gaps`` is ``None`` if the watched paths are not known.
    """

    scans: tuple[Scan, ...] = ()
    gaps: tuple[Gap, ...] | None = None


class Lineage(Struct, frozen=True, kw_only=True):
    """The ancestors of a process, as far as records show, the parent first.

    ``unknown`` is the process id at which the records end; ``None`` if the last ancestor has no parent.
    """

    actor: Actor
    ancestors: tuple[Actor, ...] = ()
    unknown: int | None = None


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a change got its verdict: the answer with its evidence.

    ``after_scan`` and ``before_scan`` are the scans whose readings bound the window; ``None`` if the file was read in a
    live look. ``protected`` counts the processes that not even root may inspect. ``records`` are the lines of the audit
    log about the named processes. ``dispositions`` are all decisions about the change, oldest first, also those that
    were taken back.
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
    dispositions: tuple[Disposition, ...] = ()


class Status(Struct, frozen=True, kw_only=True):
    """The last scans, what is accepted, and what waits for acceptance.

    ``baseline`` is the last scan that was accepted as a whole. ``waiting`` counts the differences that are not
    accepted. ``head`` is the last digest of ledger and journal. ``unreadable`` is what the last complete scan could not
    read. ``contents`` is how much content is kept; ``None`` if none is. ``controls`` are the failed controls, then
    those that work again. ``configuration_file`` is ``None`` if none was read; ``database`` is the file, or the URL
    without its password. ``selftest`` is the last one. ``signing_key`` is the fingerprint of the key that signs
    evidence; ``None`` if there is none, or this user may not read it.
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
    contents: ContentUsage | None = None
    controls: tuple[ControlFailure, ...] = ()
    missed_runs: tuple[MissedRuns, ...] = ()
    configuration_file: str | None = None
    database: str = ""
    selftest: Selftest | None = None
    signing_key: str | None = None
