"""The document of ``fimscan import``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fimscan.report.display import time_text

_COUNTS = (
    "same", "differing", "gone", "new", "adopted", "outside", "followed", "without_digest", "uncomputable",
    "uncompared", "skipped", "unreadable",
)  # fmt: skip


def import_document(
    scan: int,
    taken_ns: int | None,
    form: str,
    counts: Mapping[str, int],
    *,
    compared: tuple[Mapping[str, int], Mapping[str, int]],
) -> dict[str, Any]:
    """The ``fimscan.import/1`` document: the scan that became the baseline, and the number of files of each kind.

    ``compared`` is (files by the digest of their content, files by attribute).
    """
    digests, attributes = compared
    return {
        "schema": "fimscan.import/1",
        "scan": scan,
        "taken": None if taken_ns is None else time_text(taken_ns),
        "format": form,
        **{name: counts[name] for name in _COUNTS},
        "digests": dict(sorted(digests.items())),
        "attributes": dict(sorted(attributes.items())),
    }
