"""Read the rows of a message: paths as bytes, the process that may be named, digests, times."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fimscan.report.display import show

Document = Mapping[str, Any]
_NAMING = ("confirmed", "likely")


def rows_of(message: Document) -> Iterator[Document]:
    """The listed changes, the most urgent one first."""
    for item in message["sets"]:
        yield from item["listed"]


def lead_of(message: Document) -> Document | None:
    """The most urgent change; ``None`` in a message about something else."""
    return next(rows_of(message), None)


def signing_key(message: Document) -> str | None:
    """The fingerprint of the key that signs the host's evidence; messages of earlier versions may still wait."""
    found: str | None = message.get("signing_key")
    return found


def left_out(message: Document) -> int:
    """The number of changes that are not listed."""
    return int(message["summary"]["changes"]) - sum(1 for _ in rows_of(message))


def path_text(item: Document, key: str = "path") -> str | None:
    """A path that is safe to display and stands for exactly one path."""
    if (encoded := item.get(f"{key}_b64")) is not None:
        try:
            return show(base64.b64decode(encoded))
        except (ValueError, binascii.Error):  # cut, because it was too long
            pass
    text = item.get(key)
    return None if text is None else show(str(text))


def named_actor(row: Document) -> Document | None:
    """The process that may be called the one that did it.

    A contested change has candidates, and naming one of them in a field for *the* process would accuse it.
    """
    answer = row["attribution"]
    actors = answer["actors"]
    if answer["verdict"] not in _NAMING or not actors:
        return None
    processes = {(actor["pid"], actor["exe"]) for actor in actors}
    if len(processes) > 1:
        writers = [actor for actor in actors if actor["role"] == "writer" and not actor["earlier"]]
        return writers[0] if len(writers) == 1 else None
    first: Document = actors[0]
    return first


def state_of(row: Document) -> Document:
    """The new state; of a removed file, the last one."""
    found: Document = row["after"] or row["before"] or {}
    return found


def directory_and_name(path: str) -> tuple[str, str]:
    """A path in two parts."""
    directory, _, name = path.rpartition("/")
    return directory or "/", name


def epoch_ms(time: str) -> int:
    """A time of a document in milliseconds since 1970."""
    return int(datetime.fromisoformat(time[:26].rstrip("Z") + "+00:00").timestamp() * 1000)


def without_nulls(value: Any) -> Any:
    """A JSON value without keys that have no value; empty objects and lists are left out as well."""
    if isinstance(value, dict):
        found = {key: without_nulls(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not None and item not in ({}, [])}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
