"""The HTML report: one self-contained page with its own script and style, to open, mail, print, or add to evidence.

The page loads nothing and runs nothing but its own script: its Content-Security-Policy has the digests of script and
style. All data is JSON in elements that are not run. It works from ``file://``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, TextIO

from jinja2 import Environment, StrictUndefined, Template
from msgspec import Struct, field

from fimscan.grouping import Facts, Grouping, group
from fimscan.model import Continuity, Diff, Explanation, Finding
from fimscan.report.change_sets import accept_one_set, coverage_command
from fimscan.report.configuration import configuration_lines
from fimscan.report.display import minute_text, show
from fimscan.report.page.evidence import CHUNK, Texts, evidence_chunks
from fimscan.report.page.rows import continuity_document, ordered_rows, rows_document
from fimscan.report.plans import progress_text
from fimscan.report.words import headline, log_lines, verdict_counts, vouched_text

EXPLAINED = 1000
"""So many of the most urgent changes are on the page with all that is known of them. The page says so."""


class PageContext(Struct, frozen=True, kw_only=True):
    """What the page has beside the diff.

    ``explanations`` are by the number of the change, ``texts`` what changed in the text of files. ``program`` is how
    fimscan is called, ``filters`` the options of ``diff`` that give the same rows, with a space in front.
    """

    continuity: Continuity = field(default_factory=Continuity)
    explanations: Mapping[int, Explanation] = field(default_factory=dict)
    texts: Texts = field(default_factory=dict)
    program: str = "fimscan"
    filters: str = ""


def explained_findings(grouping: Grouping) -> tuple[Finding, ...]:
    """The stored changes whose evidence belongs on the page: those of the most urgent rows, each step by itself."""
    rows = ordered_rows(grouping)[:EXPLAINED]
    return tuple(step for row in rows for step in row.finding.steps or (row.finding,))


def write_html(diff: Diff, out: TextIO, grouping: Grouping | None = None, context: PageContext | None = None) -> None:
    """Write a diff as one HTML page: what stands out, then the change sets. ``grouping`` is that of its findings."""
    grouping = grouping or group(diff.findings, Facts.of(diff))
    context = context or PageContext()
    rows = ordered_rows(grouping)
    data = rows_document(diff, grouping, rows)
    data["continuity"] = continuity_document(diff, context.continuity, data["base"])
    # The most urgent rows come first, so the rows with evidence are the first ones.
    explained = rows[:EXPLAINED]
    data["explained"], data["chunk"] = len(explained), CHUNK
    program = show(context.program)
    data["program"], data["filters"], data["shown"] = program, context.filters, diff.shown
    data["accept"] = accept_one_set(program, diff, grouping)
    data["rules"] = coverage_command(program, diff.findings)
    style, script = page_source("page.css"), page_source("page.js")
    page = _template().stream(
        host=show(diff.host),
        headline=headline(diff),
        seen=f"as of scan {diff.end.id} ({minute_text(diff.end.started_ns)})",
        vouched=vouched_text(diff.end),
        counts=verdict_counts(diff),
        logs=[*log_lines(diff), *map(progress_text, diff.plans)],
        configuration=[(item.is_weaker, list(configuration_lines(item))) for item in diff.reconfigurations],
        program=program,
        filters=context.filters,
        signing_key=diff.signing_key,
        style=style,
        script=script,
        style_digest=csp_digest(style),
        script_digest=csp_digest(script),
        data=_inert(data),
        chunks=evidence_chunks(explained, context.explanations, context.texts),
    )
    out.writelines(page)
    out.write("\n")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(page_source("page.html.j2"))


def page_source(name: str) -> str:
    """The text of a part of the page: its template, its style, its script."""
    return resources.files("fimscan.report.page").joinpath(name).read_text("utf-8")


def csp_digest(text: str) -> str:
    """The digest of an inline element, as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _inert(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that it is in, nor begin a comment there: no ``<`` is left."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
