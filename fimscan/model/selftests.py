"""Selftests: a file that fimscan changes itself, and whether it was noticed all the way to the receivers."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class SelftestStep(StrEnum):
    """What a selftest looks at, in order."""

    PREPARED = "prepared"  # a place for the canary was found, and a process made it there
    DETECTED = "detected"  # the scanner found it, with its content
    ATTRIBUTED = "attributed"  # the verdict is confirmed, and names exactly the process that made it
    ALERTED = "alerted"  # the message is in the outbox
    DELIVERED = "delivered"  # the receiver has acknowledged it


class StepState(StrEnum):
    """How a step went."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # switched off in the configuration, or a step before it failed


class StepResult(Struct, frozen=True, kw_only=True):
    """One step. ``seconds`` is how long after the change it was reached; ``output`` is set for one output's steps."""

    step: SelftestStep
    state: StepState
    detail: str
    seconds: float | None = None
    output: str | None = None


class Selftest(Struct, frozen=True, kw_only=True):
    """One selftest. ``id`` is 0 before it is stored.

    ``path`` is the canary, ``pid`` and ``exe`` are of the process that made it, ``scan`` is the partial scan that found
    it; each is ``None`` if it did not come to that.
    """

    id: int = 0
    started_ns: int
    finished_ns: int
    path: bytes | None = None
    pid: int | None = None
    exe: bytes | None = None
    scan: int | None = None
    steps: tuple[StepResult, ...] = ()

    @property
    def failed(self) -> tuple[StepResult, ...]:
        """The steps that failed."""
        return tuple(item for item in self.steps if item.state is StepState.FAILED)

    @property
    def has_passed(self) -> bool:
        """Whether no step failed."""
        return not self.failed
