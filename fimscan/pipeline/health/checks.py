"""Short constructors for checks, one for each severity."""

from __future__ import annotations

from fimscan.model import Check, CheckSeverity


def ok(name: str, detail: str) -> Check:
    """Nothing is wrong."""
    return Check(name=name, severity=CheckSeverity.OK, detail=detail)


def note(name: str, detail: str, remedy: str = "") -> Check:
    """Worth knowing; no action is needed."""
    return Check(name=name, severity=CheckSeverity.NOTE, detail=detail, remedy=remedy)


def warning(name: str, detail: str, remedy: str = "") -> Check:
    """Some changes or processes are missed, now or after the next boot."""
    return Check(name=name, severity=CheckSeverity.WARNING, detail=detail, remedy=remedy)


def critical(name: str, detail: str, remedy: str = "") -> Check:
    """No change or process is reported, or the stored data cannot be trusted."""
    return Check(name=name, severity=CheckSeverity.CRITICAL, detail=detail, remedy=remedy)
