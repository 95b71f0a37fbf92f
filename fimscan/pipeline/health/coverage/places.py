"""Checks of mounts and file systems: where loaded rules may not report changes. Pure.

A rule with ``dir=`` covers what was mounted beneath its directory when it was loaded. It does not cover what was
mounted later (kernel/audit_tree.c; tried on Linux 6.18). The kernel does not say when a rule was loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fimscan.audit import watched_by
from fimscan.linux.mounts import Mount, mount_of
from fimscan.model import Check
from fimscan.paths import is_within
from fimscan.pipeline.health.checks import note
from fimscan.pipeline.health.coverage.facts import Facts
from fimscan.pipeline.health.remedies import commented
from fimscan.report.display import show

_NAME = "mounts"
_REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "fuse", "virtiofs", "afs", "lustre", "gfs", "ocfs")


def checks(facts: Facts) -> Iterator[Check]:
    """Check the mounts at and beneath watched paths, and the kinds of their file systems."""
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
            "give it a [[watch]] of its own, or set cross_mounts = true in [scan]; then load new rules",
        )
    if over:
        yield note(
            _NAME,
            f"{_listed(over)}: a file is mounted over a file; it is scanned, but no rule for this path covers it",
            "add a [[watch]] for the place that the mounted file comes from",
        )
    if uncertain:
        yield note(
            _NAME,
            f"{_listed(uncertain)}: mounted at or beneath a watched directory; rules cover only what was mounted"
            " before they were loaded, and when that was is unknown",
            commented("augenrules --load", "after each mount"),
        )


def _kinds(mounts: Sequence[Mount], watched: Sequence[bytes]) -> Iterator[Check]:
    kinds = [(path, mount.kind) for path in watched if (mount := mount_of(mounts, path)) is not None]
    remote = [f"{show(path)} ({kind})" for path, kind in kinds if kind.startswith(_REMOTE)]
    if remote:
        yield note(
            "file systems",
            f"{', '.join(remote)}: changes made by other hosts (or by the server) leave no record here",
            "monitor these files on the host that stores them",
        )


def _listed(points: Sequence[bytes]) -> str:
    unique = list(dict.fromkeys(points))
    more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
    return ", ".join(show(point) for point in unique[:3]) + more
