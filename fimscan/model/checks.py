"""The result of one check: of the installation, of the database, of an evidence bundle."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct


class CheckSeverity(StrEnum):
    """How bad a check's result is, mildest first. A ``note`` needs no action."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def exit_code(self) -> int:
        """The exit code for monitoring: 0 all is well, 1 coverage is weakened, 2 nothing is seen."""
        return {CheckSeverity.WARNING: 1, CheckSeverity.CRITICAL: 2}.get(self, 0)


class Check(Struct, frozen=True, kw_only=True):
    """One check and its result. ``detail`` says what was found, ``remedy`` how to fix it.

    ``id`` is what programs know the check by: it never changes. Checks of evidence have none.
    """

    name: str
    severity: CheckSeverity
    detail: str
    remedy: str = ""
    id: str = ""

    @classmethod
    def of(cls, name: str, detail: str, *, ok: bool) -> Check:
        """A check that either passes or fails as critical."""
        return cls(name=name, severity=CheckSeverity.OK if ok else CheckSeverity.CRITICAL, detail=detail)

    @property
    def ok(self) -> bool:
        """Whether no action is needed."""
        return self.severity in (CheckSeverity.OK, CheckSeverity.NOTE)


def worst(checks: Iterable[Check]) -> CheckSeverity:
    """The worst severity of all checks; ``ok`` where there are none."""
    order = list(CheckSeverity)
    return max((check.severity for check in checks), key=order.index, default=CheckSeverity.OK)


class SignerState(StrEnum):
    """Whether the signer of a bundle is the one that it should be."""

    UNCHECKED = "not-checked"  # no fingerprint was given to compare with: anybody can sign
    EXPECTED = "expected"
    LINKED = "linked"  # rotations lead from the expected key to the signer's, or the other way
    OTHER = "other"
