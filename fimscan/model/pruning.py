"""What is removed from the database because it is old, and the checkpoint that seals it in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field


class RetentionKind(StrEnum):
    """What has an age in ``[retention]``."""

    ACCESSES = "accesses"  # audit records that no kept finding rests on, and what fanotify reported
    FINDINGS = "findings"  # versions of files that are no longer current or accepted, and decided changes
    SCANS = "scans"  # scans, with what only they have: holders, unreadable files ...; the beginning of both chains
    CONTROLS = "controls"  # failures of controls that are over, and missed runs
    OUTBOX = "outbox"  # messages that were delivered or given up
    CONTENTS = "contents"  # kept contents of versions that are gone


class Checkpoint(Struct, frozen=True, kw_only=True):
    """One pruning, as the ledger seals it: a line in the chain of scans that is no scan.

    The chain that is left begins after ``entry``. Only this checkpoint, which is in the chain itself, explains that.

    Attributes:
        scan: up to which scan the chain was removed; 0 if it is whole.
        entry: the ledger entry of that scan: the previous one of the first that is left.
        journal: the newest journal entry of that scan: the previous one of the first that is left.
        digest: SHA-256 over the digests of all that was removed this time (:mod:`fimscan.store.prune`).
        user: who pruned.
        removed: what was removed this time, by kind and table.
        total: the same since the first pruning.
        prunings: how many there were, with this one.
        since_ns: when the first one was.
        before_ns: for each kind, the time before which it was removed, the latest so far.
        states_from: the state of all files is complete as of this scan and later ones.
        decided: decisions up to this number are final: what they replaced may be gone.
        began_ns: when the first scan of all began.
    """

    scan: int
    entry: str
    journal: str
    digest: str
    user: str
    removed: Mapping[str, int] = field(default_factory=dict)
    total: Mapping[str, int] = field(default_factory=dict)
    prunings: int = 1
    since_ns: int = 0
    before_ns: Mapping[str, int] = field(default_factory=dict)
    states_from: int = 0
    decided: int = 0
    began_ns: int = 0
