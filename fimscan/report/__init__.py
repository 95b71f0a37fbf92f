"""Attribution -> text, JSON, NDJSON, CSV, HTML. Every writer takes an immutable value and a text stream.

The streams of the text and HTML reports have to take any printable character: UTF-8, or an error handler such as
``backslashreplace``. JSON and NDJSON are ASCII, CSV is UTF-8.
"""

from fimscan.report.accesses import write_accesses_text
from fimscan.report.configuration import configuration_lines, reconfiguration_document
from fimscan.report.display import (
    b64_or_none,
    command_text,
    json_text,
    minute_text,
    mode_octal,
    mode_text,
    owner_text,
    show,
    size_text,
    time_text,
)
from fimscan.report.explanation import explanation_document, write_explanation, write_explanation_json
from fimscan.report.jsonview import access_document, actor_document, diff_document, summary
from fimscan.report.machine import write_accesses_ndjson, write_json, write_ndjson
from fimscan.report.page import write_html
from fimscan.report.schema import CHANGE_SCHEMA, DIFF_SCHEMA, diff_schema
from fimscan.report.table import write_csv
from fimscan.report.terminal import write_scan_summary, write_text
from fimscan.report.words import vouched_text

__all__ = [
    "CHANGE_SCHEMA",
    "DIFF_SCHEMA",
    "access_document",
    "actor_document",
    "b64_or_none",
    "command_text",
    "configuration_lines",
    "diff_document",
    "diff_schema",
    "explanation_document",
    "json_text",
    "minute_text",
    "mode_octal",
    "mode_text",
    "owner_text",
    "reconfiguration_document",
    "show",
    "size_text",
    "summary",
    "time_text",
    "vouched_text",
    "write_accesses_ndjson",
    "write_accesses_text",
    "write_csv",
    "write_explanation",
    "write_explanation_json",
    "write_html",
    "write_json",
    "write_ndjson",
    "write_scan_summary",
    "write_text",
]
