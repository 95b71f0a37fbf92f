"""``fimscan scan``: run a scan and print what it found, on one screen; nothing if nothing changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext

import click
from msgspec.structs import replace

from fimscan.cli.context import Settings, exit_code, note, packaged, screen_size, use_color
from fimscan.cli.last_shown import remember_scan
from fimscan.cli.remedies import own_command
from fimscan.config import Config
from fimscan.grouping import Facts, Grouping
from fimscan.model import ControlReport, Diff
from fimscan.pipeline import AuditSource, ScanResult, run_scan
from fimscan.pipeline.controls import record as controls
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.diff import count_older
from fimscan.pipeline.history.reporting import report_once
from fimscan.pipeline.signer import signing_key
from fimscan.report.configuration import configuration_lines
from fimscan.report.controls import control_lines, host_lines
from fimscan.report.display import show, size_text
from fimscan.report.json import write_json
from fimscan.report.words import vouched_text
from fimscan.scan.scanner import Progress
from fimscan.store.database import Database

_ONE_SCREEN = 12
_LEAST_HEIGHT = 16  # however many controls failed
_CONTROL_FAILED = 8


@click.command()
@click.option("--no-audit", is_flag=True, help="Read no audit log; no process is named.")
@click.option(
    "--audit-log", "logs", metavar="FILE", multiple=True, help="Read this log instead of the configured ones."
)
@click.option("--full", is_flag=True, help='Re-hash everything, skip nothing (with reread = "ctime").')
@click.option("--trigger", type=click.Choice(["manual", "cron", "schedule"]), default="manual", show_default=True)
@click.option("--no-packages", is_flag=True, help="Do not compare the changed files with what their packages shipped.")
@click.option(
    "--strict", is_flag=True, help="Add 8 to the exit code if a control failed: audit, scans, disk and others."
)
@click.option(
    "--adopt-host",
    "adopt",
    metavar="[NAME]",
    is_flag=False,
    flag_value="",
    help="Continue the baseline of another host (or of this one, if its id changed).",
)
@click.option("-v", "--verbose", is_flag=True, help="Print a line even if nothing changed.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def scan(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    no_audit: bool,
    logs: tuple[str, ...],
    full: bool,
    trigger: str,
    no_packages: bool,
    strict: bool,
    adopt: str | None,
    verbose: bool,
    form: str,
) -> int:
    """Compare the monitored files with the last scan, and say which process changed them.

    The first scan is the baseline. Without a terminal (cron), nothing is printed if nothing changed.

    Exits with 0 if nothing changed, else with the sum of 1 (something was added), 2 (removed) and 4 (changed).

    A control that fails is reported once, and once more when it works again: audit that does not see the monitored
    files, scans that failed or were missed, a full disk and others. With --strict, 8 is added to the exit code as long
    as a control is failed, and by the scan that reports it.

    A file that was readable before and is not now is reported by every scan until it can be read again. It counts as
    changed if its size, times, owner, mode or inode differ.

    Example: fimscan scan --verbose
    """
    config = settings.config()
    source = audit_source(config, logs, disabled=no_audit)
    with ExitStack() as opened:
        with controls.noting_unopened():
            database = opened.enter_context(settings.database(create=True, adopt=adopt))
        with _progress(database) as progress, controls.noting_failure(database, config):
            controls.before_scan(database)
            result = run_scan(database, config, source=source, trigger=trigger, full=full, on_progress=progress)
            controls.after_scan(database, config, source, result)
        for problem in result.new_problems:
            note(problem)
        with report_once(database, result) as reported, controls.report_once(database, config) as report:
            found, facts = packaged(database, reported.diff, settings, disabled=no_packages, after_scan=True)
            found = replace(found, signing_key=signing_key(config))
            shown = replace(reported, diff=found)
            is_listed = True
            if form == "json":
                write_json(found, sys.stdout, grouping_of(database, found, facts), report)
            else:
                above = print_controls(report)
                older = count_older(database, found, config)
                command = own_command(settings)
                grouping = grouping_if_many(database, shown, facts, command)
                is_listed = grouping is None
                print_result(shown, older, command, grouping, verbose=verbose, above=above)
            sys.stdout.flush()
        _notify(database, config)
        write_metrics(database, config)
        if is_listed:
            remember_scan(settings.url(), found)
        if (unstored := controls.store_head(database)) is not None:
            note(unstored)
    changed = 0 if reported.is_baseline else exit_code(reported.diff)
    return changed + (_CONTROL_FAILED if strict and report.has_failed else 0)


def print_controls(report: ControlReport) -> int:
    """Print the new names of the host, and which controls failed or work again; return the number of lines."""
    lines = [*host_lines(report.host_events), *control_lines(report)]
    for line in lines:
        click.echo(line)
    return len(lines)


def _notify(database: Database, config: Config) -> None:
    if config.output:
        from fimscan.pipeline.outputs.delivery import deliver_after_scan

        for problem in deliver_after_scan(database, config):
            note(problem)


def write_metrics(database: Database, config: Config) -> None:
    """Write the metrics for Prometheus, if that is configured."""
    if config.metrics.textfile:
        from fimscan.pipeline.metrics.expose import write_textfile

        if (problem := write_textfile(database, config)) is not None:
            note(problem)


def grouping_if_many(
    database: Database, result: ScanResult, facts: Facts | None = None, command: str = "fimscan"
) -> Grouping | None:
    """The change sets of a scan's changes; ``None`` if there are so few changes that all of them fit on one screen."""
    rows = len(result.diff.findings) + len(result.alarming)
    if not rows:
        return None
    if rows <= _ONE_SCREEN:
        from fimscan.report.text import scan_summary

        width, height = screen_size()
        diff = replace(result.diff, unreadable=result.alarming)
        if len(scan_summary(diff, limit=_ONE_SCREEN, width=width, command=command)) <= height:
            return None
    return grouping_of(database, result.diff, facts)


