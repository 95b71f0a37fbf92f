"""``fimscan scan``: quiet when nothing changed, one screen when something did."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fimscan import report
from fimscan.cli.context import Settings, audit_source, note, terminal_width, use_color
from fimscan.model import Diff
from fimscan.pipeline import ScanResult, run_scan
from fimscan.pipeline import drift as drifting
from fimscan.scan import Progress as Seen
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_ONE_SCREEN = 12
_ADDED, _REMOVED, _CHANGED = 1, 2, 4


def exit_code(diff: Diff) -> int:
    """AIDE's sum: 1 added, 2 removed, 4 changed."""
    kinds = {finding.change.kind.value for finding in diff.findings}
    return (
        ("added" in kinds) * _ADDED
        + ("removed" in kinds) * _REMOVED
        + bool(kinds & {"modified", "moved", "attributes"}) * _CHANGED
    )


@click.command()
@click.option("--no-audit", is_flag=True, help="Read no audit log: nobody is named.")
@click.option("--audit-log", "logs", metavar="FILE", multiple=True, help="Read this log, not the configured ones.")
@click.option("--full", is_flag=True, help='Read every byte again, also where ctime would vouch (reread = "ctime").')
@click.option("--trigger", type=click.Choice(["manual", "cron", "schedule"]), default="manual", show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Say so, too, when nothing changed.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def scan(
    settings: Settings, *, no_audit: bool, logs: tuple[str, ...], full: bool, trigger: str, verbose: bool, form: str
) -> int:
    """Compare the monitored files with the last scan, and name who changed them.

    The first scan is the baseline. Prints nothing when nothing changed and nobody watches (cron); exits with the sum
    of 1 (something was added), 2 (removed), 4 (changed).
    """
    config = settings.config()
    source = audit_source(config, logs, disabled=no_audit)
    with settings.database(create=True) as database:
        with _progress(database) as progress:
            result = run_scan(database, config, source=source, trigger=trigger, full=full, on_progress=progress)
        for problem in result.new_problems:
            note(problem)
        with drifting.reporting(database, result) as told:
            if form == "json":
                report.write_json(told.diff, sys.stdout)
            else:
                print_result(told, drifting.waiting(database, told.diff), verbose=verbose)
            sys.stdout.flush()
    return 0 if told.is_baseline else exit_code(told.diff)


def print_result(result: ScanResult, waiting: int, *, verbose: bool) -> None:
    """What a scan found, on one screen; nothing when nothing changed and nobody watches.

    ``waiting`` counts the earlier differences that nobody has accepted yet.
    """
    diff, scan = result.diff, result.scan
    seconds = ((scan.finished_ns or scan.started_ns) - scan.started_ns) / 1e9
    files = scan.counts.get("files", 0)
    size = report.size_text(scan.counts.get("bytes", 0))
    seen = f"{files:,} {'file' if files == 1 else 'files'}, {size}, {seconds:.1f} s"
    if (vouched := report.vouched_text(scan)) is not None:
        seen += f"; {vouched}"
    if result.is_baseline:
        click.echo(f"Baseline recorded: scan {scan.id}, {seen}.")
    for item in diff.reconfigurations:
        for line in report.configuration_lines(item):
            click.echo(line)
    if result.adopted or result.dropped:
        click.echo(
            f"By a new configuration, {result.adopted:,} paths are monitored now that were not, "
            f"{result.dropped:,} are not any more."
        )
    more = (
        f" {waiting:,} more from earlier scans wait for 'fimscan accept'; 'fimscan diff' shows all." if waiting else ""
    )
    if diff.findings or result.new_unreadable:
        report.write_scan_summary(
            diff, sys.stdout, limit=_ONE_SCREEN, color=use_color(sys.stdout), width=terminal_width()
        )
        if more:
            click.echo(more.strip())
    elif not result.is_baseline and (verbose or sys.stdout.isatty()):
        click.echo(f"Nothing changed since scan {diff.start.id}: {seen}.{more}")


class _progress:  # noqa: N801  # used like a function
    """A line on a terminal's stderr: files, rate and, from the last scan's count, the time left. Elsewhere nothing."""

    def __init__(self, database: Database) -> None:
        with database.read() as connection:
            last = scan_store.last_full(connection, database.host_id)
        self._total = last.counts.get("files") if last else None
        self._shown = Progress(
            TextColumn("scanning"),
            BarColumn(),
            TextColumn("{task.completed:,} files  {task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> _progress:
        self._shown.start()
        self._task = self._shown.add_task("scan", total=self._total, rate="")
        return self

    def __call__(self, seen: Seen) -> None:
        if self._task is not None:
            rate = f"{seen.bytes / max(seen.elapsed_s, 0.001) / 1e6:,.0f} MB/s"
            self._shown.update(self._task, completed=seen.files, rate=rate)

    def __exit__(self, *_exception: object) -> None:
        self._shown.stop()
