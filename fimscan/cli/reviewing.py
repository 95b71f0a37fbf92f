"""The keys of ``fimscan review``: what each does, and what is then shown. It knows no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec import Struct
from rich.cells import chop_cells
from rich.text import Text

from fimscan.errors import StoreError, UsageError
from fimscan.grouping import RankedRow
from fimscan.grouping.review_items import ReviewItem, review_items
from fimscan.model import Approval, ChangePlan, DispositionCategory, DispositionStatus, Explanation
from fimscan.pipeline.history.review import Outcome
from fimscan.pipeline.history.shown import Report
from fimscan.report.display import show
from fimscan.report.explanation import explanation_lines
from fimscan.report.review import KEYS, folded, help_lines, item_lines, list_line, matches, summary_lines
from fimscan.report.words import plural

_CHROME = 3  # lines beside the body: the header, the message, the keys
_LEAST_WIDTH, _LEAST_HEIGHT = 20, 5
_CATEGORIES = {
    "p": DispositionCategory.PATCHING,
    "c": DispositionCategory.CHANGE_CONTROL,
    "g": DispositionCategory.CONFIGURATION,
    "h": DispositionCategory.HUMAN_ERROR,
    "m": DispositionCategory.MALWARE,
    "f": DispositionCategory.FALSE_POSITIVE,
    "o": DispositionCategory.OTHER,
}
_REFUSALS = (StoreError, UsageError)
_DONE = {DispositionStatus.APPROVED: "accepted", DispositionStatus.VIOLATION: "marked as a violation"}


class DeskLike(Protocol):
    """What a review does in the database (:class:`fimscan.pipeline.history.review.Desk`)."""

    report: Report

    def decide(
        self, rows: list[RankedRow], status: DispositionStatus, approval: Approval, plan: ChangePlan | None = None
    ) -> Outcome:
        """Store a decision."""
        ...

    def undo(self, act: int, approval: Approval) -> int:
        """Take a decision back."""
        ...

    def explain(self, row: RankedRow) -> Explanation | None:
        """Explain a change."""
        ...


class _Decided(Struct, frozen=True):
    act: int
    status: DispositionStatus
    rows: tuple[RankedRow, ...]
    place: int


class _Prompt(Struct):
    """A question in the last line. A choice takes one key, other questions a line."""

    question: str
    answer: Callable[[str], None]
    text: str = ""
    choices: str = ""


class Reviewing:
    """The state of a review. :meth:`press` takes a key, :meth:`frame` gives the screen.

    Args:
        desk: where decisions are stored.
        approve: makes an approval of this moment from ticket, reason and category.
        warns: whether a decision about the reviewer's own changes is worth a message.
        held: keeps signals from interrupting what is being stored.
    """

    def __init__(
        self,
        desk: DeskLike,
        approve: Callable[[str, str, str | None], Approval],
        *,
        warns: bool,
        held: Callable[[], AbstractContextManager[None]],
        program: str = "fimscan",
    ) -> None:
        self._program = program
        self._desk, self._approve, self._warns, self._held = desk, approve, warns, held
        self._all = review_items(desk.report.grouping, desk.report.diff.plans)
        self._items: list[ReviewItem] = list(self._all)
        self._place = 0
        self._decided: list[_Decided] = []
        self._marks: dict[bytes, DispositionStatus] = {}
        self._ticket = self._reason = self._filter = ""
        self._category: DispositionCategory | None = None
        self._prompt: _Prompt | None = None
        self._text: tuple[str, Callable[[int], Iterable[Text]]] | None = None
        self._chosen: int | None = None  # the row of an opened set
        self._scroll = 0
        self._laid_out: tuple[tuple[ReviewItem, int, int | None], list[Text]] | None = None
        self._message = ""
        self.is_over = False

    @property
    def decisions(self) -> tuple[int, int]:
        """How many rows were accepted and marked as violations, without those that were taken back."""
        found = list(self._marks.values())
        return found.count(DispositionStatus.APPROVED), found.count(DispositionStatus.VIOLATION)

    # ----------------------------------------------------------------------------------------------------------------
    # Keys

    def press(self, key: str) -> None:
        """Do what a key means in the present view."""
        if key == "redraw":
            return
        if self._prompt is not None:
            self._ask_on(self._prompt, key)
            return
        self._message = ""
        if self._text is not None:
            self._press_in_text(key)
        elif self._chosen is not None:
            self._press_in_list(key)
        elif key in ("up", "down", "page up", "page down", "home", " "):
            self._scroll_by(key)
        else:
            self._press_in_item(key)

    def _press_in_item(self, key: str) -> None:
        item = self._item
        actions: dict[str, Callable[[], None]] = {
            "s": lambda: self._go(1),
            "n": lambda: self._go(1),
            "right": lambda: self._go(1),
            "p": lambda: self._go(-1),
            "left": lambda: self._go(-1),
            **self._common(),
        }
        if item is not None:
            actions |= {
                "a": lambda: self._decide(item.rows, DispositionStatus.APPROVED),
                "v": lambda: self._ask_violation(item.rows),
                "e": lambda: self._explain(item.rows[0]),
                "o": self._open,
            }
        self._run(actions, key)

    def _press_in_list(self, key: str) -> None:
        rows, chosen = self._opened_rows(), self._chosen or 0
        page = max(1, self._page)
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page, " ": page, "home": -chosen}
        if key in moves:
            self._chosen = min(max(0, chosen + moves[key]), len(rows) - 1)
            return
        row = rows[chosen]
        actions: dict[str, Callable[[], None]] = {
            "a": lambda: self._decide((row,), DispositionStatus.APPROVED),
            "v": lambda: self._ask_violation((row,)),
            "s": lambda: self._press_in_list("down"),
            "e": lambda: self._explain(row),
            "enter": lambda: self._explain(row),
            "o": self._close,
            "escape": self._close,
            **self._common(),
            "q": self._close,
        }
        self._run(actions, key)

    def _press_in_text(self, key: str) -> None:
        if key in ("up", "down", "page up", "page down", "home", " ", "j", "k"):
            self._scroll_by({"j": "down", "k": "up"}.get(key, key))
        else:
            self._text, self._scroll = None, 0

    def _common(self) -> dict[str, Callable[[], None]]:
        return {
            "t": lambda: self._ask(f"ticket{_now(self._ticket)}: ", self._set_ticket),
            "r": lambda: self._ask(f"reason{_now(self._reason)}: ", self._set_reason),
            "c": lambda: self._choose("category", self._set_category),
            "/": lambda: self._ask(f"only with{_now(self._filter)}: ", self._set_filter),
            "u": self._undo,
            "?": lambda: self._show("keys", help_lines),
            "q": self._quit,
        }

    def _run(self, actions: dict[str, Callable[[], None]], key: str) -> None:
        action = actions.get(key)
        if action is None:
            self._message = "? shows what the keys do"
            return
        try:
            action()
        except _REFUSALS as error:  # what was decided before stays, and the review goes on
            self._message = str(error)

    # ----------------------------------------------------------------------------------------------------------------
    # Actions

    def _decide(
        self,
        rows: Iterable[RankedRow],
        status: DispositionStatus,
        category: DispositionCategory | None = None,
    ) -> None:
        open_rows = [row for row in rows if row.finding.change.path not in self._marks]
        if not open_rows:
            self._message = "decided already; u takes the last decision back"
            return
        progress = self._item.plan if self._item is not None and self._chosen is None else None
        plan = progress.plan if progress is not None and status is DispositionStatus.APPROVED else None
        chosen = category or self._category or (None if plan is None else DispositionCategory.CHANGE_CONTROL)
        ticket = self._ticket or ("" if plan is None else plan.ticket)
        approval = self._approve(ticket, self._reason, chosen and chosen.value)
        with self._held():
            outcome = self._desk.decide(open_rows, status, approval, plan)
            if outcome.act is not None:
                self._decided.append(_Decided(outcome.act, status, outcome.rows, self._place))
                self._marks |= dict.fromkeys((row.finding.change.path for row in outcome.rows), status)
        self._message = "; ".join(self._said(outcome, status))
        if outcome.act is None:
            return
        self._reason = ""
        if self._chosen is not None:
            self._press_in_list("down")
        elif not outcome.refused:
            self._go(1, only_open=True)

    def _said(self, outcome: Outcome, status: DispositionStatus) -> Iterator[str]:
        if outcome.act is not None:
            yield f"{plural(len(outcome.rows), 'change')} {_DONE[status]} (decision {outcome.act})"
        if outcome.refused:
            yield f"{outcome.refused:,} of your own left: another person has to decide"
        elif outcome.own and self._warns:
            yield f"{outcome.own:,} may be your own: another person should review"
        if outcome.gone:
            yield f"{outcome.gone:,} accepted since this report"

    def _undo(self) -> None:
        if not self._decided:
            self._message = f"nothing was decided in this review; '{self._program} undo' takes earlier decisions back"
            return
        last = self._decided[-1]
        with self._held():
            made = self._desk.undo(last.act, self._approve(self._ticket, self._reason, None))
            self._decided.pop()
            for row in last.rows:
                self._marks.pop(row.finding.change.path, None)
        self._message = f"decision {last.act} is taken back (decision {made})"
        if self._chosen is None:
            self._place, self._scroll = min(last.place, len(self._items)), 0

    def _explain(self, row: RankedRow) -> None:
        explanation = self._desk.explain(row)
        if explanation is None:
            self._message = "this is no stored change: nothing to explain"
            return
        self._show(f"explain {show(row.finding.change.path)}", lambda width: explanation_lines(explanation, width))

    def _open(self) -> None:
        if self._opened_rows():
            self._chosen, self._scroll = 0, 0

    def _close(self) -> None:
        self._chosen, self._scroll = None, 0

    def _quit(self) -> None:
        self.is_over = True

    def _go(self, step: int, *, only_open: bool = False) -> None:
        place = min(max(0, self._place + step), len(self._items))
        while only_open and place < len(self._items) and self._is_decided(self._items[place]):
            place += 1
        self._place, self._scroll = place, 0

    def _is_decided(self, item: ReviewItem) -> bool:
        return all(row.finding.change.path in self._marks for row in item.rows)

    def _set_ticket(self, text: str) -> None:
        self._ticket = text

    def _set_reason(self, text: str) -> None:
        self._reason = text

    def _set_category(self, category: DispositionCategory | None) -> None:
        self._category = category

    def _set_filter(self, text: str) -> None:
        day_ns = self._desk.report.diff.end.started_ns
        found = [matches(item, text, day_ns) for item in self._all] if text else list(self._all)
        items = [item for item in found if item is not None]
        if not items:
            self._message = f"nothing contains {show(text)}"
            return
        self._filter, self._items, self._place, self._scroll, self._chosen = text, items, 0, 0, None

    # ----------------------------------------------------------------------------------------------------------------
    # Questions

    def _ask(self, question: str, answer: Callable[[str], None]) -> None:
        self._prompt = _Prompt(question, answer)

    def _ask_violation(self, rows: tuple[RankedRow, ...]) -> None:
        def answer(category: DispositionCategory | None) -> None:
            self._decide(rows, DispositionStatus.VIOLATION, category)

        if self._category is not None:
            answer(None)
        else:
            self._choose("violation", answer)

    def _choose(self, what: str, answer: Callable[[DispositionCategory | None], None]) -> None:
        words = " ".join(f"{key}={category.value}" for key, category in _CATEGORIES.items())
        self._prompt = _Prompt(
            f"{what}: {words}, Enter: none, Esc: back ",
            lambda key: answer(_CATEGORIES.get(key)),
            choices="".join(_CATEGORIES),
        )

    def _ask_on(self, prompt: _Prompt, key: str) -> None:
        if key == "escape":
            self._prompt = None
        elif prompt.choices:
            if key == "enter" or key in prompt.choices:
                self._answer(prompt, key)
        elif key == "enter":
            self._answer(prompt, prompt.text.strip())
        elif key == "backspace":
            prompt.text = prompt.text[:-1]
        elif key == "clear":
            prompt.text = ""
        elif len(key) == 1:
            prompt.text += key

    def _answer(self, prompt: _Prompt, text: str) -> None:
        self._prompt, self._message = None, ""
        try:
            prompt.answer(text)
        except _REFUSALS as error:
            self._message = str(error)

    # ----------------------------------------------------------------------------------------------------------------
    # What is shown

    @property
    def _item(self) -> ReviewItem | None:
        return self._items[self._place] if self._place < len(self._items) else None

    def _opened_rows(self) -> tuple[RankedRow, ...]:
        """The rows of the set that the present item belongs to; with a filter, those of the item."""
        item = self._item
        if item is None:
            return ()
        if self._filter:
            return item.rows
        number = item.rows[0].number
        return next(found.rows for found in self._desk.report.grouping.sets if found.number == number)

    def _show(self, title: str, lines: Callable[[int], Iterable[Text]]) -> None:
        self._text, self._scroll = (title, lines), 0

    _page = 1  # the lines of the body in the last frame

    def _scroll_by(self, key: str) -> None:
        page = max(1, self._page - 1)
        steps = {"up": -1, "down": 1, "page up": -page, "page down": page, " ": page, "home": -self._scroll}
        self._scroll = max(0, self._scroll + steps[key])

    def frame(self, size: tuple[int, int]) -> list[Text]:
        """The lines of the screen, from the first to the last."""
        width, height = max(_LEAST_WIDTH, size[0]), max(_LEAST_HEIGHT, size[1])
        footer = self._footer(width)[: height - _CHROME]
        self._page = height - 2 - len(footer)
        lines = self._body(width)
        self._scroll = min(self._scroll, max(0, len(lines) - self._page))
        body = lines[self._scroll : self._scroll + self._page]
        left = len(lines) - self._scroll - len(body)
        body += [Text()] * (self._page - len(body))
        message = self._message or (f"-- {left:,} more lines: space --" if left else "")
        return [
            Text(_cut(self._header(), width), style="reverse"),
            *body,
            Text(_cut(message, width), style="bold" if self._message else "dim"),
            *footer,
        ]

    def _header(self) -> str:
        if self._text is not None:
            return f"{self._text[0]}  (any other key: back)"
        if self._chosen is not None:
            rows = self._opened_rows()
            return f"set {rows[0].number}: change {self._chosen + 1} of {len(rows):,}  (o: back)"
        parts = [f"{min(self._place + 1, len(self._items)):,}/{len(self._items):,}"]
        item = self._item
        if item is not None:
            parts.append("change set" if item.of else "as planned" if item.plan else "look at this")
        if self._decided:
            parts.append(f"{len(self._marks):,} decided")
        parts += [
            f"{name} {show(value)}" for name, value in (("ticket", self._ticket), ("only", self._filter)) if value
        ]
        parts += [f"reason {show(self._reason)}"] if self._reason else []
        parts += [self._category.value] if self._category is not None else []
        return "  ".join(parts)

    def _body(self, width: int) -> list[Text]:
        if self._text is not None:
            return folded(self._text[1](width), width)
        if self._chosen is not None:
            return self._list(width)
        diff = self._desk.report.diff
        item = self._item
        if item is None:
            return folded(summary_lines(self._all, diff, self._marks, width, self._program), width)
        # A set of thousands of changes is laid out once, not for each key that scrolls.
        state = (item, width, self._decided[-1].act if self._decided else None)
        if self._laid_out is None or self._laid_out[0] != state:
            self._laid_out = state, folded(item_lines(item, diff, self._marks, width), width)
        return self._laid_out[1]

    def _list(self, width: int) -> list[Text]:
        rows, chosen = self._opened_rows(), self._chosen or 0
        first = min(max(0, chosen - self._page // 2), max(0, len(rows) - self._page))
        shown = enumerate(rows[first : first + self._page], first)
        return [list_line(row, self._marks, width, is_chosen=place == chosen) for place, row in shown]

    def _footer(self, width: int) -> list[Text]:
        if self._prompt is not None:
            text = self._prompt.question + show(self._prompt.text)
            if not self._prompt.choices and len(text) > width - 1:
                text = f"...{text[-(width - 4) :]}"
            return folded([Text(text, style="bold")], width)
        for texts in (
            [f"{key} {word}" for key, word in KEYS] + ["?"],
            [key for key, _ in KEYS] + ["? help"],
        ):
            line = "  ".join(texts)
            if len(line) < width:
                return [Text(line, style="dim")]
            line = " ".join(texts)
            if len(line) < width:
                return [Text(line, style="dim")]
        return [Text("? help", style="dim")]


def _now(value: str) -> str:
    """What a question says about the present value."""
    return f" (now {show(value)}; empty: none)" if value else ""


def _cut(text: str, width: int) -> str:
    """A text that fits in one line."""
    parts = chop_cells(text, width)
    return parts[0] if len(parts) == 1 else f"{chop_cells(text, width - 3)[0]}..." if parts else ""
