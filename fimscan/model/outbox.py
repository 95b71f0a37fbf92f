"""Messages to receivers: what waits in the outbox, and what became of it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class MessageState(StrEnum):
    """What became of a message."""

    SCAN = "scan"  # stands for all that a scan found; its messages are not made yet
    WAITING = "waiting"  # to be delivered
    DELIVERED = "delivered"  # its receiver has acknowledged it
    GIVEN_UP = "given-up"  # a limit of the outbox was reached; another message says so


class MessageKind(StrEnum):
    """What a message is about."""

    SCAN = "scan"  # see MessageState.SCAN
    BASELINE = "baseline"  # the first scan
    CHANGES = "changes"
    PROBLEMS = "problems"  # unreadable files, logs that could not be read, a changed configuration
    ALL_IS_WELL = "all-is-well"  # a scan found nothing to report
    PRUNED = "pruned"  # old records were removed, as [retention] says
    NOT_DELIVERED = "not-delivered"  # messages that were given up
    TEST = "test"


class NewMessage(Struct, frozen=True, kw_only=True):
    """A message to one output. ``id`` stays the same however often it is sent; ``body`` is its document as JSON.

    ``urgent``: somebody has to look at it. Messages that are not urgent are given up first. ``scan`` is the newest scan
    that it is about, ``changes`` are the numbers of the changes.
    """

    id: str
    kind: MessageKind
    scan: int | None
    urgent: bool
    body: bytes
    changes: tuple[int, ...] = ()


class OutboxMessage(Struct, frozen=True, kw_only=True):
    """A stored message. ``answer`` is the receiver's answer, or why the last attempt failed.

    ``changes`` are the numbers of the changes that it is about; none of a message that an earlier version made.

    ``body`` is ``None`` if it was not loaded, or is no longer stored: the message was delivered or given up.
    """

    number: int
    id: str
    output: str
    kind: MessageKind
    scan: int | None
    state: MessageState
    urgent: bool
    made_ns: int
    attempts: int = 0
    next_ns: int = 0
    tried_ns: int | None = None
    done_ns: int | None = None
    answer: str = ""
    changes: tuple[range, ...] = ()
    body: bytes | None = None


class OutboxUsage(Struct, frozen=True, kw_only=True):
    """How much waits for one output. ``oldest_ns`` is when the oldest waiting message was made."""

    waiting: int = 0
    size: int = 0
    oldest_ns: int | None = None
