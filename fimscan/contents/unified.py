"""Compare two texts by line, in bounded time: the hunks of a unified diff.

:mod:`difflib` takes cubic time at worst, and the texts may come from an attacker. Here, lines that are unique on both
sides are matched first. Between them, the shortest edit is searched with a budget (Myers, "An O(ND) Difference
Algorithm"). Where the budget is used up, old lines are shown as replaced by new ones. That is longer than necessary,
and still correct: applied to the old text, it gives the new one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_CONTEXT = 3
_BUDGET = 300_000  # steps of the search: some tenths of a second
NO_NEWLINE = b"\\ No newline at end of file"


class Unified(NamedTuple):
    """The hunks of a unified diff, without line ends. ``is_cut`` is set if the budget was used up."""

    lines: tuple[bytes, ...]
    is_cut: bool


class _Block(NamedTuple):
    """Lines ``a`` to ``a_end`` of the old text are replaced by ``b`` to ``b_end`` of the new one."""

    a: int
    a_end: int
    b: int
    b_end: int


def unified(before: bytes, after: bytes, budget: int = _BUDGET) -> Unified:
    """Compare two texts. Lines end with a newline only; a carriage return belongs to its line."""
    old, new = _split(before), _split(after)
    search = _Search(old, new, budget)
    blocks = list(search.blocks(_Block(0, len(old), 0, len(new))))
    return Unified(tuple(line for hunk in _hunks(blocks) for line in _hunk_lines(hunk, old, new)), search.is_cut)


def _split(text: bytes) -> list[bytes]:
    """Lines with their ends."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


class _Search:
    def __init__(self, old: Sequence[bytes], new: Sequence[bytes], budget: int) -> None:
        self._old = old
        self._new = new
        self._budget = budget
        self.is_cut = False

    def blocks(self, whole: _Block) -> Iterator[_Block]:
        """What differs within a block, in order."""
        block = self._trimmed(whole)
        if block.a == block.a_end or block.b == block.b_end:
            if block.a != block.a_end or block.b != block.b_end:
                yield block
            return
        anchors = self._anchors(block)
        if not anchors:
            yield from self._shortest(block)
            return
        a, b = block.a, block.b
        for a_at, b_at in (*anchors, (block.a_end, block.b_end)):
            part = self._trimmed(_Block(a, a_at, b, b_at))
            if part.a != part.a_end or part.b != part.b_end:
                yield from self._shortest(part)
            a, b = a_at + 1, b_at + 1

    def _trimmed(self, block: _Block) -> _Block:
        """Without the lines that both begin and end with."""
        a, a_end, b, b_end = block
        old, new = self._old, self._new
        while a < a_end and b < b_end and old[a] == new[b]:
            a, b = a + 1, b + 1
        while a < a_end and b < b_end and old[a_end - 1] == new[b_end - 1]:
            a_end, b_end = a_end - 1, b_end - 1
        return _Block(a, a_end, b, b_end)

    def _anchors(self, block: _Block) -> list[tuple[int, int]]:
        """Positions of equal lines that are unique on both sides, the longest series in increasing order."""
        old, new = self._old[block.a : block.a_end], self._new[block.b : block.b_end]
        of_old, of_new = Counter(old), Counter(new)
        places = {line: at for at, line in enumerate(new, block.b) if of_new[line] == 1}
        pairs = [(at, places[line]) for at, line in enumerate(old, block.a) if of_old[line] == 1 and line in places]
        # The longest increasing series of the second numbers (patience sorting).
        tops: list[int] = []
        top_pairs: list[int] = []
        previous: list[int] = []
        for number, (_, b_at) in enumerate(pairs):
            pile = bisect_left(tops, b_at)
            previous.append(top_pairs[pile - 1] if pile else -1)
            if pile == len(tops):
                tops.append(b_at)
                top_pairs.append(number)
            else:
                tops[pile], top_pairs[pile] = b_at, number
        found = []
        number = top_pairs[-1] if top_pairs else -1
        while number >= 0:
            found.append(pairs[number])
            number = previous[number]
        return found[::-1]

    def _shortest(self, block: _Block) -> Iterator[_Block]:
        """The shortest edit; the whole block if there is no budget left."""
        a_count, b_count = block.a_end - block.a, block.b_end - block.b
        if not a_count or not b_count:
            yield block
            return
        path = self._path(block)
        if path is None:
            self.is_cut = True
            yield block
            return
        yield from _merged(path)

    def _path(self, block: _Block) -> list[_Block] | None:
        """Single insertions and removals, in order; ``None`` if the budget is used up."""
        old, new = self._old[block.a : block.a_end], self._new[block.b : block.b_end]
        a_count, b_count = len(old), len(new)
        reached = {1: 0}
        history: list[dict[int, int]] = []
        for edits in range(a_count + b_count + 1):
            self._budget -= 2 * edits + 1
            if self._budget < 0:
                return None
            # Only the diagonals of this round can be asked for later.
            history.append({k: reached[k] for k in range(-edits - 1, edits + 2) if k in reached})
            for diagonal in range(-edits, edits + 1, 2):
                is_down = diagonal == -edits or (
                    diagonal != edits and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1)
                )
                a = reached[diagonal + 1] if is_down else reached[diagonal - 1] + 1
                b = a - diagonal
                while a < a_count and b < b_count and old[a] == new[b]:
                    a, b = a + 1, b + 1
                reached[diagonal] = a
                if a >= a_count and b >= b_count:
                    return _traced(history, (block.a, block.b), (a_count, b_count))
        raise AssertionError("replacing everything is an edit")


