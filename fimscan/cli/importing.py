"""``fimscan import aide``: import the baseline of another program, so that moving leaves no time unmonitored."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import click

from fimscan.cli.context import Settings
from fimscan.pipeline.import_aide import Imported, import_aide
from fimscan.report.display import time_text
from fimscan.report.documents.imported import import_document
from fimscan.report.json import write_document


@click.group("import")
def import_group() -> None:
    """Import the baseline of another program.

    Example: fimscan import aide /var/lib/aide/aide.db
    """


@import_group.command()
@click.argument("file", metavar="FILE")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def aide(settings: Settings, *, file: str, form: str) -> None:
    """Import AIDE's database FILE (0.16 to 0.18, text or gzip) as the baseline of an empty fimscan database.

    All monitored files are read now. Attributes that AIDE did not record are taken from this reading. The next 'fimscan
    scan' reports what differs from AIDE's database. The windows of these changes begin when that database was made.

    Example: fimscan import aide /var/lib/aide/aide.db
    """
    config = settings.config()
    with settings.database(create=True) as database:
        done = import_aide(database, config, os.fsencode(os.path.abspath(file)))
    assert done.scan is not None, "a successful import has a scan"
    if form == "json":
        counts = {**asdict(done), "unreadable": len(done.unreadable)}
        write_document(import_document(done.scan.id, done.taken_ns, counts), sys.stdout)
        return
    _print(done)


def _print(done: Imported) -> None:
    assert done.scan is not None
    known = done.same + done.differing + done.gone
    click.echo(f"Baseline: scan {done.scan.id}, {known:,} files as recorded by AIDE at {time_text(done.taken_ns)}.")
    click.echo(
        f"Since then: changed {done.differing:,}, removed {done.gone:,}, added {done.new:,}. "
        "'fimscan scan' reports them."
    )
    lines = (
        (done.outside, "Not monitored here, so left out"),
        (done.adopted, "Monitored here, but not in AIDE's database, so recorded as they are now"),
        (
            done.without_digest,
            "Without SHA-256 and SHA-512 in AIDE's database, so their content is recorded as it is now",
        ),
        (len(done.unreadable), "Could not be read"),
    )
    for count, what in lines:
        if count:
            click.echo(f"{what}: {count:,}.")
