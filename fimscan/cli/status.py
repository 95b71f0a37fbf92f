"""``fimscan status``: show the last scans, acceptances, and the number of changes to accept."""

from __future__ import annotations

import os
import sys
import time
from itertools import chain

import click
from msgspec import Struct
from msgspec.structs import replace

from fimscan.cli.context import Settings
from fimscan.cli.pager import paged
from fimscan.cli.remedies import complete_quoted
from fimscan.config import Config
from fimscan.errors import StoreError
from fimscan.model import ContentUsage, Scan, ScanStatus, Selftest, Status
from fimscan.pipeline.config_changes import pending, reconfigurations
from fimscan.pipeline.health.doctor import WITNESS_FRESH_NS
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.record.contents import keeps_content
from fimscan.pipeline.record.ctime_trust import vouched_files
from fimscan.pipeline.signer import signing_key
from fimscan.report.configuration import configuration_lines
from fimscan.report.controls import failed_lines, mended_lines
from fimscan.report.display import minute_text, show, time_text
from fimscan.report.dispositions import record_text
from fimscan.report.documents.status import status_document, vouched_document
from fimscan.report.json import write_document
from fimscan.report.missed import missed_lines
from fimscan.report.pruning import removed_text
from fimscan.report.selftest import last_text
from fimscan.report.text_words import content_text
from fimscan.report.witness import extent_text
from fimscan.report.words import plural, unreadable_text, vouched_text
from fimscan.store import acceptance as acceptance_store
from fimscan.store import controls as control_store
from fimscan.store import journal, missed_runs, selftests
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store import witness as witness_store
from fimscan.store.contents import contents_file, permission_problem, usage_of
from fimscan.store.database import Database


@click.command()
@click.option("--last", default=10, show_default=True, type=click.IntRange(min=1), help="How many scans to list.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--vouched", is_flag=True, help='List the files that the last scan skipped (reread = "ctime").')
@click.pass_obj
def status(settings: Settings, *, last: int, form: str, vouched: bool) -> None:
    """Show the last scans, acceptances, the number of changes to accept, and changes of the configuration.

    Controls that are failed are listed, and those that failed since the first of these scans, with the scheduled runs
    that were missed since then.

    With --vouched, list the files that the last scan skipped because their ctime had not changed, and when each was
    last read. Files that were stored together all show the earliest of their times.

    Example: fimscan status --last 3
    """
    config = settings.config_if_any()
    with settings.database() as database:
        if vouched:
            with paged(settings, form):
                _list_vouched(database, form)
            return
        found = _found(database, config, settings, last)
    if form == "json":
        write_document(status_document(found.status, now_ns=time.time_ns(), fresh_ns=WITNESS_FRESH_NS), sys.stdout)
        return
    with paged(settings):
        _print(found, settings)


class _Found(Struct, frozen=True, kw_only=True):
    """The status, and what only its text has.

    ``since`` is how many paths were accepted since the accepted scan. ``problems`` are those of the last complete scan.
    """

    status: Status
    since: int
    problems: tuple[str, ...]
    contents: str | None


def _found(database: Database, config: Config | None, settings: Settings, last: int) -> _Found:
    with database.read() as session:
        scans = [_as_it_is(scan, database) for scan in scan_store.all_scans(session)]
        shown = scans[-last:]
        baseline = acceptance_store.baseline(session)
        complete = scan_store.last_full(session)
        began_ns, now_ns = shown[0].started_ns if shown else 0, time.time_ns()
        mended = [item for item in control_store.between(session, began_ns, now_ns) if not item.is_open]
        changed = [*reconfigurations(session, *((shown[0].id, shown[-1].id) if shown else (0, 0)))]
        if config is not None and (to_come := pending(session, config)) is not None:
            changed.append(to_come)
        path = contents_file(database.file, config.contents.file if config is not None else "")
        contents, problem = _contents(path, config)
        status = Status(
            host=database.host,
            baseline=baseline.scan if baseline else None,
            waiting=0,
            head=journal.common_head(session, scans),
            witness=tuple(witness_store.latest(session)),
            scans=tuple(shown),
            accepted=tuple(acceptance_store.latest_acceptances(session, last)),
            reconfigurations=tuple(changed),
            unreadable=tuple(scan_result_store.unreadable_in(session, complete.id)) if complete is not None else (),
            contents=contents,
            controls=(*control_store.still_open(session), *mended),
            missed_runs=tuple(missed_runs.between(session, began_ns, now_ns)),
            configuration_file=settings.config_file() if config is not None else None,
            database=database.name,
            selftest=selftests.last(session),
            signing_key=signing_key(config),
        )
    if baseline is not None:
        status = replace(status, waiting=len(diff_from_baseline(database, config).findings))
    quota = config.contents.quota_bytes if config is not None else None
    return _Found(
        status=status,
        since=len(baseline.overrides) if baseline is not None else 0,
        problems=complete.problems if complete is not None else (),
        contents=content_text(contents, path, quota) if contents is not None else problem,
    )


