"""Small builders of typical values for the report tests."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fimscan.model import (
    AcceptanceRecord,
    Actor,
    Approval,
    Attribution,
    Change,
    ChangeKind,
    ChangePlan,
    Coverage,
    Diff,
    Digest,
    Disposition,
    DispositionCategory,
    DispositionStatus,
    EventId,
    FileKind,
    FileState,
    Finding,
    InEffect,
    PlanProgress,
    PlanState,
    Reason,
    Reviewer,
    Role,
    Runner,
    RunsAs,
    RunsVersion,
    Scan,
    ScanStatus,
    Verdict,
    Window,
)

SECOND = 10**9
NOW = 1795408513_818_000_000  # 2026-11-23T04:35:13.818Z


class Make:
    """Each method builds one typical value; keyword arguments replace fields."""

    now = NOW
    second = SECOND

    def state(self, path: bytes = b"/etc/hosts", content: bytes = b"\x1f", **other: Any) -> FileState:
        values: dict[str, Any] = {
            "path": path,
            "kind": FileKind.FILE,
            "dev": os.makedev(0xFE, 0),
            "inode": 12,
            "nlink": 1,
            "mode": 0o644,
            "uid": 0,
            "gid": 0,
            "size": 220,
            "mtime_ns": NOW - 3600 * SECOND,
            "ctime_ns": NOW - 3600 * SECOND,
            "digests": (
                Digest(algorithm="xxh3_128", value=content * 16),
                Digest(algorithm="sha256", value=content * 32),
            ),
            "read_start_ns": NOW - 1800 * SECOND,
            "read_end_ns": NOW - 1800 * SECOND,
        }
        return FileState(**values | other)

    def actor(self, role: Role | None = Role.WRITER, *, after_s: int = 0, **other: Any) -> Actor:
        values: dict[str, Any] = {
            "role": role,
            "pid": 4242,
            "ppid": 4200,
            "exe": b"/usr/bin/vim",
            "comm": b"vim",
            "cmdline": (b"vim", b"hosts"),
            "cwd": b"/etc",
            "auid": 1000,
            "login_user": "alice",
            "uid": 0,
            "user": "root",
            "euid": 0,
            "session": 3,
            "tty": "pts4",
            "syscall": "openat",
            "flags": ("O_WRONLY", "O_CREAT", "O_TRUNC"),
            "time_ns": NOW + after_s * SECOND,
            "event": EventId(NOW + after_s * SECOND, 6628017 + after_s),
            "key": "fimscan",
        }
        return Actor(**values | other)

    def change(self, kind: ChangeKind = ChangeKind.MODIFIED, path: bytes = b"/etc/hosts", **other: Any) -> Change:
        changed = ("content", "size", "mtime", "ctime") if kind is ChangeKind.MODIFIED else ()
        values: dict[str, Any] = {
            "kind": kind,
            "before": None if kind is ChangeKind.ADDED else self.state(path),
            "after": None
            if kind is ChangeKind.REMOVED
            else self.state(path, b"\x9a", size=248, mtime_ns=NOW, ctime_ns=NOW),
            "changed": changed,
            "window": Window(after_ns=NOW - 1800 * SECOND, before_ns=NOW + 60 * SECOND),
            "id": 17,
        }
        return Change(**values | other)

    def attribution(
        self, verdict: Verdict = Verdict.CONFIRMED, reason: Reason | None = None, **other: Any
    ) -> Attribution:
        actors = () if verdict is Verdict.UNATTRIBUTED else (self.actor(),)
        values: dict[str, Any] = {"actors": actors, "coverage": Coverage(complete=True)}
        return Attribution(verdict=verdict, reason=reason, **values | other)

    def finding(self, change: Change | None = None, attribution: Attribution | None = None, **other: Any) -> Finding:
        return Finding(
            change=change or self.change(), attribution=attribution or self.attribution(), **{"scan": 2} | other
        )

    def disposition(
        self, status: DispositionStatus = DispositionStatus.VIOLATION, ticket: str = "INC-9", **other: Any
    ) -> Disposition:
        approval = Approval(
            accepted_ns=NOW, user="ada", ticket=ticket, reason="not ours", category=DispositionCategory.MALWARE
        )
        return Disposition(
            record=AcceptanceRecord(path=b"/etc/hosts", scan=2, approval=approval, act=3, status=status, **other)
        )

    def progress(self, *planned: bytes, ticket: str = "CHG-17", **other: Any) -> PlanProgress:
        plan = ChangePlan(
            id=4,
            opened_ns=NOW - 3600 * SECOND,
            until_ns=NOW + 3600 * SECOND,
            opened_by=Reviewer("ada", 1001),
            ticket=ticket,
            user="alice",
        )
        return PlanProgress(plan=plan, state=PlanState.OPEN, planned=frozenset(planned), **other)

    def in_effect(self) -> InEffect:
        """One process has the old content."""
        runner = Runner(812, NOW - 7200 * SECOND, RunsVersion.OLD, RunsAs.PROGRAM, b"/usr/sbin/nginx")
        return InEffect(as_of_ns=NOW, old=1, runners=(runner,))

    def scan(self, number: int, started_ns: int) -> Scan:
        return Scan(
            id=number,
            host="web1",
            trigger="manual",
            status=ScanStatus.FINISHED,
            started_ns=started_ns,
            finished_ns=started_ns + SECOND,
        )

    def diff(self, *findings: Finding, **other: Any) -> Diff:
        values: dict[str, Any] = {
            "host": "web1",
            "start": self.scan(1, NOW - 1800 * SECOND),
            "end": self.scan(2, NOW + 60 * SECOND),
        }
        return Diff(findings=findings, **values | other)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
