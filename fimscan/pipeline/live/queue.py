"""Schedule looks at paths: not while a path is being written, not too late, and not all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from msgspec import Struct, field

_LONGEST_PAUSE_S = 60.0
_MOST_PATHS = 100_000
_REMEMBERED = 10_000


class LookRequest(Struct, frozen=True, kw_only=True):
    """A path to look at.

    Attributes:
        path: the path.
        below: look at the whole subtree there.
        partners: other names of the file, which are looked at together with this one (where it came from).
        is_overdue: look at it even if it is still being written.
    """

    path: bytes
    below: bool = False
    partners: frozenset[bytes] = frozenset()
    is_overdue: bool = False


class Next(StrEnum):
    """What happens to a path after a look at it."""

    DONE = "done"
    WAIT = "wait"  # it is still being written: as if there had been news of it
    AGAIN = "again"  # look again, after a pause


class Decision(Struct, frozen=True, kw_only=True):
    """What happens to a path next; with ``below``, the next look takes in the subtree."""

    path: bytes
    next: Next
    below: bool = False


class _Entry(Struct):
    first: float
    last: float
    below: bool
    partners: set[bytes] = field(default_factory=set)
    not_before: float = 0.0


class _Look(Struct):
    """When a path was last looked at, and the least time to wait until the next look."""

    at: float
    pause: float


class LookQueue:
    """Holds requests until there has been no news of their path for a while.

    A path with news all the time is looked at every ``max_delay`` at first. The pause then doubles with each look, up
    to a minute. A pause is forgotten after twice its time.

    Args:
        quiet: seconds without news after which a path is looked at.
        max_delay: seconds after the first news at which it is looked at all the same.
        clock: seconds, as :func:`time.monotonic`.
    """

    def __init__(self, *, quiet: float, max_delay: float, clock: Callable[[], float]) -> None:
        self._quiet = quiet
        self._max_delay = max_delay
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._looks: dict[bytes, _Look] = {}
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, look_requests: Iterable[LookRequest]) -> None:
        """Add requests. Those that do not fit are counted in ``overflowed``, and left to the next scan."""
        now = self._clock()
        for request in look_requests:
            entry = self._entries.get(request.path)
            if entry is None:
                if len(self._entries) >= _MOST_PATHS:
                    self.overflowed += 1
                    continue
                look = self._looks.get(request.path)
                entry = _Entry(now, now, request.below, not_before=look.at + look.pause if look is not None else 0.0)
                self._entries[request.path] = entry
            entry.last = now
            entry.below |= request.below
            entry.partners |= request.partners

    def due(self) -> list[LookRequest]:
        """Return the requests that are due now, in order of path; the names of one file are due together."""
        now = self._clock()
        ready = {path for path, entry in self._entries.items() if self._ready_at(entry) <= now}
        chosen: set[bytes] = set()
        while ready:
            path = ready.pop()
            chosen.add(path)
            ready |= self._entries[path].partners & self._entries.keys() - chosen
        return [
            LookRequest(
                path=path,
                below=entry.below,
                partners=frozenset(entry.partners),
                is_overdue=now - entry.first >= self._max_delay,
            )
            for path in sorted(chosen)
            for entry in (self._entries[path],)
        ]

    def apply(self, decisions: Iterable[Decision]) -> None:
        """Do what was decided after a look."""
        for decision in decisions:
            match decision.next:
                case Next.DONE:
                    self.done(decision.path)
                case Next.WAIT:
                    self.wait(decision.path)
                case Next.AGAIN:
                    self.again(decision.path, below=decision.below)

    def wait(self, path: bytes) -> None:
        """Postpone a path that is still being written, as if there had been news of it."""
        if path in self._entries:
            self._entries[path].last = self._clock()

    def done(self, path: bytes) -> None:
        """Remove a path that was looked at, and begin its pause."""
        now = self._clock()
        self._entries.pop(path, None)
        look = self._looks.pop(path, None)
        again = look is not None and now - look.at < 2 * look.pause + self._max_delay
        pause = min(look.pause * 2, _LONGEST_PAUSE_S) if look is not None and again else self._quiet
        self._looks[path] = _Look(now, pause)
        if len(self._looks) > _REMEMBERED:
            self._looks = dict(self._recent(now))

    def again(self, path: bytes, *, below: bool = False) -> None:
        """Look again after the pause of the path: the look failed, or was not conclusive."""
        self.done(path)
        self.add([LookRequest(path=path, below=below)])

    def _recent(self, now: float) -> Iterator[tuple[bytes, _Look]]:
        kept = [(p, k) for p, k in self._looks.items() if now - k.at < 2 * k.pause + self._max_delay]
        return iter(kept[-_REMEMBERED // 2 :])

    def _ready_at(self, entry: _Entry) -> float:
        return max(min(entry.last + self._quiet, entry.first + self._max_delay), entry.not_before)
