"""``fimscan accept``: put intended changes into the baseline; ``reject``: mark violations; ``undo``: take one back."""

from __future__ import annotations

import sys
from typing import Any

import click
from msgspec.structs import replace

from fimscan.cli.context import Settings, note, packaged, use_color
from fimscan.cli.last_shown import recall
from fimscan.cli.reviewer import approval_now, check_own, current_reviewer, own_changes_rule
from fimscan.cli.selecting import about_the_decision, selecting, selection_of
from fimscan.errors import UsageError
from fimscan.grouping import Facts
from fimscan.grouping.selection import Selection
from fimscan.model import Approval, Diff, DispositionCategory, DispositionStatus, Reviewer
from fimscan.pipeline.history.accept import Limits, Proposal, propose_everything, propose_selected
from fimscan.pipeline.history.accept import accept as accept_planned
from fimscan.pipeline.history.accept import undo as undo_act
from fimscan.report.acceptance import unproved_lines, write_planned
from fimscan.report.documents.acceptance import acceptance_document, undo_document
from fimscan.report.json import write_document
from fimscan.report.words import plural
from fimscan.store.database import Database

_VERBS = {DispositionStatus.APPROVED: "accept", DispositionStatus.VIOLATION: "mark as a violation"}
_DONE = {DispositionStatus.APPROVED: "Accepted", DispositionStatus.VIOLATION: "Marked as a violation:"}


@click.command()
@click.argument("names", metavar="[PATH|CHANGE]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Accept the state of the last scan, or of --shown, as a whole.")
@click.option("--even-outstanding", is_flag=True, help="With --all: also if something of it stands out.")
@click.option("--plan", type=int, metavar="N", help="Only changes that are as planned by this plan.")
@selecting
@about_the_decision
@click.pass_obj
def accept(
    settings: Settings, /, *, names: tuple[str, ...], everything: bool, even_outstanding: bool, **options: Any
) -> None:
    """Accept changes into the baseline: by PATH, by CHANGE, by who made them, or with --all.

    PATH stands for everything below it, or is a pattern such as '/etc/*.conf'. CHANGE is the number of a change as
    'fimscan diff' shows it, or a range: 17, '#17', 17-40. A change is taken if any of these names it and all
    options hold. --exe, --user and --session must hold for every process named for it, so for none that has no process.

    No more is accepted than was shown: by the report --shown or, without it, by the last whole report of 'fimscan diff'
    in this login session. What was found since stays open, and numbers of change sets are those of that report. If no
    report was shown in this session, a selection by options or by a pattern needs --shown, and the others take the
    state of the last scan.

    Example: fimscan accept --set 2 --shown 7.3.52d1e0a4c96b8f17 --ticket CHG-17
    """
    selection = selection_of(names, options)
    if everything == (bool(names) or selection.has_conditions):
        raise UsageError("give paths, change numbers or options that select changes; or --all alone")
    if even_outstanding and not everything:
        raise UsageError("--even-outstanding belongs to --all; a selection takes what you chose")
    decision = _Decision(settings, DispositionStatus.APPROVED, options)
    decision.take(None if everything else selection, even_outstanding=even_outstanding)


@click.command()
@click.argument("names", metavar="[PATH|CHANGE]...", nargs=-1)
@selecting
@about_the_decision
@click.pass_obj
def reject(settings: Settings, /, *, names: tuple[str, ...], **options: Any) -> None:
    """Mark changes as violations, by PATH, by CHANGE or by who made them, as 'fimscan accept' selects them.

    They stay reported, with the ticket, until their paths are accepted. They stand out, and 'fimscan accept' takes them
    only by their number, by their exact path, or with --all --even-outstanding.

    Example: fimscan reject 17 --ticket INC-9 --category malware
    """
    selection = selection_of(names, options)
    if not (names or selection.has_conditions):
        raise UsageError("give paths, change numbers or options that select changes")
    _Decision(settings, DispositionStatus.VIOLATION, options).take(selection)


