"""Say what was pruned, when and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fimscan.model import Checkpoint, Scan
from fimscan.report.display import minute_text, show

_MOST = 5  # checkpoints that are listed

# By the name of the table: one row, several rows.
_WORDS = {
    "scan": ("scan", "scans"),
    "file_version": ("version of a file", "versions of files"),
    "change": ("decided change", "decided changes"),
    "audit_block": ("block of audit records", "blocks of audit records"),
    "access": ("access", "accesses"),
    "control_failure": ("failure of a control", "failures of controls"),
    "control_note": ("note on such a failure", "notes on such failures"),
    "missed_run": ("record of missed runs", "records of missed runs"),
    "outbox": ("message", "messages"),
    "journal": ("journal entry", "journal entries"),
    "content": ("kept content", "kept contents"),
    "process": ("record of a process", "records of processes"),
    "process_fact": ("login, crash or look at a process", "logins, crashes and looks at processes"),
    "notice": ("audit notice", "audit notices"),
    "observation": ("observation of audit", "observations of audit"),
    "witness_event": ("fanotify event", "fanotify events"),
    "witness_extent": ("fanotify extent", "fanotify extents"),
    "unreadable": ("unreadable file of a scan", "unreadable files of scans"),
    "holder": ("holder of a file", "holders of files"),
    "unmodified_open": ("open without a change", "opens without a change"),
    "in_effect": ("list of running programs", "lists of running programs"),
    "clock_look": ("look at the clock", "looks at the clock"),
    "devices": ("list of file systems", "lists of file systems"),
    "configuration": ("configuration", "configurations"),
}


def counted_text(name: str, count: int) -> str:
    """A number of rows of a table: ``3 scans``."""
    one, several = _WORDS.get(name, (name, name))
    return f"{count:,} {one if count == 1 else several}"


def removed_text(removed: Mapping[str, int]) -> str:
    """``1,200 accesses, 3 scans``; the tables in their order above."""
    found = [counted_text(name, removed[name]) for name in _WORDS if removed.get(name)]
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
