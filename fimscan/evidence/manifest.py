"""``00-manifest.json``: what a bundle is about, for programs, and which bundle it follows.

A bundle that follows another begins where that one ended, and names the SHA-256 of its ``SHA256SUMS``, which stands for
all of it. So whoever has both sees whether there is anything between them.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, fields

from fimscan.errors import VerificationError
from fimscan.report.display import json_text, time_text

SCHEMA = "fimscan.evidence.manifest/1"


class Previous(Struct, frozen=True, kw_only=True):
    """The bundle that another one follows.

    Attributes:
        sums: the SHA-256 of its ``SHA256SUMS``, hex.
        start_ns: the beginning of its period.
        covered_to_ns: up to when it covers its period: where the next one begins.
        last_scan: the last finished scan that it has the changes of.
        head: the last entry of its chain of scans.
    """

    sums: str
    start_ns: int
    covered_to_ns: int
    last_scan: int
    head: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a bundle is about; the times as in :class:`fimscan.evidence.inputs.BundleInput`.

    ``host_id`` is empty if there is none. ``previous`` is ``None`` if the bundle follows no other.
    """

    host: str
    host_id: str
    version: str
    start_ns: int
    end_ns: int
    covered_to_ns: int
    as_of_ns: int
    last_scan: int
    head: str
    previous: Previous | None = None


def dump_manifest(manifest: Manifest) -> bytes:
    """The document. Times are there twice: to be read, and exactly."""
    previous = manifest.previous
    document = {
        "schema": SCHEMA,
        **_with_times({**asdict(manifest), "host": json_text(manifest.host), "host_id": json_text(manifest.host_id)}),
        "previous": None if previous is None else _with_times(asdict(previous)),
    }
    return (json.dumps(document, indent=1) + "\n").encode("ascii")


def _with_times(values: dict[str, Any]) -> dict[str, Any]:
    times = {name.removesuffix("_ns"): time_text(at) for name, at in values.items() if name.endswith("_ns")}
    return {**values, **times}


def load_manifest(text: bytes) -> Manifest:
    """The inverse of :func:`dump_manifest`.

    Raises:
        VerificationError: it is none.
    """
    try:
        document = json.loads(text)
        previous = None if document["previous"] is None else Previous(**_known(document["previous"], Previous))
        return Manifest(**_known(document, Manifest), previous=previous)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise VerificationError(f"00-manifest.json cannot be read: {error!r}") from error


def _known(values: Any, kind: type) -> dict[str, Any]:
    """The fields of a class except ``previous``, each of its type."""
    found = {}
    for item in fields(kind):
        if item.name == "previous":
            continue
        value = found[item.name] = values[item.name]
        is_right = isinstance(value, int) and 0 <= value < 1 << 63 if item.type is int else isinstance(value, str)
        if not is_right:
            raise ValueError(item.name)
    return found
