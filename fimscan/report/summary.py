"""Count the rows of a diff."""

from __future__ import annotations

from collections import Counter

from fimscan.model import ChangeKind, Diff, Verdict


def summary(diff: Diff) -> dict[str, int]:
    """The number of rows of each kind and of each verdict."""
    both = Counter((finding.change.kind, finding.attribution.verdict) for finding in diff.findings)
    kinds, verdicts = Counter[ChangeKind](), Counter[Verdict]()
    for (kind, verdict), number in both.items():
        kinds[kind] += number
        verdicts[verdict] += number
    return {
        **{kind.value: kinds[kind] for kind in ChangeKind},
        "unreadable": len(diff.unreadable),
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        "opened_unmodified": len(diff.opened_unmodified),
        "logs_grown": diff.logs_grown,
        "logs_rotated": diff.logs_rotated,
    }
