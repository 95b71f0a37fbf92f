"""Answers: who made a change, how certain that is, and what is missing for more."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from fimscan.model.audit import Action, Actor, EventId, Gap


class Verdict(StrEnum):
    """How sure the answer is, strongest first."""

    CONFIRMED = "confirmed"
    LIKELY = "likely"
    CONTESTED = "contested"
    UNATTRIBUTED = "unattributed"

    @property
    def strength(self) -> int:
        """Larger is stronger. A row with several steps takes the weakest."""
        return _STRENGTHS.index(self)


_STRENGTHS = (Verdict.UNATTRIBUTED, Verdict.CONTESTED, Verdict.LIKELY, Verdict.CONFIRMED)


class Reason(StrEnum):
    """Why a verdict is weaker than ``confirmed``."""

    COVERAGE_GAP = "coverage-gap"
    HELD_DESCRIPTOR = "held-descriptor"
    PATH_ONLY = "path-only"
    SEVERAL_WRITERS = "several-writers"
    CORE_DUMP = "core-dump"  # the kernel wrote it for a crashed process; no event names the file
    NOT_COVERED = "not-covered"
    NO_EVENT = "no-event"
    WITNESS_ONLY = "witness-only"  # fanotify reported the write, audit did not report the open


class Coverage(NamedTuple):
    """Whether audit saw everything at this path over the whole window, and its gaps."""

    complete: bool
    gaps: tuple[Gap, ...] = ()


class Why(StrEnum):
    """Why a process was named, or why not."""

    # Named
    WRITE_ACCESS = "write-access"  # had the file open for writing when it can have been changed
    HELD_OPEN = "held-open"  # had it open when the window began, or got a descriptor without opening it
    MADE = "made"
    PLACED = "placed"
    TOOK_AWAY = "took-away"
    SET = "set"  # the attributes
    SAME_PATH = "same-path"  # by a record with the same path, but without (or with another) inode
    CRASHED = "crashed"  # crashed, and the kernel wrote its core dump
    WROTE = "wrote"  # fanotify reported the write, audit did not report the open
    EARLIER_WRITER = "earlier-writer"  # wrote, created or placed an earlier file of the path
    EARLIER_HOLDER = "earlier-holder"  # had an earlier file of the path open when the window began
    EARLIER_CHANGER = "earlier-changer"  # set attributes of an earlier file of the path
    REMOVED_TOO = "removed-too"  # also removed the file; nothing shows how it came back in between
    UNFINISHED = "unfinished"  # began before the window, and is not known to have ended by then
    # Neither named nor cleared: had a part in what happened in the window, but not in the present file
    EARLIER_PART = "earlier-part"  # in an earlier file of the path; no process can be named for the present one
    TOOK_ANOTHER = "took-another"  # removed another file of the path, or moved it away, in the window
    NOT_MATCHED = "not-matched"  # the record does not give the subvolume or layer of the file
    OVERRULED = "overruled"  # a later system call determined the present state
    UNDONE = "undone"  # its change was reverted
    ONLY_PLACED = "only-placed"  # placed the file, but did not write its content
    MAY_HOLD = "may-hold"  # opened it before the window and may have kept it open; not all holders are known
    # Cleared
    FAILED = "failed"
    CLOSED_BEFORE = "closed-before"  # opened it before the window, and had closed it when the window began
    BEFORE_WINDOW = "before-window"
    AFTER_WINDOW = "after-window"
    AFTER_LAST_CHANGE = "after-last-change"  # opened it after the file's ctime
    EARLIER_FILE = "earlier-file"  # an earlier file with this name or inode number
    LATER_FILE = "later-file"  # a later file with this name or inode number
    OTHER_FILE = "other-file"  # a file of that name with another inode
    NO_WRITE = "no-write"  # its system calls cannot change content
    NO_PART = "no-part"  # its system calls cannot cause the difference
    WROTE_NOTHING = "wrote-nothing"  # fanotify reported its close and no write, and it could not map the file

    # Set once, below: these are asked for every access that concerns a change.
    names: bool  #: whether it is a reason to name a process
    clears: bool  #: whether it proves that a process had no part in the difference
    #: whether it concerns an earlier file of the path: a part in the present content is possible, but not known
    is_earlier: bool


_NOTED = frozenset(
    {
        Why.EARLIER_PART,
        Why.TOOK_ANOTHER,
        Why.NOT_MATCHED,
        Why.OVERRULED,
        Why.UNDONE,
        Why.ONLY_PLACED,
        Why.MAY_HOLD,
    }
)
_EARLIER = frozenset({Why.EARLIER_WRITER, Why.EARLIER_HOLDER, Why.EARLIER_CHANGER})
_NAMING = _EARLIER | {
    Why.WRITE_ACCESS,
    Why.HELD_OPEN,
    Why.MADE,
    Why.PLACED,
    Why.TOOK_AWAY,
    Why.SET,
    Why.SAME_PATH,
    Why.WROTE,
    Why.CRASHED,
    Why.REMOVED_TOO,
    Why.UNFINISHED,
}
for _why in Why:
    _why.names = _why in _NAMING
    _why.clears = not _why.names and _why not in _NOTED
    _why.is_earlier = _why in _EARLIER


class Ruling(NamedTuple):
    """One process that accessed a file, with its judgement.

    ``actor`` is its latest system call of this kind (``action``; ``None`` for a holder), ``calls`` the number of such
    calls since ``first_ns``, ``events`` the latest of them, newest first.
    """

    actor: Actor
    action: Action | None
    why: Why
    calls: int = 1
    first_ns: int | None = None
    events: tuple[EventId, ...] = ()


class Reasoning(NamedTuple):
    """How an answer was found: all processes that were considered, named ones first; ``omitted`` more are left out.

    ``last_change_ns`` is the time after which, by the file's ctime, nothing was changed; ``None`` if the ctime was no
    help.
    """

    rulings: tuple[Ruling, ...] = ()
    omitted: int = 0
    last_change_ns: int | None = None


class Attribution(NamedTuple):
    """Who made a change, how sure that is, and why it is not surer. ``notes`` are sentences for the reader.

    ``reasoning`` is ``None`` for answers that were stored before it was recorded.
    """

    verdict: Verdict
    reason: Reason | None = None
    actors: tuple[Actor, ...] = ()
    coverage: Coverage = Coverage(complete=False)
    notes: tuple[str, ...] = ()
    reasoning: Reasoning | None = None

    @property
    def pattern(self) -> Attribution:
        """An answer with the same verdict, reason and notes by the same processes in the same parts, at other times.

        Whatever depends on no time, event or gap is the same for all answers of a pattern, and a report of very many
        changes has few patterns. An answer that was not loaded with others is its own.
        """
        return self


class AnswerPattern(Attribution):
    """An answer that stands for all of its pattern (:attr:`Attribution.pattern`). A report has few of them."""
