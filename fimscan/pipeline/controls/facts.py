"""What was observed of the controls, as plain values, so that their evaluation can be tested without a host."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from fimscan.model import AuditNotice, AuditObservation, Gap, MissedRuns


class AuditFacts(Struct, frozen=True, kw_only=True):
    """What is known of audit since the last evaluation.

    Attributes:
        latest: the newest observation of the kernel's audit system.
        earlier: those since the last evaluation, and the last one before it, oldest first.
        ahead: the last one of a time that has not come yet; ``None`` unless the clock was set back since.
        uncovered: monitored paths that no loaded rule covers now, and whether only since another directory is there.
        gaps: by monitored path, the gaps since the last evaluation.
        notices: the notices since the last evaluation.
        logs: the logs that are read.
        is_logged: auditd writes to one of them.
    """

    latest: AuditObservation
    earlier: tuple[AuditObservation, ...] = ()
    ahead: AuditObservation | None = None
    uncovered: Mapping[str, bool]
    gaps: Mapping[str, tuple[Gap, ...]]
    notices: tuple[AuditNotice, ...] = ()
    logs: tuple[str, ...] = ()
    is_logged: bool = True


class ScanFacts(Struct, frozen=True, kw_only=True):
    """When scans ran.

    Attributes:
        last_ns: when the last complete scan began, before the present one; ``None`` if there was none.
        done_ns: when it finished.
        this_ns: when the present scan began.
        every_s: how often a scan is to run, if that is known.
        missed: the scans of the schedule that were missed since then, as it counted them; ``None`` without a schedule.
        interrupted: scans that did not finish since then: (number, when it began).
    """

    last_ns: int | None
    done_ns: int | None = None
    this_ns: int
    every_s: int | None = None
    missed: tuple[MissedRuns, ...] | None = None
    interrupted: tuple[tuple[int, int], ...] = ()


class UnreadFiles(Struct, frozen=True, kw_only=True):
    """Files below a monitored path that were readable before: how many, since when, and one of them."""

    count: int
    since_ns: int
    example: str


class Undelivered(Struct, frozen=True, kw_only=True):
    """What waits for one output.

    Attributes:
        waiting: how many messages.
        since_ns: when the oldest of them was made.
        given_up: how many messages were given up since the receiver was last told of that.
        answer: why the last attempt failed; empty if none was made.
    """

    waiting: int
    since_ns: int
    given_up: int = 0
    answer: str = ""


class Space(Struct, frozen=True, kw_only=True):
    """A file system that fimscan or auditd writes to: bytes and inodes that are free, and all of them."""

    path: str
    free: int
    total: int
    free_inodes: int
    inodes: int
