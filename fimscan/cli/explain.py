"""``fimscan explain``: explain the verdict of one change."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from fimscan.cli.context import Settings, absolute_path, packaged_finding, terminal_width, use_color
from fimscan.cli.pager import paged
from fimscan.pipeline.history import explain_change
from fimscan.report.documents.explanation import explanation_document
from fimscan.report.explanation import write_explanation
from fimscan.report.json import write_document


@click.command()
@click.argument("change", metavar="CHANGE|PATH")
@click.option("--no-packages", is_flag=True, help="Do not compare the file with what its package shipped.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def explain(settings: Settings, *, change: str, no_packages: bool, form: str) -> None:
    """Explain the verdict of a change: the processes considered, what cleared them, and the audit records.

    It also says whether the file is what its package shipped, and which processes run the changed program or library.

    CHANGE is the number of a change, as 'fimscan diff' shows it. PATH means the latest change of that path (write
    './17' for a file named 17).

    Example: fimscan explain /etc/hosts
    """
    wanted = int(change) if change.isascii() and change.isdigit() else absolute_path(change)
    with settings.database() as database:
        explanation = explain_change.explain(database, wanted, settings.config_if_any())
        if not no_packages:
            explanation = replace(explanation, finding=packaged_finding(database, explanation.finding, settings))
    if form == "json":
        write_document(explanation_document(explanation), sys.stdout)
    else:
        with paged(settings):
            write_explanation(explanation, sys.stdout, color=use_color(sys.stdout), width=terminal_width())
