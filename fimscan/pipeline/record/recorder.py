"""What was found, beside what is stored -> what is stored from now on, and what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fimscan import attribution, compare
from fimscan.model import Change, FileKind, FileState, Unreadable, Window
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.last_read import Readings
from fimscan.scan.block import Block
from fimscan.scan.scope import Scope
from fimscan.state_row import Packed, unpack
from fimscan.store import files
from fimscan.store.ledger import StateDigest
from fimscan.store.session import Session
from fimscan.store.version_writer import NewVersions


class Recorder:
    """Turns what was found, beside what is stored, into stored versions, and remembers what changed.

    All of its methods are told of paths in increasing order.
    """

    def __init__(
        self,
        scan_id: int,
        readings: Readings,
        scope: Scope,
        previous_scope: Scope | None,
        survey: Survey,
    ) -> None:
        self.scan_id = scan_id
        self.changes: list[Change] = []
        self.unreadable: list[Unreadable] = []
        self.disruptions: list[compare.Disruption] = []
        self.counts = {"files": 0, "bytes": 0}
        self.adopted = 0
        self.dropped = 0
        self.writable: set[tuple[int, int]] = set()
        self.digest = StateDigest()
        self.clock = attribution.ReadClock()
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
        """How much waits for :meth:`flush`."""
        return len(self._new) + len(self._ended) + len(self._dropped)

    @property
    def begun(self) -> bytes | None:
        """The digest of the versions that were written; ``None`` where they have to be read for it."""
        return None if self._is_marked else self._new.digest

    @property
    def is_first(self) -> bool:
        """Whether there is nothing to compare with: what is new is the baseline, and no change."""
        return self._previous_scope is None

    def is_new(self, path: bytes) -> bool:
        """Whether the scan before did not look at this path at all."""
        return self._previous_scope is None or not self._previous_scope.includes(path, is_directory=False)

    def count(self, block: Block) -> None:
        """What is in a block, and when it was read."""
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
        """A single file, and when it was read."""
        self.counts["files"] += 1
        self.counts["bytes"] += state.size if state.digests else 0
        self.clock.note(state.path, state.read_start_ns)

    def keep(self, digests: bytes) -> None:
        """One version, or several, stays valid; these are the digests of their states."""
        self.digest.add(digests)

    def record_failure(self, pair: compare.Pair[Any, Any], digest: bytes | None) -> None:
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
            self._note_either(state, None, seen_ns)
        else:
            self._dropped.append(version.id)
            self.dropped += 1

    def record_baseline(self, block: Block) -> None:
        """All of a block that was read as a whole is new, as everything is."""
        self.keep(b"".join(block.digests))
        states = block.all_states()
        self.survey.learn(states)
        self._new.add(states, adopted=True)

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
            self._note_either(None, state, state.read_end_ns)
        else:
            self.adopted += 1

    def record_seen(self, version: files.Version, after: Packed) -> None:
        """What is stored may not be what was found."""
        now = unpack(after)
        before = self.survey.aligned(version.state, now)
        if compare.says_the_same(before, now):
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
        """A change or, where what becomes of a log's content is not known before all was seen, a disruption."""
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
        """What became of the disrupted logs: the rest is a change like any other."""
        followed = [one.path for one in judgements if one.is_followed]
        retired = [one.path for one in judgements if one.is_retired]
        files.mark(session, self.scan_id, followed=followed, retired=retired)
        self._is_marked |= bool(followed)
        if followed or retired:
            self.counts["logs_rotated"] = len({*followed, *retired})
        for one in judgements:
            self._note(one.change)
        self.disruptions.clear()

    def flush(self, session: Session) -> None:
        """Write the versions that began and ended since the last time."""
        files.end(session, self._ended, self.scan_id)
        files.end(session, self._dropped, self.scan_id, dropped=True)
        self._new.write(session)
        self._ended, self._dropped = [], []
