"""The ledger: a hash chain over all finished scans, replayable with ``printf`` and ``sha256sum``. No SQL here.

Each entry is SHA-256 over three lines: the previous entry, the scan's summary, the digest of the complete state. So a
scan that is altered, dropped or moved breaks every entry after it. A summary names the head of the journal
(:mod:`fimscan.store.journal`), which covers all other rows.

A chain alone cannot show that its newest entries were cut off, or that somebody with write access rebuilt all of it.
For that, its head must be stored elsewhere.

The beginning of the chain may be gone: :mod:`fimscan.store.prune` removes what is old. Then the chain has a
*checkpoint*, an entry that names the last removed one. Without it, a chain that begins anywhere else than at
:data:`GENESIS` is broken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from fimscan import state_row
from fimscan.model import Checkpoint, FileState, Scan, ScanStatus

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


class LedgerLine(Struct, frozen=True, kw_only=True):
    """One finished scan in the chain. All texts except ``summary`` are 64 hex digits."""

    scan: int
    previous: str
    summary: str
    state_digest: str
    entry: str


def summary_line(scan: Scan) -> str:
    """Summarize a scan for the ledger: one line of ASCII JSON, keys sorted, no spaces.

    Scans older than the journal have no ``journal`` key. Only checkpoints have the key ``checkpoint``.
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
    if scan.checkpoint is not None:
        fields["checkpoint"] = asdict(scan.checkpoint)
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
    """Replay the chain in the order of scan ids; return its problems, one sentence each (none: the chain holds).

    Scans that were kept from before a checkpoint are left out: they are no part of the chain.
    """
    ordered = sorted(scans, key=lambda scan: scan.id)
    return replay_lines(ledger_lines(in_chain(ordered)))


def latest_checkpoint(scans: Sequence[Scan]) -> Checkpoint | None:
    """The newest checkpoint of scans in order, which says where their chain begins."""
    found = (s.checkpoint for s in reversed(scans) if s.checkpoint is not None and s.status is ScanStatus.FINISHED)
    return next(found, None)


def in_chain(scans: Sequence[Scan]) -> list[Scan]:
    """The scans in order, without those from before the newest checkpoint's boundary."""
    checkpoint = latest_checkpoint(scans)
    return [scan for scan in scans if checkpoint is None or scan.id > checkpoint.scan]


def dump_checkpoint(checkpoint: Checkpoint) -> str:
    """A checkpoint as JSON text."""
    return json.dumps(asdict(checkpoint), sort_keys=True, separators=(",", ":"))


def load_checkpoint(text: str) -> Checkpoint:
    """The inverse of :func:`dump_checkpoint`.

    Raises:
        ValueError: it is none.
    """
    try:
        return Checkpoint(**json.loads(text))
    except TypeError as error:
        raise ValueError(f"no checkpoint: {error}") from error


def checkpoint_in(summary: str) -> Checkpoint | None:
    """The checkpoint that a summary line has; ``None`` without one.

    Raises:
        ValueError: the summary is no JSON, or what it has is no checkpoint.
    """
    if '"checkpoint":' not in summary:
        return None
    found = json.loads(summary).get("checkpoint")
    return None if found is None else load_checkpoint(json.dumps(found))


def replay_lines(lines: Iterable[LedgerLine]) -> list[str]:
    """As :func:`replay`, for lines as they are stored in evidence: it uses only what the entries digest."""
    return list(problems_of_lines(lines))


def problems_of_lines(lines: Iterable[LedgerLine]) -> Iterator[str]:
    """Yield the problems of :func:`replay_lines` one by one: an altered ledger can have any number of them."""
    last, last_scan = GENESIS, 0
    begin: tuple[str, int] | None = None  # the previous entry and the number of the first line
    sealed: Checkpoint | None = None
    for line in lines:
        if begin is None:
            begin = line.previous, line.scan
            last = line.previous  # judged at the end: by then, a checkpoint has said where the chain begins
        try:
            sealed = checkpoint_in(line.summary) or sealed
        except ValueError:
            yield f"scan {line.scan} was altered: its checkpoint cannot be read"
        if line.scan <= last_scan:
            yield f"scan {line.scan} comes after scan {last_scan} in the ledger"
        if line.previous != last:
            before = f"the entry of scan {last_scan}" if last_scan else "the start of the chain"
            yield f"scan {line.scan} does not follow {before}: a scan is missing, or was altered"
        if entry(line.previous, line.summary, line.state_digest) != line.entry:
            yield f"scan {line.scan} was altered: its ledger entry does not match its contents"
        last, last_scan = line.entry, line.scan
    if begin is not None:
        yield from _problems_of_begin(*begin, sealed)


def _problems_of_begin(previous: str, scan: int, sealed: Checkpoint | None) -> Iterator[str]:
    """Judge where a chain begins: at its start, or after what the newest checkpoint in it says was pruned."""
    if sealed is None or not sealed.scan:
        if previous != GENESIS:
            yield f"scan {scan} does not follow the start of the chain: a scan is missing, or was altered"
    elif previous != sealed.entry or scan <= sealed.scan:
        yield (
            f"scan {scan} does not follow scan {sealed.scan}, up to which the chain was pruned: a scan is missing, or"
            " was altered"
        )
