"""``fimscan selftest``: change a file, and see whether that is noticed all the way to the receivers."""

from __future__ import annotations

import sys

import click

from fimscan.cli.context import Settings, note
from fimscan.cli.remedies import complete_quoted
from fimscan.cli.scan import audit_source, print_controls, write_metrics
from fimscan.errors import SelftestError
from fimscan.pipeline.controls import record as controls
from fimscan.pipeline.outputs.delivery import deliver_after_scan
from fimscan.pipeline.selftest.run import run_selftest
from fimscan.report.documents.selftest import selftest_document
from fimscan.report.json import write_document
from fimscan.report.selftest import failure_text, selftest_lines


@click.command()
@click.option("-q", "--quiet", is_flag=True, help="Print nothing if it passes, as for cron.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def selftest(settings: Settings, *, quiet: bool, form: str) -> None:
    """Change a file, and see whether that is noticed all the way to the receivers.

    A process makes a file in a watched directory ([selftest] path) and removes it some seconds later. It goes the way
    of any change: the scanner has to find it, the verdict has to be confirmed and name exactly this process, a message
    has to be in the outbox, and each output has to be acknowledged. Only this path is looked at, so there has to be a
    scan with this configuration before.

    The result is stored. A selftest that failed is a control that failed, until one passes. No diff has the file,
    because it came and went. Its history is shown by 'fimscan diff --history --path'.

    Exits with 0 if all steps passed, with 26 if one failed.

    Example: fimscan selftest --format json
    """
    config = settings.config()
    with settings.database(writing=True) as database:
        result = run_selftest(database, config, audit_source(config))
        if form == "json":
            write_document(selftest_document(database.host, result), sys.stdout)
        elif not (quiet and result.has_passed):
            for line in selftest_lines(result):
                click.echo(complete_quoted(line, settings))
        sys.stdout.flush()
        with controls.report_once(database, config) as report:
            if form == "text":
                print_controls(report)
                sys.stdout.flush()
        if report.began or report.mended:
            for problem in deliver_after_scan(database, config):
                note(problem)
        write_metrics(database, config)
        if (unstored := controls.store_head(database)) is not None:
            note(unstored)
    if not result.has_passed:
        raise SelftestError(f"the selftest failed: {failure_text(result)}")
