"""Acceptances: who made a change part of the baseline, when and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Who accepted, when, and why."""

    accepted_ns: int
    user: str
    ticket: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceRecord:
    """One stored acceptance: of one path, or (``path`` is ``None``) of everything as of ``scan``."""

    path: bytes | None
    scan: int
    approval: Approval
