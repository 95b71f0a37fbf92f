"""The scanner's stream against the previous state: what is stored, and what changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Connection

from fimscan import join
from fimscan.config import Config, Watch
from fimscan.model import Change, FileKind, FileState, Unreadable, Window
from fimscan.packed import Packed, unpack
from fimscan.pipeline.readings import Readings
from fimscan.scan import Block, Progress, Voucher, WatchSpec, scan_blocks
from fimscan.scan.scope import Scope
from fimscan.store import files
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest

_BATCH = 500
_TRANSACTION_ROWS = 50_000
_TRANSACTION_SECONDS = 1.0


def watch_specs(watches: Iterable[Watch]) -> tuple[WatchSpec, ...]:
    """The configuration's watches as the scanner takes them."""
    return tuple(
        WatchSpec(
            path=os.fsencode(watch.path),
            exclude=watch.exclude,
            algorithms=() if watch.policy == "attributes" else watch.digests,
        )
        for watch in watches
    )


class Recorder:
    """Turns what was found, beside what is stored, into stored versions, and remembers what changed.

    All of its methods are told of paths in increasing order.
    """

    def __init__(
        self, host_id: int, scan_id: int, readings: Readings, scope: Scope, previous_scope: Scope | None
    ) -> None:
        self.scan_id = scan_id
        self.changes: list[Change] = []
        self.unreadable: list[Unreadable] = []
        self.counts = {"files": 0, "bytes": 0}
        self.adopted = 0
        self.dropped = 0
        self.digest = StateDigest()
        self.clock = join.ReadClock()
        self._host_id = host_id
        self._readings = readings
        self._scope = scope
        self._previous_scope = previous_scope
        self._new: list[files.Row] = []
        self._ended: list[int] = []
        self._dropped: list[int] = []

    @property
    def unwritten(self) -> int:
        """How much waits for :meth:`flush`."""
        return len(self._new) + len(self._ended) + len(self._dropped)

    @property
    def is_first(self) -> bool:
        """Whether there is nothing to compare with: what is new is the baseline, and no change."""
        return self._previous_scope is None

    def count(self, block: Block) -> None:
        """What is in a block, and when it was read."""
        if not block.states:
            return
        self.counts["files"] += block.states
        self.counts["bytes"] += block.bytes
        read_ns = block.seen_ns
        if block.vouched:
            read_ns = min(read_ns, block.vouched_ns)
            self.counts["vouched"] = self.counts.get("vouched", 0) + block.vouched
            self.counts["vouched_ns"] = min(self.counts.get("vouched_ns", read_ns), block.vouched_ns)
        self.clock.note(block.paths[0], read_ns, block.states, block.seen_ns)

    def keep(self, digests: bytes) -> None:
        """One version, or several, stays valid; these are the digests of their states."""
        self.digest.add(digests)

    def record_failure(self, pair: join.Pair[Any, Any], digest: bytes | None) -> None:
        """A path that could not be read; ``digest`` is that of the version which is stored of it, and stays valid."""
        assert pair.unreadable is not None, "that is what a failure is"
        if pair.unreadable.path == pair.path:
            self.unreadable.append(pair.unreadable)
        if digest is not None:
            self.keep(digest)

    def record_gone(self, version: files.Version, seen_ns: int) -> None:
        """What is stored was not found any more, at this time."""
        state = version.state
        if self._scope.includes(state.path, is_directory=state.kind is FileKind.DIRECTORY):
            self._ended.append(version.id)
            self._note(state, None, seen_ns)
        else:
            self._dropped.append(version.id)
            self.dropped += 1

    def record_baseline(self, found: Iterable[Packed]) -> None:
        """These are new, as everything is."""
        for packed in found:
            self._add(packed, adopted=True)

    def record_new(self, after: Packed) -> None:
        """Nothing is stored of this path yet."""
        scope = self._previous_scope
        if scope is None:
            self._add(after, adopted=True)
            return
        state = unpack(after)
        known = scope.includes(state.path, is_directory=state.kind is FileKind.DIRECTORY)
        self._add(after, adopted=not known)
        if known:
            self._note(None, state, state.read_end_ns)
        else:
            self.adopted += 1

    def record_seen(self, version: files.Version, after: Packed) -> None:
        """What is stored may not be what was found."""
        before, now = version.state, unpack(after)
        if is_same(before, now):
            self.keep(version.digest)
            return
        self._ended.append(version.id)
        self._add(after, adopted=False)
        self._note(before, now, now.read_end_ns)

    def _add(self, packed: Packed, *, adopted: bool) -> None:
        self.digest.add(packed[-1])
        self._new.append(files.new_row(self._host_id, self.scan_id, packed, adopted=adopted))

    def _note(self, before: FileState | None, after: FileState | None, seen_ns: int) -> None:
        window = Window(after_ns=self._readings.last_read(before, after), before_ns=seen_ns)
        change = join.change_of(before, after, window)
        if change is not None:
            self.changes.append(change)

    def flush(self, connection: Connection) -> None:
        """Write the versions that began and ended since the last time."""
        files.end(connection, self._ended, self.scan_id)
        files.end(connection, self._dropped, self.scan_id, dropped=True)
        files.insert(connection, self._new)
        self._new, self._ended, self._dropped = [], [], []


