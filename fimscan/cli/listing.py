"""Print what a command lists: a document, or lines for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from fimscan.cli.context import Settings
from fimscan.cli.pager import paged
from fimscan.report.json import write_document

FORMAT = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


def print_list(
    settings: Settings, form: str, document: Mapping[str, Any], lines: Iterable[str], nothing: str = ""
) -> None:
    """Print a list as JSON, or its lines through the pager; ``nothing`` is the sentence if there are none."""
    if form == "json":
        write_document(document, sys.stdout)
        return
    with paged(settings):
        for line in [*lines] or filter(None, [nothing]):
            click.echo(line)
