"""What changed in a text: facts in words, and the lines of a unified diff."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from fimscan.contents.unified import NO_NEWLINE
from fimscan.model import ContentUsage, Finding, NotKept, TextChange, TextFact, TextFactKind
from fimscan.report.console import pack
from fimscan.report.display import minute_text, show, size_text

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


_WORDS = {
    TextFactKind.ACCOUNT_ADDED: "user {subject} added, {of} {after}",
    TextFactKind.ACCOUNT_REMOVED: "user {subject} removed",
    TextFactKind.ACCOUNT_CHANGED: "user {subject}: {of} {values}",
    TextFactKind.NO_PASSWORD: "user {subject} needs no password",
    TextFactKind.GROUP_ADDED: "group {subject} added, {of} {after}",
    TextFactKind.GROUP_REMOVED: "group {subject} removed",
    TextFactKind.GROUP_CHANGED: "group {subject}: {of} {values}",
    TextFactKind.MEMBER_ADDED: "{subject} added to group {after}",
    TextFactKind.MEMBER_REMOVED: "{subject} removed from group {before}",
    TextFactKind.SUDO_ADDED: "sudo rule added: {subject}",
    TextFactKind.SUDO_REMOVED: "sudo rule removed: {subject}",
    TextFactKind.KEY_ADDED: "key {subject} added for {after}{having}",
    TextFactKind.KEY_REMOVED: "key {subject} removed for {after}",
    TextFactKind.KEY_CHANGED: "key {subject} of {after} has other options{having}",
    TextFactKind.JOB_ADDED: "job added: {of} as {after}: {subject}",
    TextFactKind.JOB_REMOVED: "job removed: {of} as {after}: {subject}",
    TextFactKind.VARIABLE_CHANGED: "variable {subject} of jobs changed",
    TextFactKind.SETTING_CHANGED: "{subject} {values}{section}",
}


def fact_words(fact: TextFact) -> str:
    """One fact, safe to display: ``user eve added, uid 0``."""
    of = _short(fact.attribute)
    return _WORDS[fact.kind].format(
        subject=_short(fact.subject),
        of=of,
        before=_short(fact.before or b""),
        after=_short(fact.after or b""),
        values=_values(fact),
        having=f", options: {of}" if of else "",
        section=f" (Match {of})" if of else "",
    )


def _values(fact: TextFact) -> str:
    """Old and new value; nothing but the fact where they are not told."""
    match fact.before, fact.after:
        case None, None:
            return "changed"
        case None, after:
            return f"set to {_short(after or b'')}"
        case before, None:
            return f"{_short(before or b'')} removed"
        case before, after:
            return f"{_short(before or b'')} -> {_short(after or b'')}"
    raise AssertionError("every case is listed")


def _short(value: bytes) -> str:
    """A value that is shown whole unless it is very long."""
    shown = show(value)
    return shown if len(shown) <= _MOST_SUBJECT else f"{shown[: _MOST_SUBJECT - 3]}..."


def facts_words(text: TextChange) -> tuple[str, ...]:
    """All facts, and how many more there are."""
    more = (f"and {text.omitted} more",) if text.omitted else ()
    return (*map(fact_words, text.facts), *more)


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


def content_text(usage: ContentUsage, path: str, quota: int | None = None) -> str:
    """How much content is kept, and where: ``41 contents kept, 96.5 KiB of 61.0 MiB, in /var/lib/...``."""
    of = "" if quota is None else f" of {size_text(quota)}"
    kept = f"{usage.contents:,} content{'' if usage.contents == 1 else 's'} kept, {size_text(usage.packed)}{of}"
    dropped = ""
    if usage.dropped:
        dropped = f"; {usage.dropped:,} dropped for the quota, last {minute_text(usage.dropped_ns)}"
    return f"{kept}, in {show(os.fsencode(path))}{dropped}"


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
