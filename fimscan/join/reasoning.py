"""How an answer was found, short enough to be kept with it: one entry a process, kind of call and judgement. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

from fimscan.join.case import Case, Ruled
from fimscan.join.claims import Claim
from fimscan.join.coverage import SLACK_NS
from fimscan.join.index import Identity
from fimscan.model import Action, Actor, EventId, FileAccess, Reasoning, Ruling, Why

_KEPT = 200  # entries; whoever wants more has the log
_EVENTS_KEPT = 4


def reasoning(case: Case, claims: Sequence[Claim], actors: Sequence[Actor]) -> Reasoning:
    """What the claims made of everybody who had to do with the file; ``actors`` are those that the answer names."""
    judged: dict[int, Ruled] = {}
    for claim in claims:
        for item in claim.ruled:
            known = judged.get(id(item[0]))
            if known is None or (item[1].names and not known[1].names):
                judged[id(item[0])] = item
    for item in _never_asked(case, judged):
        judged[id(item[0])] = item
    groups = _grouped(judged.values(), actors)
    rulings = sorted((group.ruling(actors) for group in groups), key=_place)
    return Reasoning(
        rulings=tuple(rulings[:_KEPT]), omitted=max(len(rulings) - _KEPT, 0), last_change_ns=case.last_change_ns
    )


def _place(ruling: Ruling) -> tuple[bool, int, int, str]:
    """Those named first, then the latest first."""
    return not ruling.why.names, -(ruling.actor.time_ns or 0), ruling.actor.pid, ruling.why


def _never_asked(case: Case, judged: Container[int]) -> Iterator[Ruled]:
    """Those that no claim had to look at: for what they did, when, or to which file."""
    sides = [state for state in (case.change.before, case.change.after) if state is not None]
    identities = {state.identity for state in sides}
    start, end = case.window.after_ns - SLACK_NS, case.window.before_ns + SLACK_NS
    for access in _concerned(case):
        if id(access) in judged:
            continue
        time_ns = access.event.time_ns
        if time_ns < start:
            yield access, Why.BEFORE_WINDOW
        elif time_ns > end:
            yield access, Why.AFTER_WINDOW
        elif access.identity in identities or access.replaced in identities or access.is_directory:
            yield access, Why.NO_PART
        else:
            yield access, Why.OTHER_FILE
    for access in _refused(case, identities):
        yield access, Why.FAILED


def _concerned(case: Case) -> Iterator[FileAccess]:
    index = case.index
    for state in {s.identity: s for s in (case.change.before, case.change.after) if s is not None}.values():
        yield from index.of_file(state.identity)
    for path in {s.path for s in (case.change.before, case.change.after) if s is not None}:
        yield from index.of_path(path)
        yield from index.binds(path)
        yield from index.unbinds(path)
        yield from index.directory_binds(path, case.window)
        yield from index.directory_unbinds(path, case.window)


def _refused(case: Case, identities: Iterable[Identity]) -> Iterator[FileAccess]:
    paths = {s.path for s in (case.change.before, case.change.after) if s is not None}
    keys: list[Identity | bytes] = [*identities, *paths]
    for key in keys:
        yield from (a for a in case.index.failed(key) if case.is_inside(a))


class _Group:
    """Calls of one process, of one kind, judged alike."""

    __slots__ = ("action", "actors", "why")

    def __init__(self, action: Action | None, why: Why) -> None:
        self.action = action
        self.why = why
        self.actors: list[Actor] = []

    def ruling(self, named: Sequence[Actor]) -> Ruling:
        """The group in short."""
        if len(self.actors) > 1:
            self.actors.sort(key=_event_key)
        last = self.actors[-1]
        events = [actor.event for actor in self.actors if actor.event is not None]
        actor = last
        if self.why.names:
            same = [other for other in named if other.process == last.process]
            actor = next((other for other in same if other.event == last.event), same[0])
        return Ruling(
            actor=actor,
            action=self.action,
            why=self.why,
            count=len(self.actors),
            first_ns=self.actors[0].time_ns,
            events=tuple(dict.fromkeys(reversed(events[-_EVENTS_KEPT:]))),
        )


def _event_key(actor: Actor) -> EventId:
    return actor.event or EventId(actor.time_ns or 0, 0)


def _grouped(judged: Iterable[Ruled], actors: Sequence[Actor]) -> Iterable[_Group]:
    """By process, and by parent: two that had one pid after the other have different ones, mostly."""
    named = {actor.process for actor in actors}
    groups: dict[tuple[object, ...], _Group] = {}
    for item, why in judged:
        action, actor = (item.action, item.actor) if isinstance(item, FileAccess) else (None, item)
        process = actor.process
        # Where another side of the change, or stronger evidence, decided, this did not.
        judgement = Why.NO_PART if why.names and process not in named else why
        key = (process, actor.ppid, action, judgement)
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(action, judgement)
        group.actors.append(actor)
    return groups.values()
