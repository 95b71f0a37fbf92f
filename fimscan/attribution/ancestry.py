"""Who started whom: process ids, followed through what is known of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fimscan.attribution.processes import can_be_one
from fimscan.model import Actor, Lineage

_GENERATIONS = 16

#: What a pid was up to and with a moment (:attr:`fimscan.model.Actor.moment`), latest first: by an execve, or by
#: anything else that it did.
Lookup = Callable[[int, int], Sequence[Actor]]


def lineage(actor: Actor, known: Lookup, *, boot_ns: int = 0) -> Lineage:
    """The ancestors of a process, nearest first.

    A parent is what it was when it started its child: it can have become another program since (``exec``). So it is
    looked for at the time of the child's first record, also where the child was another program then.

    A record's ppid is right at its time, but what was said of that pid before may be about an earlier process that
    had it. It counts when it is of this boot and of the same login session; or of a service, which has none, and lets
    users log in.

    Args:
        actor: the process, with the time of the record that names its parent.
        known: see :data:`Lookup`.
        boot_ns: the last boot before that, as far as one is known.
    """
    found: list[Actor] = []
    seen = {actor.pid}
    child = _first(actor, known, boot_ns)
    while len(found) < _GENERATIONS:
        parent = None
        if child.ppid and child.time_ns is not None and child.ppid not in seen:
            parent = next(iter(known(child.ppid, child.moment)), None)
        if parent is None or not _can_be_parent(parent, child, boot_ns):
            break
        found.append(parent)
        seen.add(parent.pid)
        child = _first(parent, known, boot_ns)
    return Lineage(actor=actor, ancestors=tuple(found), unknown=child.ppid or None)


def _first(actor: Actor, known: Lookup, boot_ns: int) -> Actor:
    """The first record of a process: of its start, as far as that was seen."""
    first = actor
    if actor.time_ns is None:
        return first
    for earlier in known(actor.pid, actor.moment):
        if (earlier.time_ns or 0) < boot_ns or not can_be_one(earlier, first):
            break
        first = earlier
    return first


def _can_be_parent(parent: Actor, child: Actor, boot_ns: int) -> bool:
    if parent.time_ns is None or parent.time_ns < boot_ns:
        return False
    same_login = (parent.auid, parent.session) == (child.auid, child.session)
    return same_login or (parent.auid is None and parent.session is None)
