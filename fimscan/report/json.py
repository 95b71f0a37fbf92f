r"""Write JSON and NDJSON, the formats that programs read.

All JSON is written in pure ASCII (other characters as ``\uNNNN``, which every parser undoes): it is safe to look at on
a terminal, whatever is in the names, and needs no particular encoding of the stream. The documents are built in
:mod:`fimscan.report.documents`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from fimscan.model import Diff, FileAccess
from fimscan.report.documents.accesses import access_line
from fimscan.report.documents.diff import change_lines, diff_document


def write_document(document: Mapping[str, Any], out: TextIO) -> None:
    """One document, indented."""
    json.dump(document, out, indent=2)
    out.write("\n")


def write_json(diff: Diff, out: TextIO) -> None:
    """The whole diff as one ``fimscan.diff/1`` document."""
    write_document(diff_document(diff), out)


def write_ndjson(diff: Diff, out: TextIO) -> None:
    """One ``fimscan.change/1`` object a line, each complete in itself, so that a log shipper can send lines singly."""
    _write_lines(change_lines(diff), out)


def write_accesses_ndjson(accesses: Iterable[FileAccess], out: TextIO) -> None:
    """One ``fimscan.access/1`` object a line, as the accesses come."""
    _write_lines(map(access_line, accesses), out)


def _write_lines(documents: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    for document in documents:
        out.write(json.dumps(document) + "\n")
