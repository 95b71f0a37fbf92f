"""``fimscan explain``: why a change got its verdict."""

from __future__ import annotations

import os
import sys

import click

from fimscan.cli.context import Settings, terminal_width, use_color
from fimscan.pipeline.history import explain_change
from fimscan.report.documents.explanation import explanation_document
from fimscan.report.explanation import write_explanation
from fimscan.report.json import write_document


@click.command()
@click.argument("change", metavar="CHANGE|PATH")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def explain(settings: Settings, *, change: str, form: str) -> None:
    """Explain why a change got its verdict: who was considered, what cleared them, and the audit records.

    CHANGE is a number that diff shows; a PATH stands for its latest change ('./17' for a file called 17).
    """
    wanted = int(change) if change.isascii() and change.isdigit() else os.fsencode(os.path.abspath(change))
    with settings.database() as database:
        explanation = explain_change.explain(database, wanted, settings.config_if_any())
    if form == "json":
        write_document(explanation_document(explanation), sys.stdout)
    else:
        write_explanation(explanation, sys.stdout, color=use_color(sys.stdout), width=terminal_width())
