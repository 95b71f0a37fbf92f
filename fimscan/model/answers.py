"""Who made a change, how sure that is, and why it is not surer."""

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
        """Larger is stronger; a row with several steps takes the weakest."""
        return _STRENGTHS.index(self)


_STRENGTHS = (Verdict.UNATTRIBUTED, Verdict.CONTESTED, Verdict.LIKELY, Verdict.CONFIRMED)


class Reason(StrEnum):
    """What a verdict below ``confirmed`` lacks."""

    COVERAGE_GAP = "coverage-gap"
    HELD_DESCRIPTOR = "held-descriptor"
    PATH_ONLY = "path-only"
    SEVERAL_WRITERS = "several-writers"
    CORE_DUMP = "core-dump"  # the kernel wrote it, for a process that crashed: no event says which file that was
    NOT_COVERED = "not-covered"
    NO_EVENT = "no-event"
    WITNESS_ONLY = "witness-only"  # fanotify saw it write, audit did not see it open the file


class Coverage(NamedTuple):
    """Whether audit was watching this path over the whole window, and where it was not."""

    complete: bool
    gaps: tuple[Gap, ...] = ()


class Why(StrEnum):
    """Why a process was named, or why it was not."""

    # Named
    WRITE_ACCESS = "write-access"  # had the file open for writing when it can have been changed
    HELD_OPEN = "held-open"  # had it open when the window began, or got a descriptor without opening it
    MADE = "made"
    PLACED = "placed"
    TOOK_AWAY = "took-away"
    SET = "set"  # the attributes
    SAME_PATH = "same-path"  # by a record that matches the path, and says no (or another) inode
    CRASHED = "crashed"  # and the kernel wrote its core dump
    WROTE = "wrote"  # fanotify saw it write, and audit did not see it open the file
    EARLIER_WRITER = "earlier-writer"  # wrote, made or placed a file that had the path before the present one
    EARLIER_HOLDER = "earlier-holder"  # had such a file open when the window began
    EARLIER_CHANGER = "earlier-changer"  # set attributes of such a file
    REMOVED_TOO = "removed-too"  # removed the file, too; nothing shows how it came back in between
    # Neither named nor cleared: had a part in what happened within the window, and not in what is there now
    EARLIER_PART = "earlier-part"  # in an earlier file of the path, where nobody can be named for the present one
    TOOK_ANOTHER = "took-another"  # removed another file of the path, or moved it away, within the window
    NOT_MATCHED = "not-matched"  # the record does not say in which subvolume or layer the file was
    OVERRULED = "overruled"  # a later call decided what is there now
    UNDONE = "undone"  # it was put back
    ONLY_PLACED = "only-placed"  # put it there, but did not write the content that it has
    MAY_HOLD = "may-hold"  # opened it before the window, and may have had it open still: not all was shown
    # Cleared
    FAILED = "failed"
    CLOSED_BEFORE = "closed-before"  # opened it before the window, and did not hold it any more when that began
    BEFORE_WINDOW = "before-window"
    AFTER_WINDOW = "after-window"
    AFTER_LAST_CHANGE = "after-last-change"  # opened it after the time that its ctime says
    EARLIER_FILE = "earlier-file"  # what the name, or the inode number, stood for before
    LATER_FILE = "later-file"  # what they stood for afterwards
    OTHER_FILE = "other-file"  # a file of that name with another inode
    NO_WRITE = "no-write"  # what it did cannot change content
    NO_PART = "no-part"  # what it did cannot bring about what differs
    WROTE_NOTHING = "wrote-nothing"  # fanotify saw it close the file, which it could not map, and no write by it

    @property
    def names(self) -> bool:
        """Whether it is a reason for naming a process."""
        return self in _NAMING

    @property
    def clears(self) -> bool:
        """Whether it is a reason why a process cannot have had a part in what differs."""
        return not self.names and self not in _NOTED

    @property
    def is_earlier(self) -> bool:
        """Whether it is about a file that had the path before: a part in the present content is possible, not known."""
        return self in _EARLIER


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
}


class Ruling(NamedTuple):
    """One process that had to do with a file, and how that was judged.

    ``actor`` is its latest call of this kind (``action``; ``None`` for one that was found holding a descriptor),
    ``calls`` how many of them there were since ``first_ns``, ``events`` the latest of them, newest first.
    """

    actor: Actor
    action: Action | None
    why: Why
    calls: int = 1
    first_ns: int | None = None
    events: tuple[EventId, ...] = ()


class Reasoning(NamedTuple):
    """How an answer was found: everybody who was considered, those named first; ``omitted`` more were left out.

    ``last_change_ns`` is the moment after which, by the file's ctime, nothing was changed any more; ``None`` where the
    ctime was no help.
    """

    rulings: tuple[Ruling, ...] = ()
    omitted: int = 0
    last_change_ns: int | None = None


class Attribution(NamedTuple):
    """Who made a change, how sure that is, and why it is not surer. ``notes`` are sentences for the reader.

    ``reasoning`` is ``None`` for answers that were given before it was kept.
    """

    verdict: Verdict
    reason: Reason | None = None
    actors: tuple[Actor, ...] = ()
    coverage: Coverage = Coverage(complete=False)
    notes: tuple[str, ...] = ()
    reasoning: Reasoning | None = None
