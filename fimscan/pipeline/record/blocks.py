"""Compare the scanner's blocks with what is stored, and write what differs while the scan goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from typing import TypeAlias

from fimscan import compare
from fimscan.gc_pause import gc_paused
from fimscan.linux.filesystems import Numbers
from fimscan.pipeline.record.ctime_trust import Vouch
from fimscan.pipeline.record.read_ahead import ReadAhead
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.block import Voucher
from fimscan.scan.keeping import Keeping
from fimscan.scan.scanner import PriorStates, Progress, scan_blocks
from fimscan.scan.watch import WatchSpec
from fimscan.state_row import Packed
from fimscan.store import files
from fimscan.store.database import Database
from fimscan.store.session import Session

_BATCH = 500
_FLUSH_ROWS = 2000  # fewer would mean more SQL statements with few rows
_TRANSACTION_ROWS = 50_000
_TRANSACTION_SECONDS = 1.0


@gc_paused()
def record_blocks(  # what a scan needs
    recorder: Recorder,
    database: Database,
    plan: ScanPlan,
    on_progress: Callable[[Progress], None] | None,
    vouched: Vouch | None,
    numbers: Numbers,
    keeping: Keeping | None = None,
) -> None:
    """Walk, hash, compare and store, a block at a time.

    Args:
        recorder: collects changes and new versions.
        database: the store.
        plan: what to scan and how.
        on_progress: called about ten times a second.
        vouched: picks the files that are not read while their ctime stays the same; ``None`` reads every byte.
        numbers: the device numbers by which file systems are recorded.
        keeping: takes the contents of files, where they are kept.
    """
    with database.read() as reading, database.read() as beside, ExitStack() as stack:
        known: Iterator[Sequence[files.KnownRow]] = iter(())
        vouchers: Iterable[Sequence[Voucher]] = ()
        if not files.is_any_open(reading):
            # With this read transaction open, SQLite could only append to its write-ahead log.
            reading.connection.rollback()
        elif vouched is None:
            known = files.known_rows(reading)
        else:
            both = ReadAhead(files.known_with_stats(reading))
            known, vouchers = both.behind(), map(vouched, both.ahead())
        verified = _verified(beside, plan.watches)
        found = scan_blocks(
            plan.watches,
            workers=plan.workers,
            cross_mounts=plan.cross_mounts,
            skip=plan.skip,
            known=PriorStates(verified=verified, vouchers=vouchers, numbers=numbers, keeping=keeping),
            limits=plan.limits,
            on_progress=on_progress,
        )
        stack.enter_context(closing(found))
        writer = stack.enter_context(_Writer(recorder, database))
        stored = compare.Merge(known)
        for block in found:
            recorder.count(block)
            if stored.step_over(block.paths, block.digests):
                recorder.keep(b"".join(block.digests))
            elif recorder.is_first and block.is_all_read and stored.is_beyond(block.paths[-1]):
                recorder.record_baseline(block)
            else:
                _compare(recorder, reading, stored.pairs(zip(block.paths, block.entries(), strict=True)))
            writer.step()
        for pairs in _in_batches(stored.rest()):
            _compare(recorder, reading, pairs)
            writer.step()


_Pair: TypeAlias = compare.Pair[files.KnownRow, Packed]


def _compare(recorder: Recorder, session: Session, found: Iterable[_Pair]) -> None:
    """Record pairs; only where digests differ is the stored version loaded and compared value by value."""
    for pairs in _in_batches(found):
        versions = files.by_ids(session, (pair.before[2] for pair in pairs if pair.before and _differs(pair)))
        for pair in pairs:
            before, after = pair.before, pair.after
            if pair.unreadable is not None:
                recorder.record_failure(pair, before[1] if before else None)
            elif before is None:
                assert after is not None, "a pair has a side"
                recorder.record_new(after)
            elif after is None:
                recorder.record_gone(versions[before[2]], time.time_ns())
            elif before[1] == after[-1]:
                recorder.keep(before[1])
            else:
                recorder.record_seen(versions[before[2]], after)


def _differs(pair: _Pair) -> bool:
    if pair.unreadable is not None or pair.before is None:
        return False
    return pair.after is None or pair.after[-1] != pair.before[1]


def _in_batches(pairs: Iterable[_Pair]) -> Iterator[list[_Pair]]:
    pairs = iter(pairs)
    while batch := list(islice(pairs, _BATCH)):
        yield batch


class _Writer:
    """Writes small batches in large transactions while the scan goes on.

    Small batches keep the workers from waiting. A transaction is committed after a second, so that another writer (an
    acceptance) does not wait long.
    """

    def __init__(self, recorder: Recorder, database: Database) -> None:
        self._recorder = recorder
        self._database = database
        self._open = ExitStack()
        self._session: Session | None = None
        self._written = 0
        self._begun = 0.0

    def __enter__(self) -> _Writer:
        return self

    def step(self) -> None:
        """Write what waits, if it is enough; commit a transaction that has been open for long."""
        if self._recorder.unwritten >= _FLUSH_ROWS:
            self._flush()
        elif self._session is not None and time.monotonic() - self._begun > _TRANSACTION_SECONDS:
            self._commit()

    def _flush(self) -> None:
        if self._session is None:
            self._session = self._open.enter_context(self._database.begin(draft=True))
            self._begun, self._written = time.monotonic(), 0
        self._written += self._recorder.unwritten
        self._recorder.flush(self._session)
        if self._written >= _TRANSACTION_ROWS:
            self._commit()

    def _commit(self) -> None:
        self._session = None
        self._open.close()

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
            self._commit()
        else:
            self._open.__exit__(*exception)  # type: ignore[arg-type]


def _verified(session: Session, specs: Iterable[WatchSpec]) -> Callable[[bytes], int | None]:
    """Return a function from a log's path to its verified size in bytes; call it in increasing order of path."""
    roots = [spec.path for spec in specs if spec.append_only]
    known = files.sizes(session, roots) if roots else iter(())
    at: tuple[bytes, int] | None = (b"", 0)

    def size(path: bytes) -> int | None:
        nonlocal at
        while at is not None and at[0] < path:
            at = next(known, None)
        return at[1] if at is not None and at[0] == path else None

    return size
