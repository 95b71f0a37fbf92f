"""The document of ``fimscan explain-path``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fimscan.model import StoredPath
from fimscan.report.documents.parts import optional_text, optional_time, text_fields
from fimscan.scan.path_status import PathStatus, Place


def path_document(status: PathStatus, watch: Mapping[str, Any] | None, stored: StoredPath) -> dict[str, Any]:
    """The ``fimscan.path/1`` document. ``watch`` has the settings of the ``[[watch]]`` that covers the path."""
    is_monitored = status.place is Place.MONITORED
    unreadable = stored.unreadable
    return {
        "schema": "fimscan.path/1",
        **text_fields("path", status.path),
        "monitored": is_monitored,
        "reason": None if is_monitored else status.place.value,
        "at": optional_text(status.at),
        "pattern": optional_text(status.pattern),
        "detail": optional_text(status.detail or None),
        "exists": status.exists,
        "symlink": status.is_link,
        "real_path": optional_text(status.real_path),
        "watch": None if watch is None else dict(watch),
        "baseline": None
        if stored.accepted_scan is None
        else {"scan": stored.accepted_scan, "present": stored.accepted is not None},
        "known": stored.latest is not None,
        "last_read": optional_time(stored.last_read_ns),
        "unreadable": None if unreadable is None else unreadable.reason.value,
        "unread_since": None if unreadable is None else optional_time(stored.last_read_ns),
    }
