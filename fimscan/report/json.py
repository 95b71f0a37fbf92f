r"""Write JSON and NDJSON, the formats that programs read.

All JSON is pure ASCII (other characters are ``\uNNNN``): it is safe on a terminal, whatever names contain, and
independent of the stream's encoding. The documents are built in :mod:`fimscan.report.documents`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from fimscan.grouping import Grouping
from fimscan.model import ControlReport, Diff, FileAccess
from fimscan.report.documents.accesses import access_line
from fimscan.report.documents.diff import change_lines, diff_document
from fimscan.report.indented_json import indented_pieces


def write_document(document: Mapping[str, Any], out: TextIO) -> None:
    """Write one document, indented."""
    out.writelines(indented_pieces(document))
    out.write("\n")


def write_json(
    diff: Diff,
    out: TextIO,
    grouping: Grouping | None = None,
    controls: ControlReport | None = None,
    *,
    texts: bool = False,
) -> None:
    """Write a diff as one ``fimscan.diff/1`` document. ``grouping`` is that of its findings.

    ``controls`` is what a scan reports beside changes. With ``texts``, rows have what changed in their text.
    """
    write_document(diff_document(diff, grouping, controls, texts=texts), out)


def write_ndjson(diff: Diff, out: TextIO, grouping: Grouping | None = None, *, texts: bool = False) -> None:
    """Write one ``fimscan.change/1`` object per line. Each stands alone, so a log shipper can send single lines."""
    _write_lines(change_lines(diff, grouping, texts=texts), out)


def write_accesses_ndjson(accesses: Iterable[FileAccess], out: TextIO) -> None:
    """Write one ``fimscan.access/1`` object per line, in the given order."""
    _write_lines(map(access_line, accesses), out)


def _write_lines(documents: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    for document in documents:
        out.write(json.dumps(document) + "\n")
