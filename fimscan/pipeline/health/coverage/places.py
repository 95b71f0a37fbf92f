"""Mounts and file systems: where a rule that is loaded still may not see. Pure.

A rule with ``dir=`` reaches into what was mounted beneath its directory when it was loaded, and not into what was
mounted later (kernel/audit_tree.c; tried on Linux 6.18). Nothing tells when it was loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fimscan.audit import watched_by
from fimscan.linux.mounts import Mount, mount_of
from fimscan.model import Check
from fimscan.paths import is_within
from fimscan.pipeline.health.checks import note
from fimscan.pipeline.health.coverage.facts import Facts
from fimscan.report.display import show

_NAME = "mounts"
_REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "fuse", "virtiofs", "afs", "lustre", "gfs", "ocfs")


def checks(facts: Facts) -> Iterator[Check]:
    """Everything that the mounts say."""
    watched = [place.path for place in facts.watched if place.exists]
    yield from _beneath(facts, watched)
    yield from _kinds(facts.mounts, watched)


def _beneath(facts: Facts, watched: Sequence[bytes]) -> Iterator[Check]:
    rules = [found for rule in facts.kernel.rules if (found := watched_by(rule)) is not None]
    unscanned, uncertain, over = [], [], []
    for point in sorted({mount.point for mount in facts.mounts}):
        for path in watched:
            if not is_within(point, path):
                continue
            if point in facts.file_mounts:
                over.append(point)
            elif point != path and not facts.cross_mounts and point not in watched:
                unscanned.append(point)
            elif not any(rule.scope == point for rule in rules) or point == path:
                uncertain.append(point)
    if unscanned:
        yield note(
            _NAME,
            f"{_listed(unscanned)}: mounted beneath a watched directory, and not scanned",
            "a [[watch]] of its own, or cross_mounts = true in [scan]; then new rules",
        )
    if over:
        yield note(
            _NAME,
            f"{_listed(over)}: a file is mounted over a file; that one is scanned, and no rule for the path sees it",
            "watch the file where it is, too",
        )
    if uncertain:
        yield note(
            _NAME,
            f"{_listed(uncertain)}: mounted at or beneath a watched directory; rules see only what was mounted"
            " before they were loaded, and do not tell when that was",
            "augenrules --load after each mount",
        )


def _kinds(mounts: Sequence[Mount], watched: Sequence[bytes]) -> Iterator[Check]:
    kinds = [(path, mount.kind) for path in watched if (mount := mount_of(mounts, path)) is not None]
    remote = [f"{show(path)} ({kind})" for path, kind in kinds if kind.startswith(_REMOTE)]
    if remote:
        yield note(
            "file systems",
            f"{', '.join(remote)}: what other hosts (or the server) change there leaves no record here",
            "monitor it where the files are",
        )


def _listed(points: Sequence[bytes]) -> str:
    unique = list(dict.fromkeys(points))
    more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return ", ".join(show(point) for point in unique[:3]) + more
