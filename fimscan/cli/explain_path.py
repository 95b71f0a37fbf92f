"""``fimscan explain-path``: whether a path is monitored, by which rule, and what is known of it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import click

from fimscan.cli.context import Settings, note
from fimscan.errors import StoreError
from fimscan.pipeline.placing import PathReport, explain_path
from fimscan.report.display import b64_or_none, json_text, show, time_text
from fimscan.scan.placement import Place, Placement


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
        json.dump(_document(found), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for line in _lines(found):
            click.echo(line)
    return 0 if found.placement.place is Place.MONITORED else 1


def _lines(found: PathReport) -> Iterator[str]:
    placement, watch, known = found.placement, found.watch, found.known
    yield f"{show(placement.path)}: {_verdict(placement)}"
    if placement.real_path is not None and placement.place is not Place.MONITORED:
        yield f"  its real name is {show(placement.real_path)}: ask for that"
    if watch is not None:
        by_policy = "no content" if watch.policy == "attributes" else ", ".join(watch.digests)
        yield f"  [[watch]] {show(os.fsencode(watch.path))}: policy {watch.policy}, digests: {by_policy}"
        yield f"  severity {watch.severity}, category {show(watch.category.encode())}"
    if placement.exists is False:
        yield "  nothing is there now"
    elif placement.is_link:
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
    return found.placement.exists is False and known.accepted_scan is not None and known.accepted is None


def _verdict(placement: Placement) -> str:
    at = show(placement.at) if placement.at is not None else ""
    here = "" if placement.at == placement.path else f", as is everything below {at}"
    match placement.place:
        case Place.MONITORED:
            return "monitored"
        case Place.OUTSIDE:
            return "not monitored: no [[watch]] covers it"
        case Place.EXCLUDED:
            return f"not monitored: excluded by the pattern {json.dumps(placement.pattern)}{here}"
        case Place.OWN_FILE:
            return "not monitored: it belongs to fimscan's own database"
        case Place.BEHIND_SYMLINK:
            return f"not monitored: {at} is a symbolic link, which is recorded and not followed"
        case Place.OTHER_MOUNT:
            return f"not monitored: {at} is on another file system, and [scan] cross_mounts is false"
        case Place.UNREACHABLE:
            return f"nobody can say: {at} cannot be looked at ({placement.detail})"


def _document(found: PathReport) -> dict[str, object]:
    placement, watch, known = found.placement, found.watch, found.known
    return {
        "schema": "fimscan.path/1",
        "path": json_text(placement.path),
        "path_b64": b64_or_none(placement.path),
        "monitored": placement.place is Place.MONITORED,
        "reason": None if placement.place is Place.MONITORED else placement.place.value,
        "at": None if placement.at is None else json_text(placement.at),
        "pattern": placement.pattern,
        "detail": placement.detail or None,
        "exists": placement.exists,
        "symlink": placement.is_link,
        "real_path": None if placement.real_path is None else json_text(placement.real_path),
        "watch": None if watch is None else watch.model_dump(mode="json", exclude={"exclude"}),
        "baseline": {"scan": known.accepted_scan, "present": known.accepted is not None}
        if known.accepted_scan is not None
        else None,
        "known": known.latest is not None,
        "last_read": None if known.last_read_ns is None else time_text(known.last_read_ns),
        "unreadable": None if known.unreadable is None else known.unreadable.reason.value,
        "unread_since": None
        if known.unreadable is None or known.last_read_ns is None
        else time_text(known.last_read_ns),
    }
