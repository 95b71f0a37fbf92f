"""``01-report.html``: the report as one page that loads nothing and runs nothing.

It has no script. Its Content-Security-Policy allows nothing but its own style, by digest. All data is escaped by Jinja2
after it was made printable.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from jinja2 import Environment, StrictUndefined

from fimscan.evidence.assessment.document import HOW_TO_READ, Report
from fimscan.report.html import csp_digest


def html_report(report: Report) -> Iterator[str]:
    """Yield the parts of the page."""
    style = _source("report.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    yield from environment.from_string(_source("report.html.j2")).generate(
        report=report,
        how_to_read=HOW_TO_READ,
        style=style,
        style_digest=csp_digest(style),
    )
    yield "\n"


def _source(name: str) -> str:
    return resources.files("fimscan.evidence.assessment").joinpath(name).read_text("utf-8")
