"""What a bundle is made of, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fimscan.model import FileState, Finding, Reconfiguration, Scan, Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPattern:
    """One configured directory (or file), and why it is critical (PCI DSS 11.5.2 names kinds of critical files)."""

    path: bytes
    exclude: tuple[str, ...] = ()
    policy: str
    severity: str
    category: str
    rationale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInput:
    """Everything that the evidence of one host and one period is made of.

    ``files`` is the state at the last finished scan in ``scans``, ascending by path: it is read once, and its digest is
    compared with what the ledger says of that scan. ``scans`` are in the order of their ids and begin with the very
    first, so that the chain can be replayed, and end with the period. ``findings`` are the changes that scans of the
    period found, ``reconfigurations`` those that they were made with. ``unreadable`` is what
    the last complete scan could not read. ``config_json`` is the text whose SHA-256 scans
    record as ``config_digest``, a JSON object.
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
    max_gap_days: float = 7
