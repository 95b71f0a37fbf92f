"""Write styled lines: the same characters with and without colour, never cut or wrapped by rich."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text


def write_lines(lines: Iterable[Text], out: TextIO, *, color: bool) -> None:
    """Write lines, with ANSI colours if ``color``. The environment is ignored."""
    if not color:
        out.writelines(f"{line.plain}\n" for line in lines)
        return
    console = Console(
        file=out,
        force_terminal=True,
        force_jupyter=False,
        no_color=False,
        color_system="standard",
        markup=False,
        emoji=False,
        highlight=False,
    )
    for line in lines:
        console.print(line, soft_wrap=True)


def pack(parts: Iterable[str], width: int, first: str, rest: str) -> Iterator[str]:
    """Join parts with commas into lines of at most ``width`` cells; break between parts only.

    ``first`` is the prefix of the first line, ``rest`` of all others. A part that is too wide gets a line of its own: a
    broken path or digest could not be searched for or copied.
    """
    line, empty = first, True
    for part in parts:
        if not empty and cell_len(line) + cell_len(part) + 3 > width:
            yield line + ","
            line, empty = rest, True
        line += part if empty else f", {part}"
        empty = False
    yield line


def shortened(text: str, width: int) -> str:
    """A text cut to a width in cells, with three dots where it was cut."""
    if cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, width - 3).rstrip()}..."


def wrap(sentence: str, width: int, first: str, rest: str) -> list[str]:
    """Wrap a sentence at ``width``, between words only: paths and times stay in one piece."""
    return textwrap.wrap(
        sentence,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
