"""``fimscan accept``: what was changed on purpose becomes the baseline."""

from __future__ import annotations

import os
import pwd
import time

import click

from fimscan.cli.context import Settings
from fimscan.errors import UsageError
from fimscan.model import Approval
from fimscan.pipeline.history import drift as drifting


@click.command()
@click.argument("names", metavar="[PATH|CHANGE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Accept everything as of the last scan.")
@click.option("--ticket", default="", metavar="T", help="The change ticket, kept with the acceptance.")
@click.option("--reason", default="", metavar="R", help="Why it was changed, kept with the acceptance.")
@click.pass_obj
def accept(settings: Settings, *, names: tuple[str, ...], everything: bool, ticket: str, reason: str) -> None:
    """Accept changes into the baseline: paths with everything below them, numbers of changes, or --all.

    CHANGE is a number that diff shows.
    """
    if everything == bool(names):
        raise UsageError("name paths or change numbers to accept, or give --all (and not both)")
    approval = Approval(accepted_ns=time.time_ns(), user=_who(), ticket=_printable(ticket), reason=_printable(reason))
    with settings.database() as database:
        if everything:
            done = drifting.accept_everything(database, approval)
        else:
            done = drifting.accept(database, [_name(name) for name in names], approval)
    paths = "1 path" if done.paths == 1 else f"{done.paths:,} paths"
    click.echo(f"Accepted {paths} as of scan {done.scan}.")


def _printable(text: str) -> str:
    """An argument that is not UTF-8, as text that can be stored."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _name(text: str) -> bytes | int:
    return int(text) if text.isascii() and text.isdigit() else os.fsencode(os.path.abspath(text))


def _who() -> str:
    """The login user where there is one: sudo must not make everybody root."""
    for number in (_loginuid(), os.getuid()):
        if number is not None:
            try:
                return pwd.getpwuid(number).pw_name
            except KeyError:
                return str(number)
    return "unknown"


def _loginuid() -> int | None:
    try:
        with open("/proc/self/loginuid", encoding="ascii") as file:
            number = int(file.read())
    except (OSError, ValueError):
        return None
    return None if number == 0xFFFFFFFF else number
