"""Logs that are more than longer: where is what they held? Rotated, copied, compressed, or nowhere."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection

from fimscan import join
from fimscan.model import FileKind, FileState
from fimscan.scan.spot import Spotter
from fimscan.store import files

Keep = Callable[[bytes], int]
"""How many rotated generations of a log are to be kept; 0 where nobody said, so that each is missed."""


class LogJudge:
    """Finds what logs held, and says what became of each.

    Args:
        connection: the store, to which everything that was found is written already.
        host_id: whose files.
        since: the scan from which on earlier states of a log still explain what is found now.
        spotter: reads candidates again.
        keep: see :data:`Keep`.
    """

    def __init__(self, connection: Connection, host_id: int, since: int, spotter: Spotter, keep: Keep) -> None:
        self._connection = connection
        self._host_id = host_id
        self._since = since
        self._spotter = spotter
        self._keep = keep
        self._kept: set[bytes] = set()
        self._homes: set[bytes] = set()

    def judge(self, disruptions: Sequence[join.Disruption]) -> list[join.Judgement]:
        """What each of them is, in the same order."""
        lost = [d.before for d in disruptions if d.before is not None and d.before.kind is FileKind.FILE]
        new = [d.after for d in disruptions if d.after is not None and d.after.kind is FileKind.FILE]
        by_size: dict[int, list[FileState]] = defaultdict(list)
        for old in lost:
            by_size[old.size].append(old)
        for candidate in new:
            for old in by_size[candidate.size]:
                if _is_elsewhere(old, candidate) and join.is_copy(candidate, old):
                    self._note(candidate, old)
            if any(join.is_next_generation(candidate, old) for old in by_size[0]):
                self._homes.add(candidate.path)
        for candidate in new:
            self._look_into(candidate, [old for old in lost if self._may_be_in(old, candidate)])
        for candidate in new:
            if candidate.path not in self._homes:
                self._look_into(candidate, self._earlier(candidate))
        for old in lost:
            if old.path not in self._kept:
                self._look_beside(old, {candidate.path for candidate in new})
        return [self._judgement(one) for one in disruptions]

    def _judgement(self, one: join.Disruption) -> join.Judgement:
        old = one.before
        is_kept = old is None or old.kind is not FileKind.FILE or old.size == 0 or old.path in self._kept
        return join.judge(
            one,
            is_kept=is_kept,
            is_home=one.path in self._homes,
            is_expired=old is not None and not is_kept and self._is_expired(old),
        )

    # ----------------------------------------------------------------------------------------------------------------

    def _note(self, candidate: FileState, old: FileState) -> None:
        self._homes.add(candidate.path)
        self._kept.add(old.path)

    def _may_be_in(self, old: FileState, candidate: FileState) -> bool:
        if not _is_elsewhere(old, candidate):
            return False
        return old.path not in self._kept or join.family(old.path) == join.family(candidate.path)

    def _look_into(self, candidate: FileState, olds: Sequence[FileState]) -> None:
        """Read a file for the beginnings that it may share with what others held."""
        olds = [old for old in olds if old.size and old.digests and _is_elsewhere(old, candidate)]
        if not olds or (candidate.path in self._homes and all(old.path in self._kept for old in olds)):
            return
        algorithms = sorted({digest.algorithm for old in olds for digest in old.digests})
        try:
            found = self._spotter.prefixes(candidate, sorted({old.size for old in olds}), algorithms)
        except OSError:  # what cannot be read is not where something is found
            return
        for prefixes in found:
            for old in olds:
                if join.are_of(prefixes.get(old.size, ()), old):
                    self._note(candidate, old)

    def _earlier(self, candidate: FileState) -> list[FileState]:
        """What logs of the same family hold, or held a little while ago.

        A scan may come in the middle of a rotation, or see the copy before the log is truncated.
        """
        return [version.state for version in self._family(candidate.path, self._since)]

    def _look_beside(self, old: FileState, known: set[bytes]) -> None:
        """What its directory has by now: a rotation may have gone on since that was listed."""
        directory, family = old.path.rpartition(b"/")[0], join.family(old.path)
        try:
            names = os.listdir(directory or b"/")  # a hint only: what is there is reached by descriptors
        except OSError:
            return
        for path in sorted(directory + b"/" + name for name in names):
            if join.family(path) == family and path not in known and path != old.path:
                for state in self._spotter.look(path):
                    if isinstance(state, FileState) and state.kind is FileKind.FILE:
                        self._look_into(state, [old])
            if old.path in self._kept:
                return

    def _family(self, path: bytes, since: int | None = None) -> Iterable[files.Version]:
        """The stored files of a log's family; with ``since``, also those of that and later scans that are gone."""
        family = join.family(path)
        versions = files.beginning_with(self._connection, self._host_id, join.common_beginning(path), since)
        return (v for v in versions if join.family(v.state.path) == family and v.state.kind is FileKind.FILE)

    def _is_expired(self, old: FileState) -> bool:
        """Whether it was a rotated log, and as many newer ones are there as are to be kept.

        By the ctime, which a rotation sets of the oldest first, and which nobody can set back.
        """
        keep = self._keep(old.path)
        if not keep or not join.is_generation(old.path):
            return False
        newer = [
            version
            for version in self._family(old.path)
            if join.is_generation(version.state.path) and version.state.ctime_ns >= old.ctime_ns
        ]
        return len(newer) >= keep


def _is_elsewhere(old: FileState, candidate: FileState) -> bool:
    return old.path != candidate.path
