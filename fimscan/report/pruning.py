"""Say what was pruned, when and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fimscan.model import Checkpoint, Scan
from fimscan.report.display import minute_text, show

_MOST = 5  # checkpoints that are listed

# By the name of the table.
_WORDS = {
    "scan": "scans",
    "file_version": "versions of files",
    "change": "decided changes",
    "audit_block": "blocks of audit records",
    "access": "accesses",
    "control_failure": "failures of controls",
    "missed_run": "records of missed runs",
    "outbox": "messages",
    "journal": "journal entries",
    "content": "kept contents",
    "process": "records of processes",
    "process_fact": "logins, crashes and looks at processes",
    "notice": "audit notices",
    "observation": "observations of audit",
    "witness_event": "fanotify events",
    "witness_extent": "fanotify extents",
    "unreadable": "unreadable files of scans",
    "holder": "holders of files",
    "unmodified_open": "opens without a change",
    "in_effect": "lists of running programs",
    "devices": "lists of file systems",
    "configuration": "configurations",
}


def table_words(name: str) -> str:
    """What the rows of a table are, in the plural."""
    return _WORDS.get(name, name)


def removed_text(removed: Mapping[str, int]) -> str:
    """``1,200 accesses, 3 scans``; the tables in their order above."""
    found = [f"{removed[name]:,} {word}" for name, word in _WORDS.items() if removed.get(name)]
    return ", ".join(found) or "nothing"


def pruned_lines(scans: Sequence[Scan]) -> Iterator[str]:
    """Lines about the checkpoints in a chain, newest first, and about what was pruned in all."""
    sealed = [scan for scan in scans if scan.checkpoint is not None]
    for scan in sealed[: -_MOST - 1 : -1]:
        assert scan.checkpoint is not None, "selected"
        yield _line(scan, scan.checkpoint)
    newest = sealed[-1].checkpoint
    assert newest is not None, "selected"
    if newest.prunings > 1:
        yield f"in all {newest.prunings:,} prunings since {minute_text(newest.since_ns)}: {removed_text(newest.total)}"


def _line(scan: Scan, sealed: Checkpoint) -> str:
    begins = f"; the chains begin after scan {sealed.scan}" if sealed.scan else ""
    by = show(sealed.user.encode("utf-8", "surrogateescape"))
    return f"{minute_text(scan.started_ns)}, by {by}: {removed_text(sealed.removed)}{begins}"
