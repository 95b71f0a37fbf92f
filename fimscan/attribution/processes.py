"""Decide which records of one pid are of the same process. Pure.

The kernel reuses a pid after its process has ended. A user can force this, by starting processes until the counter
wraps around. So two records count as one process only if all of this holds:

- If the process was seen alive in ``/proc``, both are between its start and that time. Then its ids and its parent may
  have changed in any way.
- No other process with this pid is known to have started between the two records.
- The parent is the same. It changes only when the parent ends (to 1, or to a subreaper). Such a change is accepted for
  processes of a login session and of root, but not of a service, whose user may run any number of processes.
- The user id is the same. A process can change it, but few do so, write to one file before and after, and end before
  they are seen in ``/proc``. So another user id is taken for another process.
- The login is the same, or the earlier record has none.
- The process did not start another program in between.

To split one process in two by mistake makes an answer ``contested``. To merge two would wrongly clear the first.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from fimscan.model import Actor

_SLACK_NS = 50_000_000  # start times are in clock ticks, and the times of records come from a coarse clock
_INIT = 1
_BEGINS = frozenset({"execve", "execveat"})
_SINGLE: tuple[None] = (None,)


class _Look(NamedTuple):
    """What a record shows of its process. ``begins`` is set if the process started another program with this call."""

    ppid: int | None
    uid: int | None
    session: int | None
    auid: int | None
    euid: int | None
    begins: bool


#: Two records that differ in none of these are of one process, unless it started another program.
_LOOKS = itemgetter(*map(_Look._fields.index, ("ppid", "uid", "session", "auid")))


class Alive(NamedTuple):
    """A process that was seen alive: it had its pid at least from ``start_ns`` to ``end_ns``."""

    start_ns: int
    end_ns: int


class Lives:
    """For some pids: the processes that had each of them, one after the other.

    Args:
        sightings: the known records of these pids, in any order, and the processes that were found holding a
            descriptor, with the time of that.
        alive: by pid, over which times its processes were seen alive.
    """

    def __init__(self, sightings: Iterable[Actor], alive: Mapping[int, Iterable[Alive]] | None = None) -> None:
        found = _Sightings(sightings)
        alive = alive or {}
        several = ((pid, _lives(looks, _merged(alive.get(pid, ())))) for pid, looks in found.by_pid())
        self._lives = {pid: lives for pid, lives in several if tuple(lives[1]) != _SINGLE}

    @property
    def is_plain(self) -> bool:
        """Whether each pid had a single process, and none has a known start: then :meth:`since` is always ``None``."""
        return not self._lives

    def since(self, pid: int, moment: int) -> int | None:
        """A token that identifies the process with this pid at that moment: its start, else its first record's moment.

        It is ``None`` if the pid had a single process of unknown start.
        """
        moments, tokens = self._lives.get(pid, ((), ()))
        if len(tokens) == 1:
            return tokens[0]
        place = bisect_right(moments, moment) - 1
        return tokens[max(place, 0)] if tokens else None


class _Sightings:
    """Sightings of processes, 20 bytes each: a process may have very many. The looks of one are few."""

    def __init__(self, sightings: Iterable[Actor]) -> None:
        self._pids, self._moments, self._looks = array("Q"), array("Q"), array("L")
        numbers: dict[_Look, int] = {}
        for actor in sightings:
            begins = actor.syscall in _BEGINS
            look = _Look(actor.ppid, actor.uid, actor.session, actor.auid, actor.euid, begins)
            self._pids.append(actor.pid)
            self._moments.append(actor.moment)
            self._looks.append(numbers.setdefault(look, len(numbers)))
        self._distinct = list(numbers)

    def by_pid(self) -> Iterator[tuple[int, list[tuple[int, _Look]]]]:
        """Yield each pid with the moments of its sightings, in order, and what they show."""
        order = sorted(range(len(self._pids)), key=self._moments.__getitem__)
        order.sort(key=self._pids.__getitem__)  # both are stable: those of one moment stay as they came
        for pid, places in groupby(order, key=self._pids.__getitem__):
            yield pid, [(self._moments[place], self._distinct[self._looks[place]]) for place in places]


def _merged(alive: Iterable[Alive]) -> list[Alive]:
    """Merge the entries of each process into one, oldest first."""
    found: list[Alive] = []
    for one in sorted(alive):
        if found and one.start_ns - found[-1].start_ns <= _SLACK_NS:
            found[-1] = Alive(found[-1].start_ns, max(found[-1].end_ns, one.end_ns))
        else:
            found.append(one)
    return found


def _lives(
    sightings: Sequence[tuple[int, _Look]], alive: Sequence[Alive]
) -> tuple[Sequence[int], Sequence[int | None]]:
    """Return (the moments at which the pid had become another process, the tokens of these processes).

    ``sightings`` are (moment, look), in order of the moments. Of several at one moment, the first counts.
    """
    looks = {look for _, look in sightings}
    if not alive and len(set(map(_LOOKS, looks))) == 1 and not any(look.begins for look in looks):
        return (), _SINGLE  # the usual case: one process, of unknown start
    moments: list[int] = []
    tokens: list[int | None] = []
    before: tuple[int, _Look] | None = None
    for now in sightings:
        moment, look = now
        if before is not None and before[0] == moment:
            continue
        if before is not None and not alive and not look.begins and _LOOKS(before[1]) == _LOOKS(look):
            before = now  # nearly always
            continue
        known = _alive_at(moment, alive)
        if before is None or not _is_one(before, now, alive):
            moments.append(moment)
            tokens.append(None if known is None else known.start_ns)
        elif known is not None and tokens[-1] is None:
            tokens[-1] = known.start_ns
        before = now
    if len(tokens) > 1:
        tokens = [moment if token is None else token for moment, token in zip(moments, tokens, strict=True)]
    return moments, tokens


def _alive_at(moment: int, alive: Sequence[Alive]) -> Alive | None:
    return next((one for one in alive if one.start_ns - _SLACK_NS <= moment <= one.end_ns), None)


def _is_one(before: tuple[int, _Look], now: tuple[int, _Look], alive: Sequence[Alive]) -> bool:
    first, second = _alive_at(before[0], alive), _alive_at(now[0], alive)
    if first is not None and first == second:
        return not now[1].begins
    if any(before[0] < one.start_ns - _SLACK_NS <= now[0] for one in alive):
        return False
    is_same_user = before[1].uid is None or now[1].uid is None or before[1].uid == now[1].uid
    return is_same_user and not now[1].begins and can_be_one(before[1], now[1])


def can_be_one(before: Actor | _Look, now: Actor | _Look) -> bool:
    """Whether two records of one pid can be of one process, by how a process's ids and parent can change.

    It may have started another program (exec). It may have another user id, if it was root or this was its effective
    user id.
    """
    return _keeps_login(before, now) and _keeps_user(before, now) and _keeps_parent(before, now)


def _keeps_login(before: Actor | _Look, now: Actor | _Look) -> bool:
    return (before.auid, before.session) in ((now.auid, now.session), (None, None))


def _keeps_user(before: Actor | _Look, now: Actor | _Look) -> bool:
    if before.uid is None or now.uid is None or before.uid == now.uid:
        return True
    return 0 in (before.uid, before.euid) or now.uid == before.euid


def _keeps_parent(before: Actor | _Look, now: Actor | _Look) -> bool:
    if before.ppid is None or now.ppid is None or before.ppid == now.ppid:
        return True
    return now.ppid == _INIT and (now.session is not None or 0 == before.uid == now.uid)
