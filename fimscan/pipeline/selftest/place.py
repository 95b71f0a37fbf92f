"""Choose where the canary is made: in a monitored directory that audit covers and where this process may write."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence

from fimscan import attribution
from fimscan.model import AuditRule
from fimscan.pipeline.settings import ScanPlan
from fimscan.report.display import show
from fimscan.trust import trust_problem

_NEED = attribution.Need(writes=True, attributes=True)
_PREFIX = ".fimscan-selftest-"
_MOST_SHOWN = 3


def place_for(plan: ScanPlan, rules: Sequence[AuditRule]) -> tuple[bytes | None, str]:
    """Return the canary's path, or ``None`` and why there is none. Loaded ``rules`` decide between several watches."""
    if plan.config.selftest.path:
        path = os.fsencode(plan.config.selftest.path)
        path = os.path.join(path, _name()) if os.path.isdir(path) else path
        problem = problem_of(path, plan)
        return (path, "") if problem is None else (None, f"[selftest] path: {problem}")
    problems: list[str] = []
    found: list[bytes] = []
    for path in _candidates(plan):
        if (problem := problem_of(path, plan)) is not None:
            problems.append(problem)
        elif attribution.covers(rules, path, _NEED):
            return path, ""
        else:
            found.append(path)
    if found:
        return found[0], ""
    shown = "; ".join(problems[:_MOST_SHOWN]) or "no [[watch]] is a directory"
    return None, f"no place for the canary: {shown}. Set [selftest] path to a monitored directory"


def _name() -> bytes:
    return f"{_PREFIX}{secrets.token_hex(4)}".encode()


def _candidates(plan: ScanPlan) -> Iterator[bytes]:
    """Yield a path in each watched directory; logs come last, because what is new there is mostly a rotated log."""
    for watch in sorted(plan.watches, key=lambda watch: watch.append_only):
        if os.path.isdir(watch.path) and not os.path.islink(watch.path):
            yield os.path.join(watch.path, _name())


def problem_of(path: bytes, plan: ScanPlan) -> str | None:
    """Why the canary cannot be made at a path; ``None`` if it can be."""
    directory, shown = os.path.dirname(path), show(path)
    if not plan.scope.includes(path, is_directory=False) or path in plan.skip:
        return f"{shown} is not monitored"
    if os.path.lexists(path):
        return f"{shown} exists already"
    if not os.path.isdir(directory):
        return f"{show(directory)} is no directory"
    # In a directory of somebody else, root would write where that user leads it.
    if (problem := trust_problem(os.fsdecode(directory))) is not None:
        return problem.partition("; ")[0]
    if os.statvfs(directory).f_flag & os.ST_RDONLY or not os.access(directory, os.W_OK | os.X_OK):
        return f"{show(directory)} cannot be written to"
    return None
