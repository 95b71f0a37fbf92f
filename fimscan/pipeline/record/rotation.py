"""Logs that changed by more than growth: find where their verified content is now, each generation on its own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from fimscan import compare
from fimscan.model import FileKind, FileState
from fimscan.scan.path_scan import PathScanner
from fimscan.store import files
from fimscan.store.session import Session

Keep = Callable[[bytes], int]
"""How many rotated generations of a log are kept; with 0, every one that is gone is reported."""


class LogJudge:
    """Finds what logs held, and says what became of each.

    A file stands for one generation only: of two generations with the same content, two have to be there.

    Args:
        session: the store, to which everything that was found is written already.
        since: the scan from which on earlier states of a log still explain what is found now.
        path_scanner: reads candidates again.
        keep: see :data:`Keep`.
    """

    def __init__(self, session: Session, since: int, path_scanner: PathScanner, keep: Keep) -> None:
        self._session = session
        self._since = since
        self._path_scanner = path_scanner
        self._keep = keep
        self._lost: list[FileState] = []
        self._lost_at: dict[bytes, FileState] = {}
        self._new: dict[bytes, FileState] = {}
        self._places: dict[bytes, list[bytes]] = {}
        self._at: dict[bytes, bytes] = {}  # old path -> where its content is
        self._held: dict[bytes, FileState] = {}  # the other way round
        self._homes: set[bytes] = set()
        self._families: dict[tuple[bytes, int | None], list[files.Version]] = {}

    def judge(self, disruptions: Sequence[compare.Disruption]) -> list[compare.Judgement]:
        """What each of them is, in the same order."""
        self._lost = [d.before for d in disruptions if d.before is not None and d.before.kind is FileKind.FILE]
        self._new = {d.path: d.after for d in disruptions if d.after is not None and d.after.kind is FileKind.FILE}
        self._lost_at = {old.path: old for old in self._lost}
        self._places = {old.path: [] for old in self._lost}
        self._look_at_digests()
        for candidate in self._new.values():
            self._look_into(candidate, [old for old in self._lost if self._may_be_in(old, candidate)])
        for candidate in self._new.values():
            if candidate.path not in self._homes:
                self._look_for_copies(candidate)
        self._assign()
        if missed := [old for old in self._lost if old.size and old.path not in self._at]:
            for old in missed:
                self._look_beside(old)
            self._assign()
        misplaced = compare.out_of_order(list(self._at.items()))
        return [self._judgement(one, misplaced) for one in disruptions]

    def _assign(self) -> None:
        """Give each old content a file of its own.

        The very file that held it, under its next name, comes first: compressed logs that were empty are all the same.
        """
        options = {
            old.path: sorted(self._places[old.path], key=lambda path: (not self._is_file(path, old), path == old.path))
            for old in self._lost
        }
        moved = {old.path for old in self._lost if any(self._is_file(path, old) for path in options[old.path][:1])}
        olds = sorted(options, key=lambda path: (path not in moved, path))
        found = compare.assigned([options[path] for path in olds])
        self._at = {olds[number]: place for number, place in found.items()}
        self._held = {place: self._lost_at[path] for path, place in self._at.items()}

    def _is_file(self, path: bytes, old: FileState) -> bool:
        """Whether the file at another path is the very one that held an old content."""
        now = self._new.get(path)
        return now is not None and path != old.path and now.identity == old.identity

    def _judgement(self, one: compare.Disruption, misplaced: frozenset[bytes]) -> compare.Judgement:
        old = one.before
        held_something = old is not None and old.kind is FileKind.FILE and old.size > 0
        place = self._at.get(one.path)
        where = compare.Whereabouts(
            is_kept=not held_something or (place is not None and place != one.path),
            is_misplaced=one.path in misplaced,
            is_in_place=place == one.path,
        )
        is_expired = old is not None and place is None and held_something and self._is_expired(old)
        is_home = one.path in self._homes or (old is not None and is_expired and self._is_rotated_past(old))
        return compare.judge(one, where, is_home=is_home, is_expired=is_expired)

    # ----------------------------------------------------------------------------------------------------------------
    # Where old contents are

    def _note(self, candidate: FileState, old: FileState) -> None:
        if old.size and candidate.path not in self._places[old.path]:
            self._places[old.path].append(candidate.path)
        if old.path != candidate.path:
            self._homes.add(candidate.path)

    def _look_at_digests(self) -> None:
        """What is known without reading: files that hold an old content and nothing else, or begin with their own."""
        by_size: dict[int, list[FileState]] = defaultdict(list)
        for old in self._lost:
            by_size[old.size].append(old)
            candidate = self._new.get(old.path)
            if old.size and candidate is not None and compare.begins_with(candidate, old):
                self._note(candidate, old)
        for candidate in self._new.values():
            for old in by_size[candidate.size]:
                if _is_elsewhere(old, candidate) and compare.is_copy(candidate, old):
                    self._note(candidate, old)
            if any(compare.is_next_generation(candidate, old) for old in by_size[0]):
                self._homes.add(candidate.path)

    def _may_be_in(self, old: FileState, candidate: FileState) -> bool:
        """Whether to look for an old content in a file: always in its own log's, elsewhere while it is not found."""
        if not _is_elsewhere(old, candidate):
            return False
        return not self._places[old.path] or compare.family(old.path) == compare.family(candidate.path)

    def _look_into(self, candidate: FileState, olds: Sequence[FileState]) -> None:
        """Read a file for the beginnings that it may share with what others held."""
        olds = [old for old in olds if old.size and old.digests and candidate.path not in self._places[old.path]]
        for old in self._begun_by(candidate, olds):
            self._note(candidate, old)

    def _begun_by(self, candidate: FileState, olds: Sequence[FileState]) -> list[FileState]:
        """Those whose whole content a file begins with, as it is or unpacked."""
        if not olds:
            return []
        algorithms = sorted({digest.algorithm for old in olds for digest in old.digests})
        try:
            found = self._path_scanner.prefixes(candidate, sorted({old.size for old in olds}), algorithms)
        except OSError:  # what cannot be read is not where something is found
            return []
        return [old for old in olds if any(compare.are_of(prefixes.get(old.size, ()), old) for prefixes in found)]

    def _look_for_copies(self, candidate: FileState) -> None:
        """Whether a file holds what a log of its family holds still, or held a little while ago.

        A scan may come in the middle of a rotation, or see the copy before the log is truncated. That explains what
        the file is, and says nothing of where another content is.
        """
        earlier = [
            version.state
            for version in self._family(candidate.path, self._since)
            if version.state.size and version.state.digests and _is_elsewhere(version.state, candidate)
        ]
        copies = [old for old in earlier if old.size == candidate.size and compare.is_copy(candidate, old)]
        if copies or self._begun_by(candidate, earlier):
            self._homes.add(candidate.path)

    def _look_beside(self, old: FileState) -> None:
        """What its directory has beside what this scan found new.

        A rotation may have gone on since that was listed, or have been begun when an earlier scan saw it.
        """
        directory, family = old.path.rpartition(b"/")[0], compare.family(old.path)
        try:
            names = os.listdir(directory or b"/")  # a hint only: what is there is reached by descriptors
        except OSError:
            return
        for path in sorted(directory + b"/" + name for name in names):
            if compare.family(path) != family or path in self._new or path == old.path:
                continue
            for state in self._path_scanner.look(path):
                if isinstance(state, FileState) and state.kind is FileKind.FILE and self._may_stand_for(state, old):
                    self._look_into(state, [old])

    def _may_stand_for(self, found: FileState, old: FileState) -> bool:
        """Whether a file that is no news to this scan may be where a log's content went.

        It is the same file under its next name, or it came as a copy while the log held that already: a file that had
        come by itself stands for another generation, also where it has the same content.
        """
        known = next((v for v in self._family(found.path) if v.state.path == found.path), None)
        if known is None or not compare.says_the_same(known.state, found) or found.identity == old.identity:
            return True
        if not known.followed or not compare.is_generation(found.path):
            return False
        earlier = [v for v in self._family(old.path, min(known.first_scan, self._since)) if v.end_scan is not None]
        if any(v.end_scan == known.first_scan and v.state.identity == found.identity for v in earlier):
            return False  # it was moved there, with a content of its own
        held = [v.first_scan for v in earlier if v.state.path == old.path and v.state.identity == old.identity]
        return bool(held) and held[0] < known.first_scan and held[-1] <= known.first_scan

    # ----------------------------------------------------------------------------------------------------------------
    # Which content was due to go

    def _is_expired(self, old: FileState) -> bool:
        """Whether it was a rotated log, and as many newer ones are there as are to be kept.

        What was never verified is newer only where its number says that it is newer than some that is known to be.
        """
        keep = self._keep(old.path)
        if not keep or not compare.is_generation(old.path):
            return False
        there = [v.state for v in self._family(old.path) if compare.is_generation(v.state.path)]
        unknown = [one for one in there if one.path in self._new and one.path not in self._held]
        newer = [one for one in there if one not in unknown and self._is_newer(one, old)]
        newer += [one for one in unknown if any(self._is_newer_name(one.path, known.path) for known in newer)]
        return len(newer) >= keep

    def _is_newer(self, found: FileState, old: FileState) -> bool:
        """Whether a rotated log that is there holds what was verified, and was newer than an old content.

        What counts is where its content was before: the ctime that it has now is that of the last rotation. Before
        that, the ctime (which a rotation sets of the oldest first) and the mtime tell, and both have to.
        """
        found = self._held.get(found.path, found)
        if not compare.is_generation(found.path):
            return True
        return found.path != old.path and found.ctime_ns >= old.ctime_ns and found.mtime_ns >= old.mtime_ns

    def _is_newer_name(self, path: bytes, than: bytes) -> bool:
        """Whether one generation is newer than another by its number, or its date."""
        numbers = compare.generation_numbers(path), compare.generation_numbers(than)
        return numbers[0] > numbers[1] if self._counts_upwards(path) else numbers[0] < numbers[1]

    def _counts_upwards(self, path: bytes) -> bool:
        """Whether the newest generation of this log has the highest number: by when those before were last rotated."""
        family = compare.family(path)
        before = [one for one in self._lost if compare.family(one.path) == family]
        before += [v.state for v in self._family(path) if v.state.path not in self._new]
        before = [one for one in before if compare.is_generation(one.path)]
        if len(before) < 2:
            return False
        ends = [pick(before, key=lambda one: compare.generation_numbers(one.path)) for pick in (min, max)]
        return ends[0].ctime_ns < ends[1].ctime_ns

    def _is_rotated_past(self, old: FileState) -> bool:
        """Whether a newer content is now at its number, or further on: then it had to go there before that."""
        there = (v.state for v in self._family(old.path) if v.state.path in self._held)
        return any(self._is_newer(one, old) for one in there if not self._is_newer_name(one.path, old.path))

    def _family(self, path: bytes, since: int | None = None) -> Iterable[files.Version]:
        """The stored files of a log's family; with ``since``, also those of that and later scans that are gone.

        Oldest first, for each path.
        """
        family = compare.family(path)
        if (family, since) not in self._families:
            beginning = compare.common_beginning(path)
            versions = files.beginning_with(self._session, beginning, since)
            self._families[family, since] = sorted(
                (v for v in versions if compare.family(v.state.path) == family and v.state.kind is FileKind.FILE),
                key=lambda version: (version.state.path, version.first_scan),
            )
        return self._families[family, since]


def _is_elsewhere(old: FileState, candidate: FileState) -> bool:
    return old.path != candidate.path
