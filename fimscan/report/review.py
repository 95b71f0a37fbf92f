"""What ``fimscan review`` shows: lines for each view. Which of them are visible is the terminal's business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace
from rich.cells import cell_len, chop_cells
from rich.text import Text

from fimscan.grouping import RankedRow
from fimscan.grouping.review_items import ReviewItem
from fimscan.model import Diff, DispositionStatus
from fimscan.report.change_sets import rank_words, set_tail, set_title
from fimscan.report.console import pack, wrap
from fimscan.report.display import command_text, show, time_text
from fimscan.report.plans import expected_text, progress_text
from fimscan.report.text import row_lines, row_title, suspect_lines
from fimscan.report.words import number_text, plural, process_text, user_text, verdict_code

_INDENT = "    "
_ROOTS = 3
_WITH_KIND, _WITH_VERDICT = 36, 60  # columns of a screen, from which a line also has these

KEYS = (
    ("a", "accept"),
    ("v", "violation"),
    ("s", "skip"),
    ("e", "explain"),
    ("o", "open"),
    ("t", "ticket"),
    ("/", "filter"),
    ("u", "undo"),
    ("q", "quit"),
)

_HELP = """\
a accept what is shown: it becomes part of the baseline
v mark it as a violation: it stays reported, with the ticket
s skip it: it stays open (also: n, right arrow)
p go back to the one before (also: left arrow)
e explain the verdict of the change, with all evidence
o open the change set: decide about single changes of it
t ticket of this and the following decisions
r reason of the next decision
c category of this and the following decisions
/ only what contains a text: path, program, user or command
u undo the last decision of this review
q quit; what was decided is stored
Space, up, down, page up and page down scroll.