@click.command()
@click.argument("decision", type=int, metavar="DECISION")
@click.option("--ticket", default="", metavar="T", help="Store this change ticket with it.")
@click.option("--reason", default="", metavar="R", help="Store this reason with it.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def undo(settings: Settings, *, decision: int, ticket: str, reason: str, form: str) -> None:
    """Take a decision back: what was accepted or marked as a violation waits again.

    DECISION is the number that accept, reject or review printed. 'fimscan status' lists the last ones. Nothing is
    removed: that it was taken back is stored as a further decision.

    Example: fimscan undo 12 --reason "wrong host"
    """
    approval = approval_now(current_reviewer(), ticket, reason, None)
    with settings.database(writing=True) as database:
        made = undo_act(database, decision, approval)
        host = database.host
    if form == "json":
        write_document(undo_document(host, made, decision, approval), sys.stdout)
    else:
        click.echo(f"Decision {decision} is taken back (decision {made}).")


class _Decision:
    """One decision by options: plan it, check who made the changes, store and print it."""

    def __init__(self, settings: Settings, status: DispositionStatus, options: dict[str, Any]) -> None:
        self._settings, self._status, self._options = settings, status, options
        self._reviewer: Reviewer = current_reviewer()

    def take(self, selection: Selection | None, *, even_outstanding: bool = False) -> None:
        """Decide about a selection, or (``None``) about everything."""
        options, config = self._options, self._settings.config_if_any()
        approval = approval_now(self._reviewer, options["ticket"], options["reason"], options["category"])
        act = None
        with self._settings.database(writing=not options["dry_run"]) as database:
            limits = self._limits(database)
            if selection is None:
                plan = propose_everything(
                    database, config, limits, self._asked(database), even_outstanding=even_outstanding
                )
            else:
                plan = propose_selected(database, selection, config, limits, self._asked(database), status=self._status)
            own = plan.own_of(self._reviewer)
            opener = None if plan.by_plan is None else plan.by_plan.opened_by
            rule = own_changes_rule(config)
            check_own(len(own), len(plan.changes), self._reviewer, rule, opener, is_dry_run=bool(options["dry_run"]))
            if plan.by_plan is not None:
                approval = replace(
                    approval,
                    ticket=approval.ticket or plan.by_plan.ticket,
                    category=approval.category or DispositionCategory.CHANGE_CONTROL,
                )
            if not options["dry_run"]:
                act = accept_planned(database, plan, approval, status=self._status, own=own)
        self._print(plan, approval, len(own), act)
        if options["dry_run"] and options["form"] == "text":
            shown = options["shown"]
            how = f"replace --dry-run by --shown {plan.shown}" if shown is None else "leave out --dry-run"
            click.echo(f"To {_VERBS[self._status]} exactly these, {how}.")

    def _limits(self, database: Database) -> Limits:
        shown = self._options["shown"]
        seen = recall(self._settings.url(), database.host) if shown is None else None
        return Limits(shown=shown, seen=seen, is_dry_run=self._options["dry_run"])

    def _asked(self, database: Database) -> Any:
        def ask(diff: Diff) -> tuple[Diff, Facts | None]:
            return packaged(database, diff, self._settings)

        return ask

    def _print(self, plan: Proposal, approval: Approval, own: int, act: int | None) -> None:
        if self._options["form"] == "json":
            counts = {
                "paths": plan.paths,
                "left_out": plan.left_out,
                "later": plan.later,
                "withheld": plan.withheld,
                "look": plan.standing_out,
                "own": own,
            }
            document = acceptance_document(
                plan.host,
                plan.changes,
                (plan.scan, plan.shown),
                counts,
                approval,
                decision=(self._status, act),
                everything=plan.states is None,
            )
            write_document(document, sys.stdout)
            return
        for line in left_out_lines(plan):
            note(line)
        paths = "1 path" if plan.paths == 1 else f"{plan.paths:,} paths"
        if act is not None:
            click.echo(f"{_DONE[self._status]} {paths} as of scan {plan.scan} (decision {act}).")
            return
        write_planned(plan.changes, sys.stdout, color=use_color(sys.stdout))
        outstanding = f", {plan.standing_out:,} of them standing out" if plan.standing_out else ""
        verb = _VERBS[self._status]
        click.echo(f"Would {verb} {plural(len(plan.changes), 'change')}{outstanding}: {paths} as of scan {plan.scan}.")


def left_out_lines(plan: Proposal) -> list[str]:
    """What of the selection was not taken, and why."""
    lines = []
    if plan.left_out:
        lines.append(f"{plural(plan.left_out, 'path')} left out: accepted since this report was shown")
    if plan.later:
        lines.append(
            f"{plural(plan.later, 'change')} left out: found after scan {plan.scan}, of which you saw the report last;"
            " 'fimscan diff' shows them"
        )
    if plan.withheld:
        lines.append(
            f"{plural(plan.withheld, 'change')} left out: marked as a violation; accept it by its number if it is none"
        )
    return [*lines, *unproved_lines(plan.unproved)]
