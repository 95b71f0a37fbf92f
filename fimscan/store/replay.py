"""Replay ledger and journal: find breaks in the chains, and the digests that the covered rows must have."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from fimscan.model import Checkpoint, Scan, ScanStatus
from fimscan.store.journal import GONE, Cause, Entry
from fimscan.store.ledger import GENESIS, in_chain, latest_checkpoint
from fimscan.store.registry import Noted, Subject
from fimscan.store.row_digests import Item

_NOTED = frozenset(subject for subject in Subject if isinstance(subject.rows, Noted))


class Covered:
    """What journal entries say of rows.

    Attributes:
        newest: by table and number, the newest digest of each row, or of the rows of each scan.
        rows: the items of noted rows.
    """

    def __init__(self) -> None:
        self.newest: dict[tuple[Subject, int], bytes] = {}
        self.rows: set[Item] = set()

    def apply(self, entry: Entry) -> bool:
        """Apply the items of an entry; return whether they could be read."""
        try:
            for one in entry.unpacked():
                if one.subject in _NOTED:
                    self.rows ^= {one}
                elif one.digest == GONE and entry.cause == Cause.PRUNE:
                    self.newest.pop((one.subject, one.id), None)
                else:
                    self.newest[one.subject, one.id] = one.digest
        except (ValueError, struct.error):
            return False
        return True


class Replay(Covered):
    """Both chains, replayed.

    Attributes:
        checkpoint: the newest one, which says where both chains begin; ``None`` if they are whole.
        scans: the finished scans and checkpoints of the ledger.
        kept: finished scans from before its beginning, which rows still refer to.
        count: the number of journal entries.
        problems: one sentence for each break in a chain.
    """

    def __init__(self, scans: Sequence[Scan], journal: Iterable[Entry], still_open: Entry | None) -> None:
        super().__init__()
        finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
        self.checkpoint: Checkpoint | None = latest_checkpoint(finished)
        self.scans = in_chain(finished)
        self.kept = finished[: len(finished) - len(self.scans)]
        self.count = 0
        self.problems: list[str] = []
        sealed = self.checkpoint
        self._begin = GENESIS if sealed is None else sealed.entry
        self._place: dict[str, int] = {}
        bound: list[tuple[int, str]] = []
        last = first = GENESIS if sealed is None else sealed.journal or GENESIS
        for item in journal:
            if item.previous != last:
                self.problems.append(
                    f"journal entry {item.id} does not follow the one before: an entry is missing, or was altered"
                )
            if not item.holds or not self.apply(item):
                self.problems.append(f"journal entry {item.id} was altered: its digest does not match its contents")
            last = item.entry
            self._place[item.entry] = self.count
            bound.append((item.id, item.scan_entry))
            self.count += 1
        if first != GENESIS:
            self._place[first] = -1
        self.problems += self._check_links(bound)
        if still_open is not None:
            follows = still_open.scan_entry == (self.scans[-1].entry if self.scans else GENESIS)
            if not follows or not still_open.holds or not self.apply(still_open):
                self.problems.append("the journal's open entry was altered: it is not the one that fimscan wrote last")

    def covers(self, entry_text: str) -> bool:
        """Whether ``entry_text`` is an entry of either chain."""
        if entry_text == self._begin != GENESIS:
            return True
        return entry_text in self._place or any(scan.entry == entry_text for scan in self.scans)

    def _check_links(self, bound: Sequence[tuple[int, str]]) -> Iterator[str]:
        """Check that each journal entry names the scan before it, and each scan the journal entry before it.

        So nothing was cut out of one chain alone.
        """
        ends: list[tuple[int, str]] = []  # (number of journal entries at that time, the scan's entry)
        for scan in self.scans:
            if scan.journal and scan.journal not in self._place:
                yield f"scan {scan.id} names a journal entry that does not exist: the journal was cut off or rebuilt"
                return
            ends.append((self._place[scan.journal] + 1 if scan.journal else 0, scan.entry))
        if ends != sorted(ends, key=lambda end: end[0]):
            yield "scans name journal entries out of order: a scan was altered"
            return
        following = iter([*ends, (len(bound) + 1, "")])
        until, upcoming = next(following)
        current = self._begin
        for place, (number, scan_entry) in enumerate(bound):
            while until <= place and upcoming:
                current = upcoming
                until, upcoming = next(following)
            if scan_entry != current:
                yield f"journal entry {number} does not name the scan before it: a scan is missing, or was altered"
