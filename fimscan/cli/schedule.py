"""``fimscan schedule``."""

from __future__ import annotations

import sys

import click

from fimscan import report
from fimscan.cli.context import Settings, audit_source, note, terminal_width, use_color
from fimscan.pipeline import ScanResult
from fimscan.scheduler import Scheduler

_ONE_SCREEN = 12


@click.command()
@click.option("--no-audit", is_flag=True, help="Read no audit log: nobody is named.")
@click.pass_obj
def schedule(settings: Settings, *, no_audit: bool) -> None:
    """Run scans and audit reading on their schedules until stopped (systemd, container)."""
    config = settings.config()
    with settings.database(create=True) as database:
        runner = Scheduler(database, config, audit_source(config, disabled=no_audit), report=_report, complain=note)
        note(f"scans: {config.schedule.scan}; audit log: {config.schedule.audit}; stop with SIGTERM or Ctrl-C")
        runner.run()
    note("stopped")


def _report(result: ScanResult) -> None:
    for problem in result.new_problems:
        note(problem)
    if result.is_baseline:
        note(f"baseline recorded: scan {result.scan.id}, {result.scan.counts.get('files', 0):,} files")
    elif result.diff.findings or result.new_unreadable:
        report.write_scan_summary(
            result.diff, sys.stdout, limit=_ONE_SCREEN, color=use_color(sys.stdout), width=terminal_width()
        )
        sys.stdout.flush()
