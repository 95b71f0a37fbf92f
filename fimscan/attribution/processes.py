"""Which records of one pid are of one process. Pure.

The kernel gives a pid away again once its process has ended, and a user can have that happen at will: by starting
processes until the counter comes round. So two calls are taken for one process's only where nothing speaks against it:

- A process that was seen alive is known from its start to that look, whatever it did to its ids and its parent.
- What was recorded before the start of another process was not done by that one.
- Otherwise the parent is the same. It changes only when the parent ends (to 1, or to a subreaper); that is believed of
  processes of one login session, and of root's, but not of a service's: its user may run any number of processes.
- The user id is the same. A process can change it, but so few write to one file before and after, and have ended before
  anybody looks, that the change rather tells of another process.
- It keeps its login, except that one without a login can get one.
- It did not begin another program in between.

Wrongly telling one process from itself makes an answer ``contested``; wrongly taking two for one would clear the first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fimscan.model import Actor

_SLACK_NS = 50_000_000  # a start time counts clock ticks, a record's time is of a coarse clock
_INIT = 1
_BEGINS = frozenset({"execve", "execveat"})


class Alive(NamedTuple):
    """A process that was seen alive: it had its pid from ``start_ns`` to ``end_ns`` at least."""

    start_ns: int
    end_ns: int


class Lives:
    """The processes that had one pid one after the other, for some pids.

    Args:
        sightings: the records of these pids, in any order, as far as they are known; who was found holding a
            descriptor, with the time of that.
        alive: by pid, when its processes were seen alive.
    """

    def __init__(self, sightings: Iterable[Actor], alive: Mapping[int, Iterable[Alive]] | None = None) -> None:
        by_pid: dict[int, dict[int, Actor]] = {}
        for actor in sightings:
            those = by_pid.get(actor.pid)
            if those is None:
                those = by_pid[actor.pid] = {}
            those.setdefault(actor.moment, actor)
        self._lives = {
            pid: _lives([found[moment] for moment in sorted(found)], _merged((alive or {}).get(pid, ())))
            for pid, found in by_pid.items()
        }

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to tell apart: no pid had more than one process, nor a known start."""
        return all(tokens == [None] for _, tokens in self._lives.values())

    def since(self, pid: int, moment: int) -> int | None:
        """What tells apart the process that had the pid at that moment; ``None`` where only one is known to have."""
        moments, tokens = self._lives.get(pid, ((), ()))
        if len(tokens) == 1:
            return tokens[0]
        place = bisect_right(moments, moment) - 1
        return tokens[max(place, 0)] if tokens else None


def _merged(alive: Iterable[Alive]) -> list[Alive]:
    """One entry a process, oldest first."""
    found: list[Alive] = []
    for one in sorted(alive):
        if found and one.start_ns - found[-1].start_ns <= _SLACK_NS:
            found[-1] = Alive(found[-1].start_ns, max(found[-1].end_ns, one.end_ns))
        else:
            found.append(one)
    return found


def _lives(sightings: Sequence[Actor], alive: Sequence[Alive]) -> tuple[Sequence[int], Sequence[int | None]]:
    """(the moments at which the pid was another process than before, what tells each of them apart)."""
    moments: list[int] = []
    tokens: list[int | None] = []
    before: Actor | None = None
    for now in sightings:
        if before is not None and not alive and _is_alike(before, now):  # as nearly always
            before = now
            continue
        known = _alive_at(now.moment, alive)
        if before is None or not _is_one(before, now, alive):
            moments.append(now.moment)
            tokens.append(None if known is None else known.start_ns)
        elif known is not None and tokens[-1] is None:
            tokens[-1] = known.start_ns
        before = now
    if len(tokens) > 1:
        tokens = [moment if token is None else token for moment, token in zip(moments, tokens, strict=True)]
    return moments, tokens


def _is_alike(before: Actor, now: Actor) -> bool:
    """Whether two records differ in nothing that could speak against one process."""
    same = before.ppid == now.ppid and before.uid == now.uid and before.session == now.session
    return same and before.auid == now.auid and now.syscall not in _BEGINS


def _alive_at(moment: int, alive: Sequence[Alive]) -> Alive | None:
    return next((one for one in alive if one.start_ns - _SLACK_NS <= moment <= one.end_ns), None)


def _is_one(before: Actor, now: Actor, alive: Sequence[Alive]) -> bool:
    first, second = _alive_at(before.moment, alive), _alive_at(now.moment, alive)
    if first is not None and first == second:
        return now.syscall not in _BEGINS
    if any(before.moment < one.start_ns - _SLACK_NS <= now.moment for one in alive):
        return False
    is_same_user = before.uid is None or now.uid is None or before.uid == now.uid
    return is_same_user and now.syscall not in _BEGINS and can_be_one(before, now)


def can_be_one(before: Actor, now: Actor) -> bool:
    """Whether two records of one pid can be of one process at all, by what a process can do to its ids and its parent.

    It may be another program (exec), and have taken another user id: from root's rights, or its effective one.
    """
    return _keeps_login(before, now) and _keeps_user(before, now) and _keeps_parent(before, now)


def _keeps_login(before: Actor, now: Actor) -> bool:
    return (before.auid, before.session) in ((now.auid, now.session), (None, None))


def _keeps_user(before: Actor, now: Actor) -> bool:
    if before.uid is None or now.uid is None or before.uid == now.uid:
        return True
    return 0 in (before.uid, before.euid) or now.uid == before.euid


def _keeps_parent(before: Actor, now: Actor) -> bool:
    if before.ppid is None or now.ppid is None or before.ppid == now.ppid:
        return True
    return now.ppid == _INIT and (now.session is not None or 0 == before.uid == now.uid)
