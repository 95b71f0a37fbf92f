"""The document of ``fimscan db prune``: ``fimscan.prune/1``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fimscan.model import Checkpoint
from fimscan.report.display import json_text, time_text


def pruned_document(
    removed: Mapping[str, int], checkpoint: Checkpoint | None, space: int, *, dry_run: bool
) -> dict[str, Any]:
    """The ``fimscan.prune/1`` document: what was removed or, with ``dry_run``, would be."""
    return {
        "schema": "fimscan.prune/1",
        "dry_run": dry_run,
        "removed": dict(removed),
        "bytes": space,
        "checkpoint": None if checkpoint is None else checkpoint_document(checkpoint),
    }


def checkpoint_document(sealed: Checkpoint) -> dict[str, Any]:
    """What a checkpoint has."""
    return {
        "chain_begins_after": sealed.scan or None,
        "entry": sealed.entry,
        "journal": sealed.journal,
        "digest": sealed.digest,
        "user": json_text(sealed.user),
        "prunings": sealed.prunings,
        "since": time_text(sealed.since_ns),
        "removed_before": {name: time_text(at) for name, at in sorted(sealed.before_ns.items()) if at > 0},
        "total": dict(sealed.total),
    }
