"""``fimscan accept``: put intended changes into the baseline."""

from __future__ import annotations

import os
import pwd
import time

import click

from fimscan.cli.context import Settings, absolute_path
from fimscan.errors import UsageError
from fimscan.model import Approval
from fimscan.pipeline.history.accept import accept_everything, accept_named


@click.command()
@click.argument("names", metavar="[PATH|CHANGE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Accept the state of the last scan as a whole.")
@click.option("--ticket", default="", metavar="T", help="Store this change ticket with the acceptance.")
@click.option("--reason", default="", metavar="R", help="Store this reason with the acceptance.")
@click.pass_obj
def accept(settings: Settings, *, names: tuple[str, ...], everything: bool, ticket: str, reason: str) -> None:
    """Accept changes into the baseline: by PATH (with everything below it), by CHANGE, or with --all.

    CHANGE is the number of a change, as 'fimscan diff' shows it.

    Example: fimscan accept /etc/hosts --ticket CHG-17 --reason "new host"
    """
    if everything == bool(names):
        raise UsageError("give either paths or change numbers, or --all")
    approval = Approval(
        accepted_ns=time.time_ns(), user=_approver(), ticket=_printable(ticket), reason=_printable(reason)
    )
    with settings.database(writing=True) as database:
        if everything:
            done = accept_everything(database, approval)
        else:
            done = accept_named(database, [_name(name) for name in names], approval)
    paths = "1 path" if done.paths == 1 else f"{done.paths:,} paths"
    click.echo(f"Accepted {paths} as of scan {done.scan}.")


def _printable(text: str) -> str:
    """Escape the bytes of an argument that are not UTF-8, so that it can be stored as text."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _name(text: str) -> bytes | int:
    return int(text) if text.isascii() and text.isdigit() else absolute_path(text)


def _approver() -> str:
    """The login user, which sudo does not change; without one, the real user."""
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
