"""Put text and tables on pages of A4 with the fonts that each PDF reader has. Pure: pages are lists of what is drawn.

Positions are points from the lower left corner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct, field

from fimscan.evidence.assessment.font_widths import WIDTHS

WIDTH, HEIGHT = 595.28, 841.89  # A4
MARGIN = 48.0
BOTTOM = 60.0  # above the footer
CONTENT = WIDTH - 2 * MARGIN

Colour = tuple[float, float, float]
INK: Colour = (0.0, 0.0, 0.0)
SOFT: Colour = (0.28, 0.31, 0.35)
ALARM: Colour = (0.55, 0.06, 0.04)
LINE: Colour = (0.72, 0.75, 0.78)


class Style(NamedTuple):
    """How a text looks; ``leading`` is from line to line."""

    font: str = "Helvetica"
    size: float = 9.5
    leading: float = 13.0
    colour: Colour = INK


_WITHOUT_GLYPH = re.compile(f"[^{re.escape(''.join(WIDTHS['Courier']))}]")

BODY = Style()
NAME = Style("Courier", 8.0, 13.0)
STRONG = Style("Helvetica-Bold")


class Text(NamedTuple):
    """A line of text on a page."""

    x: float
    y: float
    text: str
    style: Style


class Rule(NamedTuple):
    """A thin horizontal line."""

    x: float
    y: float
    width: float


class Link(NamedTuple):
    """An area that leads to the page (from 0) ``target``."""

    x: float
    y: float
    width: float
    height: float
    target: int


Drawn = Text | Rule | Link


def shown(text: str) -> str:
    r"""Text in the characters that the fonts have; others are written ``\uNNNN``.

    In a text that :func:`fimscan.report.display.show` made, a backslash is doubled: so each escape stands for one
    character.
    """
    return _WITHOUT_GLYPH.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def width_of(text: str, style: Style) -> float:
    """The width of a text that :func:`shown` made."""
    return _units(text, style.font) * style.size / 1000


def _units(text: str, font: str) -> int:
    """The width in thousandths of the size."""
    return sum(map(WIDTHS[font].__getitem__, text))


@lru_cache(maxsize=4096)  # pages are laid out twice, and their parts have much in common
def wrapped(text: str, style: Style, width: float) -> tuple[str, ...]:
    """Divide a text into lines that are at most this wide, between words where possible; at least one line."""
    lines, line, used, space = [], "", 0, WIDTHS[style.font][" "]
    for word in shown(text).split(" "):
        units = _units(word, style.font)
        longer = used + space + units if line else units
        if longer * style.size / 1000 <= width:
            line, used = f"{line} {word}" if line else word, longer
            continue
        if line:
            lines.append(line)
        *full, line = _pieces(word, style, width)
        used = _units(line, style.font)
        lines += full
    return (*lines, line)


def _pieces(word: str, style: Style, width: float) -> Iterator[str]:
    """Divide a word that is too long for a line."""
    widths, start, used = WIDTHS[style.font], 0, 0.0
    for at, character in enumerate(word):
        step = widths[character] * style.size / 1000
        if used + step > width and at > start:
            yield word[start:at]
            start, used = at, 0.0
        used += step
    yield word[start:]


class Column(NamedTuple):
    """A column of a table: its part of the width, and how its cells look."""

    part: float
    style: Style = BODY


class Layout(Struct):
    """Pages that are filled from top to bottom."""

    pages: list[list[Drawn]] = field(default_factory=list)
    y: float = 0.0

    def new_page(self) -> None:
        """Begin a page."""
        self.pages.append([])
        self.y = HEIGHT - MARGIN

    def space(self, height: float) -> None:
        """Leave some space, except at the top of a page."""
        if self.y < HEIGHT - MARGIN:
            self.y -= height

    def keep(self, height: float) -> None:
        """Begin a page unless this height is left: what belongs together stays so."""
        if self.y - height < BOTTOM:
            self.new_page()

    def text(self, text: str, style: Style = BODY, *, indent: float = 0.0, bullet: str = "") -> None:
        """A paragraph."""
        for number, line in enumerate(wrapped(text, style, CONTENT - indent)):
            self.keep(style.leading)
            self.y -= style.leading
            if bullet and not number:
                self._draw(Text(MARGIN + indent - 9, self.y, bullet, style))
            self._draw(Text(MARGIN + indent, self.y, line, style))

    def heading(self, text: str, style: Style, above: float) -> None:
        """A heading, on the same page as what follows."""
        self.space(above)
        self.keep(style.leading * 2 + 30)
        self.text(text, style)
        self.space(2)

    def table(
        self,
        columns: Sequence[Column],
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        targets: Sequence[int] = (),
    ) -> None:
        """A table; its header is repeated on each page. ``targets`` are pages that the rows lead to."""
        self._header(columns, header)
        for number, row in enumerate(rows):
            cells = [
                wrapped(cell, column.style, column.part * CONTENT - 8)
                for cell, column in zip(row, columns, strict=True)
            ]
            height = max(map(len, cells)) * BODY.leading + 5
            # A row that fits a page is not divided.
            if self.y - height < BOTTOM and height < HEIGHT - MARGIN - BOTTOM - 3 * BODY.leading:
                self.new_page()
                self._header(columns, header)
            if targets:
                self._draw(Link(MARGIN, self.y - height, CONTENT, height, targets[number]))
            self._row(columns, cells)

    def _header(self, columns: Sequence[Column], header: Sequence[str]) -> None:
        if not header:
            return
        self.keep(3 * BODY.leading)
        style = STRONG._replace(colour=SOFT)
        self._row([column._replace(style=style) for column in columns], [[title] for title in header])

    def _row(self, columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
        for number in range(max(map(len, cells))):
            self.keep(BODY.leading + 5)
            self.y -= BODY.leading
            x = MARGIN
            for column, lines in zip(columns, cells, strict=True):
                if number < len(lines):
                    self._draw(Text(x, self.y, lines[number], column.style))
                x += column.part * CONTENT
        self.y -= 5
        self._draw(Rule(MARGIN, self.y, CONTENT))

    def _draw(self, item: Drawn) -> None:
        self.pages[-1].append(item)
