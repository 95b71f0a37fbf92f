"""Facts of sudoers(5): rules, aliases, defaults and includes that came or went."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fimscan.contents.lines import came_and_went, logical_lines
from fimscan.model.texts import TextFact, TextFactKind, TextSign

_INCLUDE = re.compile(rb"[#@]include(?:dir)?\s")
# "#" begins a comment, unless a user or group number follows.
_COMMENT = re.compile(rb"(?<!\\)#(?!\d).*", re.DOTALL)
_WITHOUT_PASSWORD = re.compile(rb"\bNOPASSWD\b|!\s*authenticate\b")


def _rules(text: bytes) -> Iterator[bytes]:
    for line in logical_lines(text):
        rule = line if _INCLUDE.match(line) else _COMMENT.sub(b"", line)
        if rule := b" ".join(rule.split()):
            yield rule


def sudo_facts(_path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Each rule as it stands in the file: who may run what is no secret, and what a reviewer has to see."""
    added, removed = came_and_went(_rules(before), _rules(after))
    for rule in added:
        sign = TextSign.SUDO_WITHOUT_PASSWORD if _WITHOUT_PASSWORD.search(rule) else None
        yield TextFact(kind=TextFactKind.SUDO_ADDED, subject=rule, sign=sign)
    for rule in removed:
        yield TextFact(kind=TextFactKind.SUDO_REMOVED, subject=rule)
