"""The scanner's stream against the previous state: what is stored, and what changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

from sqlalchemy import Connection

from fimscan import join
from fimscan.config import Config, Watch
from fimscan.model import Change, FileKind, FileState, Unreadable, Window
from fimscan.pipeline.manners import manners_of
from fimscan.pipeline.readings import Readings
from fimscan.scan import Progress, WatchSpec, scan
from fimscan.scan.scope import Scope
from fimscan.store import files
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest

_BATCH = 5000


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
    """Turns pairs of observations into stored versions, and remembers what changed."""

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
        self._new: list[dict[str, Any]] = []
        self._ended: list[int] = []
        self._dropped: list[int] = []

    @property
    def unwritten(self) -> int:
        """How much waits for :meth:`flush`."""
        return len(self._new) + len(self._ended)

    def record(self, pair: join.Pair, version: files.Version | None, seen_ns: int | None = None) -> None:
        """One path, in increasing order; ``version`` is what is stored, ``seen_ns`` when it was seen to be gone."""
        if pair.unreadable is not None:
            if pair.unreadable.path == pair.path:
                self.unreadable.append(pair.unreadable)
            if version is not None:
                self.digest.add(version.digest)
            return
        if pair.after is None:
            assert version is not None, "a pair without a new side has an old one"
            self._record_gone(version, time.time_ns() if seen_ns is None else seen_ns)
            return
        self.counts["files"] += 1
        self.counts["bytes"] += pair.after.size if pair.after.digests else 0
        self.clock.note(pair.path, pair.after.read_start_ns)
        if version is None:
            self._record_new(pair.after)
        else:
            self._record_seen(version, pair.after)

    def _record_gone(self, version: files.Version, seen_ns: int) -> None:
        state = version.state
        if self._scope.includes(state.path, is_directory=state.kind is FileKind.DIRECTORY):
            self._ended.append(version.id)
            self._note(state, None, seen_ns)
        else:
            self._dropped.append(version.id)
            self.dropped += 1

    def _record_new(self, after: FileState) -> None:
        scope = self._previous_scope
        known = scope is not None and scope.includes(after.path, is_directory=after.kind is FileKind.DIRECTORY)
        self._add(after, adopted=not known)
        if known:
            self._note(None, after, after.read_end_ns)
        elif scope is not None:
            self.adopted += 1

    def _record_seen(self, version: files.Version, after: FileState) -> None:
        before = version.state
        if join.says_the_same(before, after):
            self.digest.add(version.digest)
            return
        self._ended.append(version.id)
        self._add(after, adopted=False)
        self._note(before, after, after.read_end_ns)

    def _add(self, state: FileState, *, adopted: bool) -> None:
        row = files.new_row(self._host_id, self.scan_id, state, adopted=adopted)
        self.digest.add(row["state_digest"])
        self._new.append(row)

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
    recorder: Recorder, database: Database, config: Config, on_progress: Callable[[Progress], None] | None
) -> None:
    """Walk, hash, compare and store, in batches."""
    found = scan(
        watch_specs(config.watch),
        workers=config.scan.workers,
        cross_mounts=config.scan.cross_mounts,
        skip=database.own_files,
        manners=manners_of(config.scan),
        on_progress=on_progress,
    )
    versions: dict[bytes, files.Version] = {}

    def known(connection: Connection) -> Iterator[FileState]:
        for version in files.current(connection, database.host_id):
            # Popped again below, where it is one step behind: never more than one entry.
            versions[version.state.path] = version
            yield version.state

    def write() -> None:
        with database.begin() as connection:
            recorder.flush(connection)

    with closing(found), database.read() as reading:
        for pair in join.merge(known(reading), found):
            recorder.record(pair, versions.pop(pair.path, None))
            if recorder.unwritten >= _BATCH:
                write()
    write()
