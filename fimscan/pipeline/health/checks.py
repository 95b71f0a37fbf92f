"""Short constructors for checks, one for each severity. A check's name is one of the registry, which has its id."""

from __future__ import annotations

from fimscan.model import Check, CheckSeverity
from fimscan.pipeline.health.registry import IDS


def ok(name: str, detail: str) -> Check:
    """Nothing is wrong."""
    return graded(name, CheckSeverity.OK, detail)


def note(name: str, detail: str, remedy: str = "") -> Check:
    """Worth knowing; no action is needed."""
    return graded(name, CheckSeverity.NOTE, detail, remedy)


def warning(name: str, detail: str, remedy: str = "") -> Check:
    """Some changes or processes are missed, now or after the next boot."""
    return graded(name, CheckSeverity.WARNING, detail, remedy)


def critical(name: str, detail: str, remedy: str = "") -> Check:
    """No change or process is reported, or the stored data cannot be trusted."""
    return graded(name, CheckSeverity.CRITICAL, detail, remedy)


def graded(name: str, severity: CheckSeverity, detail: str, remedy: str = "") -> Check:
    """A check whose severity was worked out."""
    return Check(name=name, severity=severity, detail=detail, remedy=remedy, id=IDS[name])
