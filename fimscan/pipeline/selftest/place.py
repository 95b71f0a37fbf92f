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
#: What the units of systemd may write to, and 'make install' makes.
USUAL = b"/etc/fimscan/selftest"
_ALLOW = "'systemctl edit fimscan', [Service], ReadWritePaths=DIRECTORY, then restart it"


def place_for(plan: ScanPlan, rules: Sequence[AuditRule]) -> tuple[bytes | None, str]:
    """Return the canary's path, or ``None`` and why there is none. Loaded ``rules`` decide between several watches."""
    if plan.config.selftest.path:
        path = os.fsencode(plan.config.selftest.path)
        path = os.path.join(path, _name()) if os.path.isdir(path) else path
        problem = problem_of(path, plan)
        return (path, "") if problem is None else (None, f"[selftest] path: {problem}{_allowing(path)}")
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
    return None, f"no place for the canary: {shown}. {_remedy(plan)}"


def _remedy(plan: ScanPlan) -> str:
    if _is_monitored(os.path.join(USUAL, _name()), plan):
        usual = os.fsdecode(USUAL)
        return f"Run: mkdir -m 0700 {usual}; the units of systemd may write there once they are restarted"
    return f"Set [selftest] path to a monitored directory; let a unit of systemd write there: {_ALLOW}"


def _allowing(path: bytes) -> str:
    """How to let a unit of systemd write there, if that is what is missing."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory) or not os.statvfs(directory).f_flag & os.ST_RDONLY:
        return ""
    return f"; in a unit of systemd: {_ALLOW.replace('DIRECTORY', show(directory))}"


def _name() -> bytes:
    return f"{_PREFIX}{secrets.token_hex(4)}".encode()


def _candidates(plan: ScanPlan) -> Iterator[bytes]:
    """Yield a path in each watched directory; logs come last, because what is new there is mostly a rotated log."""
    for watch in sorted(plan.watches, key=lambda watch: watch.append_only):
        if os.path.isdir(watch.path) and not os.path.islink(watch.path):
            yield os.path.join(watch.path, _name())
    if os.path.isdir(USUAL) and _is_monitored(os.path.join(USUAL, _name()), plan):
        yield os.path.join(USUAL, _name())


def _is_monitored(path: bytes, plan: ScanPlan) -> bool:
    return plan.scope.includes(path, is_directory=False) and path not in plan.skip


def problem_of(path: bytes, plan: ScanPlan) -> str | None:
    """Why the canary cannot be made at a path; ``None`` if it can be."""
    directory, shown = os.path.dirname(path), show(path)
    if not _is_monitored(path, plan):
        return f"{shown} is not monitored"
    if os.path.lexists(path):
        return f"{shown} exists already"
    if not os.path.isdir(directory):
        return f"{show(directory)} is no directory"
    # In a directory of somebody else, root would write where that user leads it.
    if (problem := trust_problem(os.fsdecode(directory))) is not None:
        return problem.partition("; ")[0]
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"{show(directory)} is read-only for this process"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{show(directory)} cannot be written to"
    return None
