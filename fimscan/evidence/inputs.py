"""The input of a bundle, as plain immutable values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fimscan.model import (
    Checkpoint,
    ControlFailure,
    FileState,
    Finding,
    MissedRuns,
    Reconfiguration,
    Scan,
    Selftest,
    Unreadable,
)
from fimscan.store.ledger import latest_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPattern:
    """One ``[[watch]]``: a directory or file, and why it is critical (PCI DSS 11.5.2 lists kinds of critical files)."""

    path: bytes
    exclude: tuple[str, ...] = ()
    policy: str
    severity: str
    category: str
    rationale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInput:
    """Everything that goes into the bundle of one host and one period.

    - ``files``: the state at the last finished scan in ``scans``, sorted by path. It is iterated once. Its digest is
      compared with the ledger entry of that scan.
    - ``scans``: sorted by id, from the very first scan (so that the chain can be replayed) to the end of the period. Of
      a chain that was pruned, from its first scan that is left.
    - ``later``: the finished scans after those, up to the newest checkpoint, if the chain was pruned and that is later.
    - ``findings``: the changes that scans of the period found.
    - ``reconfigurations``: configuration changes between these scans.
    - ``failures``: failures of controls that overlap the period.
    - ``failed_checks``: checks of the database that failed; ``None`` if it was not checked.
    - ``missed_runs``: scheduled runs that did not happen, noted in the period.
    - ``selftests``: the selftests that began in the period.
    - ``unreadable``: files that the last complete scan could not read.
    - ``config_json``: a JSON object; its SHA-256 is the ``config_digest`` of scans.
    - ``max_gap_days``: a longer time between two comparisons is a gap.
    """

    host: str
    addresses: tuple[str, ...] = ()
    organization: str = ""
    start_ns: int
    end_ns: int
    generated_ns: int
    version: str
    config_json: str
    audit_rules: str
    schedule: Mapping[str, str]
    critical: Sequence[CriticalPattern]
    files: Iterable[FileState]
    scans: Sequence[Scan]
    findings: Iterable[Finding]
    reconfigurations: Sequence[Reconfiguration] = ()
    unreadable: Sequence[Unreadable] = ()
    failures: Sequence[ControlFailure] = ()
    missed_runs: Sequence[MissedRuns] = ()
    selftests: Sequence[Selftest] = ()
    later: Sequence[Scan] = ()
    failed_checks: Sequence[str] | None = None
    max_gap_days: float = 7

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint of the chain; ``None`` if nothing was pruned."""
        return latest_checkpoint([*self.scans, *self.later])
