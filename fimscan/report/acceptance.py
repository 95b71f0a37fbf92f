"""The text of ``fimscan accept --dry-run``: the changes that would be accepted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.text import Text

from fimscan.grouping.selection import Selected
from fimscan.report.change_sets import rank_words
from fimscan.report.console import write_lines
from fimscan.report.display import show
from fimscan.report.packages import why_not_as_shipped
from fimscan.report.text import row_title
from fimscan.report.words import plural, verdict_code

_INDENT = "    "
_NAMED = 3


def write_planned(changes: Sequence[Selected], out: TextIO, *, color: bool) -> None:
    """Write the changes that would be accepted, each with its change set, its verdict, and why it stands out."""
    write_lines(_lines(changes), out, color=color)


def unproved_lines(changes: Sequence[Selected]) -> Iterator[str]:
    """Why ``--package-as-shipped`` leaves changes: a line for each reason, with the first paths."""
    reasons: dict[str, list[str]] = {}
    for item in changes:
        finding = item.row.finding
        reasons.setdefault(why_not_as_shipped(finding.package), []).append(show(finding.change.path))
    for reason, paths in reasons.items():
        more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
        yield f"{plural(len(paths), 'change')} left out: {reason} ({', '.join(paths[:_NAMED])}{more})"


def _lines(changes: Sequence[Selected]) -> Iterator[Text]:
    for item in changes:
        yield row_title(item.finding)
        change, rank = item.finding.change, item.row.rank
        if change.moved_from is not None:
            yield Text(f"{_INDENT}from {show(change.moved_from)}")
        words = [f"set {item.row.number}", verdict_code(item.finding.attribution)]
        if item.number is not None:
            words.append(f"as of scan {item.finding.scan}")
        yield Text(_INDENT + ", ".join(words), style="dim")
        if rank.stands_out:
            yield Text(f"{_INDENT}stands out: {', '.join(rank_words(rank)[: rank.deciding])}", style="bold red")