def print_result(
    result: ScanResult,
    waiting: int,
    command: str = "fimscan",
    grouping: Grouping | None = None,
    *,
    verbose: bool,
    above: int = 0,
) -> None:
    """Print what a scan found, on one screen; nothing if nothing changed and there is no terminal.

    Args:
        result: what the scan found.
        waiting: the number of differences found by earlier scans and not accepted yet.
        command: how this program is called, for the commands that are printed.
        grouping: the change sets; then what stands out and the sets are printed instead of the first changes.
        verbose: print a line even if nothing changed.
        above: how many lines of the screen are taken by what was printed before.
    """
    diff, scan = result.diff, result.scan
    seconds = ((scan.finished_ns or scan.started_ns) - scan.started_ns) / 1e9
    files = scan.counts.get("files", 0)
    size = size_text(scan.counts.get("bytes", 0))
    seen = f"{files:,} {'file' if files == 1 else 'files'}, {size}, {seconds:.1f} s"
    if (vouched := vouched_text(scan)) is not None:
        seen += f"; {vouched}"
    if result.is_baseline:
        click.echo(f"Baseline recorded: scan {scan.id}, {seen}.")
    for path in result.new_absent:
        click.echo(f"{show(path)} does not exist and was recorded as absent; its appearance will be reported.")
    for item in diff.reconfigurations:
        for line in configuration_lines(item):
            click.echo(line)
    if result.adopted or result.dropped:
        counted = ((result.adopted, "newly monitored"), (result.dropped, "no longer monitored"))
        parts = [f"{count:,} {'path' if count == 1 else 'paths'} {what}" for count, what in counted if count]
        click.echo(f"New configuration: {', '.join(parts)}.")
    more = f" {waiting:,} more to accept from earlier scans; '{command} diff' shows all." if waiting else ""
    if diff.findings or result.alarming:
        taken = above + len(result.new_absent) + bool(result.adopted or result.dropped) + bool(more)
        _print_changes(replace(diff, unreadable=result.alarming), command, grouping, taken)
        if more:
            click.echo(more.strip())
    elif not result.is_baseline and (verbose or sys.stdout.isatty()):
        click.echo(f"Nothing changed since scan {diff.start.id}: {seen}.{more}")


def _print_changes(diff: Diff, command: str, grouping: Grouping | None, taken: int) -> None:
    from fimscan.report.console import write_lines
    from fimscan.report.screen import Screen, write_screen
    from fimscan.report.text import scan_summary

    color = use_color(sys.stdout)
    if grouping is None or not grouping.rows:
        width, _ = screen_size()
        write_lines(scan_summary(diff, limit=_ONE_SCREEN, width=width, command=command), sys.stdout, color=color)
        return
    span = f" --from {diff.start.id} --to {diff.end.id}"
    width, height = screen_size()
    height = max(height - taken, _LEAST_HEIGHT)
    screen = Screen(width, height, program=command, filters=span, limit=_ONE_SCREEN, is_reviewed=True)
    write_screen(diff, grouping, sys.stdout, color=color, screen=screen)


def audit_source(config: Config, logs: tuple[str, ...] = (), *, disabled: bool = False) -> AuditSource | None:
    """The logs to read: those of ``--audit-log``, else the configured ones; ``None`` if audit is disabled."""
    if disabled or not (config.audit.enabled or logs):
        return None
    chosen = tuple(os.path.abspath(log) for log in logs) or config.audit.logs
    return AuditSource(
        logs=chosen,
        nodes=config.audit.nodes,
        socket=config.audit.socket or None,
        complete_key=config.audit.key if config.audit.io_uring_rule else None,
    )


def _progress(database: Database) -> AbstractContextManager[Callable[[Progress], None] | None]:
    """A progress line if standard error is a terminal, else nothing."""
    if not sys.stderr.isatty():
        return nullcontext()
    from fimscan.cli.progress import ProgressLine

    return ProgressLine(database)
