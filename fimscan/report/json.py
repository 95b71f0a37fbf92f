r"""The formats that programs read: JSON and NDJSON.

All JSON is written in pure ASCII (other characters as ``\uNNNN``, which every parser undoes): it is safe to look at on
a terminal, whatever is in the names, and needs no particular encoding of the stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from fimscan.model import Diff, FileAccess
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.diff import (
    access_document,
    diff_document,
    opened_document,
    row_document,
    unreadable_document,
)
from fimscan.report.schema import CHANGE_SCHEMA


def write_json(diff: Diff, out: TextIO) -> None:
    """The whole diff as one ``fimscan.diff/1`` document."""
    json.dump(diff_document(diff), out, indent=2)
    out.write("\n")


def write_ndjson(diff: Diff, out: TextIO) -> None:
    """One object a line, each complete in itself, so that a log shipper can send lines one by one.

    A line is a row of the document's ``changes`` with ``schema`` (``fimscan.change/1``), ``host``, ``from_scan``,
    ``to_scan`` and ``time`` (when fimscan saw it) in front. Files that could not be read, and files that were opened
    for writing but not changed, are lines of the kinds ``unreadable`` and ``opened-unmodified``.
    """
    for document in _lines(diff):
        out.write(json.dumps(document) + "\n")


def write_accesses_ndjson(accesses: Iterable[FileAccess], out: TextIO) -> None:
    """One object an access, as they come."""
    for access in accesses:
        out.write(json.dumps(access_document(access)) + "\n")


def _lines(diff: Diff) -> Iterator[dict[str, Any]]:
    end = diff.end.started_ns if diff.end.finished_ns is None else diff.end.finished_ns
    for finding in diff.findings:
        yield {**_context(diff, finding.change.window.before_ns), **row_document(finding)}
    for unreadable in diff.unreadable:
        yield {**_context(diff, end), "kind": "unreadable", **unreadable_document(unreadable)}
    for opened in diff.opened_unmodified:
        yield {**_context(diff, end), "kind": "opened-unmodified", **opened_document(opened)}


def _context(diff: Diff, time_ns: int) -> dict[str, Any]:
    return {
        "schema": CHANGE_SCHEMA,
        "host": json_text(diff.host),
        "from_scan": diff.start.id,
        "to_scan": diff.end.id,
        "time": time_text(time_ns),
    }
