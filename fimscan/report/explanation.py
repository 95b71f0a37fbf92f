"""The text of ``fimscan explain``: a verdict with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.text import Text

from fimscan.model import Actor, Explanation, Ruling, Why
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


def write_explanation(
    explanation: Explanation, out: TextIO, *, color: bool, width: int, view: TextView = _NO_LINES
) -> None:
    """Write the explanation as text, wrapped at ``width`` where possible. ``view`` is how much of a text is shown."""
    write_lines(explanation_lines(explanation, width, view), out, color=color)


def explanation_lines(explanation: Explanation, width: int, view: TextView = _NO_LINES) -> Iterator[Text]:
    """The explanation, line by line."""
    finding = explanation.finding
    attribution, change = finding.attribution, finding.change
    yield from row_lines(finding, width, view)
    decisions = (", ".join(disposition_facts(item)) for item in explanation.dispositions)
    yield from _section("Decisions", decisions, width)
    since, until = window_texts(explanation)
    yield from _section("When it happened", (f"after {since}", f"before {until}"), width)
    yield from _section("File times", time_texts(change, attribution.reasoning), width)
    yield from _section("Audit coverage", _coverage(explanation), width)
    yield from _section("Processes that had it open for writing when the window began", _holders(explanation), width)
    yield from _considered(explanation, width)
    yield from _section("Process ancestry", map(lineage_text, explanation.lineages), width)
    yield from _section("Package", package_sentences(finding.package), width)
    yield from _section("In effect", in_effect_sentences(finding.in_effect), width)
    yield from _section("Programs", map(program_text, explanation.programs), width)
    yield from _records(explanation.records, attribution.actors)


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
    named = {ruling.actor.process for ruling in reasoning.rulings if ruling.why.names}
    for ruling in reasoning.rulings:
        mark, style = _mark(ruling, named=ruling.actor.process in named)
        yield Text.assemble(_INDENT, (mark, style), f"  {ruling_text(ruling)}")
        yield from map(Text, wrap(why_text(ruling), width, f"{_INDENT * 4}", f"{_INDENT * 4}"))
    if any(ruling.why is Why.WRITE_ACCESS for ruling in reasoning.rulings):
        yield from map(Text, wrap(OPENS_ONLY, width, _INDENT, _INDENT))


def _mark(ruling: Ruling, *, named: bool) -> tuple[str, str]:
    """The mark of a ruling. Further acts of a process that is named are marked "also", not "cleared"."""
    if ruling.why.names:
        return "NAMED  ", "bold red"
    if not ruling.why.clears and not named:
        return "noted  ", "yellow"
    return ("also   " if named else "cleared"), "dim"


def _records(records: Iterable[bytes], actors: Iterable[Actor]) -> Iterator[Text]:
    # auditd puts the byte 0x1d in front of its translations (log_format = ENRICHED).
    lines = [show(line.replace(b"\x1d", b" ")) for line in records]
    if lines:
        yield Text()
        yield Text("Audit records of the named processes", style="bold")
        yield from (Text(f"{_INDENT}{line}", style="dim") for line in lines)
    elif any(actor.event is not None for actor in actors):
        yield Text()
        yield Text("The audit records of the named processes are not stored: an earlier version of fimscan read them.")
