"""The first screen of a diff: what stands out, each change with who made it; then the change sets, one line each.

A report that :func:`fits` the screen is shown in full instead (:func:`fimscan.report.text.write_text`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, TextIO

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from fimscan.grouping import ChangeSet, Grouping, Nature, RankedRow, SetKind
from fimscan.model import Diff, Finding, PackageClass
from fimscan.report.actor_text import ActorText, actor_texts
from fimscan.report.change_sets import rank_words, same_content_text, set_tail, set_title, title_parts
from fimscan.report.console import pack, write_lines
from fimscan.report.differences import differences
from fimscan.report.display import command_text, show, time_text
from fimscan.report.packages import is_alarming
from fimscan.report.text import (
    answer_lines,
    disposition_lines,
    head_lines,
    heading_lines,
    package_lines,
    reconfiguration_lines,
    report_lines,
    row_lines,
    row_title,
    shown_lines,
    suspect_lines,
    unreadable_lines,
    verdict_line,
)
from fimscan.report.words import (
    introduction,
    number_text,
    plural,
    process_text,
    unreadable_groups,
    user_text,
    verdict_code,
)

_INDENT = "    "
_FEW = 5  # so many rows are shown in full, even if they do not fit on the screen
_CANDIDATES = 3
_LEAST_SETS = 5
_SHORTEST_COMMAND = 12
# The differences that a reason does not say: those of content are a digest.
_TELLING = ("mode ", "owner ", "acl ", "capabilities ", "flags ", "mtime set back", "target ", "from ", "symlink to ")


class Screen(NamedTuple):
    """The size of a screen, how fimscan is called, and the options of ``diff`` that give the same rows.

    ``filters`` begins with a space: `` --from 1``. ``limit`` is the largest number of changes that are listed because
    they stand out; ``None`` for all.
    """

    width: int = 80
    height: int = 24
    program: str = "fimscan"
    filters: str = ""
    limit: int | None = None

    @property
    def command(self) -> str:
        """The command that shows these rows."""
        return f"{self.program} diff{self.filters}"


def write_screen(diff: Diff, grouping: Grouping, out: TextIO, *, color: bool, screen: Screen) -> None:
    """Write what stands out in a diff, and its change sets.

    All that stands out is written, even if there is more of it than fits, unless the screen has a limit.
    """
    write_lines(_report(diff, grouping, screen), out, color=color)


def write_sets(diff: Diff, grouping: Grouping, out: TextIO, *, color: bool, screen: Screen) -> None:
    """Write all change sets, one line each."""
    lines = [*head_lines(diff, screen.width), *_set_lines(diff, grouping.sets, screen.width)]
    write_lines([*lines, *_footer(diff, grouping, screen)], out, color=color)


def write_set(diff: Diff, item: ChangeSet, out: TextIO, *, color: bool, screen: Screen) -> None:
    """Write one change set in full."""
    write_lines(_opened_set(diff, item, screen), out, color=color)


def fits(diff: Diff, screen: Screen) -> bool:
    """Whether a diff is short enough to be shown in full."""
    if len(diff.findings) <= _FEW:
        return True
    return len(list(islice(report_lines(diff, screen.width), screen.height + 1))) <= screen.height


# --------------------------------------------------------------------------------------------------------------------


def _report(diff: Diff, grouping: Grouping, screen: Screen) -> Iterator[Text]:
    above = [*_above(diff, grouping, screen)]
    footer = [*_footer(diff, grouping, screen)]
    yield from above
    # Two lines for the heading; the line that counts the rest replaces a set.
    room = max(_LEAST_SETS, screen.height - len(above) - len(footer) - 2)
    sets = grouping.sets
    yield from _set_lines(diff, sets if len(sets) <= room else sets[: room - 1], screen.width, of=sets)
    if len(sets) > room:
        left = sets[room - 1 :]
        changes = sum(len(item.rows) for item in left)
        yield Text(f"... and {plural(len(left), 'more set')} with {changes:,} changes: {screen.command} --sets")
    yield from footer


def _above(diff: Diff, grouping: Grouping, screen: Screen) -> Iterator[Text]:
    width = screen.width
    yield from head_lines(diff, width)
    yield from reconfiguration_lines(diff)
    standing_out = grouping.standing_out
    altered = [item for item in diff.unreadable if item.differs]
    if not standing_out and not altered:
        yield Text()
        yield Text(f"None of the {len(grouping.rows):,} changes stands out by itself.", style="bold")
        return
    yield from heading_lines(f"Look at these ({len(standing_out) + len(altered):,} of {_all(diff):,})")
    for row in standing_out[: screen.limit]:
        yield from _outstanding_lines(row, screen)
        yield from suspect_lines(row.finding, diff)
    if screen.limit is not None and len(standing_out) > screen.limit:
        yield Text(f"... and {len(standing_out) - screen.limit:,} more to look at: {screen.command}", style="bold red")
    for item in altered:
        yield from unreadable_lines(item)


def _all(diff: Diff) -> int:
    return len(diff.findings) + sum(bool(item.differs) for item in diff.unreadable)


def _set_lines(diff: Diff, sets: tuple[ChangeSet, ...], width: int, of: tuple[ChangeSet, ...] = ()) -> Iterator[Text]:
    every = of or sets
    changes = sum(len(item.rows) for item in every)
    yield from heading_lines(f"{plural(len(every), 'change set')}, {changes:,} changes")
    for item in sets:
        yield Text(_set_line(item, diff.end.started_ns, width))


def _set_line(item: ChangeSet, day_ns: int, width: int) -> str:
    """Number, count, title, and of the rest what fits. A long command is shortened: the opened set has it in full."""
    front = f"{item.number:>2} {len(item.rows):>6,}  "
    command, rest = title_parts(item, day_ns)
    tail = [*set_tail(item)]
    while tail:
        ending = f"{rest}; {', '.join(tail)}"
        if len(front) + min(cell_len(command), _SHORTEST_COMMAND) + cell_len(ending) <= width:
            break
        tail.pop()
    else:
        ending = rest
    shown = _shortened(command, max(_SHORTEST_COMMAND, width - len(front) - cell_len(ending)))
    return _shortened(front + shown + ending, width)


def _shortened(text: str, width: int) -> str:
    """A text cut to a width in cells, with three dots where it was cut."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, width - 3).rstrip()}..."


