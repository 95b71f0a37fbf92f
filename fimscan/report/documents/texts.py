"""The object ``text`` of a row: what changed in its text. Only documents that were asked for it have it."""

from __future__ import annotations

from typing import Any

from fimscan.model import TextChange, TextFact
from fimscan.report.display import json_text
from fimscan.report.documents.parts import optional_text
from fimscan.report.text_words import fact_words


def text_document(text: TextChange) -> dict[str, Any]:
    """Facts, and the lines of a unified diff."""
    return {
        "facts": [_fact(fact) for fact in text.facts],
        "omitted": text.omitted,
        "unified": None if text.lines is None else [json_text(line) for line in text.lines],
        "cut": text.is_cut,
        "before": None if text.before is None else text.before.value,
        "after": None if text.after is None else text.after.value,
    }


def _fact(fact: TextFact) -> dict[str, Any]:
    return {
        "kind": fact.kind.value,
        "subject": json_text(fact.subject),
        "attribute": json_text(fact.attribute) or None,
        "before": optional_text(fact.before),
        "after": optional_text(fact.after),
        "sign": None if fact.sign is None else fact.sign.value,
        "words": fact_words(fact),
    }
