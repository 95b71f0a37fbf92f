"""The text of ``fimscan explain``: a verdict with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TextIO

from rich.text import Text

from fimscan.model import Actor, Explanation, Reasoning, Ruling, Why
from fimscan.report.console import wrap, write_lines
from fimscan.report.display import moment_text, show
from fimscan.report.dispositions import disposition_facts
from fimscan.report.in_effect import in_effect_sentences
from fimscan.report.packages import package_sentences
from fimscan.report.reasons import (
    OPENS_ONLY,
    considered_heading,
    lineage_text,
    program_text,
    ruling_text,
    time_texts,
    why_text,
    window_texts,
)
from fimscan.report.text import row_lines
from fimscan.report.texts import TextView
from fimscan.report.words import doubt_text, gap_text, plural, process_text

_INDENT = "    "
_NO_LINES = TextView()
_MARK_STYLE = {"NAMED": "bold red", "noted": "yellow", "also": "dim", "cleared": "dim"}


def write_explanation(
    explanation: Explanation,
    out: TextIO,
    *,
    color: bool,
    width: int,
    view: TextView = _NO_LINES,
    commands: Iterable[str] = (),
) -> None:
    """Write the explanation as text, wrapped at ``width`` where possible. ``view`` is how much of a text is shown.

    ``commands`` are those that go on from here, at the end.
    """
    ending = [Text(), *map(Text, lines)] if (lines := [*filter(None, commands)]) else []
    write_lines(chain(explanation_lines(explanation, width, view), ending), out, color=color)


def explanation_lines(explanation: Explanation, width: int, view: TextView = _NO_LINES) -> Iterator[Text]:
    """The explanation, line by line."""
    finding = explanation.finding
    yield from row_lines(finding, width, view)
    for title, sentences in sections_before(explanation):
        yield from _section(title, sentences, width)
    yield from _considered(explanation, width)
    for title, sentences in sections_after(explanation):
        yield from _section(title, sentences, width)
    yield from _records(explanation, finding.attribution.actors)


def sections_before(explanation: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Titles and sentences of what is known of the change, before the processes that were considered."""
    finding = explanation.finding
    since, until = window_texts(explanation)
    yield "Decisions", tuple(", ".join(disposition_facts(item)) for item in explanation.dispositions)
    yield "When it happened", (f"after {since}", f"before {until}")
    yield "File times", time_texts(finding.change, finding.attribution.reasoning)
    yield "Audit coverage", tuple(_coverage(explanation))
    yield "Processes that had it open for writing when the window began", tuple(_holders(explanation))


def sections_after(explanation: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Titles and sentences of what is known of the named processes."""
    yield "Process ancestry", tuple(map(lineage_text, explanation.lineages))
    yield "Package", tuple(package_sentences(explanation.finding.package))
    yield "In effect", tuple(in_effect_sentences(explanation.finding.in_effect))
    yield "Programs", tuple(map(program_text, explanation.programs))


def considered_texts(reasoning: Reasoning) -> Iterator[tuple[str, str, str]]:
    """(``NAMED``, ``cleared``, ``also`` or ``noted``; what a process did; why it has this mark) of each ruling."""
    named = {ruling.actor.process for ruling in reasoning.rulings if ruling.why.names}
    for ruling in reasoning.rulings:
        yield _mark(ruling, named=ruling.actor.process in named), ruling_text(ruling), why_text(ruling)


def shows_opens_only(reasoning: Reasoning) -> bool:
    """Whether a process is named because it could write: then :data:`fimscan.report.reasons.OPENS_ONLY` applies."""
    return any(ruling.why is Why.WRITE_ACCESS for ruling in reasoning.rulings)


def record_lines(explanation: Explanation) -> list[str]:
    """The audit records of the named processes. Safe to display."""
    # auditd puts the byte 0x1d in front of its translations (log_format = ENRICHED).
    return [show(line.replace(b"\x1d", b" ")) for line in explanation.records]


def _section(title: str, sentences: Iterable[str], width: int) -> Iterator[Text]:
    lines = list(sentences)
    if not lines:
        return
    yield Text()
    yield Text(title, style="bold")
    for sentence in lines:
        yield from map(Text, wrap(sentence, width, f"{_INDENT}- ", f"{_INDENT}  "))


def _coverage(explanation: Explanation) -> Iterator[str]:
    finding = explanation.finding
    coverage = finding.attribution.coverage
    if coverage.complete:
        yield "complete: rules loaded, daemon running, no event lost, log read without a gap"
    else:
        yield "not complete"
        yield from (gap_text(gap, finding.change.window) for gap in coverage.gaps)
    rules = explanation.rules
    general = [rule for rule in rules if rule.writes or rule.attributes]
    yield from (f"rule: {show(rule.text)}" for rule in general)
    if len(rules) > len(general):
        yield f"and {plural(len(rules) - len(general), 'rule')} for single system calls"
    if not rules:
        yield "no rule for this path was loaded"


def _holders(explanation: Explanation) -> Iterator[str]:
    holders = explanation.finding.change.holders
    if holders is None:
        yield "not checked"
        return
    yield from (process_text(actor) for actor in holders.actors)
    if not holders.actors:
        none = "none found" if holders.doubts else "none"
        yield f"{none}, as of {moment_text(holders.as_of_ns)}"
    yield from (f"an earlier file at this path: {process_text(actor)}" for actor in holders.earlier)
    yield from (f"when the next scan began: {process_text(actor)}" for actor in holders.later)
    yield from (f"possibly: {doubt_text(doubt)}" for doubt in holders.doubts)
    yield from (f"possibly an earlier file at this path: {doubt_text(doubt)}" for doubt in holders.earlier_doubts)
    if not holders.complete:
        yield "not every process could be inspected: that needs root"
    if explanation.protected:
        uninspected = plural(explanation.protected, "process", "processes")
        yield f"{uninspected} could not be inspected (such as init of a container)"


def _considered(explanation: Explanation, width: int) -> Iterator[Text]:
    reasoning = explanation.finding.attribution.reasoning
    yield Text()
    if reasoning is None:
        yield Text("The processes considered are not stored: an earlier version of fimscan gave this verdict.")
        return
    yield Text(considered_heading(reasoning), style="bold")
    if not reasoning.rulings:
        yield Text(f"{_INDENT}no recorded access concerns this file or its name")
    for mark, text, why in considered_texts(reasoning):
        yield Text.assemble(_INDENT, (f"{mark:<7}", _MARK_STYLE[mark]), f"  {text}")
        yield from map(Text, wrap(why, width, f"{_INDENT * 4}", f"{_INDENT * 4}"))
    if shows_opens_only(reasoning):
        yield from map(Text, wrap(OPENS_ONLY, width, _INDENT, _INDENT))


def _mark(ruling: Ruling, *, named: bool) -> str:
    """The mark of a ruling. Further acts of a process that is named are marked "also", not "cleared"."""
    if ruling.why.names:
        return "NAMED"
    if not ruling.why.clears and not named:
        return "noted"
    return "also" if named else "cleared"


def _records(explanation: Explanation, actors: Iterable[Actor]) -> Iterator[Text]:
    lines = record_lines(explanation)
    if lines:
        yield Text()
        yield Text("Audit records of the named processes", style="bold")
        yield from (Text(f"{_INDENT}{line}", style="dim") for line in lines)
    elif any(actor.event is not None for actor in actors):
        yield Text()
        yield Text("The audit records of the named processes are not stored: an earlier version of fimscan read them.")
