"""The result of a scan, as commands, the scheduler and reports use it."""

from __future__ import annotations

from msgspec import Struct

from fimscan.model import Diff, Scan, Unreadable


class ScanResult(Struct, frozen=True, kw_only=True):
    """What a scan found.

    Attributes:
        diff: the changes with their answers. For the first scan, the baseline, both ends are that scan itself.
        is_baseline: it is the first scan.
        adopted: how many paths a new configuration covers that the last one did not.
        dropped: how many paths a new configuration no longer covers.
        new_absent: configured paths that do not exist, are accepted as absent, and are watched for the first time.
        alarming: unreadable files that are reported (:func:`fimscan.pipeline.record.unread.select_reported`).
        new_problems: problems that the previous scan did not have; like changes, they alert once.
    """

    diff: Diff
    is_baseline: bool
    adopted: int = 0
    dropped: int = 0
    new_absent: tuple[bytes, ...] = ()
    alarming: tuple[Unreadable, ...] = ()
    new_problems: tuple[str, ...] = ()

    @property
    def scan(self) -> Scan:
        """The scan itself."""
        return self.diff.end
