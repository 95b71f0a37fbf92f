"""A changed configuration, as a reader sees it: whether less is seen since, and each setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fimscan.model import Effect, Reconfiguration, Scan, SettingChange
from fimscan.report.display import json_text, show

_WORDS = {Effect.WEAKER: "weaker", Effect.STRONGER: "stronger", Effect.OTHER: "changed"}


def configuration_lines(item: Reconfiguration) -> Iterator[str]:
    """A heading and, indented, a line for each setting, those that weaken first."""
    when = f"with scan {item.scan}" if item.scan else "since the last scan"
    yield f"The configuration changed {when}{', and less is seen' if item.is_weaker else ''}:"
    for difference in item.differences:
        yield f"    {_WORDS[difference.effect]:<9} {show(difference.key.encode())}: {_change(difference)}"


def _change(item: SettingChange) -> str:
    before, after = (None if text is None else show(text.encode()) for text in (item.before, item.after))
    if before is None:
        return f"added ({after})"
    return f"removed ({before})" if after is None else f"{before} -> {after}"


def configuration_document(start: Scan, end: Scan, items: Iterable[Reconfiguration]) -> dict[str, Any]:
    """``configuration`` in JSON."""
    changes = [reconfiguration_document(item) for item in items]
    return {
        "from": start.config_digest or None,
        "to": end.config_digest or None,
        "weaker": any(change["weaker"] for change in changes),
        "changes": changes,
    }


def reconfiguration_document(item: Reconfiguration) -> dict[str, Any]:
    """One scan that was made with another configuration (``None``: the next one will be)."""
    return {
        "scan": item.scan or None,
        "from": item.before,
        "to": item.after,
        "weaker": item.is_weaker,
        "differences": [
            {
                "key": json_text(difference.key),
                "before": None if difference.before is None else json_text(difference.before),
                "after": None if difference.after is None else json_text(difference.after),
                "effect": difference.effect.value,
            }
            for difference in item.differences
        ],
    }