def _traced(history: Sequence[dict[int, int]], origin: tuple[int, int], end: tuple[int, int]) -> list[_Block]:
    """Follow the search back from its end."""
    a, b = end
    found = []
    for edits in range(len(history) - 1, 0, -1):
        reached = history[edits]
        diagonal = a - b
        is_down = diagonal == -edits or (
            diagonal != edits and reached.get(diagonal - 1, -1) < reached.get(diagonal + 1, -1)
        )
        before = diagonal + 1 if is_down else diagonal - 1
        a, b = reached[before], reached[before] - before
        a_end, b_end = (a, b + 1) if is_down else (a + 1, b)
        found.append(_Block(origin[0] + a, origin[0] + a_end, origin[1] + b, origin[1] + b_end))
    return found[::-1]


def _merged(path: Sequence[_Block]) -> Iterator[_Block]:
    """Join edits without an equal line between them."""
    open_block: _Block | None = None
    for edit in path:
        if open_block is not None and (edit.a, edit.b) == (open_block.a_end, open_block.b_end):
            open_block = _Block(open_block.a, edit.a_end, open_block.b, edit.b_end)
            continue
        if open_block is not None:
            yield open_block
        open_block = edit
    if open_block is not None:
        yield open_block


def _hunks(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Group blocks whose context touches."""
    hunk: list[_Block] = []
    for block in blocks:
        if hunk and block.a - hunk[-1].a_end > 2 * _CONTEXT:
            yield hunk
            hunk = []
        hunk.append(block)
    if hunk:
        yield hunk


def _hunk_lines(hunk: Sequence[_Block], old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[bytes]:
    first, last = hunk[0], hunk[-1]
    above = min(_CONTEXT, first.a, first.b)
    below = min(_CONTEXT, len(old) - last.a_end, len(new) - last.b_end)
    a, b = first.a - above, first.b - above
    a_end, b_end = last.a_end + below, last.b_end + below
    yield b"@@ -%s +%s @@" % (_range(a, a_end), _range(b, b_end))
    for block in hunk:
        for line in old[a : block.a]:
            yield from _line(b" ", line)
        for line in old[block.a : block.a_end]:
            yield from _line(b"-", line)
        for line in new[block.b : block.b_end]:
            yield from _line(b"+", line)
        a = block.a_end
    for line in old[a:a_end]:
        yield from _line(b" ", line)


def _line(mark: bytes, line: bytes) -> Iterator[bytes]:
    if line.endswith(b"\n"):
        yield mark + line[:-1]
    else:
        yield mark + line
        yield NO_NEWLINE


def _range(begin: int, end: int) -> bytes:
    """As diff(1) writes it: an empty range is after the line before it."""
    count = end - begin
    return b"%d,%d" % (begin + 1 if count else begin, count) if count != 1 else b"%d" % (begin + 1)
