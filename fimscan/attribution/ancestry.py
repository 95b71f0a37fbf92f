"""Find the ancestors of a process from the audit records of its parents. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fimscan.attribution.processes import can_be_one
from fimscan.model import Actor, Lineage

_GENERATIONS = 16

#: (pid, moment) -> the records of that pid up to and including the moment (:attr:`fimscan.model.Actor.moment`), latest
#: first. They are of its execve or of any other call.
Lookup = Callable[[int, int], Sequence[Actor]]


def lineage(actor: Actor, known: Lookup, *, boot_ns: int = 0) -> Lineage:
    """Return the ancestors of a process, nearest first.

    A parent is reported as the program that it was when it started its child; it may have called ``exec`` since. So the
    parent is looked up at the time of the child's first record, even if the child was another program then.

    A record's ppid is right at the time of the record. Earlier records of that pid may be of another process that had
    it before. They count only if they are of this boot, and of the same login session or of none. A process without a
    session is a service, such as sshd, which lets users log in.

    Args:
        actor: the process, with the time of the record that names its parent.
        known: finds the records of a pid, see :data:`Lookup`.
        boot_ns: the last known boot before that time; 0 if none is known.
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
    """Find the first record of a process; it is the record of its start, if audit saw that."""
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
