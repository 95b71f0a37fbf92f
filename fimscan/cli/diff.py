"""``fimscan diff``: show what differs from the baseline, and who changed it."""

from __future__ import annotations

import fnmatch
import operator
import os
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

import click
from msgspec import Struct
from msgspec.structs import replace

from fimscan.cli.context import (
    Settings,
    absolute_path,
    exit_code,
    leave_to_exit,
    note,
    output_to,
    packaged,
    screen_size,
    terminal_width,
    use_color,
)
from fimscan.cli.last_shown import remember
from fimscan.cli.pager import lines_of_pager, paged
from fimscan.cli.plan import progress_of
from fimscan.cli.remedies import own_command
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.gc_pause import gc_paused
from fimscan.grouping import Facts, Grouping
from fimscan.model import Change, Diff, Finding, Verdict
from fimscan.paths import is_within
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.diff import diff_from_baseline, diff_of_scans, history_of
from fimscan.pipeline.history.plans import plans_of
from fimscan.pipeline.history.shown import report_name
from fimscan.pipeline.signer import signing_key
from fimscan.pipeline.texts import text_problem, with_texts
from fimscan.report.change_sets import next_commands
from fimscan.report.csv import write_csv
from fimscan.report.display import show
from fimscan.report.json import write_json, write_ndjson
from fimscan.report.schema import schema_text
from fimscan.report.words import unchanged_text
from fimscan.store.database import Database

if TYPE_CHECKING:
    from fimscan.report.html import PageContext
    from fimscan.report.screen import Screen

_WITH_TEXT = ("text", "json", "ndjson", "html")
_MOST_TEXTS = 200  # rows; the rest says how to ask for it
_FORMATS = ("text", "json", "ndjson", "csv", "html")
_WITH_KEY = ("text", "json", "html")  # text has its beginning, --verbose prints all of it
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
@click.option("--flat", is_flag=True, help="Text: list every row, however many. The other formats always do.")
@click.option("--look", is_flag=True, help="Text: list all that stands out, however many lines it takes.")
@click.option("--sets", "list_sets", is_flag=True, help="Text: list all change sets, one line each.")
@click.option("--set", "number", type=int, metavar="N", help="Show only the changes of this change set, in full.")
@click.option(
    "--text", "whole_text", is_flag=True, help="Also show what changed in texts, whole (of watches with keep_content)."
)
@click.option("--no-packages", is_flag=True, help="Do not compare the changed files with what their packages shipped.")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="text", show_default=True)
@click.option("--out", metavar="FILE", help="Write to FILE instead of standard output.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of --format json and exit.")
@click.pass_obj
@gc_paused()
def diff(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    start: int | None,
    end: int | None,
    pattern: str | None,
    verdict: str | None,
    history: bool,
    flat: bool,
    look: bool,
    list_sets: bool,
    number: int | None,
    whole_text: bool,
    no_packages: bool,
    form: str,
    out: str | None,
    schema: bool,
) -> int:
    """Show what differs from the accepted baseline, and who changed it.

    The text of many changes is one screen: what stands out, each with who did it, then the change sets. What does not
    fit is counted; --look, --sets and --flat list it. A change set is what one command did with all that it started.
    The numbers of sets belong to this report: a later scan, or another filter, gives others.

    Of files whose content is kept, the text on a terminal also shows what changed in them, at most 20 lines each. All
    other output has the content of files only with --text, which lists every row.

    Exits with 0 if nothing differs, else with the sum of 1 (something was added), 2 (removed) and 4 (changed).

    Example: fimscan diff --path '/etc/*.conf' --format json --out diff.json
    """
    if schema:
        click.echo(schema_text("diff"), nl=False)
        return 0
    if pattern is not None:
        absolute_path(pattern)  # an empty one is an error, whatever there is to compare
    if whole_text and form not in _WITH_TEXT:
        raise UsageError(f"--text needs --format {', '.join(_WITH_TEXT[:-1])} or {_WITH_TEXT[-1]}")
    config = settings.config_if_any()
    filters = {"--from": start, "--to": end, "--path": pattern, "--verdict": verdict}
    view = _View(
        form=form,
        flat=flat or history or whole_text,
        is_opened=flat or history or whole_text,
        lines=_lines_shown(form, out, whole=whole_text),
        look=look,
        list_sets=list_sets,
        number=number,
        filters=filters,
        program=own_command(settings),
        margin=lines_of_pager(settings, form, out),
    )
    with settings.database() as database:
        if (problem := text_problem(database, config)) is not None:
            note(problem)
        found = _history(database, pattern, config) if history else _difference(database, (start, end), config)
        if pattern is not None or verdict is not None:
            found = _filtered(found, pattern, verdict)
        # The history of a path has states that no package of today can vouch for.
        found, facts = packaged(database, found, settings, disabled=no_packages or history)
        found, grouping, commands = _grouped(database, found, facts, view, settings)
        if form in ("text", "html") or whole_text:
            found, grouping = _with_texts(database, config, found, grouping, view)
        if form in _WITH_KEY or settings.verbose:
            found = replace(found, signing_key=signing_key(config))
        page = _page_context(database, found, grouping, view, config) if form == "html" else None
    if settings.verbose and found.signing_key is not None:
        note(f"signing key: {found.signing_key}")
    if found.unfiltered and not (_differences(found) or form in _WITH_HEADLINE):
        note(f"0 of {found.unfiltered:,} match --path and --verdict")
    if found.unchanged is not None and form not in _WITH_HEADLINE:
        note(unchanged_text(found.unchanged, found.host))
    with paged(settings, form, out), output_to(out) as stream:
        _write(found, grouping, view, stream, commands, page)
    if number is None and not history:
        remember(settings.url(), found)
    leave_to_exit(found, facts, grouping, page)
    return exit_code(found)


