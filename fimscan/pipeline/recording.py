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
from fimscan.model import Change, FileKind, FileState, Unreadable, UnreadableReason, Window
from fimscan.scan import Progress, WatchSpec, scan
from fimscan.scan.scope import Scope
from fimscan.store import files
from fimscan.store import scans as scan_store
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
    """Turns the stream of pairs into stored versions, in batches, and remembers what changed."""

    def __init__(self, database: Database, scan_id: int, previous_scope: Scope | None, config: Config) -> None:
        self.scan_id = scan_id
        self.changes: list[Change] = []
        self.unreadable: list[Unreadable] = []
        self.counts = {"files": 0, "bytes": 0}
        self.adopted = 0
        self.dropped = 0
        self.digest = StateDigest()
        self.clock = join.ReadClock()
        self._database = database
        self._previous_scope = previous_scope
        self._scope = Scope(watch_specs(config.watch))
        self._previous_clock = join.ReadClock()
        self._blocked_before: tuple[bytes, ...] = ()
        self._first_scan_ns = 0
        self._new: list[dict[str, Any]] = []
        self._ended: list[int] = []
        self._dropped: list[int] = []
        self._versions: dict[bytes, files.Version] = {}

    def run(self, config: Config, on_progress: Callable[[Progress], None] | None) -> None:
        """Walk, hash, compare and store."""
        self._remember_previous()
        found = scan(
            watch_specs(config.watch),
            workers=config.scan.workers,
            cross_mounts=config.scan.cross_mounts,
            skip=self._database.own_files,
            on_progress=on_progress,
        )
        with closing(found), self._database.read() as reading:
            for pair in join.merge(self._known(reading), found):
                self._record(pair)
                if len(self._new) + len(self._ended) >= _BATCH:
                    self._flush()
        self._flush()

    def _remember_previous(self) -> None:
        with self._database.read() as connection:
            last = scan_store.last_finished(connection, self._database.host_id)
            if last is not None:
                self._first_scan_ns = scan_store.all_scans(connection, self._database.host_id)[0].started_ns
                self._previous_clock = join.ReadClock.load(scan_store.read_clock(connection, last.id))
                # A configured path that was missing was seen to be absent: that is an observation.
                self._blocked_before = tuple(
                    item.path
                    for item in scan_store.unreadable_in(connection, last.id)
                    if item.reason is not UnreadableReason.MISSING
                )

    def _known(self, connection: Connection) -> Iterator[FileState]:
        for version in files.current(connection, self._database.host_id):
            # Popped again by _record, which follows one step behind: never more than one entry.
            self._versions[version.state.path] = version
            yield version.state

    def _record(self, pair: join.Pair) -> None:
        version = self._versions.pop(pair.path, None)
        if pair.unreadable is not None:
            if pair.unreadable.path == pair.path:
                self.unreadable.append(pair.unreadable)
            if version is not None:
                self.digest.add(version.digest)
            return
        if pair.after is None:
            assert version is not None, "a pair without a new side has an old one"
            self._record_gone(version)
            return
        self.counts["files"] += 1
        self.counts["bytes"] += pair.after.size if pair.after.digests else 0
        self.clock.note(pair.path, pair.after.read_start_ns)
        if version is None:
            self._record_new(pair.after)
        else:
            self._record_seen(version, pair.after)

    def _record_gone(self, version: files.Version) -> None:
        state = version.state
        if self._scope.includes(state.path, is_directory=state.kind is FileKind.DIRECTORY):
            self._ended.append(version.id)
            self._note(state, None, time.time_ns())
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
        same = not join.differences(before, after)
        if same and _algorithms(before) == _algorithms(after):
            self.digest.add(version.digest)
            return
        self._ended.append(version.id)
        self._add(after, adopted=False)
        if not same:
            self._note(before, after, after.read_end_ns)

    def _add(self, state: FileState, *, adopted: bool) -> None:
        row = files.new_row(self._database.host_id, self.scan_id, state, adopted=adopted)
        self.digest.add(row["state_digest"])
        self._new.append(row)

    def _note(self, before: FileState | None, after: FileState | None, seen_ns: int) -> None:
        path = (after or before).path  # type: ignore[union-attr]  # one side is always there
        window = Window(after_ns=self._last_read(path, before), before_ns=seen_ns)
        change = join.change_of(before, after, window)
        if change is not None:
            self.changes.append(change)

    def _last_read(self, path: bytes, before: FileState | None) -> int:
        """When this path was last seen as it was: at the last scan, unless that scan could not read it."""
        clock = self._previous_clock
        if any(path == p or path.startswith(p.rstrip(b"/") + b"/") for p in self._blocked_before):
            return before.read_start_ns if before is not None else self._first_scan_ns
        if before is not None:
            return max(clock.at(path) or 0, before.read_start_ns)
        absent = clock.absent_at(path)
        return self._first_scan_ns if absent is None else absent

    def _flush(self) -> None:
        with self._database.begin() as connection:
            files.end(connection, self._ended, self.scan_id)
            files.end(connection, self._dropped, self.scan_id, dropped=True)
            files.insert(connection, self._new)
        self._new, self._ended, self._dropped = [], [], []


def _algorithms(state: FileState) -> frozenset[str]:
    return frozenset(digest.algorithm for digest in state.digests)
