"""A message -> bytes in a format: for people, for fimscan's own readers, and for SIEMs. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from fimscan.outputs.documents import drop_rows
from fimscan.outputs.formats.cef import cef
from fimscan.outputs.formats.ecs import ecs
from fimscan.outputs.formats.ocsf import ocsf
from fimscan.outputs.formats.splunk import splunk
from fimscan.outputs.formats.text import hash_log, one_line, text
from fimscan.outputs.formats.wazuh import wazuh
from fimscan.outputs.rows import Document

_OBJECTS: dict[str, Callable[[Document], Any]] = {
    "json": lambda message: message,
    "ecs": ecs,
    "ocsf": ocsf,
    "splunk-cim": splunk,
    "wazuh": wazuh,
}
_TEXTS: dict[str, Callable[[Document], str]] = {"text": text, "cef": cef, "hash-log": hash_log}

FORMATS = (*_TEXTS, *_OBJECTS)
"""The names of all formats."""


def content_type(name: str) -> str:
    """The MIME type of a format."""
    return "application/json" if name in _OBJECTS else "text/plain; charset=utf-8"


def render(name: str, message: dict[str, Any], *, limit: int | None = None, line: bool = False) -> bytes:
    """A message in a format, without the end of a line at its end.

    Changes are left out until it has at most ``limit`` bytes, and then the rest is cut. ``line``: a text has one line.
    """
    data = _encoded(name, message, line=line)
    if limit is None or len(data) <= limit:
        return data
    shorter = copy.deepcopy(message)
    while len(data) > limit and drop_rows(shorter):
        data = _encoded(name, shorter, line=line)
    if len(data) > limit and name in _OBJECTS:
        # Half an object is none: what is left says at least what it is about.
        for item in shorter["sets"]:
            item["more"] += len(item["listed"])
            item["listed"] = []
        data = _encoded(name, shorter, line=line)
    return data[:limit].decode("utf-8", "ignore").encode()


def _encoded(name: str, message: dict[str, Any], *, line: bool) -> bytes:
    if name in _OBJECTS:
        return json.dumps(_OBJECTS[name](message), separators=(",", ":")).encode("ascii")
    if name == "text" and line:
        return one_line(message).encode("utf-8", "backslashreplace")
    found = _TEXTS[name](message).rstrip("\n")
    return (found.replace("\n", " / ") if line else found).encode("utf-8", "backslashreplace")