def _print(found: _Found, settings: Settings) -> None:
    status = found.status
    for scan in status.scans:
        click.echo(_line(scan))
    for item in status.accepted:
        click.echo(record_text(item))
    for line in chain.from_iterable(map(configuration_lines, status.reconfigurations)):
        click.echo(line)
    click.echo(f"Configuration: {show(os.fsencode(status.configuration_file or 'none'))}. Database: {status.database}")
    broken = [item for item in status.controls if item.is_open]
    mended = [item for item in status.controls if not item.is_open]
    told = (failed_lines(broken), mended_lines(mended), missed_lines(status.missed_runs))
    for line in (*chain.from_iterable(told), *_selftest_lines(status.selftest)):
        click.echo(line)
    if any(not item.notes for item in status.controls):
        click.echo(complete_quoted("'fimscan control list' has their numbers, to record what was done.", settings))
    if status.baseline is None:
        click.echo(complete_quoted("No scan has finished yet; 'fimscan scan' records the baseline.", settings))
        return
    own = f", plus {plural(found.since, 'path')} accepted since" if found.since else ""
    click.echo(f"Accepted baseline: scan {status.baseline}{own}. Changes to accept: {status.waiting:,}.")
    later = complete_quoted(f"(store this off-host; later run 'fimscan verify --db --head {status.head}')", settings)
    click.echo(f"Head: {status.head} {later}")
    click.echo(f"Signing key: {status.signing_key}\n" if status.signing_key else "", nl=False)
    click.echo(f"Contents: {found.contents}\n" if found.contents else "", nl=False)
    for extent in status.witness:
        click.echo(f"fanotify on {extent_text(extent, time.time_ns(), WITNESS_FRESH_NS)}")
    for problem in found.problems:
        click.echo(f"At the last scan: {show(problem.encode())}")
    for failed in status.unreadable:
        click.echo(f"At the last scan: {unreadable_text(failed)}: {show(failed.path)}")


def _selftest_lines(last: Selftest | None) -> list[str]:
    return [] if last is None else [f"Last selftest {last_text(last)}"]


def _contents(path: str, config: Config | None) -> tuple[ContentUsage | None, str | None]:
    """How much content is kept, and what is wrong with the file of it."""
    if not os.path.lexists(path):
        is_expected = config is not None and keeps_content(config)
        return None, f"keep_content is set, and there is no {path}" if is_expected else None
    if (problem := permission_problem(path)) is not None:
        return None, problem
    try:
        return usage_of(path), None
    except StoreError as error:
        return None, str(error)


def _list_vouched(database: Database, form: str) -> None:
    found = vouched_files(database)
    if form == "json":
        write_document(vouched_document(database.host, found), sys.stdout)
        return
    count = 0
    for count, (path, read_ns) in enumerate(found, 1):  # noqa: B007  # used below
        click.echo(f"last read {time_text(read_ns)}  {show(path)}")
    if not count:
        click.echo("The last scan skipped no file: it read all of them.")


def _as_it_is(scan: Scan, database: Database) -> Scan:
    """Show a running scan whose process is gone as interrupted; the next scan will record that."""
    if scan.status is ScanStatus.RUNNING and not database.is_scanning():
        return replace(scan, status=ScanStatus.INTERRUPTED)
    return scan


def _line(scan: Scan) -> str:
    head = f"scan {scan.id:<4} {minute_text(scan.started_ns)}  {show(scan.trigger):<8} {scan.status:<11}"
    if scan.status is not ScanStatus.FINISHED:
        return head
    if scan.checkpoint is not None:
        by = show(scan.checkpoint.user.encode("utf-8", "surrogateescape"))
        return f"{head} pruned by {by}: {removed_text(scan.checkpoint.removed)}"
    kinds = ("added", "removed", "modified", "moved", "attributes", "unreadable")
    found = ", ".join(f"{scan.counts[kind]:,} {kind}" for kind in kinds if scan.counts.get(kind))
    vouched = vouched_text(scan)
    found = (found or "nothing changed") + (f"; {vouched}" if vouched else "")
    return f"{head} {scan.counts.get('files', 0):,} files: {found}"
