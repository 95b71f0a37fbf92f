"""Turn what a scan found into stored versions and changes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from fimscan import attribution, compare
from fimscan.model import Change, FileKind, FileState, Unreadable, Window
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.last_read import Readings
from fimscan.scan.block import Block
from fimscan.scan.scope import Scope
from fimscan.spool import MANY, Spool
from fimscan.state_row import Packed, unpack
from fimscan.store import files
from fimscan.store.ledger import StateDigest
from fimscan.store.session import Session
from fimscan.store.version_writer import NewVersions

_PATH = attrgetter("path")


class Recorder:
    """Takes pairs of stored and found states, writes new versions, and collects the changes.

    Call its methods in increasing order of path. ``directory`` is where the changes are kept, if they are many.

    Attributes:
        changes: the changes in order of path, except those of disrupted logs until :meth:`settle`.
        unreadable: what could not be read.
        disruptions: append-only logs that changed by more than growth, not judged yet.
        counts: the scan's counts: files, bytes, vouched files, grown logs ...
        adopted: paths that a new configuration covers and the last one did not.
        dropped: paths that a new configuration no longer covers.
        writable: files (device, inode) that were open for writing when they were read.
        digest: the digest of the complete state.
        clock: when each file was read.
    """

    def __init__(
        self,
        scan_id: int,
        readings: Readings,
        scope: Scope,
        previous_scope: Scope | None,
        survey: Survey,
        directory: str | None = None,
    ) -> None:
        self.scan_id = scan_id
        self.changes = Spool[Change](directory=directory, few=MANY)
        self.unreadable: list[Unreadable] = []
        self.disruptions: list[compare.Disruption] = []
        self.counts = {"files": 0, "bytes": 0}
        self.adopted = 0
        self.dropped = 0
        self.writable: set[tuple[int, int]] = set()
        self.digest = StateDigest()
        self.clock = attribution.ReadClock()
        self._directory = directory
        self._readings = readings
        self._scope = scope
        self._previous_scope = previous_scope
        self.survey = survey
        self._new = NewVersions(scan_id)
        self._is_marked = False
        self._ended: list[int] = []
        self._dropped: list[int] = []

    @property
    def unwritten(self) -> int:
        """How many rows :meth:`flush` would write."""
        return len(self._new) + len(self._ended) + len(self._dropped)

    @property
    def begun(self) -> bytes | None:
        """The digest of the written versions; ``None`` if it has to be computed from the stored rows."""
        return None if self._is_marked else self._new.digest

    @property
    def is_first(self) -> bool:
        """Whether there is no earlier scan: new files are the baseline then, not changes."""
        return self._previous_scope is None

    def is_new(self, path: bytes) -> bool:
        """Whether the previous scan did not cover this path."""
        return self._previous_scope is None or not self._previous_scope.includes(path, is_directory=False)

    def count(self, block: Block) -> None:
        """Count the files of a block, and note when they were read."""
        if not block.states:
            return
        self.writable.update(block.writable)
        self.counts["files"] += block.states
        self.counts["bytes"] += block.bytes
        read_ns = block.seen_ns
        if block.vouched:
            read_ns = min(read_ns, block.vouched_ns)
            self.counts["vouched"] = self.counts.get("vouched", 0) + block.vouched
            self.counts["vouched_ns"] = min(self.counts.get("vouched_ns", read_ns), block.vouched_ns)
        self.clock.note(block.paths[0], read_ns, block.states, block.seen_ns)

    def count_one(self, state: FileState) -> None:
        """Count a single file, and note when it was read."""
        self.counts["files"] += 1
        self.counts["bytes"] += state.size if state.digests else 0
        self.clock.note(state.path, state.read_start_ns)

    def keep(self, digests: bytes) -> None:
        """Keep stored versions valid; ``digests`` are those of their states, concatenated."""
        self.digest.add(digests)

    def record_failure(self, pair: compare.Pair[Any, Any], digest: bytes | None) -> None:
        """Record an unreadable path; its stored version, with ``digest``, stays valid."""
        assert pair.unreadable is not None, "only unreadable paths are failures"
        if pair.unreadable.path == pair.path:
            self.unreadable.append(pair.unreadable)
        if digest is not None:
            self.keep(digest)

    def record_gone(self, version: files.Version, seen_ns: int) -> None:
        """Record that a stored file is gone, as seen at ``seen_ns``, or that it is no longer covered."""
        state = version.state
        if self._scope.includes(state.path, is_directory=state.kind is FileKind.DIRECTORY):
            self._ended.append(version.id)
            self._note_either(state, None, seen_ns)
        else:
            self._dropped.append(version.id)
            self.dropped += 1

    def record_baseline(self, block: Block) -> None:
        """Record a whole block of the first scan."""
        self.keep(b"".join(block.digests))
        states = block.all_states()
        self.survey.learn(states)
        self._new.add(states, adopted=True)

    def record_new(self, after: Packed) -> None:
        """Record a path of which nothing is stored."""
        scope = self._previous_scope
        if scope is None:
            self._add(after, adopted=True)
            return
        state = unpack(after)
        known = scope.includes(state.path, is_directory=state.kind is FileKind.DIRECTORY)
        self._add(after, adopted=not known)
        if known:
            self._note_either(None, state, state.read_end_ns)
        else:
            self.adopted += 1

    def record_seen(self, version: files.Version, after: Packed) -> None:
        """Record a path whose state may differ from the stored version."""
        now = unpack(after)
        before = self.survey.with_new_identity(version.state, now)
        if compare.same_state(before, now):
            self.keep(version.digest)
            return
        self._ended.append(version.id)
        if self._scope.is_append_only(now.path) and compare.has_grown(before, now):
            self._add(after, adopted=False, followed=True)
            self._note_growth(before, now)
        else:
            self._add(after, adopted=False)
            self._note_either(before, now, now.read_end_ns)

    def _add(self, packed: Packed, *, adopted: bool, followed: bool = False) -> None:
        self.digest.add(packed[-1])
        self.survey.learn((packed,))
        self._new.add((packed,), adopted=adopted, followed=followed)

    def _note_either(self, before: FileState | None, after: FileState | None, seen_ns: int) -> None:
        """Note a change or, for a log, a disruption: that can be judged only after all files were seen."""
        window = self._window(before, after, seen_ns)
        path = (after or before).path  # type: ignore[union-attr]  # one side is always there
        if self._scope.is_append_only(path) and FileKind.FILE in {s.kind for s in (before, after) if s is not None}:
            self.disruptions.append(compare.Disruption(before=before, after=after, window=window))
        else:
            self._note(compare.change_of(before, after, window))

    def _note_growth(self, before: FileState, after: FileState) -> None:
        if after.size > before.size:
            self.counts["logs_grown"] = self.counts.get("logs_grown", 0) + 1
        self._note(compare.growth(before, after, self._window(before, after, after.read_end_ns)))

    def _window(self, before: FileState | None, after: FileState | None, seen_ns: int) -> Window:
        return Window(after_ns=self._readings.last_read(before, after), before_ns=seen_ns)

    def _note(self, change: Change | None) -> None:
        if change is not None:
            self.changes.append(change)

    def settle(self, session: Session, judgements: Sequence[compare.Judgement]) -> None:
        """Record the judgements of disrupted logs; what rotation does not explain is a change."""
        followed = [judgement.path for judgement in judgements if judgement.is_followed]
        retired = [judgement.path for judgement in judgements if judgement.is_retired]
        files.mark_expected(session, self.scan_id, followed=followed, retired=retired)
        self._is_marked |= bool(followed)
        if followed or retired:
            self.counts["logs_rotated"] = len({*followed, *retired})
        if judged := [judgement.change for judgement in judgements if judgement.change is not None]:
            judged.sort(key=_PATH)
            self.changes = Spool(heapq.merge(self.changes, judged, key=_PATH), self._directory, few=MANY)
        self.disruptions.clear()

    def forget_changes(self) -> None:
        """Forget the changes, which the caller has taken."""
        self.changes = Spool()

    def flush(self, session: Session) -> None:
        """Write the versions that began and ended since the last call."""
        files.end_versions(session, self._ended, self.scan_id)
        files.end_versions(session, self._dropped, self.scan_id, dropped=True)
        self._new.write(session)
        self._ended, self._dropped = [], []
