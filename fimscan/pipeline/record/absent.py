"""Find the configured paths that do not exist now, and do not exist in the accepted baseline either."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fimscan.model import Unreadable, UnreadableReason
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store.session import Session


def accepted_absent(session: Session, paths: Sequence[bytes]) -> frozenset[bytes]:
    """Return those of the configured paths that the accepted baseline does not have; all, if there is no baseline."""
    baseline = acceptance_store.baseline(session)
    if baseline is None:
        return frozenset(paths)
    present = files.at_paths(session, paths, baseline.scan)
    overrides = {path: version for path, (version, _) in baseline.overrides.items()}
    return frozenset(path for path in paths if overrides.get(path, present.get(path)) is None)


def split_absent(session: Session, unreadable: Sequence[Unreadable]) -> tuple[tuple[bytes, ...], list[Unreadable]]:
    """Split what could not be read: (configured paths that are absent as accepted, everything else).

    A path whose directory is missing as well counts as unreadable: no audit rule can report its creation.
    """
    missing = [
        item.path
        for item in unreadable
        if item.reason is UnreadableReason.MISSING and os.path.isdir(os.path.dirname(item.path))
    ]
    absent = accepted_absent(session, missing) if missing else frozenset()
    others = [item for item in unreadable if item.reason is not UnreadableReason.MISSING or item.path not in absent]
    return tuple(sorted(absent)), others
