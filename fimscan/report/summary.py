"""Count the rows of a diff."""

from __future__ import annotations

from collections import Counter

from fimscan.model import ChangeKind, Diff, Verdict


def summary(diff: Diff) -> dict[str, int]:
    """The number of rows of each kind and of each verdict."""
    kinds = Counter(finding.change.kind for finding in diff.findings)
    verdicts = Counter(finding.attribution.verdict for finding in diff.findings)
    return {
        **{kind.value: kinds[kind] for kind in ChangeKind},
        "unreadable": len(diff.unreadable),
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        "opened_unmodified": len(diff.opened_unmodified),
        "logs_grown": diff.logs_grown,
        "logs_rotated": diff.logs_rotated,
    }
