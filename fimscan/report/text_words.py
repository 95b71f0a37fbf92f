"""What changed in a text, in words: facts; and how much content is kept."""

from __future__ import annotations

import os

from fimscan.model import ContentUsage, TextChange, TextFact, TextFactKind
from fimscan.report.display import minute_text, show, size_text

_MOST_SUBJECT = 120

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


def content_text(usage: ContentUsage, path: str, quota: int | None = None) -> str:
    """How much content is kept, and where: ``41 contents kept, 96.5 KiB of 61.0 MiB, in /var/lib/...``."""
    of = "" if quota is None else f" of {size_text(quota)}"
    kept = f"{usage.contents:,} content{'' if usage.contents == 1 else 's'} kept, {size_text(usage.packed)}{of}"
    dropped = ""
    if usage.dropped:
        dropped = f"; {usage.dropped:,} dropped for the quota, last {minute_text(usage.dropped_ns)}"
    return f"{kept}, in {show(os.fsencode(path))}{dropped}"
