"""The arguments and options that select changes, for accept and reject."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from fimscan.cli.context import absolute_path
from fimscan.errors import UsageError
from fimscan.grouping.selection import ByNumber, ByPath, Selection
from fimscan.model import DispositionCategory, Verdict

_NUMBER = re.compile(r"#?([0-9]{1,18})", re.ASCII)
_RANGE = re.compile(r"#?([0-9]{1,18})-#?([0-9]{1,18})", re.ASCII)
_PATTERN = re.compile(r"[*?\[]")

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--set", "number", type=int, metavar="N", help="Only the changes of this change set."),
    click.option("--exe", metavar="PATH|GLOB", help="Only changes made by this program alone, or by those that match."),
    click.option(
        "--user", metavar="NAME", help="Only changes made by this login user alone (without a login: this user)."
    ),
    click.option("--session", type=int, metavar="N", help="Only changes made in this login session alone."),
    click.option(
        "--verdict",
        "verdicts",
        multiple=True,
        type=click.Choice([verdict.value for verdict in Verdict]),
        help="Only changes with this verdict. Given more than once: with any of them.",
    ),
    click.option(
        "--package-as-shipped",
        "as_shipped",
        is_flag=True,
        help="Only files that are as their package shipped them, and of which nothing else is suspicious.",
    ),
)
_ABOUT = (
    click.option(
        "--shown", metavar="REPORT", help="Take only what this report showed. 'fimscan diff' prints its name."
    ),
    click.option("--dry-run", is_flag=True, help="Print what would be taken, and store nothing."),
    click.option("--ticket", default="", metavar="T", help="Store this change ticket with the decision."),
    click.option("--reason", default="", metavar="R", help="Store this reason with the decision."),
    click.option(
        "--category",
        type=click.Choice([category.value for category in DispositionCategory]),
        help="Store this kind of reason with the decision.",
    ),
    click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True),
)


def selecting(command: _Command) -> _Command:
    """Add the options that select changes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def about_the_decision(command: _Command) -> _Command:
    """Add the options that every decision has."""
    for option in reversed(_ABOUT):
        command = option(command)
    return command


def selection_of(names: tuple[str, ...], chosen: dict[str, Any]) -> Selection:
    """The selection that arguments and the options of :func:`selecting` make."""
    return Selection(
        names=tuple(map(_name, names)),
        number=chosen["number"],
        exe=None if chosen["exe"] is None else os.fsencode(chosen["exe"]),
        user=chosen["user"],
        session=chosen["session"],
        verdicts=frozenset(map(Verdict, chosen["verdicts"])),
        as_shipped=chosen["as_shipped"],
        plan=chosen.get("plan"),
    )


def _name(text: str) -> ByPath | ByNumber:
    if (one := _NUMBER.fullmatch(text)) is not None:
        return ByNumber(int(one[1]), int(one[1]))
    if (span := _RANGE.fullmatch(text)) is not None:
        if int(span[1]) > int(span[2]):
            raise UsageError(f"{text!r} is no range: it ends before it begins")
        return ByNumber(int(span[1]), int(span[2]))
    path = absolute_path(text)
    return ByPath(path, (os.fsencode(text), path) if _PATTERN.search(text) else ())