class _View(Struct, frozen=True, kw_only=True):
    """How a diff is to be shown.

    ``filters`` are the options that choose what is in it. ``margin`` is how many lines of the screen are left free.
    ``is_opened`` says that rows were asked for, not a screen. ``lines`` is how many lines of each text are shown;
    ``None`` for all.
    """

    form: str
    flat: bool
    look: bool
    list_sets: bool
    number: int | None
    filters: Mapping[str, str | int | None]
    program: str
    margin: int
    is_opened: bool
    lines: int | None

    def names_report(self, found: Diff) -> bool:
        """Whether the report says how to accept no more than it shows. It then needs the change sets."""
        return found.accepted is not None and found.unfiltered is None

    def needs_sets(self, found: Diff) -> bool:
        """Whether the changes have to be grouped."""
        if self.number is not None or self.form in ("json", "ndjson", "html"):
            return True
        if self.form != "text":
            return False
        return self.list_sets or self.look or not (self.flat or _fits(found, self.screen(found)))

    def groups(self, found: Diff) -> bool:
        """Whether the changes have to be grouped, to show the sets or to name the report."""
        return self.names_report(found) or self.needs_sets(found)

    @property
    def options(self) -> str:
        """The options that choose what is in the diff, as they are typed, with a space in front."""
        chosen = [(name, str(value)) for name, value in self.filters.items() if value is not None]
        return "".join(f" {name} {show(shlex.quote(value))}" for name, value in chosen)

    def screen(self, found: Diff) -> Screen:
        """The size of the screen, and the command that gives the same sets, for the lines that say how to go on."""
        from fimscan.report.screen import Screen
        from fimscan.report.texts import TextView

        width, height = screen_size()
        span = "".join(f" {name} {value}" for name in ("--from", "--to") if (value := self.filters[name]) is not None)
        command = f"{self.program} diff{span} --path {{path}} --text"
        return Screen(
            width,
            height - self.margin,
            self.program,
            self.options,
            view=TextView(self.lines, command),
            is_reviewed=self.names_report(found),
            is_whole=self.look,
        )


def _fits(found: Diff, screen: Screen) -> bool:
    from fimscan.report.screen import fits

    return fits(found, screen)


def _one_set(found: Diff, grouping: Grouping, number: int) -> tuple[Diff, Grouping]:
    """The diff of one change set alone."""
    one = grouping.only(number)
    if one is None:
        raise UsageError(f"there is no change set {number} in this report; 'fimscan diff --sets' lists them")
    rows = tuple(row.finding for row in one.rows)
    return replace(found, findings=rows, unreadable=(), opened_unmodified=(), reconfigurations=()), one


