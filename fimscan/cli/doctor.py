"""``fimscan doctor``: find problems, and say how to fix them."""

from __future__ import annotations

import click

from fimscan.cli.checks import print_checks
from fimscan.cli.context import STATE_DIRECTORY, Settings
from fimscan.cli.remedies import runnable
from fimscan.linux.host import this_host
from fimscan.pipeline.health.doctor import all_checks, audit_checks, database_check


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def doctor(settings: Settings, *, form: str) -> int:
    """Find problems, and say how to fix each of them.

    Exits with 1 if there is a warning, with 2 if something is critical.

    Example: fimscan doctor --format json
    """
    config = settings.config()
    check, database = database_check(settings.url(), this_host(), STATE_DIRECTORY)
    checks = [check]
    if database is None:
        checks += audit_checks(config)
    else:
        checks += all_checks(config, database)
        database.close()
    return print_checks(runnable(checks, settings), form, settings)
