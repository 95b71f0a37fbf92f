"""The text of ``fimscan audit events``: one line for each access. The name is last: it cannot fake other fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.text import Text

from fimscan.model import FileAccess, Name
from fimscan.report.console import write_lines
from fimscan.report.display import show, time_text
from fimscan.report.words import process_text, user_text

_ACTION_WIDTH = len("open-write")


def write_accesses_text(accesses: Iterable[FileAccess], out: TextIO, *, color: bool) -> None:
    """Write ``TIME EVENT ACTION PROCESS, USER: [OLD -> ]PATH`` for each access, in the given order."""
    write_lines(_lines(accesses), out, color=color)


def _lines(accesses: Iterable[FileAccess]) -> Iterator[Text]:
    for access in accesses:
        event = access.event
        failed = "" if access.success else "FAILED "
        old = "" if access.old is None else f"{_name(access.old)} -> "
        yield Text.assemble(
            (f"{time_text(event.time_ns)} {show(str(event))} ", "dim"),
            (f"{failed}{access.action:<{_ACTION_WIDTH}}", "yellow"),
            f"  {process_text(access.actor)}, {user_text(access.actor)}: {old}",
            (_name(access.name), "bold"),
        )


def _name(name: Name) -> str:
    """The resolved path; else the name from the record, after a question mark."""
    if name.path is not None:
        return show(name.path)
    return "?" if name.text is None else f"?{show(name.text)}"
