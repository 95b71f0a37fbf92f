"""What changed in a text: facts in words, and the lines of a unified diff."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from fimscan.contents.unified import NO_NEWLINE
from fimscan.model import Finding, NotKept, TextChange
from fimscan.report.console import pack
from fimscan.report.display import show
from fimscan.report.text_words import facts_words

MOST_LINES = 20
NO_TEXT = -1  # not even how many lines there are
_ONLY_CHANGED = 5  # so few lines have no room for the lines around them
_INDENT = "    "
_MOST_SUBJECT = 120
_TAB = 8
_STYLES = {b"+": "green", b"-": "red", b"@": "cyan", b"\\": "dim"}

NOT_KEPT_WORDS = {
    NotKept.SECRET_NAME: "not kept: its name is that of a file with secrets",
    NotKept.SECRET_CONTENT: "not kept: there seems to be a key, a password or a token in it",
    NotKept.BINARY: "binary",
    NotKept.TOO_LARGE: "not kept: larger than [contents] max_file_size",
    NotKept.QUOTA: "dropped, because [contents] quota was used up",
    NotKept.NEVER: "not kept when it was read",
    NotKept.DAMAGED: "what was kept does not match its digest",
}


class TextView(NamedTuple):
    """How many lines of a unified diff are shown; ``None`` for all, 0 for their number only, :data:`NO_TEXT`.

    ``command`` shows the rest; ``{path}`` in it is replaced by the path.
    """

    most: int | None = 0
    command: str = "fimscan diff --path {path} --text"


def fact_lines(finding: Finding, width: int) -> list[Text]:
    """The facts of a row, one line each; alarming ones in red."""
    text = finding.text
    if text is None:
        return []
    styles = ["bold red" if fact.sign is not None else "" for fact in text.facts]
    words = zip(facts_words(text), [*styles, ""], strict=False)
    return [Text(_cut(f"{_INDENT}text: {sentence}", width), style=style) for sentence, style in words]


def text_lines(finding: Finding, width: int, view: TextView) -> Iterator[Text]:
    """What changed in the text of a row: facts, then lines of the diff; nothing if nothing is known."""
    text = finding.text
    if text is None:
        return
    yield from fact_lines(finding, max(width, _MOST_SUBJECT * 3))
    if view.most == NO_TEXT:
        return
    yield from _missing_lines(text, width)
    if not text.lines:
        return
    is_short = view.most is not None and 0 < view.most <= _ONLY_CHANGED
    lines = changed_lines(text) if is_short else text.lines
    shown = lines if view.most is None else lines[: view.most]
    if text.is_cut and shown:
        yield Text(f"{_INDENT}the texts differ too much for a short comparison: this one is longer than necessary")
    for line in shown:
        yield diff_line(line, None if view.most is None else width)
    left = len(lines) - len(shown)
    if not left:
        return
    path = shlex.quote(finding.change.path.decode("utf-8", "surrogateescape"))
    command = view.command.replace("{path}", show(path))
    if shown:
        yield Text(f"{_INDENT}... {left:,} more line{'' if left == 1 else 's'}: {command}", style="dim")
    else:
        yield Text(f"{_INDENT}text: {counts_words(text)}: {command}", style="dim")


def plain_lines(text: TextChange, *, whole: bool) -> list[str]:
    """What changed in a text, for a page: facts, then the lines of the diff, or how many there are if not ``whole``."""
    lines = [*facts_words(text)]
    lines += [line.plain.strip() for line in _missing_lines(text, _MOST_SUBJECT)]
    if text.lines and whole:
        lines += [diff_line(line, None).plain.removeprefix(f"{_INDENT}  ") for line in text.lines]
    elif text.lines:
        lines.append(counts_words(text))
    return lines


def _missing_lines(text: TextChange, width: int) -> Iterator[Text]:
    """Why there is no diff. Of programs and other binary files, that goes without saying."""
    is_same = text.before is text.after
    for side, reason in (("" if is_same else "old content ", text.before), ("new content ", text.after)):
        if reason is not None and reason is not NotKept.BINARY and not (is_same and side):
            prefix = f"{_INDENT}text: {side}"
            yield from map(Text, pack([NOT_KEPT_WORDS[reason]], width, prefix, _INDENT * 2))


def counts_words(text: TextChange) -> str:
    """How many lines came and went."""
    lines = text.lines or ()
    added, removed = (sum(line.startswith(mark) for line in lines) for mark in (b"+", b"-"))
    parts = [f"{count:,} {word}" for count, word in ((added, "added"), (removed, "removed")) if count]
    return f"{' and '.join(parts)} line{'s' if added + removed != 1 else ''}"


def changed_lines(text: TextChange) -> tuple[bytes, ...]:
    """The lines that came or went, without their surroundings."""
    return tuple(line for line in text.lines or () if line.startswith((b"+", b"-")))


def diff_line(line: bytes, width: int | None) -> Text:
    """One line of a unified diff, escaped, cut to a width if there is one."""
    if line == NO_NEWLINE:
        shown = NO_NEWLINE.decode()
    else:
        shown = "\t".join(show(part) for part in line.split(b"\t")).expandtabs(_TAB)
    return Text(_cut(f"{_INDENT}  {shown}", width), style=_STYLES.get(line[:1], ""))


def _cut(text: str, width: int | None) -> str:
    if width is None or cell_len(text) <= width:
        return text
    return f"{set_cell_size(text, max(width - 3, 1)).rstrip()}..."
