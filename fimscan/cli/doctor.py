"""``fimscan doctor``: find problems, and say how to fix them."""

from __future__ import annotations

import click

from fimscan.cli.checks import print_checks
from fimscan.cli.context import STATE_DIRECTORY, Settings
from fimscan.cli.remedies import runnable
from fimscan.errors import ConfigError
from fimscan.linux.host import this_host
from fimscan.model import Check
from fimscan.pipeline.controls.checks import control_checks
from fimscan.pipeline.health.checks import critical, ok
from fimscan.pipeline.health.doctor import all_checks, audit_checks, database_check
from fimscan.pipeline.metrics.checks import metrics_checks
from fimscan.pipeline.selftest.checks import selftest_checks


@click.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def doctor(settings: Settings, *, form: str) -> int:
    """Find problems, and say how to fix each of them.

    Exits with 1 if there is a warning, with 2 if something is critical.

    Example: fimscan doctor --format json
    """
    try:
        config, config_file = settings.config(), settings.config_file()
    except ConfigError as error:
        if form == "json":  # a program gets its document; the exit code is that of the error
            print_checks(runnable(_not_configured(error), settings), form, settings)
        raise
    checks = [ok("configuration", config_file)]
    check, database = database_check(settings.url(), this_host(), STATE_DIRECTORY)
    checks.append(check)
    if database is None:
        checks += audit_checks(config)
    else:
        checks += all_checks(config, database)
        checks += [*control_checks(config, database), *selftest_checks(config, database)]
        checks += metrics_checks(config)
        database.close()
    return print_checks(runnable(checks, settings), form, settings)


def _not_configured(error: ConfigError) -> list[Check]:
    """The checks if there is no configuration, or an invalid one."""
    remedy = "correct it there" if error.problems else "fimscan init" if "fimscan init" in str(error) else ""
    return [critical("configuration", line, remedy) for line in (error.problems or (str(error),))]
