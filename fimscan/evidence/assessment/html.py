"""``01-report.html``: the report as one page that loads nothing and runs nothing.

It has no script. Its Content-Security-Policy allows nothing but its own style, by digest. All data is escaped by Jinja2
after it was made printable.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template

from fimscan.evidence.assessment.document import HOW_TO_READ, Report
from fimscan.report.html import csp_digest


def _source(name: str) -> str:
    return resources.files("fimscan.evidence.assessment").joinpath(name).read_text("utf-8")


# Read when this is imported: a command that has given up its privileges may not reach these files any more.
_STYLE, _TEMPLATE = _source("report.css"), _source("report.html.j2")


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_TEMPLATE)


def html_report(report: Report) -> Iterator[str]:
    """Yield the parts of the page."""
    yield from _template().generate(
        report=report,
        how_to_read=HOW_TO_READ,
        style=_STYLE,
        style_digest=csp_digest(_STYLE),
    )
    yield "\n"