def _lines_shown(form: str, out: str | None, *, whole: bool) -> int | None:
    """How many lines of each text: all, if asked for; some on a terminal. Mails and files get none unasked."""
    if whole:
        return None
    if form != "text" or out is not None or not sys.stdout.isatty():
        return 0
    from fimscan.report.texts import MOST_LINES

    return MOST_LINES


def _grouped(
    database: Database, found: Diff, facts: Facts | None, view: _View, settings: Settings
) -> tuple[Diff, Grouping | None, tuple[str, ...]]:
    """Return (the diff with its name and plans, its change sets if they are to be shown, the commands to go on)."""
    grouping = grouping_of(database, found, facts) if view.groups(found) else None
    commands: tuple[str, ...] = ()
    if grouping is not None:
        found = replace(found, shown=report_name(found, grouping, view.number))
        commands = next_commands(view.program, found, grouping, is_reviewed=view.names_report(found))
        if view.names_report(found):
            found = replace(found, plans=progress_of(database, found, grouping, settings))
    if not view.names_report(found):
        # What came of a plan is only known of everything that waits.
        found = replace(found, planned=plans_of(database, found.findings))
    if grouping is None or not view.needs_sets(found):
        return found, None, commands
    if view.number is None:
        return found, grouping, commands
    return *_one_set(found, grouping, view.number), commands


def _with_texts(
    database: Database, config: Config | None, found: Diff, grouping: Grouping | None, view: _View
) -> tuple[Diff, Grouping | None]:
    """Add what changed in texts to the rows that are shown."""
    most = None if view.lines is None else _MOST_TEXTS
    rows = found.findings
    if grouping is not None and view.form == "text" and view.number is None:
        rows = tuple(row.finding for row in grouping.standing_out)
    told = with_texts(database, config, rows, most)
    if all(map(operator.is_, rows, told)):
        return found, grouping
    new = {id(row): other for row, other in zip(rows, told, strict=True)}

    def with_text(row: Finding) -> Finding:
        return new.get(id(row), row)

    found = replace(found, findings=tuple(map(with_text, found.findings)))
    return found, None if grouping is None else grouping.with_findings(with_text)


def _page_context(
    database: Database, found: Diff, grouping: Grouping | None, view: _View, config: Config | None
) -> PageContext:
    """What the page has beside the diff: scans and gaps, and the evidence of the most urgent changes."""
    from fimscan.pipeline.history.continuity import continuity_of
    from fimscan.pipeline.history.explain_change import explain_all
    from fimscan.report.html import PageContext, explained_findings
    from fimscan.report.texts import plain_lines

    urgent = () if grouping is None else explained_findings(grouping)
    return PageContext(
        continuity=continuity_of(database, found, config),
        explanations=explain_all(database, urgent),
        program=view.program,
        filters=view.options,
        texts={row.change.id: plain_lines(row.text, whole=view.lines is None) for row in found.findings if row.text},
    )


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


def _write(  # all that is written
    found: Diff,
    grouping: Grouping | None,
    view: _View,
    stream: TextIO,
    commands: tuple[str, ...],
    page: PageContext | None,
) -> None:
    match view.form:
        case "html":
            from fimscan.report.html import write_html

            write_html(found, stream, grouping, page)
        case "json":
            write_json(found, stream, grouping, texts=view.lines is None)
        case "ndjson":
            write_ndjson(found, stream, grouping, texts=view.lines is None)
        case "csv":
            write_csv(found, stream)
        case _ if grouping is None:
            from fimscan.report.screen import fitting
            from fimscan.report.text import write_text

            screen = view.screen(found)
            shown = screen.view if view.is_opened else fitting(found, screen)
            write_text(found, stream, color=use_color(stream), width=terminal_width(), commands=commands, view=shown)
        case _:
            _write_sets(found, grouping, view, stream)


def _write_sets(found: Diff, grouping: Grouping, view: _View, stream: TextIO) -> None:
    from fimscan.report import screen

    if view.number is not None:
        (one,) = grouping.sets
        screen.write_set(found, one, stream, color=use_color(stream), screen=view.screen(found))
    elif view.list_sets:
        screen.write_sets(found, grouping, stream, color=use_color(stream), screen=view.screen(found))
    else:
        screen.write_screen(found, grouping, stream, color=use_color(stream), screen=view.screen(found))
