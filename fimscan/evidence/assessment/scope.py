"""What a report is about: host, period, and whether there is anything that its tables could show."""

from __future__ import annotations

from msgspec import Struct

from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.tables import FileTotals
from fimscan.model import ScanStatus
from fimscan.store.ledger import replay


class Scope(Struct, frozen=True, kw_only=True):
    """The period that a bundle is about.

    Attributes:
        covered_to_ns: its end, or what was known of one that goes on.
        as_of_ns: the time of the newest record.
        comparisons: how many complete comparisons were finished in the period. Without any, an empty table shows
            nothing.
        has_outputs: whether a receiver of alerts is configured.
        problems: what does not verify, in the chain of scans and in the database.
        head: the last entry of the chain.
    """

    host: str
    organization: str
    addresses: tuple[str, ...]
    version: str
    start_ns: int
    end_ns: int
    covered_to_ns: int
    as_of_ns: int
    began_ns: int | None
    comparisons: int
    has_outputs: bool
    problems: tuple[str, ...]
    head: str


def scope_of(data: BundleInput, covered_to_ns: int, files: FileTotals) -> Scope:
    """The scope of a bundle; ``files`` are the totals of the monitored files."""
    finished = [scan for scan in data.scans if scan.status is ScanStatus.FINISHED]
    inside = [
        scan
        for scan in finished
        if not scan.is_partial and scan.finished_ns is not None and data.start_ns <= scan.finished_ns <= covered_to_ns
    ]
    problems = [f"chain of scans: {problem}" for problem in replay([*data.scans, *data.later])]
    if finished and finished[-1].state_digest != files.state_digest:
        problems.append("the monitored files do not match the state digest of the last scan")
    if data.failed_checks is None:
        problems.append("the database was not checked before this export")
    else:
        problems += [f"database altered or damaged: {problem}" for problem in data.failed_checks]
    entries = [scan.entry for scan in (*data.scans, *data.later) if scan.entry]
    return Scope(
        host=data.host,
        organization=data.organization,
        addresses=tuple(data.addresses),
        version=data.version,
        start_ns=data.start_ns,
        end_ns=data.end_ns,
        covered_to_ns=covered_to_ns,
        as_of_ns=data.as_of_ns,
        began_ns=data.began_ns,
        comparisons=len(inside),
        has_outputs=bool(data.routes),
        problems=tuple(problems),
        head=entries[-1] if entries else "",
    )
