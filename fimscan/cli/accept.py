"""``fimscan accept``: put intended changes into the baseline."""

from __future__ import annotations

import os
import pwd
import re
import sys
import time

import click

from fimscan.cli.context import Settings, absolute_path, note, packaged, use_color
from fimscan.errors import UsageError
from fimscan.grouping import Facts
from fimscan.grouping.selection import ByNumber, ByPath, Selection
from fimscan.model import Approval, Diff, Verdict
from fimscan.pipeline.history.accept import Plan, plan_everything, plan_selected
from fimscan.pipeline.history.accept import accept as accept_planned
from fimscan.report.acceptance import write_planned
from fimscan.report.display import show
from fimscan.report.documents.acceptance import acceptance_document
from fimscan.report.json import write_document
from fimscan.report.words import plural

_NUMBER = re.compile(r"#?([0-9]{1,18})", re.ASCII)
_RANGE = re.compile(r"#([0-9]{1,18})-#?([0-9]{1,18})", re.ASCII)
_PATTERN = re.compile(r"[*?\[]")


@click.command()
@click.argument("names", metavar="[PATH|CHANGE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Accept the state of the last scan, or of --shown, as a whole.")
@click.option("--even-outstanding", is_flag=True, help="With --all: also if something of it stands out.")
@click.option("--set", "number", type=int, metavar="N", help="Only the changes of this change set.")
@click.option("--exe", metavar="PATH|GLOB", help="Only changes made by this program alone, or by those that match.")
@click.option("--user", metavar="NAME", help="Only changes made by this login user alone (without a login: this user).")
@click.option("--session", type=int, metavar="N", help="Only changes made in this login session alone.")
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice([verdict.value for verdict in Verdict]),
    help="Only changes with this verdict. Given more than once: with any of them.",
)
@click.option("--shown", metavar="REPORT", help="Take only what this report showed. 'fimscan diff' prints its name.")
@click.option("--dry-run", is_flag=True, help="Print what would be accepted, and accept nothing.")
@click.option("--ticket", default="", metavar="T", help="Store this change ticket with the acceptance.")
@click.option("--reason", default="", metavar="R", help="Store this reason with the acceptance.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def accept(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    names: tuple[str, ...],
    everything: bool,
    even_outstanding: bool,
    number: int | None,
    exe: str | None,
    user: str | None,
    session: int | None,
    verdicts: tuple[str, ...],
    shown: str | None,
    dry_run: bool,
    ticket: str,
    reason: str,
    form: str,
) -> None:
    """Accept changes into the baseline: by PATH, by CHANGE, by who made them, or with --all.

    PATH stands for everything below it, or is a pattern such as '/etc/*.conf'. CHANGE is the number of a change as
    'fimscan diff' shows it, or a range: 17, '#17', '#17-#40'. A change is taken if any of these names it and all
    options hold. --exe, --user and --session must hold for every process named for it, so for none that has no process.

    A selection by options or by a pattern needs --shown, with the name of the report that 'fimscan diff' or --dry-run
    printed. What was found since is not accepted, and numbers of change sets are those of that report.

    Example: fimscan accept --set 2 --shown 7.3.52d1e0a4c96b8f17 --ticket CHG-17
    """
    selection = Selection(
        names=tuple(map(_name, names)),
        number=number,
        exe=None if exe is None else os.fsencode(exe),
        user=user,
        session=session,
        verdicts=frozenset(map(Verdict, verdicts)),
    )
    chosen = bool(names) or selection.has_conditions
    if everything == chosen:
        raise UsageError("give paths, change numbers or options that select changes; or --all alone")
    if even_outstanding and not everything:
        raise UsageError("--even-outstanding belongs to --all; a selection takes what you chose")
    approval = Approval(
        accepted_ns=time.time_ns(), user=_approver(), ticket=_printable(ticket), reason=_printable(reason)
    )
    config = settings.config_if_any()
    with settings.database(writing=not dry_run) as database:

        def facts_of(diff: Diff) -> Facts | None:
            return packaged(database, diff, settings)[1]

        if everything:
            plan = plan_everything(database, config, shown, facts_of, even_outstanding=even_outstanding)
        else:
            plan = plan_selected(database, selection, config, shown, facts_of, dry_run=dry_run)
        if not dry_run:
            accept_planned(database, plan, approval)
    _print(plan, approval, form, dry_run=dry_run)
    if dry_run and form == "text":
        how = f"replace --dry-run by --shown {plan.shown}" if shown is None else "leave out --dry-run"
        click.echo(f"To accept exactly these, {how}.")


def _print(plan: Plan, approval: Approval, form: str, *, dry_run: bool) -> None:
    own = plan.made_by(approval.user)
    if own:
        note(
            f"{plural(own, 'change')} of {len(plan.changes):,} may be your own: {show(approval.user)} is the login user"
            " of a named process. Another person should review them"
        )
    if form == "json":
        document = acceptance_document(
            plan.host,
            plan.changes,
            (plan.scan, plan.shown),
            {"paths": plan.paths, "left_out": plan.left_out, "look": plan.standing_out, "own": own},
            approval,
            dry_run=dry_run,
            everything=plan.states is None,
        )
        write_document(document, sys.stdout)
        return
    paths = "1 path" if plan.paths == 1 else f"{plan.paths:,} paths"
    if plan.left_out:
        note(f"{plural(plan.left_out, 'path')} left out: accepted since this report was shown")
    if not dry_run:
        click.echo(f"Accepted {paths} as of scan {plan.scan}.")
        return
    write_planned(plan.changes, sys.stdout, color=use_color(sys.stdout))
    outstanding = f", {plan.standing_out:,} of them standing out" if plan.standing_out else ""
    click.echo(f"Would accept {plural(len(plan.changes), 'change')}{outstanding}: {paths} as of scan {plan.scan}.")


def _printable(text: str) -> str:
    """Escape the bytes of an argument that are not UTF-8, so that it can be stored as text."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _name(text: str) -> ByPath | ByNumber:
    if (one := _NUMBER.fullmatch(text)) is not None:
        return ByNumber(int(one[1]), int(one[1]))
    if (span := _RANGE.fullmatch(text)) is not None:
        return ByNumber(int(span[1]), int(span[2]))
    path = absolute_path(text)
    return ByPath(path, (os.fsencode(text), path) if _PATTERN.search(text) else ())


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
