"""Everything that is known of the most urgent changes: recorded states, text, reasoning, audit records.

It is compressed JSON in base64, in chunks that the script unpacks when one of their rows is opened. Uncompressed, the
audit records alone take some kilobytes for each change.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from fimscan.grouping import RankedRow
from fimscan.model import Explanation, FileState, Finding, device_text
from fimscan.report.attributes import NAMED, flags_text, named_text, xattr_text
from fimscan.report.display import mode_octal, owner_text, show, time_text
from fimscan.report.explanation import (
    considered_texts,
    record_lines,
    sections_after,
    sections_before,
    shows_opens_only,
)
from fimscan.report.reasons import OPENS_ONLY, considered_heading

CHUNK = 50
"""Rows in a chunk: opening one unpacks so many."""

_LEVEL = 6

#: The lines of a unified diff by the number of a change, without its two header lines. Safe to display.
Texts = Mapping[int, Sequence[str]]


def evidence_chunks(rows: Iterable[RankedRow], explanations: Mapping[int, Explanation], texts: Texts) -> Iterator[str]:
    """The evidence of rows in chunks: base64 of raw deflate of a JSON array with one object per row."""
    found = (_evidence(row.finding, explanations, texts) for row in rows)
    while some := list(islice(found, CHUNK)):
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = packer.compress(json.dumps(some, separators=(",", ":")).encode()) + packer.flush()
        yield base64.b64encode(data).decode()


def _evidence(finding: Finding, explanations: Mapping[int, Explanation], texts: Texts) -> dict[str, Any]:
    steps = finding.steps or (finding,)
    explained = [(step, explanations[step.change.id]) for step in steps if step.change.id in explanations]
    document: dict[str, Any] = {
        "states": _states(finding.change.before, finding.change.after),
        "reasoning": [
            _reasoning(explanation, f"change #{step.change.id}, scan {step.scan}" if len(steps) > 1 else "")
            for step, explanation in explained
        ],
    }
    lines = texts.get(finding.change.id)
    if lines is not None:
        document["text"] = list(lines)
    return document


def _reasoning(explanation: Explanation, title: str) -> dict[str, Any]:
    reasoning = explanation.finding.attribution.reasoning
    document: dict[str, Any] = {
        "title": title,
        "before": [item for item in sections_before(explanation) if item[1]],
        "after": [item for item in sections_after(explanation) if item[1]],
        "records": record_lines(explanation),
    }
    if reasoning is not None:
        document["considered"] = [
            considered_heading(reasoning),
            list(considered_texts(reasoning)),
            OPENS_ONLY if shows_opens_only(reasoning) else "",
        ]
    return document


_NAMES = {"uid": "owner", "inode": "device, inode", "nlink": "links", "mtime_ns": "mtime", "ctime_ns": "ctime"}


def _states(before: FileState | None, after: FileState | None) -> list[list[str]]:
    """(name, before, after) of every recorded field."""
    old, new = _recorded(before), _recorded(after)
    return [[name, old.get(name, ""), new.get(name, "")] for name in old | new]


def _recorded(state: FileState | None) -> dict[str, str]:
    if state is None:
        return {}
    xattr = {} if state.xattr_digest is None else {"xattr_sha256": state.xattr_digest.hex()}
    target = {} if state.link_target is None else {"link_target": show(state.link_target)}
    others = [item for item in state.xattrs or () if item.field == "xattr"]
    unknown = {_NAMES.get(name, name) for name in state.unknown}
    found = {
        "path": show(state.path),
        "kind": state.kind,
        "size": str(state.size),
        "mode": mode_octal(state.mode),
        "owner": owner_text(state.uid, state.gid),
        "device, inode": f"{device_text(state.dev)}, {state.inode}",
        "links": str(state.nlink),
        "mtime": time_text(state.mtime_ns),
        "ctime": time_text(state.ctime_ns),
        "read": f"{time_text(state.read_start_ns)} to {time_text(state.read_end_ns)}",
        **{digest.algorithm: digest.value.hex() for digest in state.known_digests},
        **xattr,
        **{field: text for field in NAMED if (text := named_text(state, field)) is not None},
        **{show(item.name): show(xattr_text(item)) for item in others},
        **({"flags": text} if (text := flags_text(state)) else {}),
        **target,
    }
    return {name: text for name, text in found.items() if name not in unknown}
