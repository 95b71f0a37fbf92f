"""The input of a bundle, as plain immutable values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from fimscan.evidence.manifest import Previous
from fimscan.model import (
    AcceptanceRecord,
    AuditNotice,
    Checkpoint,
    ClockLook,
    ControlFailure,
    FileState,
    Finding,
    Gap,
    HostEvent,
    MissedRuns,
    OutboxMessage,
    Reconfiguration,
    RetentionKind,
    Scan,
    Selftest,
    Unreadable,
)
from fimscan.store.bound_rows import BoundRow
from fimscan.store.journal import Entry
from fimscan.store.ledger import latest_checkpoint
from fimscan.store.logs import LogHistory


class FoundChange(NamedTuple):
    """A change that a scan found. ``set`` is the number of the first change of its set; ``None`` if not grouped.

    The finding has its package, and what was decided about it.
    """

    finding: Finding
    set: int | None = None


class Sample(NamedTuple):
    """How many changes to draw, and by which seed."""

    size: int
    seed: int


class HostFacts(Struct, frozen=True, kw_only=True):
    """What the database knows of the host besides its name, and what changed of that in the period."""

    first_name: str = ""
    id: str | None = None
    events: Sequence[HostEvent] = ()


class AlertRoute(Struct, frozen=True, kw_only=True):
    """One receiver, and what it is sent. ``destination`` has no password, and of a URL only scheme and host."""

    name: str
    type: str
    format: str
    destination: str
    min_severity: str
    verdicts: Sequence[str] = ()
    kinds: Sequence[str] = ()
    sets: str = "all"
    problems: bool = True
    all_is_well: bool = False


class MonitoredLog(Struct, frozen=True, kw_only=True):
    """A log whose content may only grow. ``size`` is how much of it is verified; ``None`` if it is gone."""

    history: LogHistory
    pattern: bytes
    verified_ns: int | None = None
    size: int | None = None
    sha256: str = ""


class ClockAtScan(NamedTuple):
    """What was known about the clock when a scan began."""

    scan: int
    started_ns: int
    look: ClockLook


class Retained(Struct, frozen=True, kw_only=True):
    """One kind of record: how long it is kept, and what is there. ``schedule`` is when old records are removed."""

    kind: RetentionKind
    what: str
    age: str
    schedule: str
    oldest_ns: int | None = None
    removed_before_ns: int | None = None


class CriticalPattern(Struct, frozen=True, kw_only=True):
    """One ``[[watch]]``: a directory or file, and why it is critical (PCI DSS 11.5.2 lists kinds of critical files)."""

    path: bytes
    exclude: tuple[str, ...] = ()
    policy: str
    severity: str
    category: str
    rationale: str = ""


class BundleInput(Struct, frozen=True, kw_only=True):
    """Everything that goes into the bundle of one host and one period.

    - ``files``: the state at the last finished scan in ``scans``, sorted by path. It is iterated once. Its digest is
      compared with the ledger entry of that scan.
    - ``scans``: sorted by id, from the very first scan (so that the chain can be replayed) to the end of the period. Of
      a chain that was pruned, from its first scan that is left.
    - ``later``: the finished scans after those, up to the export.
    - ``changes``: those that scans of the period found. They are iterated once.
    - ``audit_gaps``: when audit missed events at a monitored path, within the period.
    - ``alerts``: the messages that were made in the period, or are about scans of it.
    - ``sample``: how to draw a sample of the changes; ``None`` draws none.
    - ``decisions``: those since the beginning of the period.
    - ``journal``: all entries, the open one last. ``rows``: what it binds of what is shown, with all rows that it
      mentions within ``journal_period``. Both are iterated once.
    - ``notices``: what the audit log says of audit itself, in the period.
    - ``reconfigurations``: configuration changes between these scans.
    - ``failures``: failures of controls that overlap the period.
    - ``failed_checks``: checks of the database that failed; ``None`` if it was not checked.
    - ``missed_runs``: scheduled runs that did not happen, noted in the period.
    - ``selftests``: the selftests that began in the period.
    - ``unreadable``: files that the last complete scan could not read.
    - ``config_json``: a JSON object; its SHA-256 is the ``config_digest`` of scans.
    - ``copies``: whether the changes are in the bundle a second time, in the formats of SIEMs.
    - ``as_of_ns``: the time of the newest record. The time of the export is nowhere: the same records give the same
      bundle.
    - ``previous``: the bundle that this one follows; ``None`` if it follows none. The changes of its scans are not in
      ``changes``.
    - ``elapsed_ns``: a time that was over at the export, whatever is recorded: the beginning of that day.
    - ``max_gap_days``: a longer time between two comparisons is a gap.
    """

    host: str
    addresses: tuple[str, ...] = ()
    organization: str = ""
    start_ns: int
    end_ns: int
    as_of_ns: int
    elapsed_ns: int = 0
    version: str
    config_json: str
    audit_rules: str
    schedule: Mapping[str, str]
    critical: Sequence[CriticalPattern]
    files: Iterable[FileState]
    scans: Sequence[Scan]
    changes: Iterable[FoundChange]
    reconfigurations: Sequence[Reconfiguration] = ()
    unreadable: Sequence[Unreadable] = ()
    failures: Sequence[ControlFailure] = ()
    missed_runs: Sequence[MissedRuns] = ()
    selftests: Sequence[Selftest] = ()
    later: Sequence[Scan] = ()
    failed_checks: Sequence[str] | None = None
    max_gap_days: float = 7
    copies: bool = False
    host_facts: HostFacts = HostFacts()
    routes: Sequence[AlertRoute] = ()
    audit_gaps: Sequence[tuple[bytes, Gap]] = ()
    alerts: Iterable[OutboxMessage] = ()
    decisions: Sequence[AcceptanceRecord] = ()
    logs: Iterable[MonitoredLog] = ()
    notices: Iterable[AuditNotice] = ()
    clocks: Iterable[ClockAtScan] = ()
    retention: Sequence[Retained] = ()
    journal: Iterable[Entry] = ()
    rows: Iterable[BoundRow] = ()
    journal_period: tuple[int, int] = (0, 0)
    sample: Sample | None = None
    previous: Previous | None = None

    @property
    def covered_to_ns(self) -> int:
        """Up to when the bundle says something: to the end of the period, or to what was known of one that goes on.

        A host that records nothing any more is not forgiven: the days that are over since then count as time without
        comparisons.
        """
        return min(self.end_ns, max(self.as_of_ns, self.elapsed_ns))

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint of the chain; ``None`` if nothing was pruned."""
        return latest_checkpoint([*self.scans, *self.later])

    @property
    def alerts_since_ns(self) -> int:
        """Messages from before this time may have been pruned; 0 if none were."""
        sealed = self.checkpoint
        return 0 if sealed is None else max(0, sealed.before_ns.get(RetentionKind.OUTBOX, 0))

    @property
    def began_ns(self) -> int | None:
        """When monitoring began: the beginning of the very first scan; ``None`` before it."""
        if self.checkpoint is not None and self.checkpoint.began_ns:
            return self.checkpoint.began_ns
        return self.scans[0].started_ns if self.scans else None
