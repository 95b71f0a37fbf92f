"""``01-report.html``: a page for each requirement, for people. One file without scripts, to read or to print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined

from fimscan.evidence.archive import Staged
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.observed import Observed
from fimscan.evidence.requirements import MAPPED, REQUIREMENTS, Requirement
from fimscan.evidence.tables import encode
from fimscan.report.display import minute_text, show
from fimscan.report.html import csp_digest, page_source


def _source(name: str) -> str:
    return resources.files("fimscan.evidence").joinpath(name).read_text("utf-8")


# Read when this is imported: a command that has given up its privileges may not reach these files any more.
_STYLE = page_source("page.css") + _source("report.css")
_TEMPLATE = _source("report.html.j2")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    requirement: Requirement
    observed: Observed

    @property
    def anchor(self) -> str:
        """The name of the page in links."""
        return "r" + re.sub(r"[^0-9]+", "-", self.requirement.number)

    @property
    def count(self) -> int:
        """The number of exceptions."""
        return len(self.observed.exceptions) + self.observed.more


def write_report(out: Staged, data: BundleInput, found: Mapping[str, Observed], fingerprint: str) -> None:
    """Write the report; ``found`` is what was observed, by requirement."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages: Sequence[_Page] = [_Page(requirement=one, observed=found[one.number]) for one in REQUIREMENTS]
    text = environment.from_string(_TEMPLATE).render(
        host=show(data.host),
        period=f"{minute_text(data.start_ns)} to {minute_text(data.end_ns)}",
        generated=minute_text(data.generated_ns),
        fingerprint=fingerprint,
        altered=bool(data.failed_checks),
        pages=pages,
        mapped=MAPPED,
        style=_STYLE,
        style_digest=csp_digest(_STYLE),
    )
    out.write(encode(text + "\n"))