def _footer(diff: Diff, grouping: Grouping, screen: Screen) -> Iterator[Text]:
    if (same := same_content_text(grouping.sets)) is not None:
        yield Text(same)
    for _, items in unreadable_groups(replace(diff, unreadable=tuple(i for i in diff.unreadable if not i.differs))):
        yield Text(f"{plural(len(items), 'file')} could not be compared: {screen.command} --flat lists them.")
    if diff.opened_unmodified:
        yield Text(f"{plural(len(diff.opened_unmodified), 'file')} opened for writing, content unchanged.")
    # Each command has a line of its own, however long, so that it can be copied.
    yield Text(f"{screen.command} --set 1  # open a set; --flat: every row", style="dim")
    yield from shown_lines(diff)
    number = next((row.finding.change.id for row in grouping.standing_out), None)
    if number is not None:
        yield Text(f"{screen.program} explain {number}  # why", style="dim")


def _outstanding_lines(row: RankedRow, screen: Screen) -> Iterator[Text]:
    """A change that stands out: its title, why it stands out, and who made it."""
    finding, rank, width = row.finding, row.rank, screen.width
    yield row_title(finding)
    telling = [text for text in differences(finding.change) if text.startswith(_TELLING)]
    reasons = [*rank_words(rank)[: rank.deciding], *telling]
    yield from map(Text, pack(reasons, width, _INDENT, _INDENT * 2))
    yield from disposition_lines(finding, width)
    answer = finding.package
    if answer is not None and (is_alarming(answer) or answer.kind is PackageClass.NOT_AS_SHIPPED):
        yield from package_lines(finding, width)
    yield from _who(finding, screen)


def _who(finding: Finding, screen: Screen) -> Iterator[Text]:
    attribution, width = finding.attribution, screen.width
    several = len(finding.steps) > 1
    done = actor_texts(attribution.actors, attribution.verdict, None if several else finding.change)
    opening = introduction(attribution, len(done))
    if several:
        yield Text(f"{_INDENT}changed {len(finding.steps)} times")
    if opening is None:
        prefix = f"{_INDENT}{verdict_code(attribution)}: "
        first, *rest = pack(_facts(done[0]), width, prefix, _INDENT * 2)
        yield verdict_line(attribution, _INDENT, first.removeprefix(prefix))
        yield from map(Text, rest)
        return
    yield from answer_lines(attribution, opening, _INDENT, width)
    for actor in done[:_CANDIDATES]:
        yield from map(Text, pack(_facts(actor), width, f"{_INDENT}  - ", _INDENT * 2))
    if len(done) > _CANDIDATES:
        number = number_text(finding.change).removeprefix("#") or "PATH"
        yield Text(f"{_INDENT}  - and {len(done) - _CANDIDATES} more: {screen.program} explain {number}")


def _facts(actor: ActorText) -> tuple[str, ...]:
    """Process and act, user, and the time of its last call."""
    times = [event.partition(" ")[0] for event in actor.events]
    return (actor.sentence, actor.user, *times[-1:])


# --------------------------------------------------------------------------------------------------------------------


def _opened_set(diff: Diff, item: ChangeSet, screen: Screen) -> Iterator[Text]:
    width, day_ns = screen.width, diff.end.started_ns
    yield Text(f"set {item.number}: {set_title(item, day_ns)}", style="bold")
    span = f"{time_text(item.start_ns)} to {time_text(item.end_ns)}"
    yield from map(Text, pack((plural(len(item.rows), "change"), *set_tail(item), span), width, _INDENT, _INDENT))
    for root in item.roots[:_CANDIDATES]:
        yield Text(f"{_INDENT}{process_text(root)}, {user_text(root)}")
        if (command := command_text(root)) is not None:
            cwd = "" if root.cwd is None else show(root.cwd)
            yield Text(f"{_INDENT * 2}{cwd}$ {command}", style="dim")
    if len(item.roots) > _CANDIDATES:
        yield Text(f"{_INDENT}and {len(item.roots) - _CANDIDATES} more commands")
    if item.kind is SetKind.SEVERAL:
        yield Text(f"{_INDENT}each row says which of these processes it concerns")
    outstanding = [row for row in item.rows if row.rank.stands_out]
    others = [row for row in item.rows if not (row.rank.stands_out or row.rank.nature is Nature.INODE)]
    replaced = [row for row in item.rows if not row.rank.stands_out and row.rank.nature is Nature.INODE]
    for heading, rows in (("Look at these", outstanding), ("The others", others)):
        if rows:
            yield from heading_lines(f"{heading} ({plural(len(rows), 'row')})")
        for row in rows:
            first, *rest = row_lines(row.finding, width)
            yield first
            if row.rank.reasons:
                yield from map(Text, pack(rank_words(row.rank), width, f"{_INDENT}rank: ", _INDENT * 2))
            yield from rest
            yield from suspect_lines(row.finding, diff)
    if replaced:
        yield from heading_lines(f"Replaced by files with the same content ({plural(len(replaced), 'row')})")
        yield from (row_title(row.finding) for row in replaced)
    if diff.shown is not None:
        yield Text()
        yield from shown_lines(diff, item.number)
