"""``fimscan diff``: show what differs from the baseline, and who changed it."""

from __future__ import annotations

import fnmatch
import os
from dataclasses import replace
from typing import TextIO

import click

from fimscan.cli.context import Settings, absolute_path, exit_code, note, output_to, terminal_width, use_color
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.model import Change, Diff, Finding, Verdict
from fimscan.paths import is_within
from fimscan.pipeline.history.diff import diff_from_baseline, diff_of_scans, history_of
from fimscan.report.csv import write_csv
from fimscan.report.json import write_json, write_ndjson
from fimscan.report.schema import schema_text
from fimscan.report.words import unchanged_text
from fimscan.store.database import Database

_FORMATS = ("text", "json", "ndjson", "csv", "html")
_WITH_HEADLINE = ("text", "html")  # it says that a filter matched nothing; other formats have a line on standard error


@click.command()
@click.option(
    "--from", "start", type=int, metavar="SCAN", help="Compare with this scan instead of the accepted baseline."
)
@click.option(
    "--to", "end", type=int, metavar="SCAN", help="Show the state of this scan. Default: the last finished one."
)
@click.option(
    "--path",
    "pattern",
    metavar="GLOB",
    help="Show only this path and everything below it, or paths that match: '/etc/*.conf'.",
)
@click.option(
    "--verdict", type=click.Choice([verdict.value for verdict in Verdict]), help="Show only changes with this verdict."
)
@click.option("--history", is_flag=True, help="Show every recorded change of --path, also those that were undone.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option("--out", metavar="FILE", help="Write to FILE instead of standard output.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --format json and exit.")
@click.pass_obj
def diff(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    start: int | None,
    end: int | None,
    pattern: str | None,
    verdict: str | None,
    history: bool,
    form: str,
    out: str | None,
    schema: bool,
) -> int:
    """Show what differs from the accepted baseline, and who changed it.

    Exits with 0 if nothing differs, else with the sum of 1 (something was added), 2 (removed) and 4 (changed).

    Example: fimscan diff --path '/etc/*.conf' --format json --out diff.json
    """
    if schema:
        click.echo(schema_text("diff"), nl=False)
        return 0
    if pattern is not None:
        absolute_path(pattern)  # an empty one is an error, whatever there is to compare
    config = settings.config_if_any()
    with settings.database() as database:
        found = _history(database, pattern, config) if history else _difference(database, (start, end), config)
    if pattern is not None or verdict is not None:
        found = _filtered(found, pattern, verdict)
    if found.unfiltered and not (_differences(found) or form in _WITH_HEADLINE):
        note(f"0 of {found.unfiltered:,} match --path and --verdict")
    if found.unchanged is not None and form not in _WITH_HEADLINE:
        note(unchanged_text(found.unchanged, found.host))
    with output_to(out) as stream:
        _write(found, form, stream)
    return exit_code(found)


def _difference(database: Database, span: tuple[int | None, int | None], config: Config | None) -> Diff:
    if span == (None, None):
        return diff_from_baseline(database, config)
    return diff_of_scans(database, *span, config)


def _history(database: Database, pattern: str | None, config: Config | None) -> Diff:
    if pattern is None:
        raise UsageError("--history needs a path; give it with --path")
    return history_of(database, absolute_path(pattern), config)


def _filtered(found: Diff, pattern: str | None, verdict: str | None) -> Diff:
    return replace(
        found,
        findings=tuple(row for row in found.findings if _wanted(row, pattern, verdict)),
        unreadable=tuple(item for item in found.unreadable if _matches(item.path, pattern)),
        opened_unmodified=tuple(item for item in found.opened_unmodified if _matches(item.path, pattern)),
        unfiltered=_differences(found),
    )


def _differences(found: Diff) -> int:
    return len(found.findings) + sum(bool(item.differs) for item in found.unreadable)


def _wanted(row: Finding, pattern: str | None, verdict: str | None) -> bool:
    if verdict is not None and row.attribution.verdict != verdict:
        return False
    return any(_matches(path, pattern) for path in _paths(row.change))


def _paths(change: Change) -> list[bytes]:
    return [path for path in (change.path, change.moved_from) if path is not None]


def _matches(path: bytes, pattern: str | None) -> bool:
    if pattern is None:
        return True
    # The literal path comes first: a name may contain *, ? and [. It also matches everything below it.
    plain = absolute_path(pattern)
    return is_within(path, plain) or any(fnmatch.fnmatchcase(path, glob) for glob in (os.fsencode(pattern), plain))


def _write(found: Diff, form: str, stream: TextIO) -> None:
    match form:
        case "json":
            write_json(found, stream)
        case "ndjson":
            write_ndjson(found, stream)
        case "csv":
            write_csv(found, stream)
        case "html":
            from fimscan.report.html import write_html

            write_html(found, stream)
        case _:
            from fimscan.report.text import write_text

            write_text(found, stream, color=use_color(stream), width=terminal_width())
