"""Print checks: each finding, its remedy below it, and a summary."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from fimscan.cli.context import Settings, use_color
from fimscan.cli.pager import paged
from fimscan.model import Check, CheckSeverity, worst
from fimscan.report.console import write_lines
from fimscan.report.documents.checks import checks_document
from fimscan.report.json import write_document

_MARKS = {
    CheckSeverity.OK: ("ok  ", "green"),
    CheckSeverity.NOTE: ("note", "cyan"),
    CheckSeverity.WARNING: ("WARN", "bold yellow"),
    CheckSeverity.CRITICAL: ("CRIT", "bold red"),
}
_UNWRAPPED = 10**6


def print_checks(checks: Sequence[Check], form: str, settings: Settings) -> int:
    """Print checks as text for people or JSON for monitoring; return the exit code.

    On a terminal, details are wrapped. A remedy is one line: a command that is split at line ends cannot be pasted.
    """
    code = worst(checks).exit_code
    if form == "json":
        write_document(checks_document(checks), sys.stdout)
        return code
    width = shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else _UNWRAPPED
    margin = max(len(check.name) for check in checks) + 8
    with paged(settings):
        write_lines(_lines(checks, width, margin), sys.stdout, color=use_color(sys.stdout))
    return code


def _lines(checks: Sequence[Check], width: int, margin: int) -> Iterator[Text]:
    for check in checks:
        mark, style = _MARKS[check.severity]
        first, *others = _wrapped(check.detail, width - margin)
        yield Text.assemble((mark, style), "  ", f"{check.name:<{margin - 6}}", first)
        if check.remedy and check.severity is not CheckSeverity.OK:
            others.append(f"-> {check.remedy}")
        for line in others:
            yield Text(" " * margin + line)
    yield Text(_summary(checks))


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False) or [""]


def _summary(checks: Sequence[Check]) -> str:
    count = Counter(check.severity for check in checks)
    counted = [f"{count[CheckSeverity.CRITICAL]} critical"] if count[CheckSeverity.CRITICAL] else []
    for severity, word in ((CheckSeverity.WARNING, "warning"), (CheckSeverity.NOTE, "note")):
        if number := count[severity]:
            counted.append(f"{number} {word}" if number == 1 else f"{number} {word}s")
    return f"{len(checks)} checks: {', '.join(counted) or 'no problems'}"
