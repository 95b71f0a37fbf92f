"""Claims: what the accesses show about one side of a change. Pure.

A :class:`Claim` assumes that audit saw everything. :mod:`fimscan.attribution.attribute` then takes the gaps into
account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fimscan.attribution.case import Ruled
from fimscan.attribution.index import in_order
from fimscan.model import Actor, EventId, FileAccess, Reason, Role, Verdict, Why


class Claim(NamedTuple):
    """An answer for one side of a change, with the judgement of every access and process that was considered."""

    verdict: Verdict
    reason: Reason | None = None
    actors: tuple[Actor, ...] = ()
    notes: tuple[str, ...] = ()
    ruled: tuple[Ruled, ...] = ()

    @property
    def names_nobody(self) -> bool:
        """Whether it has no actor."""
        return self.verdict is Verdict.UNATTRIBUTED


NOBODY = Claim(verdict=Verdict.UNATTRIBUTED)
#: No audit rule for files can see such a change. That no access was recorded is no alarm, and clears nobody.
UNSEEN = Claim(verdict=Verdict.UNATTRIBUTED, reason=Reason.NOT_COVERED)


def nobody(ruled: Iterable[Ruled]) -> Claim:
    """A claim without an actor, with the judgements that led to it."""
    return NOBODY._replace(ruled=tuple(ruled))


def as_actor(access: FileAccess, role: Role) -> Actor:
    """The process of an access, with a role."""
    return with_role(access.actor, role)


def with_role(actor: Actor, role: Role) -> Actor:
    """The same actor with a role. ``_replace()`` takes three times as long, and every answer needs it."""
    return tuple.__new__(Actor, actor[:_ROLE] + (role,) + actor[_ROLE + 1 :])  # noqa: RUF005 -- faster than unpacking


_ROLE = Actor._fields.index("role")


def named(accesses: Iterable[FileAccess | Actor], why: Why) -> list[Ruled]:
    """Give all of these the same judgement."""
    return [(access, why) for access in accesses]


def latest(accesses: Iterable[FileAccess]) -> FileAccess | None:
    """The last one in the order of events."""
    return max(accesses, key=in_order, default=None)


def one_each(actors: Iterable[Actor]) -> list[Actor]:
    """Keep the latest call of each process, latest first."""
    last: dict[object, Actor] = {}
    for actor in actors:
        process = actor.process
        known = last.get(process)
        if known is None or when(actor) > when(known):
            last[process] = actor
    if len(last) < 2:  # the usual case
        return [*last.values()]
    return sorted(last.values(), key=when, reverse=True)


def when(actor: Actor) -> tuple[EventId, int]:
    """Sort key of actors. Calls of the same time are sorted by serial, so the order of the input never matters."""
    return actor.event or EventId(actor.time_ns or 0, 0), actor.pid


def decide(recent: Sequence[Actor], held: Sequence[Actor]) -> Claim:
    """Decide between processes that opened the file in the window and those that held it open before.

    Confirmed: exactly one in the window and no other holder. Likely: exactly one holder. Contested: several.
    """
    writers = one_each(recent)
    others = []
    if held:
        known = {writer.process for writer in writers}
        others = [actor for actor in one_each(held) if actor.process not in known]
    if len(writers) == 1 and not others:
        return Claim(verdict=Verdict.CONFIRMED, actors=tuple(writers))
    if not writers and len(others) == 1:
        return Claim(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, actors=tuple(others))
    if not writers and not others:
        return NOBODY
    return Claim(verdict=Verdict.CONTESTED, actors=(*writers, *others))
