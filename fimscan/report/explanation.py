"""``fimscan explain``: an answer with what it rests on, for an assessor or somebody who has to act on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.text import Text

from fimscan.model import Actor, Explanation, Ruling, Why
from fimscan.report.console import wrap, write_lines
from fimscan.report.display import moment_text, show
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
from fimscan.report.words import doubt_text, gap_text, plural, process_text

_INDENT = "    "


def write_explanation(explanation: Explanation, out: TextIO, *, color: bool, width: int) -> None:
    """The explanation as text; lines are broken at ``width`` where they can be."""
    write_lines(_text(explanation, width), out, color=color)


def _text(explanation: Explanation, width: int) -> Iterator[Text]:
    finding = explanation.finding
    attribution, change = finding.attribution, finding.change
    yield from row_lines(finding, width)
    since, until = window_texts(explanation)
    yield from _section("When it happened", (f"after {since}", f"before {until}"), width)
    yield from _section("What the file's times say", time_texts(change, attribution.reasoning), width)
    yield from _section("Was audit watching", _coverage(explanation), width)
    yield from _section("Who held it open for writing when the window began", _holders(explanation), width)
    yield from _considered(explanation, width)
    yield from _section("Where the processes come from", map(lineage_text, explanation.lineages), width)
    yield from _section("Their programs", map(program_text, explanation.programs), width)
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
        yield "yes, the whole time: rules loaded, daemon running, no event lost, and the log read without a hole"
    else:
        yield "not all of the time"
        yield from (gap_text(gap, finding.change.window) for gap in coverage.gaps)
    rules = explanation.rules
    telling = [rule for rule in rules if rule.writes or rule.attributes]
    yield from (f"rule: {show(rule.text)}" for rule in telling)
    if len(rules) > len(telling):
        yield f"and {plural(len(rules) - len(telling), 'rule')} for single system calls"
    if not rules:
        yield "no rule about this path was loaded"


def _holders(explanation: Explanation) -> Iterator[str]:
    holders = explanation.finding.change.holders
    if holders is None:
        yield "nobody looked"
        return
    yield from (process_text(actor) for actor in holders.actors)
    if not holders.actors:
        nobody = "no process showed that it did" if holders.doubts else "nobody"
        yield f"{nobody}, as of {moment_text(holders.as_of_ns)}"
    yield from (f"the file that was here before: {process_text(actor)}" for actor in holders.earlier)
    yield from (f"when the next scan began: {process_text(actor)}" for actor in holders.later)
    yield from (f"may have: {doubt_text(doubt)}" for doubt in holders.doubts)
    yield from (f"may have held the file that was here before: {doubt_text(doubt)}" for doubt in holders.earlier_doubts)
    if not holders.complete:
        yield "not every process could be asked: only root may"
    if explanation.protected:
        yield f"not even root could ask {explanation.protected:,} of the processes, as init of a container"


def _considered(explanation: Explanation, width: int) -> Iterator[Text]:
    reasoning = explanation.finding.attribution.reasoning
    yield Text()
    if reasoning is None:
        yield Text("Who was considered was not kept: the answer was given by an earlier fimscan.")
        return
    yield Text(considered_heading(reasoning), style="bold")
    if not reasoning.rulings:
        yield Text(f"{_INDENT}nobody was seen having to do with this file or its name")
    named = {ruling.actor.process for ruling in reasoning.rulings if ruling.why.names}
    for ruling in reasoning.rulings:
        mark, style = _mark(ruling, named=ruling.actor.process in named)
        yield Text.assemble(_INDENT, (mark, style), f"  {ruling_text(ruling)}")
        yield from map(Text, wrap(why_text(ruling), width, f"{_INDENT * 4}", f"{_INDENT * 4}"))
    if any(ruling.why is Why.WRITE_ACCESS for ruling in reasoning.rulings):
        yield from map(Text, wrap(OPENS_ONLY, width, _INDENT, _INDENT))


def _mark(ruling: Ruling, *, named: bool) -> tuple[str, str]:
    """What else somebody did who is named for something clears nobody."""
    if ruling.why.names:
        return "NAMED  ", "bold red"
    if not ruling.why.clears and not named:
        return "noted  ", "yellow"
    return ("also   " if named else "cleared"), "dim"


def _records(records: Iterable[bytes], actors: Iterable[Actor]) -> Iterator[Text]:
    # In front of auditd's translations stands a byte that is no character.
    lines = [show(line.replace(b"\x1d", b" ")) for line in records]
    if lines:
        yield Text()
        yield Text("The audit records of those who are named", style="bold")
        yield from (Text(f"{_INDENT}{line}", style="dim") for line in lines)
    elif any(actor.event is not None for actor in actors):
        yield Text()
        yield Text("The audit records of those who are named are not stored (they were read by an earlier fimscan).")
