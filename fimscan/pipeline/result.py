"""What a scan found: what is reported, to whomever it is reported."""

from __future__ import annotations

from dataclasses import dataclass

from fimscan.model import Diff, Scan, Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """What a scan found. For the first scan, the baseline, both ends of ``diff`` are that scan itself.

    ``adopted`` and ``dropped`` count the paths that a changed configuration brought into view or took out of it.
    ``new_absent`` are the configured paths that do not exist, as it should be, which are watched for the first time.
    ``new_problems`` were not already so at the scan before: they alert once, as changes do. ``alarming`` is what could
    not be read and is reported (:func:`fimscan.pipeline.record.unread.alarming`).
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
