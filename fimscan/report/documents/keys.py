"""The document of ``fimscan key``: the signing key, and the rotations that led to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def keys_document(
    fingerprint: str, public_key: str, earlier: Sequence[tuple[str, str]], links: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """The ``fimscan.keys/1`` document; ``earlier`` has the fingerprint and the end of each key before, oldest first."""
    return {
        "schema": "fimscan.keys/1",
        "fingerprint": fingerprint,
        "public_key": public_key,
        "earlier": [{"fingerprint": old, "until": until} for old, until in earlier],
        "links": [dict(link) for link in links],
    }
