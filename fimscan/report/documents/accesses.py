"""The documents of ``fimscan audit events``: ``fimscan.accesses/1``, and ``fimscan.access/1`` for each line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fimscan.model import FileAccess, Name, device_text
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import process_document, text_fields


def accesses_document(accesses: Iterable[FileAccess]) -> dict[str, Any]:
    """The ``fimscan.accesses/1`` document."""
    return {"schema": "fimscan.accesses/1", "accesses": [access_document(access) for access in accesses]}


def access_line(access: FileAccess) -> dict[str, Any]:
    """One line of NDJSON, a ``fimscan.access/1`` document."""
    return {"schema": "fimscan.access/1", **access_document(access)}


def access_document(access: FileAccess) -> dict[str, Any]:
    """One access of ``fimscan audit events``.

    ``path`` and ``old_path`` are absolute, or ``None`` if the record does not determine them. ``name`` and ``old_name``
    are the names in the record; they are not reliable.
    """
    return {
        "event": json_text(str(access.event)),
        "time": time_text(access.event.time_ns),
        "action": access.action.value,
        **_name("", access.name),
        "dev": None if access.dev is None else device_text(access.dev),
        "inode": access.inode,
        **_name("old_", access.old or Name()),
        "success": access.success,
        "actor": process_document(access.actor),
    }


def _name(prefix: str, name: Name) -> dict[str, str | None]:
    return {**text_fields(f"{prefix}path", name.path), **text_fields(f"{prefix}name", name.text)}
