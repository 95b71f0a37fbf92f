"""``fimscan schedule``: run scans and audit reading until stopped."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial

import click
from msgspec import Struct
from msgspec.structs import replace

from fimscan.cli.context import Settings, note, packaged
from fimscan.cli.remedies import own_command
from fimscan.cli.rereading import has_terminal, note_invalid, note_valid, read_again
from fimscan.cli.scan import audit_source, grouping_if_many, print_controls, print_result
from fimscan.config import Config
from fimscan.errors import ConfigError
from fimscan.pipeline import ScanResult
from fimscan.pipeline.controls import record as controls
from fimscan.pipeline.history.reporting import report_once
from fimscan.pipeline.signer import signing_key
from fimscan.report.pruning import removed_text
from fimscan.scheduler import Control, Past, Scheduler, ServiceManager
from fimscan.store.database import Database
from fimscan.timing import zone_problem
from fimscan.upkeep.prune import Pruned


class _Setup(Struct, frozen=True):
    """What a configuration asks for, with its database opened."""

    config: Config
    database: Database
    opened: ExitStack


@click.command()
@click.option("--no-audit", is_flag=True, help="Read no audit log; no process is named.")
@click.pass_obj
def schedule(settings: Settings, *, no_audit: bool) -> None:
    """Run scans and read the audit log, as [schedule] says, until stopped: as a service or in a container.

    What is due follows from what was last done. Scans that were missed, because the host was down or asleep, are made
    up for by one scan, and recorded.

    SIGHUP reads the configuration again. If it is invalid, that is printed, and the old one stays in use. A running
    scan is finished first.

    Example: fimscan --config /etc/fimscan/fimscan.toml schedule
    """
    setup: _Setup | None
    with controls.noting_unopened():
        setup = _open(settings)
    control, manager = Control(), ServiceManager.from_environment()
    control.install(hangup_stops=has_terminal())
    if (problem := zone_problem()) is not None:
        note(problem)
    past: Past | None = None
    while setup is not None:
        setup, past = _run(setup, settings, control, manager, past, disabled=no_audit)
    note("stopped")


def _run(
    setup: _Setup, settings: Settings, control: Control, manager: ServiceManager, past: Past | None, *, disabled: bool
) -> tuple[_Setup | None, Past]:
    """Run one configuration until stopped, or until there is another one."""
    config, database = setup.config, setup.database
    try:
        runner = Scheduler(
            database,
            config,
            audit_source(config, disabled=disabled),
            report=partial(_report, setup, settings, own_command(settings)),
            report_controls=partial(_report_controls, setup),
            report_pruned=partial(_report_pruned, setup),
            complain=note,
            started=partial(_started, config),
            control=control,
            manager=manager,
            reload=partial(_reload, setup, settings),
            past=past,
        )
        return runner.run(), runner.past
    finally:
        setup.opened.close()


def _started(config: Config, status: str) -> None:
    times = config.schedule
    note(f"scans: {times.scan}; full scans: {times.full}; audit log: {times.audit}; stop with SIGTERM or Ctrl-C")
    note(status)


def _open(settings: Settings) -> _Setup:
    config = settings.config()
    opened = ExitStack()
    return _Setup(config, opened.enter_context(_fixed(settings, config).database(create=True)), opened)


def _fixed(settings: Settings, config: Config) -> Settings:
    """Settings that do not read the file again: it may be edited, and invalid, before SIGHUP says that it counts."""
    return replace(settings, db_url=config.database.url)


def _reload(setup: _Setup, settings: Settings) -> _Setup | None:
    """Read the configuration again; ``None`` if it is as it was, or invalid."""
    if (problem := zone_problem()) is not None:
        note(problem)
    if read_again(settings, setup.config) is None:
        return None
    try:
        found = _open(settings)
    except ConfigError as error:  # it was altered meanwhile
        note_invalid(error)
        return None
    note_valid()
    return found


def _report(setup: _Setup, settings: Settings, command: str, result: ScanResult) -> None:
    database = setup.database
    for problem in result.new_problems:
        note(problem)
    with report_once(database, result) as reported, controls.report_once(setup.database, setup.config) as report:
        above = print_controls(report)
        found, facts = packaged(database, reported.diff, _fixed(settings, setup.config), after_scan=True)
        shown = replace(reported, diff=replace(found, signing_key=signing_key(setup.config)))
        grouping = grouping_if_many(database, shown, facts, command)
        print_result(shown, 0, command, grouping, verbose=False, above=above)
        sys.stdout.flush()
    if (unstored := controls.store_head(database)) is not None:
        note(unstored)


def _report_pruned(setup: _Setup, pruned: Pruned) -> None:
    note(f"pruned: {removed_text(pruned.removed)}")
    if (unstored := controls.store_head(setup.database)) is not None:
        note(unstored)


def _report_controls(setup: _Setup) -> None:
    with controls.report_once(setup.database, setup.config) as report:
        print_controls(report)
        sys.stdout.flush()
