"""The ledger: a hash chain over all finished scans, replayable with ``printf`` and ``sha256sum``. No SQL here.

Each entry is SHA-256 over three lines: the previous entry, the scan's summary, the digest of the complete state. So a
scan that is altered, dropped or moved breaks every entry after it. A summary names the head of the journal
(:mod:`fimscan.store.journal`), which covers all other rows.

A chain alone cannot show that its newest entries were cut off, or that somebody with write access rebuilt all of it.
For that, its head must be stored elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fimscan import state_row
from fimscan.model import FileState, Scan, ScanStatus

GENESIS = "0" * 64
"""The previous entry of the first finished scan."""


# --------------------------------------------------------------------------------------------------------------------
# The state


def state_digest(state: FileState) -> bytes:
    """Digest one file state (:func:`fimscan.state_row.state_digest`), with its content digests in their given order."""
    values = state_row.pack(state)
    order = [state_row.ALGORITHMS.index(digest.algorithm) for digest in state.digests]
    return bytes(values[-1]) if order == sorted(order) else state_row.state_digest(values, order)


class StateDigest:
    """The digest of a complete state: running SHA-256 over the :func:`state_digest` of each file, in path order."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, digest: bytes) -> None:
        """Append the 32-byte digests of one or more files. The caller adds them in ascending byte order of path."""
        self._hash.update(digest)

    def hexdigest(self) -> str:
        """The digest so far, 64 hex digits. After all files were added, it is the scan's ``state_digest``."""
        return self._hash.hexdigest()


# --------------------------------------------------------------------------------------------------------------------
# The chain


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One finished scan in the chain. All texts except ``summary`` are 64 hex digits."""

    scan: int
    previous: str
    summary: str
    state_digest: str
    entry: str


def summary_line(scan: Scan) -> str:
    """Summarize a scan for the ledger: one line of ASCII JSON, keys sorted, no spaces.

    Scans older than the journal have no ``journal`` key.
    """
    fields: dict[str, object] = {
        "config_digest": scan.config_digest,
        "counts": dict(scan.counts),
        "finished_ns": scan.finished_ns,
        "host": scan.host,
        "id": scan.id,
        "started_ns": scan.started_ns,
        "trigger": scan.trigger,
    }
    if scan.journal:
        fields["journal"] = scan.journal
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def entry(previous: str, summary: str, state_digest: str) -> str:
    r"""Compute a ledger entry (64 hex digits): SHA-256 over the three texts, each followed by a newline.

    By hand: ``printf '%s\n%s\n%s\n' "$previous" "$summary" "$state" | sha256sum``.
    """
    return hashlib.sha256(f"{previous}\n{summary}\n{state_digest}\n".encode()).hexdigest()


def ledger_lines(scans: Iterable[Scan]) -> list[LedgerLine]:
    """List the chain's lines in the given order; only finished scans have an entry."""
    return [
        LedgerLine(
            scan=scan.id,
            previous=scan.previous,
            summary=summary_line(scan),
            state_digest=scan.state_digest,
            entry=scan.entry,
        )
        for scan in scans
        if scan.status is ScanStatus.FINISHED
    ]


def replay(scans: Iterable[Scan]) -> list[str]:
    """Replay the chain in the order of scan ids; return its problems, one sentence each (none: the chain holds)."""
    ordered = sorted(scans, key=lambda scan: scan.id)
    return replay_lines(ledger_lines(ordered))


def replay_lines(lines: Iterable[LedgerLine]) -> list[str]:
    """As :func:`replay`, for lines as they are stored in evidence: it uses only what the entries digest."""
    return list(problems_of_lines(lines))


def problems_of_lines(lines: Iterable[LedgerLine]) -> Iterator[str]:
    """Yield the problems of :func:`replay_lines` one by one: an altered ledger can have any number of them."""
    last, last_scan = GENESIS, 0
    for line in lines:
        if line.scan <= last_scan:
            yield f"scan {line.scan} comes after scan {last_scan} in the ledger"
        if line.previous != last:
            before = f"the entry of scan {last_scan}" if last_scan else "the start of the chain"
            yield f"scan {line.scan} does not follow {before}: a scan is missing, or was altered"
        if entry(line.previous, line.summary, line.state_digest) != line.entry:
            yield f"scan {line.scan} was altered: its ledger entry does not match its contents"
        last, last_scan = line.entry, line.scan