def record_everything(
    recorder: Recorder,
    database: Database,
    config: Config,
    on_progress: Callable[[Progress], None] | None,
    vouchers: Callable[[Connection], Iterable[Voucher]],
) -> None:
    """Walk, hash, compare and store, a block at a time."""
    with database.read() as reading, database.read() as beside, ExitStack() as stack:
        found = scan_blocks(
            watch_specs(config.watch),
            workers=config.scan.workers,
            cross_mounts=config.scan.cross_mounts,
            skip=database.own_files,
            on_progress=on_progress,
            vouchers=vouchers(beside),
        )
        stack.enter_context(closing(found))
        writer = stack.enter_context(_Writer(recorder, database))
        stored = join.Merge(files.known(reading, database.host_id))
        for block in found:
            recorder.count(block)
            if stored.step_over(block.paths, block.digests):
                recorder.keep(b"".join(block.digests))
            elif recorder.is_first and block.states == len(block.paths) and stored.is_beyond(block.paths[-1]):
                recorder.record_baseline(block.all_states())
            else:
                _compare(recorder, reading, stored.pairs(zip(block.paths, block.entries(), strict=True)))
            writer.step()
        for pairs in _in_batches(stored.rest()):
            _compare(recorder, reading, pairs)
            writer.step()


_Pairs: TypeAlias = Iterable[join.Pair[tuple[int, bytes], Packed]]


def _compare(recorder: Recorder, connection: Connection, found: _Pairs) -> None:
    """Where a digest differs, the values are looked at."""
    for pairs in _in_batches(found):
        versions = files.by_ids(connection, (pair.before[0] for pair in pairs if pair.before and _differs(pair)))
        for pair in pairs:
            before, after = pair.before, pair.after
            if pair.unreadable is not None:
                recorder.record_failure(pair, before[1] if before else None)
            elif before is None:
                assert after is not None, "a pair has a side"
                recorder.record_new(after)
            elif after is None:
                recorder.record_gone(versions[before[0]], time.time_ns())
            elif before[1] == after[-1]:
                recorder.keep(before[1])
            else:
                recorder.record_seen(versions[before[0]], after)


def _differs(pair: join.Pair[tuple[int, bytes], Packed]) -> bool:
    if pair.unreadable is not None or pair.before is None:
        return False
    return pair.after is None or pair.after[-1] != pair.before[1]


def _in_batches(pairs: _Pairs) -> Iterator[list[join.Pair[tuple[int, bytes], Packed]]]:
    pairs = iter(pairs)
    while batch := list(islice(pairs, _BATCH)):
        yield batch


class _Writer:
    """Writes while the scan goes on, little by little in transactions that are large.

    Little by little, so that the workers never wait for it. A transaction ends in time, so that nobody else who writes
    (an acceptance) waits long.
    """

    def __init__(self, recorder: Recorder, database: Database) -> None:
        self._recorder = recorder
        self._database = database
        self._open = ExitStack()
        self._connection: Connection | None = None
        self._written = 0
        self._begun = 0.0

    def __enter__(self) -> _Writer:
        return self

    def step(self) -> None:
        """Write what there is, if that is worth it."""
        if self._recorder.unwritten >= _BATCH:
            self._flush()
        elif self._connection is not None and time.monotonic() - self._begun > _TRANSACTION_SECONDS:
            self._commit()

    def _flush(self) -> None:
        if self._connection is None:
            self._connection = self._open.enter_context(self._database.begin(draft=True))
            self._begun, self._written = time.monotonic(), 0
        self._written += self._recorder.unwritten
        self._recorder.flush(self._connection)
        if self._written >= _TRANSACTION_ROWS:
            self._commit()

    def _commit(self) -> None:
        self._connection = None
        self._open.close()

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            self._flush()
            self._commit()
        else:
            self._open.__exit__(*exception)  # type: ignore[arg-type]


def is_same(before: FileState, after: FileState) -> bool:
    """Whether a stored state still says all of what was seen."""
    return not join.differences(before, after) and _algorithms(before) == _algorithms(after)


def _algorithms(state: FileState) -> frozenset[str]:
    return frozenset(digest.algorithm for digest in state.digests)
