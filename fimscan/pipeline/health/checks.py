"""Short constructors for checks, one for each severity."""

from __future__ import annotations

from fimscan.model import Check, CheckSeverity


def ok(name: str, detail: str) -> Check:
    """All is as it should be."""
    return Check(name=name, severity=CheckSeverity.OK, detail=detail)


def note(name: str, detail: str, remedy: str = "") -> Check:
    """Worth knowing; no action needed."""
    return Check(name=name, severity=CheckSeverity.NOTE, detail=detail, remedy=remedy)


def warning(name: str, detail: str, remedy: str = "") -> Check:
    """Something weakens what is seen, or will."""
    return Check(name=name, severity=CheckSeverity.WARNING, detail=detail, remedy=remedy)


def critical(name: str, detail: str, remedy: str = "") -> Check:
    """Nothing is seen."""
    return Check(name=name, severity=CheckSeverity.CRITICAL, detail=detail, remedy=remedy)
