"""``fimscan plan``: say which changes are expected, from whom and until when, and see what came of it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
from msgspec.structs import replace

from fimscan.cli.context import Settings, absolute_path, note, packaged, terminal_width
from fimscan.cli.listing import FORMAT, print_list
from fimscan.cli.reviewer import current_reviewer, own_changes_rule, printable
from fimscan.errors import UsageError
from fimscan.grouping import Grouping
from fimscan.model import ChangePlan, Diff, PlanProgress
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.history.plans import progress
from fimscan.report.documents.plans import plans_document
from fimscan.report.plans import end_text, expected_text, plan_lines
from fimscan.store import plans as plan_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.timing import interval_seconds

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", re.ASCII)


@click.group()
def plan() -> None:
    """Say which changes are expected, from whom and until when; see what came of it.

    A change is as planned if its path or package is planned, and it is confirmed as made by the planned user and
    program, after the plan was opened and before it ended. It is recorded and reported as any other. 'fimscan accept
    --plan' and 'fimscan review' then accept all that is as planned at once.

    Example: fimscan plan open --ticket C7 --until 18:00 --user al --package nginx
    """


@plan.command("open")
@click.option("--ticket", required=True, metavar="T", help="The change ticket (required).")
@click.option(
    "--until",
    required=True,
    metavar="TIME",
    help="When it ends (required): 18:00 (the next time it is, in the local zone), 2h, or an ISO time.",
)
@click.option("--paths", "paths", multiple=True, metavar="GLOB", help="A path with all below it, or a pattern.")
@click.option("--package", "packages", multiple=True, metavar="NAME", help="Files of this package, as it shipped them.")
@click.option("--user", metavar="NAME", help="The login user who will make the changes.")
@click.option("--exe", metavar="PATH|GLOB", help="The program that will make them.")
@click.option("--reason", default="", metavar="R", help="Store this reason with the plan.")
@FORMAT
@click.argument("more", metavar="[GLOB]...", nargs=-1)
@click.pass_obj
def open_plan(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    ticket: str,
    until: str,
    paths: tuple[str, ...],
    packages: tuple[str, ...],
    user: str | None,
    exe: str | None,
    reason: str,
    form: str,
    more: tuple[str, ...],
) -> None:
    """Open a plan: changes of these paths or packages, by this user or program, until this time.

    At least one path or package is needed, and --user, --exe or both. A path that is given exactly, and a package, are
    reported if nothing of them was changed as planned.

    Example: fimscan plan open --ticket C7 --until 2h --user al --paths /etc/motd
    """
    if not (paths or packages or more):
        raise UsageError("say what will change: --paths or --package")
    if not (user or exe):
        raise UsageError("say who will change it: --user, --exe or both; a change by anybody is not planned")
    reviewer, now_ns = current_reviewer(), time.time_ns()
    until_ns = moment(until, now_ns)
    if until_ns <= now_ns:
        raise UsageError(f"--until {until} is over already")
    if user == reviewer.name and (rule := own_changes_rule(settings.config_if_any())) != "allow":
        what = "this plan is about your own changes"
        if rule == "refuse":
            raise UsageError(f'{what}, and [review] own_changes is "refuse". Another person has to open it')
        note(f"{what}. Another person should accept them")
    made = ChangePlan(
        opened_ns=now_ns,
        until_ns=until_ns,
        opened_by=reviewer,
        ticket=printable(ticket),
        reason=printable(reason),
        paths=tuple(map(absolute_path, (*paths, *more))),
        packages=tuple(map(printable, packages)),
        user=None if user is None else printable(user),
        exe=None if exe is None else os.fsencode(exe),
    )
    with settings.database(writing=True) as database:
        with database.begin() as session:
            if scan_store.last_finished(session) is None:
                raise UsageError("no scan has been finished yet; 'fimscan scan' records the baseline")
            made = replace(made, id=plan_store.add(session, made))
        if form == "json":
            _write(database, settings, form, made.id)
            return
    click.echo(f"Plan {made.id} is open until {end_text(made)}: {expected_text(made)}.")


@plan.command("list")
@click.option("--all", "everything", is_flag=True, help="Also plans that are closed.")
@FORMAT
@click.pass_obj
def list_plans(settings: Settings, *, everything: bool, form: str) -> None:
    """List plans that are not closed, with what came of them: as planned, extra, and not done.

    Example: fimscan plan list --all
    """
    with settings.database() as database:
        found = _progress(database, settings)
    shown = [item for item in found if everything or item.plan.closed_ns is None]
    _print(database, settings, form, shown, "There is no plan." if everything else "There is no open plan.")


@plan.command("close")
@click.argument("number", type=int, metavar="PLAN")
@FORMAT
@click.pass_obj
def close_plan(settings: Settings, *, number: int, form: str) -> None:
    """Close a plan: later changes are not planned. What waits and is as planned stays so.

    Example: fimscan plan close 3
    """
    with settings.database(writing=True) as database:
        with database.begin() as session:
            plan_store.close(session, number, time.time_ns(), current_reviewer().name)
        _write(database, settings, form, number)


def _write(database: Database, settings: Settings, form: str, number: int) -> None:
    found = [item for item in _progress(database, settings) if item.plan.id == number]
    _print(database, settings, form, found)


def _print(database: Database, settings: Settings, form: str, plans: Sequence[PlanProgress], nothing: str = "") -> None:
    lines = [line for item in plans for line in plan_lines(item, terminal_width())]
    print_list(settings, form, plans_document(database.host, plans), lines, nothing)


def _progress(database: Database, settings: Settings) -> tuple[PlanProgress, ...]:
    with database.read() as session:
        if not plan_store.every(session):
            return ()
    diff, facts = packaged(database, diff_from_baseline(database, settings.config_if_any()), settings)
    return progress_of(database, diff, grouping_of(database, diff, facts), settings, closed=True)


def progress_of(
    database: Database, diff: Diff, grouping: Grouping, settings: Settings, *, closed: bool = False
) -> tuple[PlanProgress, ...]:
    """What came of plans, as of a diff from the baseline with its packages."""

    def ask(other: Diff) -> Diff:
        return packaged(database, other, settings)[0]

    return progress(database, diff, grouping, time.time_ns(), ask, closed=closed)


def moment(text: str, now_ns: int) -> int:
    """The time that a text means: ``18:00``, ``2h``, or ISO 8601. Without a zone, it is in the local one.

    Raises:
        UsageError: it means none.
    """
    if (seconds := interval_seconds(text)) is not None:
        return now_ns + seconds * 10**9
    now = datetime.fromtimestamp(now_ns // 10**9, UTC).astimezone()
    if (clock := _CLOCK.fullmatch(text)) is not None:
        # Without a zone, so that it is this time of day also if the clocks change in between.
        day = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, tzinfo=None)
        found = day.astimezone()
        if found <= now:
            found = (day + timedelta(days=1)).astimezone()
        return int(found.timestamp()) * 10**9
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp()) * 10**9
    except (ValueError, OverflowError):
        raise UsageError(f"--until {text!r} is no time: give 18:00, 2h or 2026-12-01T18:00") from None
