"""The objects of change sets and ranks in the documents of ``fimscan diff``."""

from __future__ import annotations

from typing import Any

from fimscan.grouping import ChangeSet, Rank
from fimscan.model import PackageClass, Verdict
from fimscan.report.change_sets import rank_words, set_title
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import optional_text


def set_document(item: ChangeSet, day_ns: int) -> dict[str, Any]:
    """One entry of ``sets``; ``day_ns`` is as in :func:`fimscan.report.change_sets.set_title`."""
    first = item.roots[0] if item.roots else None
    verdicts, shipped = item.verdicts, item.shipped
    return {
        "set": item.number,
        "kind": item.kind.value,
        "title": json_text(set_title(item, day_ns)),
        "programs": list(dict.fromkeys(optional_text(root.exe) for root in item.roots)),
        "via": [json_text(name) for name in item.via],
        "auid": None if first is None else first.auid,
        "login_user": None if first is None else optional_text(first.login_user),
        "session": None if first is None else first.session,
        "reason": None if item.reason is None else item.reason.value,
        "start": time_text(item.start_ns),
        "end": time_text(item.end_ns),
        "changes": len(item.rows),
        "look": item.standing_out,
        "same_content": item.same_content,
        "verdicts": {verdict.value: verdicts.get(verdict, 0) for verdict in Verdict},
        "packages": [json_text(name) for name in item.packages],
        "shipped": {shipped_as.value: shipped.get(shipped_as, 0) for shipped_as in PackageClass},
    }


def rank_document(rank: Rank) -> dict[str, Any]:
    """``rank`` of a row: whether it stands out, and why."""
    return {
        "level": rank.level.value,
        "reasons": [reason.value for reason in rank.reasons],
        "deciding": rank.deciding,
        "words": ", ".join(rank_words(rank)),
        "techniques": list(rank.techniques),
    }
