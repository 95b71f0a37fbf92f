"""The report as a value: its cover, and a page for each requirement. The HTML page shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from msgspec import Struct

from fimscan.evidence.assessment.mapping import Framework, Requirement
from fimscan.evidence.assessment.observation import MOST, Observation
from fimscan.evidence.assessment.scope import Scope
from fimscan.report.display import show, time_text

HOW_TO_READ = tuple(
    """\
The observations are computed from the files of this bundle and say nothing that is not in them. Whether a requirement \
is met is the assessor's decision.
An exception is what deserves attention. It may have a good reason, which is then not in this bundle.
Row numbers are those of a spreadsheet: the header is row 1. Each row is one line: 'sed -n 7p FILE' prints row 7.
Up to MOST exceptions of an observation are listed, most important first. The text below them says how to find all.
All times are UTC. In names, control characters and bytes that are not UTF-8 are written \\xNN, characters that do not \
show \\uNNNN, and a backslash \\\\. The PDF file also writes \\uNNNN for what is not in its Latin fonts.
""".replace("MOST", str(MOST)).splitlines()
)


class Shown(Struct, frozen=True, kw_only=True):
    """An observation on a page. If ``listed_at`` is set, its exceptions are on the page of that requirement."""

    observation: Observation
    listed_at: str = ""


class Part(Struct, frozen=True, kw_only=True):
    """A requirement with its observations: those with exceptions first."""

    anchor: str
    requirement: Requirement
    shown: tuple[Shown, ...]

    @property
    def exceptions(self) -> int:
        """The number of exceptions of all its observations."""
        return sum(item.observation.count for item in self.shown)


class Page(Struct, frozen=True, kw_only=True):
    """One page, or more where it is long: one requirement, or all of a framework."""

    title: str
    framework: str
    parts: tuple[Part, ...]


class Report(Struct, frozen=True, kw_only=True):
    """The whole report. ``facts`` are (name, value) of the cover, ``alarms`` what does not verify."""

    title: str
    facts: tuple[tuple[str, str], ...]
    alarms: tuple[str, ...]
    pages: tuple[Page, ...]

    @property
    def frameworks(self) -> list[tuple[str, list[Part]]]:
        """The requirements by the title of their framework."""
        grouped = groupby(self.pages, key=lambda page: page.framework)
        return [(title, [part for page in pages for part in page.parts]) for title, pages in grouped]


def report_of(
    scope: Scope, observations: Mapping[str, Observation], every: Sequence[Framework], fingerprint: str
) -> Report:
    """Arrange observations by requirement."""
    pages: list[Page] = []
    listed: dict[str, str] = {}  # an observation -> the requirement on whose page its exceptions are
    for framework in every:
        if framework.pages:
            for requirement in framework.requirements:
                part = _part(requirement, observations, {})
                for name in requirement.shown:
                    listed.setdefault(name, requirement.id)
                pages.append(
                    Page(title=f"{requirement.id} {requirement.title}", framework=framework.title, parts=(part,))
                )
            continue
        parts = []
        for requirement in framework.requirements:
            parts.append(_part(requirement, observations, listed))
            for name in requirement.shown:
                listed.setdefault(name, requirement.id)
        pages.append(Page(title=framework.title, framework=framework.title, parts=tuple(parts)))
    return Report(
        title=f"Change detection on {show(scope.host)}",
        facts=_facts(scope, fingerprint),
        alarms=tuple(map(show, scope.problems)),
        pages=tuple(pages),
    )


def _part(requirement: Requirement, observations: Mapping[str, Observation], listed: Mapping[str, str]) -> Part:
    shown = [Shown(observation=observations[name], listed_at=listed.get(name, "")) for name in requirement.shown]
    return Part(
        anchor=_anchor(f"{requirement.framework} {requirement.id}"),
        requirement=requirement,
        shown=tuple(sorted(shown, key=lambda item: not item.observation.count)),
    )


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _facts(scope: Scope, fingerprint: str) -> tuple[tuple[str, str], ...]:
    began = "has not begun" if scope.began_ns is None else f"began {time_text(scope.began_ns)}"
    return (
        ("Organization", show(scope.organization) or "(not configured)"),
        ("Host", show(scope.host)),
        ("Addresses", ", ".join(map(show, scope.addresses)) or "(none recorded)"),
        ("Period", f"{time_text(scope.start_ns)} to {time_text(scope.end_ns)}{_covered(scope)}"),
        ("Monitoring", began),
        ("Comparisons", f"{scope.comparisons} of all monitored files finished in the period"),
        ("Data as of", f"{time_text(scope.as_of_ns)}, the newest record; written by fimscan {scope.version}"),
        ("Signed by", fingerprint),
        ("Chain of scans", f"its head is {scope.head}" if scope.head else "empty"),
    )


def _covered(scope: Scope) -> str:
    if scope.covered_to_ns == scope.end_ns:
        return ""
    return f", covered only to {time_text(scope.covered_to_ns)}: it was not over"
