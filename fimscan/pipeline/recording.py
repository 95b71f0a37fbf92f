"""The scanner's stream against the previous state: what is stored, and what changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any

from sqlalchemy import Connection

from fimscan import join
from fimscan.config import Config, Watch
from fimscan.model import Change, FileKind, FileState, Unreadable, Window
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
            append_only=watch.policy == "append-only",
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
        self.disruptions: list[join.Disruption] = []
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
            self._note_either(state, None, seen_ns)
        else:
            self._dropped.append(version.id)
            self.dropped += 1

    def _record_new(self, after: FileState) -> None:
        scope = self._previous_scope
        known = scope is not None and scope.includes(after.path, is_directory=after.kind is FileKind.DIRECTORY)
        self._add(after, adopted=not known)
        if known:
            self._note_either(None, after, after.read_end_ns)
        elif scope is not None:
            self.adopted += 1

    def _record_seen(self, version: files.Version, after: FileState) -> None:
        before = version.state
        if join.says_the_same(before, after):
            self.digest.add(version.digest)
            return
        self._ended.append(version.id)
        if self._scope.is_append_only(after.path) and join.has_grown(before, after):
            self._add(after, adopted=False, followed=True)
            self._note_growth(before, after)
        else:
            self._add(after, adopted=False)
            self._note_either(before, after, after.read_end_ns)

    def _add(self, state: FileState, *, adopted: bool, followed: bool = False) -> None:
        row = files.new_row(self._host_id, self.scan_id, state, adopted=adopted, followed=followed)
        self.digest.add(row["state_digest"])
        self._new.append(row)

    def _note_either(self, before: FileState | None, after: FileState | None, seen_ns: int) -> None:
        """A change or, where what becomes of a log's content is not known before all was seen, a disruption."""
        window = self._window(before, after, seen_ns)
        path = (after or before).path  # type: ignore[union-attr]  # one side is always there
        if self._scope.is_append_only(path) and FileKind.FILE in {s.kind for s in (before, after) if s is not None}:
            self.disruptions.append(join.Disruption(before=before, after=after, window=window))
        else:
            self._note(join.change_of(before, after, window))

    def _note_growth(self, before: FileState, after: FileState) -> None:
        if after.size > before.size:
            self.counts["logs_grown"] = self.counts.get("logs_grown", 0) + 1
        self._note(join.growth(before, after, self._window(before, after, after.read_end_ns)))

    def _window(self, before: FileState | None, after: FileState | None, seen_ns: int) -> Window:
        return Window(after_ns=self._readings.last_read(before, after), before_ns=seen_ns)

    def _note(self, change: Change | None) -> None:
        if change is not None:
            self.changes.append(change)

    def settle(self, connection: Connection, judgements: Sequence[join.Judgement]) -> None:
        """What became of the disrupted logs: the rest is a change like any other."""
        followed = [one.path for one in judgements if one.is_followed]
        retired = [one.path for one in judgements if one.is_retired]
        files.mark(connection, self._host_id, self.scan_id, followed=followed, retired=retired)
        if followed or retired:
            self.counts["logs_rotated"] = len({*followed, *retired})
        for one in judgements:
            self._note(one.change)
        self.disruptions.clear()

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
    specs = watch_specs(config.watch)
    versions: dict[bytes, files.Version] = {}

    def known(connection: Connection) -> Iterator[FileState]:
        for version in files.current(connection, database.host_id):
            # Popped again below, where it is one step behind: never more than one entry.
            versions[version.state.path] = version
            yield version.state

    def write() -> None:
        with database.begin() as connection:
            recorder.flush(connection)

    with database.read() as reading, ExitStack() as stack:
        found = scan(
            specs,
            workers=config.scan.workers,
            cross_mounts=config.scan.cross_mounts,
            skip=database.own_files,
            verified=_verified(reading, database.host_id, specs),
            on_progress=on_progress,
        )
        stack.enter_context(closing(found))
        for pair in join.merge(known(reading), found):
            recorder.record(pair, versions.pop(pair.path, None))
            if recorder.unwritten >= _BATCH:
                write()
    write()


def _verified(connection: Connection, host_id: int, specs: Iterable[WatchSpec]) -> Callable[[bytes], int | None] | None:
    """How much of each log was verified before; to be asked in increasing order of path."""
    roots = [spec.path for spec in specs if spec.append_only]
    if not roots:
        return None
    known = files.sizes(connection, host_id, roots)
    at: tuple[bytes, int] | None = (b"", 0)

    def size(path: bytes) -> int | None:
        nonlocal at
        while at is not None and at[0] < path:
            at = next(known, None)
        return at[1] if at is not None and at[0] == path else None

    return size


def keep_of(watches: Iterable[Watch], scope: Scope) -> Callable[[bytes], int]:
    """How many rotated generations of a log its watch wants to be kept."""
    keeps = {os.fsencode(watch.path): watch.keep for watch in watches}
    return lambda path: keeps.get(scope.root_of(path) or b"", 0)
