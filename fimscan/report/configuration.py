"""Text lines for a changed configuration: whether coverage was reduced, and each changed setting."""

from __future__ import annotations

from collections.abc import Iterator

from fimscan.model import Effect, Reconfiguration, SettingChange
from fimscan.report.display import show

_WORDS = {Effect.WEAKER: "weaker", Effect.STRONGER: "stronger", Effect.OTHER: "changed"}


def configuration_lines(item: Reconfiguration) -> Iterator[str]:
    """A heading and one indented line for each setting, in the given order (weakening ones first)."""
    when = f"with scan {item.scan}" if item.scan else "since the last scan"
    yield f"The configuration changed {when}{' and reduces coverage' if item.is_weaker else ''}:"
    for difference in item.differences:
        yield f"    {_WORDS[difference.effect]:<9} {show(difference.key.encode())}: {_change(difference)}"


def _change(item: SettingChange) -> str:
    before, after = (None if text is None else show(text.encode()) for text in (item.before, item.after))
    if before is None:
        return f"added ({after})"
    return f"removed ({before})" if after is None else f"{before} -> {after}"
