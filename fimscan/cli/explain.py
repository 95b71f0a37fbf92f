"""``fimscan explain``: explain the verdict of one change."""

from __future__ import annotations

import sys

import click
from msgspec.structs import replace

from fimscan.cli.context import Settings, absolute_path, note, packaged_finding, terminal_width, use_color
from fimscan.cli.pager import paged
from fimscan.cli.remedies import own_command
from fimscan.pipeline.history import explain_change
from fimscan.pipeline.texts import text_problem, with_texts
from fimscan.report.change_sets import coverage_command
from fimscan.report.documents.explanation import explanation_document
from fimscan.report.explanation import write_explanation
from fimscan.report.json import write_document
from fimscan.report.texts import MOST_LINES, TextView


@click.command()
@click.argument("change", metavar="CHANGE|PATH")
@click.option(
    "--text", "whole_text", is_flag=True, help="Also show what changed in the text, whole (if keep_content is set)."
)
@click.option("--no-packages", is_flag=True, help="Do not compare the file with what its package shipped.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def explain(settings: Settings, *, change: str, whole_text: bool, no_packages: bool, form: str) -> None:
    """Explain the verdict of a change: the processes considered, what cleared them, and the audit records.

    It also says whether the file is what its package shipped, and which processes run the changed program or library.

    CHANGE is the number of a change, as 'fimscan diff' shows it. PATH means the latest change of that path (write
    './17' for a file named 17).

    Example: fimscan explain /etc/hosts
    """
    wanted = int(change) if change.isascii() and change.isdigit() else absolute_path(change)
    with settings.database() as database:
        config = settings.config_if_any()
        if (problem := text_problem(database, config)) is not None:
            note(problem)
        explanation = explain_change.explain(database, wanted, config)
        finding = explanation.finding
        if not no_packages:
            finding = packaged_finding(database, finding, settings)
        if form == "text" or whole_text:
            (finding,) = with_texts(database, config, [finding])
        explanation = replace(explanation, finding=finding)
    if form == "json":
        write_document(explanation_document(explanation, texts=whole_text), sys.stdout)
        return
    most = MOST_LINES if sys.stdout.isatty() else 0
    named = str(explanation.finding.change.id)
    view = TextView(None if whole_text else most, f"{own_command(settings)} explain {named} --text")
    rules = coverage_command(own_command(settings), [explanation.finding])
    with paged(settings):
        write_explanation(
            explanation, sys.stdout, color=use_color(sys.stdout), width=terminal_width(), view=view, commands=(rules,)
        )
