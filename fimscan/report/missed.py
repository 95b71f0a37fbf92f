"""Describe scheduled runs that did not happen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fimscan.model import MissedCause, MissedRuns
from fimscan.timing import local_text

MISSED_WORDS = {
    MissedCause.DOWN: "fimscan was not running",
    MissedCause.ASLEEP: "fimscan was stopped, or the machine was suspended",
    MissedCause.BUSY: "an earlier run took until now",
}


def missed_text(found: MissedRuns) -> str:
    """Say which runs were missed, and why."""
    kind, first, last = found.job.replace("full", "full scan"), found.first_ns / 1e9, found.last_ns / 1e9
    if found.count == 1:
        return f"a {kind} was missed, at {local_text(first)}: {MISSED_WORDS[found.cause]}"
    what = f"{found.count:,} {kind}s were missed, from {local_text(first)} to {local_text(last)}"
    return f"{what}: {MISSED_WORDS[found.cause]}. One makes up for all"


def missed_lines(found: Iterable[MissedRuns]) -> Iterator[str]:
    """A line about each row of missed runs."""
    for item in found:
        yield f"Schedule: {missed_text(item)}"
