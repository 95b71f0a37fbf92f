"""``fimscan schedule``: run scans and audit reading until stopped."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

import click

from fimscan.cli.context import Settings, note, packaged
from fimscan.cli.remedies import own_command
from fimscan.cli.scan import audit_source, grouping_if_many, print_controls, print_result
from fimscan.pipeline import ScanResult
from fimscan.pipeline.controls import record as controls
from fimscan.pipeline.history.reporting import report_once
from fimscan.scheduler import Scheduler
from fimscan.store.database import Database


@click.command()
@click.option("--no-audit", is_flag=True, help="Read no audit log; no process is named.")
@click.pass_obj
def schedule(settings: Settings, *, no_audit: bool) -> None:
    """Run scans and read the audit log, as [schedule] says, until stopped: as a service or in a container.

    Example: fimscan --config /etc/fimscan/fimscan.toml schedule
    """
    config = settings.config()
    with settings.database(create=True) as database:
        source = audit_source(config, disabled=no_audit)
        runner = Scheduler(
            database,
            config,
            source,
            report=partial(_report, database, settings, own_command(settings)),
            complain=note,
            report_controls=partial(_report_controls, database),
        )
        note(f"scans: {config.schedule.scan}; audit log: {config.schedule.audit}; stop with SIGTERM or Ctrl-C")
        runner.run()
    note("stopped")


def _report(database: Database, settings: Settings, command: str, result: ScanResult) -> None:
    for problem in result.new_problems:
        note(problem)
    with report_once(database, result) as reported, controls.report_once(database) as report:
        print_controls(report)
        found, facts = packaged(database, reported.diff, settings, after_scan=True)
        shown = replace(reported, diff=found)
        print_result(shown, 0, command, grouping_if_many(database, shown, facts), verbose=False)
        sys.stdout.flush()
    if (unstored := controls.store_head(database)) is not None:
        note(unstored)


def _report_controls(database: Database) -> None:
    with controls.report_once(database) as report:
        print_controls(report)
        sys.stdout.flush()
