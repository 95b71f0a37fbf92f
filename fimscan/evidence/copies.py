"""``09-changes.ecs.ndjson`` and ``09-changes.ocsf.ndjson``: the changes once more, for a SIEM. Only on request.

They are made from the lines of ``09-changes.json``, so they cannot say anything else, and have no command lines either.
What outputs say of a change's rank is left out: it is not in that file, and "not looked at" would be an all-clear.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from fimscan.evidence.ascii_json import ascii_json
from fimscan.outputs.formats.ecs import ecs
from fimscan.outputs.formats.ocsf import ocsf
from fimscan.outputs.rows import Document, path_text
from fimscan.report.display import show


def ecs_lines(changes: Iterable[str]) -> Iterator[bytes]:
    """One document of ECS for each change; ``changes`` are the lines of ``09-changes.json``."""
    for message in _messages(changes):
        document = ecs(message)
        (change,) = document["fimscan"]["changes"]
        yield _line(document, change, message)


def ocsf_lines(changes: Iterable[str]) -> Iterator[bytes]:
    """One File System Activity of OCSF for each change."""
    for message in _messages(changes):
        document = ocsf(message)
        yield _line(document, document["unmapped"]["change"], message)


def _line(document: dict[str, Any], change: dict[str, Any], message: Document) -> bytes:
    """A document without the rank, and with what was decided about the change."""
    change.pop("look", None)
    if (decision := message["sets"][0]["listed"][0]["disposition"]) is not None:
        change["disposition"] = {key: value for key, value in decision.items() if value is not None}
    return ascii_json(document) + b"\n"


def _messages(changes: Iterable[str]) -> Iterator[Document]:
    """A message for each change, as outputs make them. The file has its head, then a change a line, then its end."""
    lines = iter(changes)
    head = json.loads(next(lines).rstrip("\n") + "]}")
    for line in lines:
        text = line.rstrip(",\n")
        if text.startswith("{"):
            yield _message(head["host"], json.loads(text))


def _message(host: str, change: dict[str, Any]) -> Document:
    path, window = path_text(change), change["window"]
    row = {**change, "rank": {"level": "", "reasons": []}, "differences": [], "answer": _answer(change["attribution"])}
    return {
        "id": f"{host}/{change['id']}",
        "kind": "changes",
        "host": host,
        "time": window["before"],
        "subject": f"{show(host)}: {change['kind']} {path}",
        "severity": change["severity"],
        "to_scan": change["scan"],
        "head": None,
        "summary": {"changes": 1},
        "sets": [{"title": path, "start": window["after"], "end": window["before"], "listed": [row]}],
        "unreadable": [],
        "problems": [],
        "configuration": [],
    }


def _answer(answer: dict[str, Any]) -> str:
    """``confirmed``, or ``contested (several-candidates)``."""
    reason = f" ({answer['reason']})" if answer["reason"] else ""
    return f"{answer['verdict']}{reason}"
