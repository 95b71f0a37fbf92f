"""``fimscan doctor``: what is wrong, and how to mend it."""

from __future__ import annotations

import os

import click

from fimscan.cli.checks import print_checks
from fimscan.cli.context import Settings
from fimscan.pipeline.health.doctor import all_checks, audit_checks, database_check


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def doctor(settings: Settings, *, form: str) -> int:
    """Say what is wrong, and how to fix it. Exits with 1 for a warning, with 2 for something critical."""
    config = settings.config()
    check, database = database_check(settings.url(), os.uname().nodename)
    checks = [check]
    if database is None:
        checks += audit_checks(config)
    else:
        checks += all_checks(config, database)
        database.close()
    return print_checks(checks, form)
