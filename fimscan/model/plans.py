"""Plans: changes that are expected, from whom, and until when."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from fimscan.model.acceptance import Reviewer


class PlanState(StrEnum):
    """Whether a plan still expects changes."""

    OPEN = "open"
    EXPIRED = "expired"  # its time is over, and nobody has closed it
    CLOSED = "closed"


class ChangePlan(Struct, frozen=True, kw_only=True):
    """Which changes are expected: of these ``paths`` (with all below them, or patterns) or ``packages``.

    They are planned only if they are confirmed as done by ``user`` with ``exe``, a program's path or a pattern. At
    least one of both is given. ``opened_by`` is who opened the plan.
    """

    id: int = 0
    opened_ns: int
    until_ns: int
    opened_by: Reviewer
    ticket: str
    reason: str = ""
    paths: tuple[bytes, ...] = ()
    packages: tuple[str, ...] = ()
    user: str | None = None
    exe: bytes | None = None
    closed_ns: int | None = None
    closed_by: str | None = None

    @property
    def end_ns(self) -> int:
        """When it ended, or will end."""
        return self.until_ns if self.closed_ns is None else min(self.until_ns, self.closed_ns)

    def state(self, now_ns: int) -> PlanState:
        """Its state at a time."""
        if self.closed_ns is not None:
            return PlanState.CLOSED
        return PlanState.OPEN if now_ns <= self.until_ns else PlanState.EXPIRED


class PlanProgress(Struct, frozen=True, kw_only=True):
    """What came of a plan, as of a report.

    ``planned`` are the paths of changes that wait and are as planned, ``extra`` those of the same change sets that are
    not. ``accepted`` counts the paths that were accepted by the plan. ``missing`` are the planned paths and packages of
    which nothing was changed as planned. ``deed`` is the command of the planned changes, safe to display.
    """

    plan: ChangePlan
    state: PlanState
    planned: frozenset[bytes] = frozenset()
    extra: tuple[bytes, ...] = ()
    accepted: int = 0
    missing: tuple[bytes, ...] = ()
    deed: str | None = None
