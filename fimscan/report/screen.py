"""The first screen of a diff: what stands out, each change with who made it; then the change sets, one line each.

A report that :func:`fits` the screen is shown in full instead (:func:`fimscan.report.text.write_text`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple, TextIO

from msgspec.structs import replace
from rich.cells import cell_len
from rich.text import Text

from fimscan.grouping import REASON_OF_SIGN, ChangeSet, Grouping, Nature, RankedRow, RankReason, SetKind
from fimscan.model import Diff, Finding, Reason, TextFact, TextFactKind, Verdict
from fimscan.report.actor_text import ActorText, actor_texts
from fimscan.report.change_sets import (
    accept_command,
    accept_one_set,
    coverage_command,
    process_in_short,
    rank_words,
    review_command,
    same_content_text,
    second_text,
    set_tail,
    set_title,
    title_parts,
    user_in_short,
)
from fimscan.report.console import pack, shortened, wrap, write_lines
from fimscan.report.differences import differences
from fimscan.report.display import command_text, show, time_text
from fimscan.report.text import (
    answer_lines,
    disposition_lines,
    head_lines,
    heading_lines,
    in_effect_lines,
    reconfiguration_lines,
    report_lines,
    row_lines,
    row_title,
    suspect_lines,
    unreadable_lines,
    verdict_line,
)
from fimscan.report.text_words import fact_words
from fimscan.report.texts import NO_TEXT, TextView, changed_lines, diff_line, fact_lines
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
_FACTS = 2  # of a text, on the first screen
_LINES = 3  # of a text without facts
_EXCERPTS = (10, 5, 3)  # lines of each text that are tried, so that a full report stays on the screen
_LEAST_IN_FULL = 3  # of the changes that stand out, before titles are left out
_MOST_ALTERED = 3  # files that changed and could not be read
_LEAST_SETS = 2
_SETS_BELOW_THE_SCREEN = 4  # where no set is on the first screen, so many lines are below it
_SETS_BESIDE_TEXTS = 5  # excerpts of texts leave room for so many sets
_SHORTEST_COMMAND = 12
_SHORTEST_REASON = len("no process named...")
_COMMANDS = ("review", "accept")  # the lines below a full report
# The differences that a reason does not say: those of content are a digest.
_TELLING = ("mode ", "owner ", "acl ", "capabilities ", "flags ", "mtime set back", "target ", "from ", "symlink to ")


class Screen(NamedTuple):
    """The size of a screen, how fimscan is called, and the options of ``diff`` that give the same rows.

    ``filters`` begins with a space: `` --from 1``. ``limit`` is the largest number of changes that are listed because
    they stand out; ``None`` for as many as fit. With ``is_whole``, all of them are listed, however long the screen
    becomes. ``view`` is how much of texts is shown. ``is_reviewed`` says that ``fimscan review`` has these changes.
    """

    width: int = 80
    height: int = 24
    program: str = "fimscan"
    filters: str = ""
    limit: int | None = None
    view: TextView = TextView()
    is_reviewed: bool = False
    is_whole: bool = False

    @property
    def command(self) -> str:
        """The command that shows these rows."""
        return f"{self.program} diff{self.filters}"


def write_screen(diff: Diff, grouping: Grouping, out: TextIO, *, color: bool, screen: Screen) -> None:
    """Write what stands out in a diff, and its change sets, on one screen.

    What does not fit is counted, with the command that shows it.
    """
    write_lines(_report(diff, grouping, screen), out, color=color)


def write_sets(diff: Diff, grouping: Grouping, out: TextIO, *, color: bool, screen: Screen) -> None:
    """Write all change sets, one line each."""
    lines = [*head_lines(diff, screen.width), Text(), Text(_sets_heading(grouping.sets), style="bold")]
    lines += _set_lines(grouping.sets, diff, screen.width, are_above=False)
    write_lines([*lines, *_footer(diff, grouping, screen)], out, color=color)


def write_set(diff: Diff, item: ChangeSet, out: TextIO, *, color: bool, screen: Screen) -> None:
    """Write one change set in full."""
    write_lines(_opened_set(diff, item, screen), out, color=color)


def fits(diff: Diff, screen: Screen) -> bool:
    """Whether a diff is short enough to be shown in full."""
    if len(diff.findings) <= _FEW:
        return True
    return _is_within(diff, screen, screen.view)


def fitting(diff: Diff, screen: Screen) -> TextView:
    """How much of each text is shown in a full report, so that it stays on the screen.

    A single row is not cut. A few rows, which are shown in full in any case, have at least a few lines.
    """
    view = screen.view
    if view.most is None or len(diff.findings) == 1:
        return view
    sizes = [size for size in _EXCERPTS if size < view.most]
    if len(diff.findings) > _FEW:
        sizes += [size for size in (0, NO_TEXT) if size < view.most]
    choices = [view, *(view._replace(most=size) for size in sizes)]
    return next((choice for choice in choices if _is_within(diff, screen, choice)), choices[-1])


def _is_within(diff: Diff, screen: Screen, view: TextView) -> bool:
    commands = _COMMANDS if screen.is_reviewed else ()
    lines = report_lines(diff, screen.width, commands, view)
    return len(list(islice(lines, screen.height + 1))) <= screen.height


# --------------------------------------------------------------------------------------------------------------------


def _report(diff: Diff, grouping: Grouping, screen: Screen) -> list[Text]:
    """The most that fits: all that stands out in full, else the last ones by their titles, else a number of them.

    At least the first one is there in full.
    """
    standing_out = grouping.standing_out
    most = len(standing_out)
    if not screen.is_whole:
        # Each title is a line.
        most = min(most, screen.height, screen.limit if screen.limit is not None else most)
    entries = [*_entries(standing_out[:most], diff, screen)]
    parts = _Parts(diff, grouping, screen)
    lines = _laid_out(parts, _Shown(most, entries))
    if not screen.is_whole:
        shorter = _shorter(most)
        while _height(lines, screen.width) > screen.height and (counts := next(shorter, None)) is not None:
            titles, full = counts
            lines = _laid_out(parts, _Shown(titles, entries[:full]))
    return lines


class _Shown(NamedTuple):
    """How many of the changes that stand out have a title on the screen, and those of them that are told in full."""

    titles: int
    entries: Sequence[_Entry]


def _shorter(most: int) -> Iterator[tuple[int, int]]:
    """(titles, changes in full) to be tried where all does not fit, the best first: most names, then most told."""
    least = min(_LEAST_IN_FULL, most)
    for titles in range(most, least - 1, -1):
        yield from ((titles, full) for full in range(titles, least - 1, -1))
    yield from ((full, full) for full in range(least - 1, 0, -1))


class _Parts:
    """What a screen is made of. Each part counts all rows of the report, so it is made once for all layouts tried."""

    def __init__(self, diff: Diff, grouping: Grouping, screen: Screen) -> None:
        self.diff, self.grouping, self.screen = diff, grouping, screen
        self.head = [*head_lines(diff, screen.width), *reconfiguration_lines(diff)]
        self.altered = [item for item in diff.unreadable if item.differs]
        self._footers: dict[bool, list[Text]] = {}
        self._lines: dict[tuple[int, bool], Text] = {}

    def footer(self, *, is_short: bool = False) -> list[Text]:
        """The lines below the sets."""
        if is_short not in self._footers:
            self._footers[is_short] = [*_footer(self.diff, self.grouping, self.screen, is_short=is_short)]
        return self._footers[is_short]

    def set_lines(self, sets: Sequence[ChangeSet], *, are_above: bool) -> Iterator[Text]:
        """One line for each set."""
        for item in sets:
            key = item.number, are_above
            if key not in self._lines:
                (self._lines[key],) = _set_lines((item,), self.diff, self.screen.width, are_above=are_above)
            yield self._lines[key]


def _laid_out(parts: _Parts, shown: _Shown) -> list[Text]:
    grouping, screen = parts.grouping, parts.screen
    footer = parts.footer()
    above = [*_above(parts, shown, screen.height - len(footer) - 2)]
    # All changes of a set may have been listed already, because they stand out.
    are_above = shown.titles == len(grouping.standing_out)
    everything = len(shown.entries) == len(grouping.standing_out)
    seen = {item.number for item in grouping.sets if everything and item.standing_out == len(item.rows)}
    listed = [item for item in grouping.sets if item.number not in seen]
    folded = _folded([item for item in grouping.sets if item.number in seen])
    # The heading; the line that counts the rest replaces a set.
    width = screen.width
    used = _height([*above, *footer, *folded], width) + 1
    # Below a list that was cut, the sets say what else there is.
    least = min(len(listed), _LEAST_SETS if everything else _LEAST_SETS + 1)
    if used + 1 + least > screen.height:
        above = [line for line in above if line.plain]
        if _height([*above, *footer, *folded], width) + 1 + least > screen.height:
            footer = parts.footer(is_short=True)
        room = screen.height - _height([*above, *footer, *folded], width) - 1
        if room < least:
            room = _SETS_BELOW_THE_SCREEN if screen.is_whole else least
    else:
        above.append(Text())
        room = screen.height - used - 1
    left = listed[room - 1 :] if len(listed) > room else []
    lines = [*above, Text(_sets_heading(grouping.sets), style="bold"), *folded]
    lines += parts.set_lines(listed[: room - 1] if left else listed, are_above=are_above)
    if left:
        changes = sum(len(item.rows) for item in left)
        lines.append(Text(f"... and {plural(len(left), 'more set')} with {changes:,} changes: {screen.command} --sets"))
    return [*lines, *footer]


def _height(lines: Iterable[Text], width: int) -> int:
    """How many lines a terminal shows: one that is too wide takes several."""
    return sum(max(1, -(-cell_len(line.plain) // max(1, width))) for line in lines)


def _folded(sets: Sequence[ChangeSet]) -> list[Text]:
    """One line for the sets of which nothing is left to be said."""
    if not sets:
        return []
    numbers = [item.number for item in sets]
    spans = [f"{numbers[0]}"]
    start = numbers[0]
    for earlier, number in pairwise(numbers):
        if number == earlier + 1:
            spans[-1] = f"{start}-{number}"
        else:
            start = number
            spans.append(f"{number}")
    count = sum(len(item.rows) for item in sets)
    return [Text(f"{','.join(spans[:_FEW]):>2} {count:>6,}  listed above")]


def _above(parts: _Parts, shown: _Shown, height: int) -> Iterator[Text]:
    """What stands out; with texts as far as there is room in ``height`` lines, beside the sets."""
    diff, grouping, screen, head, altered = parts.diff, parts.grouping, parts.screen, parts.head, parts.altered
    yield from head
    standing_out = grouping.standing_out
    count = len(standing_out) + len(altered)
    if not count:
        yield Text()
        yield Text(f"None of the {len(grouping.rows):,} changes stands out by itself.", style="bold")
        return
    yield from heading_lines(f"Look at these ({count:,} of {_all(diff):,})")
    titles, entries = shown
    used = len(head) + 2 + sum(1 + len(entry.body) + len(entry.warnings) for entry in entries) + len(altered) * 2
    used += titles - len(entries)
    room = height - used - min(len(grouping.sets), _SETS_BESIDE_TEXTS)
    told = []
    for entry in entries:
        told.append([*_telling_lines(entry.row, screen)[: max(room, 0)], *entry.warnings])
        room -= len(told[-1]) - len(entry.warnings)
    for number, entry in enumerate(entries):
        yield row_title(entry.row.finding)
        is_last = number + 1 == len(entries) or entries[number + 1].body != entry.body
        # Titles of changes of which the same is to be said are put together.
        if is_last or told[number] or told[number + 1]:
            yield from (*entry.body, *told[number])
    yield from (row_title(row.finding) for row in standing_out[len(entries) : titles])
    # They are less urgent than what stands out, so they are there if all of that is.
    listed = altered if titles == len(standing_out) else []
    listed = listed if screen.is_whole else listed[:_MOST_ALTERED]
    for item in listed:
        yield from unreadable_lines(item)
    left = count - titles - len(listed)
    if left:
        yield Text(f"... and {left:,} more to look at: {_all_of_them(screen)}", style="bold red")
    elif brief := titles - len(entries):
        words = "why, and who it was, of the last one" if brief == 1 else f"why, and who it was, of the last {brief}"
        yield Text(f"... {words}: {_all_of_them(screen)}", style="bold red")


def _all_of_them(screen: Screen) -> str:
    """The command that shows all that stands out."""
    return f"{screen.command} --look"


def _all(diff: Diff) -> int:
    return len(diff.findings) + sum(bool(item.differs) for item in diff.unreadable)


def _sets_heading(sets: tuple[ChangeSet, ...]) -> str:
    changes = sum(len(item.rows) for item in sets)
    return f"== {plural(len(sets), 'change set')}, {changes:,} changes"


def _set_lines(sets: Iterable[ChangeSet], diff: Diff, width: int, *, are_above: bool) -> Iterator[Text]:
    for item in sets:
        yield Text(_set_line(item, diff.end.started_ns, width, are_above=are_above))


def _set_line(item: ChangeSet, day_ns: int, width: int, *, are_above: bool) -> str:
    """Number, count, title, and of the rest what fits. A long command is shortened: the opened set has it in full."""
    front = f"{item.number:>2} {len(item.rows):>6,}  "
    command, rest = title_parts(item, day_ns)
    short = [*set_tail(item, short=True, are_above=are_above)]
    tails = ([*set_tail(item, are_above=are_above)], *(short[:count] for count in range(len(short), 0, -1)))
    shortest = _SHORTEST_REASON if item.kind is SetKind.NOBODY else _SHORTEST_COMMAND
    if item.kind is SetKind.NOBODY:
        brief = rest.replace(f"found by scan {item.scan}, ", "")  # that says less than the reason
        whole = cell_len(f"{front}{command}; {', '.join(short)}")
        if whole + cell_len(rest) > width >= whole + cell_len(brief):
            rest, shortest = brief, cell_len(command)
    room = width - len(front) - min(cell_len(command), shortest)
    endings = (f"{rest}; {', '.join(tail)}" for tail in tails if tail)
    ending = next((text for text in endings if cell_len(text) <= room), rest)
    shown = shortened(command, max(shortest, width - len(front) - cell_len(ending)))
    return shortened(front + shown + ending, width)


def _footer(diff: Diff, grouping: Grouping, screen: Screen, *, is_short: bool = False) -> Iterator[Text]:
    """What is beside the sets, and how to go on. A short one leaves out what ``fimscan review`` has as a key."""
    if (same := same_content_text(grouping.sets)) is not None:
        yield from map(Text, wrap(same, screen.width, "", _INDENT))
    for _, items in unreadable_groups(replace(diff, unreadable=tuple(i for i in diff.unreadable if not i.differs))):
        yield Text(f"{plural(len(items), 'file')} could not be compared: {screen.command} --flat lists them.")
    if diff.opened_unmodified:
        yield Text(f"{plural(len(diff.opened_unmodified), 'file')} opened for writing, content unchanged.")
    # Each command has a line of its own, however long, so that it can be copied.
    if screen.is_reviewed and grouping.rows:
        yield Text(review_command(screen.program), style="dim")
    yield Text(f"{screen.command} --set 1  # open a set; --flat: every row", style="dim")
    if accept := accept_one_set(screen.program, diff, grouping):
        yield Text(accept, style="dim")
    number = next((row.finding.change.id for row in grouping.standing_out), None)
    if number is not None and not (is_short and screen.is_reviewed):
        yield Text(f"{screen.program} explain {number}  # why", style="dim")
    if rules := coverage_command(screen.program, (row.finding for row in grouping.rows)):
        yield Text(rules, style="dim")


class _Entry(NamedTuple):
    """A change that stands out, and what is said of it below its title."""

    row: RankedRow
    body: list[Text]
    warnings: list[Text]


def _entries(rows: Iterable[RankedRow], diff: Diff, screen: Screen) -> Iterator[_Entry]:
    """What is said of changes that stand out. Processes that take several lines are listed once."""
    numbers: dict[object, str] = {}
    for row in rows:
        finding = row.finding
        who = [*_who(finding, screen, diff.end.started_ns)]
        if len(who) > 1 and finding.attribution.actors:
            number = numbers.setdefault(_doers(finding), number_text(finding.change))
            if number and number != number_text(finding.change):
                who = [verdict_line(finding.attribution, _INDENT, f"the same processes as for {number}")]
        body = [*_why(row, screen), *who, *in_effect_lines(finding, screen.width)]
        yield _Entry(row, body, [*suspect_lines(finding, diff)])


def _doers(finding: Finding) -> object:
    """What two changes have in common if the same processes did the same to them."""
    attribution = finding.attribution
    return (
        attribution.verdict,
        attribution.reason,
        len(finding.steps) > 1,
        tuple((actor.process, actor.uid, actor.role, actor.earlier) for actor in attribution.actors),
    )


def _why(row: RankedRow, screen: Screen) -> Iterator[Text]:
    """Why a change stands out."""
    finding, width = row.finding, screen.width
    telling = [text for text in differences(finding.change) if text.startswith(_TELLING)]
    reasons = [*_reasons(row), *telling]
    if len(finding.steps) > 1:
        reasons.append(f"changed {len(finding.steps)} times")
    yield from map(Text, pack(reasons, width, _INDENT, _INDENT * 2))
    yield from disposition_lines(finding, width)


def _reasons(row: RankedRow) -> list[str]:
    """The deciding reasons of a rank; where a text gave one, what it says."""
    text = row.finding.text
    facts: dict[RankReason, list[TextFact]] = {}
    for fact in () if text is None else text.facts:
        if fact.sign is not None:
            facts.setdefault(REASON_OF_SIGN[fact.sign], []).append(fact)
    found: list[str] = []
    words_of = zip(row.rank.reasons, rank_words(row.rank, row.finding.package), strict=True)
    for reason, words in islice(words_of, row.rank.deciding):
        told = facts.get(reason, [])
        is_said = all(fact.kind is TextFactKind.ACCOUNT_ADDED for fact in told)  # the words have the names
        found += [words] if is_said else [fact_words(fact) for fact in told]
    return found


def _telling_lines(row: RankedRow, screen: Screen) -> list[Text]:
    """The first facts of a text; without any, the first lines that changed, where lines are shown at all."""
    finding = row.finding
    if finding.text is None:
        return []
    others = tuple(fact for fact in finding.text.facts if fact.sign is None)  # the reasons have the alarming ones
    if others:
        return fact_lines(replace(finding, text=replace(finding.text, facts=others)), screen.width)[:_FACTS]
    if finding.text.facts:
        return []
    most = _LINES if screen.view.most is None else min(_LINES, screen.view.most)
    return [diff_line(line, screen.width) for line in changed_lines(finding.text)[:most]]


def _who(finding: Finding, screen: Screen, day_ns: int) -> Iterator[Text]:
    """The verdict and one line for each process, if it fits there."""
    attribution, width = finding.attribution, screen.width
    done = actor_texts(attribution.actors, attribution.verdict, None if len(finding.steps) > 1 else finding.change)
    if not done or attribution.verdict is Verdict.UNATTRIBUTED:
        yield from answer_lines(attribution, introduction(attribution, len(done)) or "", _INDENT, width)
        for actor in done[:_CANDIDATES]:
            yield from map(Text, _actor_lines(actor, f"{_INDENT}  - ", day_ns, width))
        return
    is_one_of = attribution.verdict is Verdict.CONTESTED and attribution.reason is not Reason.SEVERAL_WRITERS
    joint = f"{_INDENT * 2}{'or' if is_one_of else 'and'} "
    prefix = f"{_INDENT}{verdict_code(attribution)}: "
    for number, actor in enumerate(done[:_CANDIDATES]):
        first, *rest = _actor_lines(actor, joint if number else prefix, day_ns, width)
        yield Text(first) if number else verdict_line(attribution, _INDENT, first.removeprefix(prefix))
        yield from map(Text, rest)
    if is_one_of and len(done) == 1:
        yield Text(f"{joint}one that is not listed")
    if len(done) > _CANDIDATES:
        number_or_path = number_text(finding.change).removeprefix("#") or "PATH"
        yield Text(f"{joint}{len(done) - _CANDIDATES} more: {screen.program} explain {number_or_path}")


def _actor_lines(actor: ActorText, prefix: str, day_ns: int, width: int) -> Iterator[str]:
    """Process and act, user, and the time of its last call. Of several acts, the first one if there is no room."""
    when = () if actor.last_ns is None else (second_text(actor.last_ns, day_ns),)
    process, user = process_in_short(actor.actor), user_in_short(actor.actor)
    whole, *more = pack((f"{process} {actor.acts}", user, *when), width, prefix, _INDENT * 3)
    if not more:
        yield whole
        return
    acts = (actor.first_act, actor.brief_act)
    shorter = (pack((f"{process} {act}", user, *when), width, prefix, _INDENT * 3) for act in acts)
    yield from min(map(list, shorter), key=lambda lines: _too_wide(lines, width))


def _too_wide(lines: Sequence[str], width: int) -> tuple[int, int]:
    """By how much lines exceed a width, and how many they are."""
    return max(0, max(map(cell_len, lines)) - width), len(lines)


# --------------------------------------------------------------------------------------------------------------------


def _opened_set(diff: Diff, item: ChangeSet, screen: Screen) -> Iterator[Text]:
    width, day_ns = screen.width, diff.end.started_ns
    yield Text(f"set {item.number}: {set_title(item, day_ns)}", style="bold")
    span = f"{time_text(item.start_ns)} to {time_text(item.end_ns)}"
    yield from map(
        Text, pack((plural(len(item.rows), "change"), *set_tail(item, are_above=False), span), width, _INDENT, _INDENT)
    )
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
            first, *rest = row_lines(row.finding, width, screen.view)
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
        yield Text(accept_command(screen.program, diff, Grouping(rows=(), sets=(item,)), item.number), style="dim")
