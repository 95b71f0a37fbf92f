"""Controls: what has to work so that changes are found, and when it did not."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from fimscan.model.audit import Actor
from fimscan.model.hosts import HostEvent


class ControlKind(StrEnum):
    """What failed."""

    AUDIT = "audit"  # audit did not see everything: no rule, no daemon, events lost, log rotated away
    SCAN = "scan"  # a scan failed, was interrupted, or came too late
    UNREADABLE = "unreadable"  # files could not be read for long
    OUTPUT = "output"  # messages to a receiver could not be delivered for long, or were given up
    DATABASE = "database"  # the database was restored from an older copy
    CLOCK = "clock"  # the clock was set
    DISK = "disk"  # a file system that fimscan or auditd writes to is nearly full
    PROGRAM = "program"  # fimscan's own files, units or rules file changed
    HOST = "host"  # another machine writes to the records of this one
    CONFIGURATION = "configuration"  # a setting changed so that less is monitored
    SELFTEST = "selftest"  # a change that fimscan made itself was not noticed all the way


class Symptom(Struct, frozen=True, kw_only=True):
    """One observation that a control does not work, or did not for a while.

    ``subject`` is what is concerned: a path, a setting. Symptoms of one kind and subject are one failure. ``end_ns`` is
    ``None`` while it lasts. ``cause`` is a text for people, ``actor`` who caused it, if the audit log says so.
    """

    kind: ControlKind
    subject: str
    start_ns: int
    cause: str
    end_ns: int | None = None
    actor: Actor | None = None


class ControlNote(Struct, frozen=True, kw_only=True):
    """What a person did about a failure, or found to be its cause. ``id`` is 0 before it is stored.

    A note is never changed: a later one corrects it. An empty text was not given.
    """

    id: int = 0
    failure: int
    noted_ns: int
    user: str
    remediation: str
    root_cause: str = ""
    ticket: str = ""


class ControlFailure(Struct, frozen=True, kw_only=True):
    """A failure of a control, from its start to its end. ``id`` is 0 before it is stored.

    Attributes:
        detected_ns: when fimscan noticed it.
        end_ns: when the control worked again; ``None`` as long as it does not.
        remedy: how it is known to work again.
        notes: what people did about it, oldest first.
    """

    id: int = 0
    kind: ControlKind
    subject: str
    start_ns: int
    detected_ns: int
    cause: str
    actor: Actor | None = None
    end_ns: int | None = None
    remedy: str | None = None
    notes: tuple[ControlNote, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the control still does not work."""
        return self.end_ns is None


class ControlReport(Struct, frozen=True, kw_only=True):
    """The transitions that were not reported yet, and what is failed now.

    ``began`` and ``mended`` can have the same failure: it was over before anybody was told. ``host_events`` are new
    names of the host and take-overs; they are no failures.
    """

    began: tuple[ControlFailure, ...] = ()
    mended: tuple[ControlFailure, ...] = ()
    failed: tuple[ControlFailure, ...] = ()
    host_events: tuple[HostEvent, ...] = ()

    @property
    def has_failed(self) -> bool:
        """Whether a control is failed, or a failure is reported now that is over."""
        return bool(self.began or self.failed)