Each decision is stored at once. Nothing is decided by quitting, by a signal or by a lost connection.
What was found after this report was made is not part of it.
"""

#: What was decided about a row in this review, by its path.
Marks = Mapping[bytes, DispositionStatus]


def item_lines(item: ReviewItem, diff: Diff, marks: Marks, width: int) -> Iterator[Text]:
    """A change that stands out, in full; or one line for each change of a plan, or of the others of a change set."""
    if item.plan is not None:
        yield Text(progress_text(item.plan, width), style="bold")
        opened = f"plan {item.plan.plan.id}, opened by {show(item.plan.plan.opened_by.name)}"
        yield from map(Text, pack((opened, expected_text(item.plan.plan)), width, _INDENT, _INDENT))
        yield Text()
        yield from (_marked(row_title(row.finding), row, marks) for row in item.rows)
        return
    if item.of is None:
        (row,) = item.rows
        first, *details = row_lines(row.finding, width)
        yield _marked(first, row, marks)
        yield from map(Text, pack(rank_words(row.rank), width, f"{_INDENT}rank: ", _INDENT * 2))
        yield from details
        yield from suspect_lines(row.finding, diff)
        return
    yield Text(f"set {item.of.number}: {set_title(item.of, diff.end.started_ns)}", style="bold")
    rest = replace(item.of, rows=item.rows)
    above = len(item.of.rows) - len(item.rows)
    facts = [plural(len(item.rows), "change")]
    if above:
        facts.append(f"{above:,} more not listed here")
    span = f"{time_text(item.of.start_ns)} to {time_text(item.of.end_ns)}"
    yield from map(Text, pack((*facts, *set_tail(rest), span), width, _INDENT, _INDENT))
    for root in item.of.roots[:_ROOTS]:
        yield Text(f"{_INDENT}{process_text(root)}, {user_text(root)}")
        if (command := command_text(root)) is not None:
            cwd = "" if root.cwd is None else show(root.cwd)
            yield Text(f"{_INDENT * 2}{cwd}$ {command}", style="dim")
    yield Text()
    yield from (_marked(row_title(row.finding), row, marks) for row in item.rows)


def list_line(row: RankedRow, marks: Marks, width: int, *, is_chosen: bool) -> Text:
    """One line of an opened set, cut in front: the end of a path tells more."""
    change = row.finding.change
    mark = {DispositionStatus.APPROVED: "A", DispositionStatus.VIOLATION: "V"}.get(
        marks.get(change.path, DispositionStatus.PENDING), "!" if row.rank.stands_out else " "
    )
    kind = f"{change.kind:<10} " if width >= _WITH_KIND else ""
    head = f"{'>' if is_chosen else ' '}{mark} {kind}{number_text(change):<6} "
    verdict = f"  {verdict_code(row.finding.attribution)}" if width >= _WITH_VERDICT else ""
    room = max(8, width - cell_len(head) - cell_len(verdict))
    path = show(change.path)
    if cell_len(path) > room:
        path = f"...{chop_cells(path[::-1], room - 3)[0][::-1]}"
    return Text(head + path + verdict, style="reverse" if is_chosen else "")


def summary_lines(
    items: Iterable[ReviewItem], diff: Diff, marks: Marks, width: int, program: str = "fimscan"
) -> Iterator[Text]:
    """What is shown behind the last item."""
    rows = [row for item in items for row in item.rows]
    counted = [
        (sum(marks.get(row.finding.change.path) is status for row in rows), word)
        for status, word in (
            (DispositionStatus.APPROVED, "accepted"),
            (DispositionStatus.VIOLATION, "marked as a violation"),
            (None, "still open"),
        )
    ]
    yield Text("The end of the report.", style="bold")
    yield from map(Text, pack([f"{count:,} {word}" for count, word in counted if count], width, "", _INDENT))
    unread = sum(bool(item.differs) for item in diff.unreadable)
    if unread:
        yield Text(f"{plural(unread, 'changed file')} could not be read: '{program} diff' lists them.")
    yield Text("p goes back, u takes the last decision back, q ends the review.")


def help_lines(width: int) -> Iterator[Text]:
    """What the keys do."""
    for line in _HELP.splitlines():
        yield from map(Text, wrap(line, width, "", "  ") or [""])


def matches(item: ReviewItem, text: str, day_ns: int) -> ReviewItem | None:
    """The rows of an item that contain a text, in any case; all of them if the title of the set does."""
    wanted = text.casefold()
    if item.of is not None and wanted in set_title(item.of, day_ns).casefold():
        return item
    rows = tuple(row for row in item.rows if any(wanted in word.casefold() for word in _words(row)))
    return replace(item, rows=rows) if rows else None


def _words(row: RankedRow) -> Iterator[str]:
    finding = row.finding
    yield show(finding.change.path)
    yield from rank_words(row.rank)
    for actor in finding.attribution.actors:
        yield process_text(actor)
        yield user_text(actor)
        yield command_text(actor) or ""


def _marked(line: Text, row: RankedRow, marks: Marks) -> Text:
    words = {DispositionStatus.APPROVED: " (accepted)", DispositionStatus.VIOLATION: " (violation)"}
    status = marks.get(row.finding.change.path)
    return line if status is None else Text.assemble(line, (words.get(status, ""), "bold"))


def folded(lines: Iterable[Text], width: int) -> list[Text]:
    """Lines of at most ``width`` cells, broken between words where that is possible.

    Nothing is left out; a path may be broken, but not changed.
    """
    found: list[Text] = []
    for line in lines:
        places = _breaks(line.plain, width)
        found += line.divide(places) if places else [line]
    return found


def _breaks(text: str, width: int) -> list[int]:
    """Where a line is broken."""
    places: list[int] = []
    at = 0
    while True:
        ahead = text[at : at + 4 * width]  # of a command line of a megabyte, too, only a little is looked at
        part = next(iter(chop_cells(ahead, width)), ahead) or ahead[:1]
        if at + len(part) >= len(text):
            return places
        indent = len(part) - len(part.lstrip(" "))
        space = part.rfind(" ", indent + len(part) // 2)
        at += len(part) if space < 0 or text[at + len(part)] == " " else space + 1
        places.append(at)
