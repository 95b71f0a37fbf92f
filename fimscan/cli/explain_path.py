"""``fimscan explain-path``: whether a path is monitored, which ``[[watch]]`` covers it, and its stored state."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import click

from fimscan.cli.context import Settings, absolute_path, note
from fimscan.cli.pager import paged
from fimscan.contents.secrets import secret_name
from fimscan.errors import StoreError
from fimscan.pipeline.history.explain_path import PathReport, explain_path
from fimscan.report.display import show, time_text
from fimscan.report.documents.path import path_document
from fimscan.report.json import write_document
from fimscan.scan.path_status import PathStatus, Place


@click.command("explain-path")
@click.argument("path", metavar="PATH")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def explain_path_command(settings: Settings, *, path: str, form: str) -> int:
    """Say whether PATH is monitored, which [[watch]] covers it, and what the database has of it.

    PATH need not exist. A final slash makes it a directory. Exits with 0 if it is monitored, else with 1.

    Example: fimscan explain-path /etc/ssh/sshd_config
    """
    config = settings.config()
    whole = absolute_path(path) + (b"/" if path.endswith("/") else b"")
    try:
        with settings.database() as database:
            found = explain_path(whole, config, database)
    except StoreError as error:
        note(str(error))
        found = explain_path(whole, config, None)
    if form == "json":
        watch = None if found.watch is None else found.watch.model_dump(mode="json", exclude={"exclude"})
        write_document(path_document(found.path_status, watch, found.known), sys.stdout)
    else:
        with paged(settings):
            for line in _lines(found):
                click.echo(line)
    return 0 if found.path_status.place is Place.MONITORED else 1


def _lines(found: PathReport) -> Iterator[str]:
    path_status, watch, known = found.path_status, found.watch, found.known
    yield f"{show(path_status.path)}: {_verdict(path_status)}"
    if path_status.real_path is not None and path_status.place is not Place.MONITORED:
        yield f"  its real path is {show(path_status.real_path)}: run explain-path on that"
    if watch is not None:
        by_policy = "no content" if watch.policy == "attributes" else ", ".join(watch.digests)
        yield f"  [[watch]] {show(os.fsencode(watch.path))}: policy {watch.policy}, digests: {by_policy}"
        yield f"  severity {watch.severity}, category {show(watch.category.encode())}"
    if watch is not None and watch.keep_content:
        is_secret = secret_name(path_status.path) and path_status.path not in map(
            os.fsencode, watch.keep_content_of_secrets
        )
        kept = (
            "not kept: its name is that of a file with secrets" if is_secret else "kept, if it is text without secrets"
        )
        yield f"  content: {kept}"
    if path_status.exists is False:
        yield "  it does not exist now"
    elif path_status.is_link:
        yield "  it is a symbolic link: the link itself is recorded, not its target"
    if _is_absent_as_accepted(found):
        yield f"  absent, as in the accepted baseline (scan {known.accepted_scan}); its appearance will be reported"
    elif known.accepted_scan is not None:
        there = "in" if known.accepted is not None else "not in"
        yield f"  {there} the accepted baseline (scan {known.accepted_scan})"
    if known.last_read_ns is not None:
        yield f"  last read {time_text(known.last_read_ns)}"
    if known.unreadable is not None:
        detail = f" ({show(known.unreadable.detail.encode())})" if known.unreadable.detail else ""
        yield f"  the last scan could not read {show(known.unreadable.path)}: {known.unreadable.reason}{detail}"


def _is_absent_as_accepted(found: PathReport) -> bool:
    known = found.known
    return found.path_status.exists is False and known.accepted_scan is not None and known.accepted is None


def _verdict(path_status: PathStatus) -> str:
    at = show(path_status.at) if path_status.at is not None else ""
    here = "" if path_status.at == path_status.path else f", like everything below {at}"
    match path_status.place:
        case Place.MONITORED:
            return "monitored"
        case Place.OUTSIDE:
            return "not monitored: no [[watch]] covers it"
        case Place.EXCLUDED:
            return f"not monitored: excluded by the pattern {json.dumps(path_status.pattern)}{here}"
        case Place.OWN_FILE:
            return "not monitored: it is a file of fimscan's own database"
        case Place.BEHIND_SYMLINK:
            return f"not monitored: {at} is a symbolic link, which is recorded but not followed"
        case Place.OTHER_MOUNT:
            return f"not monitored: {at} is on another file system, and [scan] cross_mounts is false"
        case Place.UNREACHABLE:
            return f"unknown: {at} cannot be examined ({path_status.detail})"
