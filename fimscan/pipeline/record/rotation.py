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
    """Finds where the content of disrupted logs is now, and judges what happened to each.

    A file counts for one generation only: for two generations with equal content, two files have to exist.

    Args:
        session: the store; everything that the scan found has to be written already.
        since: a scan; states of a log that were valid at or after it may explain a file that is found now.
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
        self._at: dict[bytes, bytes] = {}  # old path -> the path where its content is now
        self._held: dict[bytes, FileState] = {}  # path -> the old state whose content is there now
        self._explained: set[bytes] = set()  # new files that hold, or begin with, what a log of the family held
        self._families: dict[tuple[bytes, int | None], list[files.Version]] = {}

    def judge(self, disruptions: Sequence[compare.Disruption]) -> list[compare.Judgement]:
        """Judge each disruption; return the judgements in the same order."""
        self._lost = [d.before for d in disruptions if d.before is not None and d.before.kind is FileKind.FILE]
        self._new = {d.path: d.after for d in disruptions if d.after is not None and d.after.kind is FileKind.FILE}
        self._lost_at = {old.path: old for old in self._lost}
        self._places = {old.path: [] for old in self._lost}
        self._look_at_digests()
        for candidate in self._new.values():
            self._look_into(candidate, [old for old in self._lost if self._may_be_in(old, candidate)])
        for candidate in self._new.values():
            if candidate.path not in self._explained:
                self._look_for_copies(candidate)
        self._assign()
        if missed := [old for old in self._lost if old.size and old.path not in self._at]:
            for old in missed:
                self._look_in_directory(old)
            self._assign()
        misplaced = compare.out_of_order(list(self._at.items()))
        return [self._judgement(disruption, misplaced) for disruption in disruptions]

    def _assign(self) -> None:
        """Assign to each old content a file of its own.

        The same file (device and inode) under its next name comes first: compressed empty logs all have equal content.
        """
        options = {
            old.path: sorted(self._places[old.path], key=lambda path: (not self._is_file(path, old), path == old.path))
            for old in self._lost
        }
        moved = {old.path for old in self._lost if any(self._is_file(path, old) for path in options[old.path][:1])}
        olds = sorted(options, key=lambda path: (path not in moved, path))
        found = compare.assign_files([options[path] for path in olds])
        self._at = {olds[number]: place for number, place in found.items()}
        self._held = {place: self._lost_at[path] for path, place in self._at.items()}

    def _is_file(self, path: bytes, old: FileState) -> bool:
        """Whether the file at another path is the same file (device and inode) that held an old content."""
        now = self._new.get(path)
        return now is not None and path != old.path and now.identity == old.identity

    def _judgement(self, disruption: compare.Disruption, misplaced: frozenset[bytes]) -> compare.Judgement:
        old, path = disruption.before, disruption.path
        held_something = old is not None and old.kind is FileKind.FILE and old.size > 0
        place = self._at.get(path)
        where = compare.ContentLocation(
            is_kept=not held_something or (place is not None and place != path),
            is_misplaced=path in misplaced,
            is_in_place=place == path,
        )
        is_expired = old is not None and place is None and held_something and self._is_expired(old)
        is_home = path in self._explained or (old is not None and is_expired and self._is_rotated_past(old))
        return compare.judge(disruption, where, is_home=is_home, is_expired=is_expired)

    # ----------------------------------------------------------------------------------------------------------------
    # Find where old contents are

    def _note(self, candidate: FileState, old: FileState) -> None:
        """Note that a file has, or begins with, an old content."""
        if old.size and candidate.path not in self._places[old.path]:
            self._places[old.path].append(candidate.path)
        if old.path != candidate.path:
            self._explained.add(candidate.path)

    def _look_at_digests(self) -> None:
        """Find by digest, without reading: files equal to an old content, and logs that begin with their own."""
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
                self._explained.add(candidate.path)

    def _may_be_in(self, old: FileState, candidate: FileState) -> bool:
        """Whether to look for an old content in a file: always in its own family, elsewhere until it is found."""
        if not _is_elsewhere(old, candidate):
            return False
        return not self._places[old.path] or compare.family(old.path) == compare.family(candidate.path)

    def _look_into(self, candidate: FileState, olds: Sequence[FileState]) -> None:
        """Read a file to see which old contents it begins with."""
        olds = [old for old in olds if old.size and old.digests and candidate.path not in self._places[old.path]]
        for old in self._begun_by(candidate, olds):
            self._note(candidate, old)

    def _begun_by(self, candidate: FileState, olds: Sequence[FileState]) -> list[FileState]:
        """Return the old states whose whole content a file begins with, as it is or decompressed."""
        if not olds:
            return []
        algorithms = sorted({digest.algorithm for old in olds for digest in old.digests})
        try:
            found = self._path_scanner.prefixes(candidate, sorted({old.size for old in olds}), algorithms)
        except OSError:  # nothing can be found in a file that cannot be read
            return []
        return [
            old for old in olds if any(compare.digests_match(prefixes.get(old.size, ()), old) for prefixes in found)
        ]

    def _look_for_copies(self, candidate: FileState) -> None:
        """Note whether a file is a copy of what a log of its family holds, or held at a recent scan.

        A scan may run in the middle of a rotation, and see the copy before the log is truncated. That explains the new
        file. It does not show where another old content is.
        """
        earlier = [
            version.state
            for version in self._family(candidate.path, self._since)
            if version.state.size and version.state.digests and _is_elsewhere(version.state, candidate)
        ]
        copies = [old for old in earlier if old.size == candidate.size and compare.is_copy(candidate, old)]
        if copies or self._begun_by(candidate, earlier):
            self._explained.add(candidate.path)

    def _look_in_directory(self, old: FileState) -> None:
        """Look for an old content in the log's directory, in files that are not new to this scan.

        The rotation may have gone on after the directory was listed. Or it had already begun at an earlier scan.
        """
        directory, family = old.path.rpartition(b"/")[0], compare.family(old.path)
        try:
            names = os.listdir(directory or b"/")  # only a hint: the files are opened by directory descriptors
        except OSError:
            return
        for path in sorted(directory + b"/" + name for name in names):
            if compare.family(path) != family or path in self._new or path == old.path:
                continue
            for state in self._path_scanner.look(path):
                if isinstance(state, FileState) and state.kind is FileKind.FILE and self._may_stand_for(state, old):
                    self._look_into(state, [old])

    def _may_stand_for(self, found: FileState, old: FileState) -> bool:
        """Whether a file that an earlier scan knew may hold a log's old content.

        Either it is the same file under its next name, or it appeared as a copy while the log held this content. Any
        other file is another generation, even if its content is equal.
        """
        known = next((v for v in self._family(found.path) if v.state.path == found.path), None)
        if known is None or not compare.same_state(known.state, found) or found.identity == old.identity:
            return True
        if not known.followed or not compare.is_generation(found.path):
            return False
        earlier = [v for v in self._family(old.path, min(known.first_scan, self._since)) if v.end_scan is not None]
        if any(v.end_scan == known.first_scan and v.state.identity == found.identity for v in earlier):
            return False  # it was moved there, and holds its own content
        held = [v.first_scan for v in earlier if v.state.path == old.path and v.state.identity == old.identity]
        return bool(held) and held[0] < known.first_scan and held[-1] <= known.first_scan

    # ----------------------------------------------------------------------------------------------------------------
    # Decide which content was due to be deleted

    def _is_expired(self, old: FileState) -> bool:
        """Whether a rotated log was due to be deleted: as many newer generations exist as are to be kept.

        A generation that was never verified counts as newer only if its number says so, relative to a verified newer
        one.
        """
        keep = self._keep(old.path)
        if not keep or not compare.is_generation(old.path):
            return False
        present = [v.state for v in self._family(old.path) if compare.is_generation(v.state.path)]
        unknown = [state for state in present if state.path in self._new and state.path not in self._held]
        newer = [state for state in present if state not in unknown and self._is_newer(state, old)]
        newer += [state for state in unknown if any(self._is_newer_name(state.path, known.path) for known in newer)]
        return len(newer) >= keep

    def _is_newer(self, found: FileState, old: FileState) -> bool:
        """Whether a present generation holds verified content that is newer than an old content.

        Compares the states before this rotation, since the present ctime is that of the rotation itself. Both ctime
        (a rotation sets that of the oldest first) and mtime have to be at least as late.
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
        """Whether newer generations of this log have higher numbers, by the ctimes of earlier generations."""
        family = compare.family(path)
        before = [one for one in self._lost if compare.family(one.path) == family]
        before += [v.state for v in self._family(path) if v.state.path not in self._new]
        before = [one for one in before if compare.is_generation(one.path)]
        if len(before) < 2:
            return False
        ends = [pick(before, key=lambda one: compare.generation_numbers(one.path)) for pick in (min, max)]
        return ends[0].ctime_ns < ends[1].ctime_ns

    def _is_rotated_past(self, old: FileState) -> bool:
        """Whether a newer content is now at the old number, or at an older one: the old content had to leave first."""
        present = (v.state for v in self._family(old.path) if v.state.path in self._held)
        return any(self._is_newer(state, old) for state in present if not self._is_newer_name(state.path, old.path))

    def _family(self, path: bytes, since: int | None = None) -> Iterable[files.Version]:
        """Load the stored files of a log's family, by path, oldest version first.

        With ``since``, include versions that ended at that scan or later.
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
