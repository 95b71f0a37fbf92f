"""``fimscan explain-path``: whether a path is monitored, by which rule, and what is known of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import click

from fimscan.cli.context import Settings, note
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
    """Say whether PATH is monitored, which [[watch]] covers it and why, and what is known of it.

    PATH need not exist. With a final slash it counts as a directory. Exits with 0 when it is monitored, else with 1.
    """
    config = settings.config()
    whole = os.fsencode(os.path.abspath(path)) + (b"/" if path.endswith("/") else b"")
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
        for line in _lines(found):
            click.echo(line)
    return 0 if found.path_status.place is Place.MONITORED else 1


def _lines(found: PathReport) -> Iterator[str]:
    path_status, watch, known = found.path_status, found.watch, found.known
    yield f"{show(path_status.path)}: {_verdict(path_status)}"
    if path_status.real_path is not None and path_status.place is not Place.MONITORED:
        yield f"  its real name is {show(path_status.real_path)}: ask for that"
    if watch is not None:
        by_policy = "no content" if watch.policy == "attributes" else ", ".join(watch.digests)
        yield f"  [[watch]] {show(os.fsencode(watch.path))}: policy {watch.policy}, digests: {by_policy}"
        yield f"  severity {watch.severity}, category {show(watch.category.encode())}"
    if path_status.exists is False:
        yield "  nothing is there now"
    elif path_status.is_link:
        yield "  it is a symbolic link: only the link itself is recorded, not what it points to"
    if _is_absent_as_accepted(found):
        yield f"  absent, as in the accepted baseline (scan {known.accepted_scan}): its appearance will be reported"
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
    here = "" if path_status.at == path_status.path else f", as is everything below {at}"
    match path_status.place:
        case Place.MONITORED:
            return "monitored"
        case Place.OUTSIDE:
            return "not monitored: no [[watch]] covers it"
        case Place.EXCLUDED:
            return f"not monitored: excluded by the pattern {json.dumps(path_status.pattern)}{here}"
        case Place.OWN_FILE:
            return "not monitored: it belongs to fimscan's own database"
        case Place.BEHIND_SYMLINK:
            return f"not monitored: {at} is a symbolic link, which is recorded and not followed"
        case Place.OTHER_MOUNT:
            return f"not monitored: {at} is on another file system, and [scan] cross_mounts is false"
        case Place.UNREACHABLE:
            return f"nobody can say: {at} cannot be looked at ({path_status.detail})"
