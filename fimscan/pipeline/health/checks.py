"""One thing that should be so, and how bad it is when it isn't."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Mildest first. A ``note`` is worth knowing, and nothing to be alarmed of."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def exit_code(self) -> int:
        """What monitoring is told: 0 all is well, 1 something weakens coverage, 2 nothing is seen."""
        return {Severity.WARNING: 1, Severity.CRITICAL: 2}.get(self, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that should be so. ``detail`` says what is, ``remedy`` what to do when it isn't as it should be."""

    name: str
    severity: Severity
    detail: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether nobody has to do anything."""
        return self.severity in (Severity.OK, Severity.NOTE)


def ok(name: str, detail: str) -> Check:
    """All is as it should be."""
    return Check(name=name, severity=Severity.OK, detail=detail)


def note(name: str, detail: str, remedy: str = "") -> Check:
    """Something to know."""
    return Check(name=name, severity=Severity.NOTE, detail=detail, remedy=remedy)


def warning(name: str, detail: str, remedy: str = "") -> Check:
    """Something weakens what is seen, or will."""
    return Check(name=name, severity=Severity.WARNING, detail=detail, remedy=remedy)


def critical(name: str, detail: str, remedy: str = "") -> Check:
    """Nothing is seen."""
    return Check(name=name, severity=Severity.CRITICAL, detail=detail, remedy=remedy)


def worst(checks: Iterable[Check]) -> Severity:
    """The worst of them; all is well where there are none."""
    order = list(Severity)
    return max((item.severity for item in checks), key=order.index, default=Severity.OK)
