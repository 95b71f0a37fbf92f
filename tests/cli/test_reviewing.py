"""The keys of a review, without a terminal: what is decided, and what must not be."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
from rich.cells import cell_len
from rich.text import Text

from fimscan.cli.review import _held
from fimscan.cli.reviewing import Reviewing
from fimscan.errors import InterruptedScanError, StoreError
from fimscan.grouping import RankedRow, group
from fimscan.model import Approval, ChangePlan, DispositionStatus, Explanation, Finding
from fimscan.pipeline.history.review import Outcome
from fimscan.pipeline.history.shown import Report
from fimscan.report.review import folded
from tests.report.conftest import Make

MAKE = Make()
SIZE = 80, 24


def row(path: bytes, **after: Any) -> Finding:
    """A change by alice's vim."""
    change = MAKE.change(path=path, after=MAKE.state(path, b"\x9a", **after), id=len(path))
    return MAKE.finding(change, MAKE.attribution(actors=(MAKE.actor(),)), severity="high")


class Desk:
    """A desk that remembers what was decided. ``trouble`` is called before anything is stored."""

    def __init__(self, *findings: Finding, refused: int = 0, trouble: Callable[[], None] | None = None) -> None:
        self.report = Report(MAKE.diff(*findings), group(findings), "1.1.x")
        self.stored: list[tuple[DispositionStatus, list[bytes], Approval]] = []
        self.undone: list[int] = []
        self._refused, self._trouble = refused, trouble

    def decide(
        self, rows: list[RankedRow], status: DispositionStatus, approval: Approval, plan: ChangePlan | None = None
    ) -> Outcome:
        if self._trouble is not None:
            self._trouble()
        taken = rows[self._refused :]
        self.stored.append((status, [row.finding.change.path for row in taken], approval))
        act = len(self.stored) if taken else None
        return Outcome(act=act, rows=tuple(taken), own=self._refused, refused=self._refused)

    def undo(self, act: int, approval: Approval) -> int:
        self.undone.append(act)
        return act + 100

    def explain(self, row: RankedRow) -> Explanation | None:
        return None


@contextmanager
def free() -> Iterator[None]:
    yield


def reviewing(desk: Desk, held: Any = free) -> Reviewing:
    def approve(ticket: str, reason: str, category: str | None) -> Approval:
        return Approval(accepted_ns=1, user="t", ticket=ticket, reason=f"{reason}/{category}")

    return Reviewing(desk, approve, warns=True, held=held)


def screen(state: Reviewing) -> str:
    return "\n".join(line.plain for line in state.frame(SIZE))


def press(state: Reviewing, *keys: str) -> None:
    for key in keys:
        state.press(key)


def test_what_stands_out_is_decided_by_itself() -> None:
    """Accepting the set does not accept what stands out of it; each row is decided once."""
    desk = Desk(row(b"/etc/a"), row(b"/usr/bin/x", mode=0o4755), row(b"/etc/b"))
    state = reviewing(desk)
    press(state, "s", "a")
    assert [paths for _, paths, _ in desk.stored] == [[b"/etc/a", b"/etc/b"]]
    press(state, "p", "p", "a", "p", "p", "a")
    assert [paths for _, paths, _ in desk.stored] == [[b"/etc/a", b"/etc/b"], [b"/usr/bin/x"]]
    assert "decided already" in screen(state)
    assert state.decisions == (3, 0)


def test_a_filter_limits_what_is_accepted() -> None:
    """What is not on the screen is not taken."""
    desk = Desk(row(b"/etc/one"), row(b"/etc/two"))
    press(reviewing(desk), "/", *"TWO", "enter", "a")
    assert [paths for _, paths, _ in desk.stored] == [[b"/etc/two"]]


def test_ticket_reason_and_category() -> None:
    """The reason is for one decision, the others stay; Escape takes a question back."""
    desk = Desk(row(b"/usr/bin/x", mode=0o4755), row(b"/usr/bin/y", mode=0o4755), row(b"/etc/a"))
    state = reviewing(desk)
    press(state, "t", *"CHG-1", "x", "backspace", "enter", "r", *"why", "enter", "v", "m")
    press(state, "v", "escape", "c", "p", "a", "t", *"no", "escape", "a")
    assert [(status.value, item.ticket, item.reason) for status, _, item in desk.stored] == [
        ("violation", "CHG-1", "why/malware"),
        ("approved", "CHG-1", "/patching"),
        ("approved", "CHG-1", "/patching"),
    ]


def test_own_changes_are_left_for_another_person() -> None:
    """The screen says so, and the review does not go on as if all were decided."""
    desk = Desk(row(b"/etc/a"), row(b"/etc/b"), refused=1)
    state = reviewing(desk)
    press(state, "a")
    assert "1 of your own left: another person has to decide" in screen(state) and "/etc/a" in screen(state)
    press(state, "u")
    assert desk.undone == [1] and state.decisions == (0, 0)


def test_trouble_with_the_database_does_not_end_a_review() -> None:
    """A full disk: nothing is marked as decided, and the message is on the screen."""

    def full() -> NoReturn:
        raise StoreError("database or disk is full")

    state = reviewing(Desk(row(b"/etc/a"), trouble=full))
    press(state, "a")
    assert "disk is full" in screen(state) and state.decisions == (0, 0) and not state.is_over


def test_a_signal_waits_until_a_decision_is_stored() -> None:
    """Also one that comes while it is being stored: what the user decided is not lost."""

    def on_signal(number: int, _frame: object) -> NoReturn:
        raise InterruptedScanError(number)

    desk = Desk(row(b"/etc/a"), trouble=lambda: os.kill(os.getpid(), signal.SIGTERM))
    state = reviewing(desk, _held)
    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        with pytest.raises(InterruptedScanError):
            press(state, "a")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(desk.stored) == 1 and state.decisions == (1, 0)


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (7, 3), (300, 90)])
@pytest.mark.parametrize("keys", ["", "?", "o", "v", "tA long ticket, longer than the line", "ss"])
def test_a_frame_fits(size: tuple[int, int], keys: str) -> None:
    """Of every view: no line is wider than the screen, also with wide characters."""
    desk = Desk(
        row("/etc/漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字".encode()), row(b"/usr/bin/" + b"x" * 200, mode=0o4755)
    )
    state = reviewing(desk)
    press(state, *keys)
    width, height = max(20, size[0]), max(5, size[1])
    lines = state.frame(size)
    assert len(lines) == height
    assert max(cell_len(line.plain) for line in lines) <= width


def test_long_lines_are_broken_between_words() -> None:
    """On a narrow terminal, words stay readable; a name may be broken, and nothing is lost or added."""
    words = "    rank: no event although audit covered it"
    path = "modified    #3000  high      /usr/share/doc/include/package-119/file-2999.png"
    told = folded([Text(words), Text(path)], 40)
    assert [line.plain for line in told[:2]] == ["    rank: no event although audit ", "covered it"]
    assert "".join(line.plain for line in told) == words + path
    assert max(cell_len(line.plain) for line in told) <= 40
