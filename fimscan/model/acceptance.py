"""Dispositions: who judged a change, when and why. Approved changes make the baseline."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class DispositionStatus(StrEnum):
    """What was decided about a change."""

    PENDING = "pending"  # nothing yet, or the decision was undone
    APPROVED = "approved"  # part of the baseline
    VIOLATION = "violation"  # not part of it: the change stays reported, with its ticket


class DispositionCategory(StrEnum):
    """The kinds of reasons that assessors know."""

    PATCHING = "patching"
    CHANGE_CONTROL = "change-control"
    CONFIGURATION = "configuration"
    HUMAN_ERROR = "human-error"
    MALWARE = "malware"
    FALSE_POSITIVE = "false-positive"
    OTHER = "other"


class Reviewer(NamedTuple):
    """Who decides: the login user, which sudo does not change; without a login, the real user.

    ``number`` is the user id of ``name``; ``None`` is unknown.
    """

    name: str
    number: int | None = None


class Approval(Struct, frozen=True, kw_only=True):
    """Who decided, when, and why."""

    accepted_ns: int
    user: str
    ticket: str = ""
    reason: str = ""
    category: DispositionCategory | None = None


class AcceptanceRecord(Struct, frozen=True, kw_only=True):
    """One stored event: about one path, or (``path`` is ``None``) about everything as of ``scan``.

    ``act`` numbers what was decided at once; ``None`` if stored before there were numbers. ``is_own`` is set if the
    reviewer was among the named processes' users. An event of status ``pending`` takes back the act ``undoes``;
    ``is_undone`` is set if such an event names this one's act. ``number`` is that of the event, 0 if it is not loaded.
    """

    path: bytes | None
    scan: int
    approval: Approval
    act: int | None = None
    status: DispositionStatus = DispositionStatus.APPROVED
    is_own: bool = False
    undoes: int | None = None
    plan: int | None = None
    is_undone: bool = False
    number: int = 0


class Disposition(Struct, frozen=True, kw_only=True):
    """What was decided about one change. ``is_current`` is not set if the file changed again since."""

    record: AcceptanceRecord
    is_current: bool = True

    @property
    def status(self) -> DispositionStatus:
        """The decision; of one that was taken back, ``pending``."""
        return DispositionStatus.PENDING if self.record.is_undone else self.record.status
