"""``fimscan control``: list failures of controls, and record what people did about them."""

from __future__ import annotations

import time

import click

from fimscan.cli.context import Settings
from fimscan.cli.listing import FORMAT, print_list
from fimscan.cli.reviewer import current_reviewer, printable
from fimscan.errors import UsageError
from fimscan.model import ControlNote
from fimscan.report.controls import numbered_lines
from fimscan.report.documents.controls import controls_document
from fimscan.store import controls as control_store


@click.group()
def control() -> None:
    """List failures of controls, and record what was done about them (PCI DSS 10.7.3).

    A control is what has to work so that changes are found: audit, scans, outputs, the clock, disks. fimscan notices by
    itself when one fails and when it works again. What people found and did is recorded here.

    \b
    Example: fimscan control list
    """  # noqa: D301  # click: do not wrap


@control.command("list")
@click.option("--all", "everything", is_flag=True, help="Also failures that are over and have a note.")
@FORMAT
@click.pass_obj
def list_failures(settings: Settings, *, everything: bool, form: str) -> None:
    """List the failures that last or have no note yet, each with its number.

    Example: fimscan control list --all
    """
    with settings.database() as database, database.read() as session:
        found = control_store.every(session)
    shown = [item for item in found if everything or item.is_open or not item.notes]
    nothing = "No control has failed." if not found else "No failure lasts, and each has a note."
    print_list(settings, form, controls_document(database.host, shown), numbered_lines(shown), nothing)


@control.command()
@click.argument("numbers", type=int, metavar="NUMBER...", nargs=-1, required=True)
@click.option("--remediation", required=True, metavar="TEXT", help="What was done about it (required).")
@click.option("--root-cause", "cause", default="", metavar="TEXT", help="Why it failed, as far as people found out.")
@click.option("--ticket", default="", metavar="T", help="Store this ticket with the note.")
@FORMAT
@click.pass_obj
def note(settings: Settings, *, numbers: tuple[int, ...], remediation: str, cause: str, ticket: str, form: str) -> None:
    """Record what was done about failures. A note is never changed: a later one corrects it.

    The note has your login user and the time. The journal covers it, and evidence for an assessor shows it.

    Example: fimscan control note 3 4 --remediation 'rules loaded' --ticket INC-7
    """
    if not remediation.strip():
        raise UsageError("--remediation is empty; say what was done")
    made = [
        ControlNote(
            failure=number,
            noted_ns=time.time_ns(),
            user=current_reviewer().name,
            remediation=printable(remediation),
            root_cause=printable(cause),
            ticket=printable(ticket),
        )
        for number in dict.fromkeys(numbers)
    ]
    with settings.database(writing=True) as database, database.begin() as session:
        control_store.add_notes(session, made)
        found = [item for item in control_store.every(session) if item.id in numbers]
    print_list(settings, form, controls_document(database.host, found), numbered_lines(found))
