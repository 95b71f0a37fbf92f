"""Configured paths that do not exist: as it should be, where the accepted baseline has nothing there either."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fimscan.model import Unreadable, UnreadableReason
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store.session import Session


def accepted_absent(session: Session, paths: Sequence[bytes]) -> frozenset[bytes]:
    """Of these roots of watches those that the accepted baseline does not have; all of them before there is one."""
    baseline = acceptance_store.baseline(session)
    if baseline is None:
        return frozenset(paths)
    present = files.at_paths(session, paths, baseline.scan)
    overrides = {path: version for path, (version, _) in baseline.overrides.items()}
    return frozenset(path for path in paths if overrides.get(path, present.get(path)) is None)


def split_absent(session: Session, unreadable: Sequence[Unreadable]) -> tuple[tuple[bytes, ...], list[Unreadable]]:
    """(the roots that are absent as they should be, what else could not be read).

    One whose directory does not exist either is no such root: no audit rule can report its appearance.
    """
    missing = [
        item.path
        for item in unreadable
        if item.reason is UnreadableReason.MISSING and os.path.isdir(os.path.dirname(item.path))
    ]
    absent = accepted_absent(session, missing) if missing else frozenset()
    others = [item for item in unreadable if item.reason is not UnreadableReason.MISSING or item.path not in absent]
    return tuple(sorted(absent)), others
