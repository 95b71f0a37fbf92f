"""Who started whom: process ids, followed through what is known of them. Pure."""

from __future__ import annotations

from collections.abc import Callable

from fimscan.model import Actor, Lineage

_GENERATIONS = 16

#: What a pid was last known to be at a time (nanoseconds): by an execve, or by anything else that it did.
Lookup = Callable[[int, int], Actor | None]


def lineage(actor: Actor, last_known: Lookup, *, boot_ns: int = 0) -> Lineage:
    """The ancestors of a process, nearest first.

    A record's ppid is right at its time, but what was said of that pid before may be about an earlier process that
    had it. It counts when it is of this boot and of the same login session; or of a service, which has none, and lets
    users log in.

    Args:
        actor: the process, with the time of the record that names its parent.
        last_known: see :data:`Lookup`.
        boot_ns: the last boot before that, as far as one is known.
    """
    found: list[Actor] = []
    seen = {actor.pid}
    child = actor
    while len(found) < _GENERATIONS:
        parent = None
        if child.ppid and child.time_ns is not None and child.ppid not in seen:
            parent = last_known(child.ppid, child.time_ns)
        if parent is None or not _can_be_parent(parent, child, boot_ns):
            break
        found.append(parent)
        seen.add(parent.pid)
        child = parent
    return Lineage(actor=actor, ancestors=tuple(found), unknown=child.ppid or None)


def _can_be_parent(parent: Actor, child: Actor, boot_ns: int) -> bool:
    if parent.time_ns is None or parent.time_ns < boot_ns:
        return False
    same_login = (parent.auid, parent.session) == (child.auid, child.session)
    return same_login or (parent.auid is None and parent.session is None)
