"""The text report of a diff, for terminals and for grep.

A row starts at the left margin with its kind, the change's number (for ``fimscan accept``) and its severity, and ends
with the path: ``modified    #17    high      /etc/hosts``. The path is last: it can be copied up to the end of the
line, and a name such as ``hosts #17`` cannot fake a number. A row that is not a stored change has no number:
``unreadable  /srv``. A path that no watch covers has no severity. Details are indented below. The most alarming rows
come first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import TextIO

from rich.text import Text

from fimscan.model import (
    Actor,
    Attribution,
    Change,
    ChangeKind,
    Diff,
    DispositionStatus,
    ExeOrigin,
    Finding,
    Severity,
    UnmodifiedOpen,
    Unreadable,
    Verdict,
)
from fimscan.report.actor_text import ActorText, actor_texts
from fimscan.report.change_sets import coverage_command
from fimscan.report.configuration import configuration_lines
from fimscan.report.console import pack, wrap, write_lines
from fimscan.report.differences import breach_text, differences
from fimscan.report.display import minute_text, show
from fimscan.report.dispositions import disposition_facts
from fimscan.report.in_effect import in_effect_words
from fimscan.report.packages import is_alarming, package_words
from fimscan.report.plans import progress_text
from fimscan.report.reasons import program_text
from fimscan.report.texts import TextView, fact_lines, text_lines
from fimscan.report.words import (
    RANK_WORDS,
    by_rank,
    doubts,
    headline,
    introduction,
    key_text,
    log_lines,
    number_text,
    plural,
    rank,
    unmodified_heading,
    unreadable_groups,
    unreadable_text,
    verdict_code,
    verdict_counts,
    vouched_text,
)

_KIND_STYLE = {
    ChangeKind.ADDED: "green",
    ChangeKind.REMOVED: "red",
    ChangeKind.MODIFIED: "yellow",
    ChangeKind.MOVED: "cyan",
    ChangeKind.ATTRIBUTES: "blue",
}
_VERDICT_STYLE = {
    Verdict.CONFIRMED: "bold green",
    Verdict.LIKELY: "bold yellow",
    Verdict.CONTESTED: "bold magenta",
    Verdict.UNATTRIBUTED: "bold red",
}
_SEVERITY_STYLE: Mapping[Severity, str] = {"critical": "bold red", "high": "", "medium": "dim", "low": "dim"}
_INDENT = "    "
_NO_LINES = TextView()
_FACTS = 2  # of a row in a summary
_KIND_WIDTH = len("attributes")
_NUMBER_WIDTH = len("#9999")  # with larger numbers, paths begin further right
_SEVERITY_WIDTH = len("critical")


def write_text(
    diff: Diff,
    out: TextIO,
    *,
    color: bool,
    width: int,
    commands: Iterable[str] = (),
    view: TextView = _NO_LINES,
) -> None:
    """The whole diff; nothing is cut. One line when nothing differs.

    ``width`` is where lines are broken when they can be (in cells); a path, digest or command is never broken.
    ``commands`` are those that go on from here (:func:`fimscan.report.change_sets.accept_command`), at the end.
    ``view`` is how much of texts is shown.
    """
    write_lines(report_lines(diff, width, commands, view), out, color=color)


def scan_summary(diff: Diff, *, limit: int, width: int, command: str = "fimscan") -> list[Text]:
    """What a scan found: at most ``limit`` rows, most alarming first.

    The last line has the number of omitted rows and the command that shows them; ``command`` is how to call fimscan.
    """
    return [*_summary(diff, limit, width, command)]


def report_lines(diff: Diff, width: int, commands: Iterable[str] = (), view: TextView = _NO_LINES) -> Iterator[Text]:
    """The whole diff, line by line."""
    yield from head_lines(diff, width)
    yield from reconfiguration_lines(diff)
    for place, findings in groupby(by_rank(diff), key=rank):
        rows = list(findings)
        yield from heading_lines(f"{RANK_WORDS[place]} ({plural(len(rows), 'row')})")
        for finding in rows:
            yield from row_lines(finding, width, view)
            yield from suspect_lines(finding, diff)
    for heading, items in unreadable_groups(diff):
        yield from heading_lines(heading)
        for unreadable in items:
            yield from unreadable_lines(unreadable)
    if diff.opened_unmodified:
        yield from heading_lines(unmodified_heading(diff))
        for opened in diff.opened_unmodified:
            yield from _opened(opened, width)
    if (diff.findings or any(item.differs for item in diff.unreadable)) and (lines := [*filter(None, commands)]):
        yield Text()
        yield from (Text(line, style="dim") for line in lines)


def _summary(diff: Diff, limit: int, width: int, command: str) -> Iterator[Text]:
    yield from head_lines(diff, width)
    shown = by_rank(diff)[:limit]
    for finding in shown:
        yield row_title(finding)
        if finding.change.breach is not None:
            yield from map(Text, pack([breach_text(finding.change)], width, _INDENT, _INDENT * 2))
        yield from package_lines(finding, width)
        yield from in_effect_lines(finding, width)
        yield from fact_lines(finding, width)[:_FACTS]
        yield from _who_in_short(finding, width)
    unreadable = diff.unreadable[: limit - len(shown)]
    for item in unreadable:
        yield from unreadable_lines(item)
    left = len(diff.findings) + len(diff.unreadable) - len(shown) - len(unreadable)
    if left:
        yield Text(f"... and {left} more: {command} diff --from {diff.start.id} --to {diff.end.id}")
    if rules := coverage_command(command, diff.findings):
        yield Text(rules, style="dim")


def head_lines(diff: Diff, width: int) -> Iterator[Text]:
    """What differs, as of which scan, with how many rows of each verdict and the signing key; logs that only grew."""
    # With a path in it, it is one line: that can be copied.
    lines = wrap(headline(diff), width, "", _INDENT) if diff.unchanged is None else [headline(diff)]
    head = [Text(line, style="bold") for line in lines]
    if diff.findings:
        seen = f"scan {diff.end.id} ({minute_text(diff.end.started_ns)}): "
        head += map(Text, pack(verdict_counts(diff), width, f"as of {seen}", _INDENT))
    yield from head if diff.signing_key is None else _with_key(head, key_text(diff.signing_key), width)
    if (vouched := vouched_text(diff.end)) is not None:
        yield Text(f"of its files, {vouched}")
    for line in log_lines(diff):
        yield Text(line)
    for plan in diff.plans:
        yield Text(progress_text(plan, width), style="bold" if plan.extra or plan.missing else "")


def _with_key(head: list[Text], key: str, width: int) -> list[Text]:
    """Put the key behind a line that has room for it, from the last one up; only if none has, it takes a line."""
    for place in range(len(head) - 1, -1, -1):
        line = head[place]
        if line.cell_len + len(key) + 2 <= width:
            return [*head[:place], Text.assemble(line, (f"; {key}", "not bold dim")), *head[place + 1 :]]
    return [*head, Text(f"{_INDENT}{key}", style="dim")]


def reconfiguration_lines(diff: Diff) -> Iterator[Text]:
    """The settings that changed between the scans."""
    for item in diff.reconfigurations:
        for number, line in enumerate(configuration_lines(item)):
            yield Text(line, style="bold yellow" if number == 0 and item.is_weaker else "")


def heading_lines(words: str) -> Iterator[Text]:
    """An empty line and a heading."""
    yield Text()
    yield Text(f"== {words}", style="bold")


def _title(kind: str, style: str, path: bytes, number: str = "", severity: Severity | None = None) -> Text:
    columns = [(f"{number:<{_NUMBER_WIDTH}}  ", "dim")] if number else []
    if severity is not None:
        columns.append((f"{severity:<{_SEVERITY_WIDTH}}  ", _SEVERITY_STYLE[severity]))
    return Text.assemble((f"{kind:<{_KIND_WIDTH}}", style), "  ", *columns, (show(path), "bold"))


def row_title(finding: Finding) -> Text:
    """The first line of a row."""
    change = finding.change
    return _title(change.kind, _KIND_STYLE[change.kind], change.path, number_text(change), finding.severity)


def row_lines(finding: Finding, width: int, view: TextView = _NO_LINES) -> Iterator[Text]:
    """The lines of one row."""
    change = finding.change
    yield row_title(finding)
    for line in pack(differences(change), width, _INDENT, _INDENT * 2):
        yield Text(line)
    yield from package_lines(finding, width)
    yield from in_effect_lines(finding, width)
    yield from text_lines(finding, width, view)
    yield from disposition_lines(finding, width)
    if len(finding.steps) > 1:
        yield from _steps(finding, width)
    else:
        yield from _who(finding.attribution, change, _INDENT, width)


def package_lines(finding: Finding, width: int) -> Iterator[Text]:
    """Whether the file is what its package shipped; nothing if that says nothing."""
    if not (words := package_words(finding.package)):
        return
    style = "bold red" if is_alarming(finding.package) else ""
    for line in pack(words, width, f"{_INDENT}package: ", _INDENT * 2):
        yield Text(line, style=style)


def in_effect_lines(finding: Finding, width: int) -> Iterator[Text]:
    """Which processes run the old or the new content; nothing if none does."""
    for words in in_effect_words(finding.in_effect):
        style = "bold" if finding.in_effect is not None and finding.in_effect.old else ""
        yield from (Text(line, style=style) for line in wrap(words, width, _INDENT, _INDENT * 2))


def disposition_lines(finding: Finding, width: int) -> Iterator[Text]:
    """What was decided about a change, if anything was."""
    decided = finding.disposition
    if decided is None:
        return
    style = "bold red" if decided.status is DispositionStatus.VIOLATION else ""
    for line in pack(disposition_facts(decided), width, _INDENT, _INDENT * 2):
        yield Text(line, style=style)


def suspect_lines(finding: Finding, diff: Diff) -> Iterator[Text]:
    """A warning for each named program whose own content differs from the accepted one."""
    for text in suspect_texts(finding, diff):
        yield Text(f"{_INDENT}{text}", style="bold red")


def suspect_texts(finding: Finding, diff: Diff) -> list[str]:
    """The same as plain text."""
    exes = {(actor.exe or b"").removesuffix(b" (deleted)") for actor in finding.attribution.actors if _is_here(actor)}
    return [
        f"the program is suspect: {program_text(program)}" for program in diff.suspect_programs if program.path in exes
    ]


def _is_here(actor: Actor) -> bool:
    """Whether the program is a file of this host, as far as is known."""
    return actor.view is None or actor.view.exe_origin is not ExeOrigin.OTHER_ROOT


def _steps(finding: Finding, width: int) -> Iterator[Text]:
    yield verdict_line(finding.attribution, _INDENT, f"changed {len(finding.steps)} times")
    for number, step in enumerate(finding.steps, 1):
        kind = " ".join(filter(None, (step.change.kind, number_text(step.change))))
        start = f"{_INDENT}{number}. scan {step.scan}: {kind}, "
        yield from map(Text, pack(differences(step.change), width, start, _INDENT * 3))
        yield from _who(step.attribution, step.change, _INDENT * 2, width)


def _who(attribution: Attribution, change: Change, indent: str, width: int) -> Iterator[Text]:
    done = actor_texts(attribution.actors, attribution.verdict, change)
    opening = introduction(attribution, len(done))
    inner = f"{indent}    "
    reservations = [Text(line) for doubt in doubts(attribution, change) for line in wrap(doubt, width, inner, inner)]
    if opening is None:
        yield verdict_line(attribution, indent, done[0].sentence)
        yield from _circumstances(done[0], inner, width)
        yield from reservations
        return
    yield from answer_lines(attribution, opening, indent, width)
    yield from reservations
    for actor in done:
        yield Text(f"{indent}  - {actor.sentence}")
        yield from _circumstances(actor, inner, width)


def _who_in_short(finding: Finding, width: int) -> Iterator[Text]:
    attribution = finding.attribution
    several = len(finding.steps) > 1
    if several:
        yield Text(f"{_INDENT}changed {len(finding.steps)} times")
    done = actor_texts(attribution.actors, attribution.verdict, None if several else finding.change)
    opening = introduction(attribution, len(done))
    if opening is None:
        yield from _answer_in_short(finding, done[0], width)
        return
    yield from answer_lines(attribution, opening, _INDENT, width)
    for actor in done:
        yield from map(Text, pack((actor.sentence, *actor.user.split(", ", 1)), width, f"{_INDENT}  - ", _INDENT * 2))


def _answer_in_short(finding: Finding, actor: ActorText, width: int) -> Iterator[Text]:
    prefix = f"{_INDENT}{verdict_code(finding.attribution)}: "
    first, *rest = pack((actor.sentence, *actor.user.split(", ", 1)), width, prefix, _INDENT * 2)
    yield verdict_line(finding.attribution, _INDENT, first.removeprefix(prefix))
    yield from map(Text, rest)


def answer_lines(attribution: Attribution, sentence: str, indent: str, width: int) -> Iterator[Text]:
    """The verdict with a sentence that contains no path, so it may be wrapped anywhere."""
    prefix = f"{indent}{verdict_code(attribution)}: "
    first, *rest = wrap(sentence, width, prefix, f"{indent}    ")
    yield verdict_line(attribution, indent, first.removeprefix(prefix))
    yield from map(Text, rest)


def verdict_line(attribution: Attribution, indent: str, words: str) -> Text:
    """The verdict, in its colour, and words."""
    return Text.assemble(indent, (verdict_code(attribution), _VERDICT_STYLE[attribution.verdict]), f": {words}")


def _circumstances(actor: ActorText, indent: str, width: int) -> Iterator[Text]:
    place = (actor.place,) if actor.place is not None else ()
    yield from map(Text, pack((actor.user, *place, *actor.events), width, indent, indent))
    if actor.command is not None:
        yield Text(f"{indent}{actor.cwd or ''}$ {actor.command}", style="dim")


def unreadable_lines(item: Unreadable) -> Iterator[Text]:
    """A file that could not be compared, and why."""
    yield _title("unreadable", "red", item.path)
    yield Text(f"{_INDENT}{unreadable_text(item)}")


def _opened(item: UnmodifiedOpen, width: int) -> Iterator[Text]:
    yield _title("opened", "dim", item.path)
    for actor in actor_texts(item.actors, Verdict.CONFIRMED, None):
        yield from map(Text, pack((actor.process, actor.user, *actor.events), width, f"{_INDENT}by ", _INDENT * 2))
