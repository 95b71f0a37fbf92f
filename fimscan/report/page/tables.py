"""Tables of values that many rows of the page share: each value is written once, and rows have its number."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from fimscan.model import Actor, Attribution, Change, Verdict
from fimscan.report.actor_text import ActorText, actor_texts, calls_by_process, event_text
from fimscan.report.words import doubts, introduction, verdict_code

_TIME, _EVENT = Actor._fields.index("time_ns"), Actor._fields.index("event")
_MILLISECOND = 10**6

#: Audit events of one process: pairs of a time (milliseconds after the base) and a serial; or a text, as it is.
Events = list[int | str]


class Table:
    """Distinct values in the order of their first use."""

    def __init__(self) -> None:
        self._places: dict[Hashable, int] = {}

    def place(self, value: Hashable) -> int:
        """The number of a value, which is added if it is new."""
        return self._places.setdefault(value, len(self._places))

    @property
    def values(self) -> list[Hashable]:
        """All values by their numbers."""
        return list(self._places)


class Texts(Table):
    """The same for texts that take longer to make than what they depend on takes to compare."""

    def __init__(self) -> None:
        super().__init__()
        self._by_key: dict[Hashable, int] = {}

    def place_by(self, key: Hashable, make: Callable[[], Hashable]) -> int:
        """The number of the text of a key; ``make`` makes it if the key is new."""
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = self.place(make())
        return found


class Answers:
    """The texts of answers. Two changes by one process have the same ones, except for their audit events.

    ``base_ms`` is the time from which those of events are counted.
    """

    def __init__(self, base_ms: int) -> None:
        self.processes = Table()
        self.answers = Table()
        self._base_ms = base_ms
        self._known: dict[Hashable, int] = {}
        # By pattern: the number, the positions of the calls of each process, and the answer (which has the pattern).
        self._certain: dict[Hashable, tuple[int, list[list[int]], Attribution]] = {}

    def add(self, attribution: Attribution, change: Change) -> tuple[int, list[Events]]:
        """The number of an answer in the table, and the events of each process that it names."""
        actors, state = attribution.actors, change.state
        context = (attribution.verdict, change.kind, state.kind, bool(state.size))
        if not (_is_certain(attribution) and _are_in_order(actors)):
            groups = calls_by_process(actors)
            return self._place(_keys(groups, context), attribution, change), [self._events(calls) for calls in groups]
        # Nothing is said of the verdict then, and the same of the processes of all answers of a pattern.
        pattern = (id(attribution.pattern), context)
        known = self._certain.get(pattern)
        if known is None:
            groups = calls_by_process(actors)
            place = self._place(_keys(groups, context), attribution, change)
            positions = [[actors.index(actor) for actor in calls] for calls in groups]
            known = self._certain[pattern] = (place, positions, attribution)
        place, positions, _ = known
        return place, [self._events([actors[position] for position in calls]) for calls in positions]

    def _place(self, keys: tuple[Hashable, ...], attribution: Attribution, change: Change) -> int:
        answer = (
            attribution.verdict.value,
            verdict_code(attribution),
            introduction(attribution, len(keys)),
            self._processes(keys, attribution, change),
            () if _is_certain(attribution) else doubts(attribution, change),
        )
        return self.answers.place(answer)

    def process(self, text: ActorText) -> int:
        """The number of a process in the table."""
        return self.processes.place((text.process, text.acts, text.user, text.place, text.command, text.cwd))

    def _processes(self, keys: tuple[Hashable, ...], attribution: Attribution, change: Change) -> tuple[int, ...]:
        if attribution.verdict is not Verdict.CONTESTED:
            known = [self._known.get(key, -1) for key in keys]
            if -1 not in known:
                return tuple(known)
        texts = actor_texts(attribution.actors, attribution.verdict, change)
        places = tuple(map(self.process, texts))
        if attribution.verdict is not Verdict.CONTESTED:
            self._known.update(zip(keys, places, strict=True))
        return places

    def _events(self, calls: Sequence[Actor]) -> Events:
        found: Events = []
        seen = set()
        for actor in calls:
            event = actor.event
            if event is not None:
                if event not in seen:
                    seen.add(event)
                    if event.node or event.time_ns % _MILLISECOND:
                        found.append(event_text(actor) or "")
                    else:
                        found += (event.time_ns // _MILLISECOND - self._base_ms, event.serial)
            elif actor.time_ns is not None:
                found.append(event_text(actor) or "")
        return found


def _is_certain(attribution: Attribution) -> bool:
    """Whether there is nothing to say about the verdict."""
    return (
        attribution.verdict is Verdict.CONFIRMED
        and attribution.reason is None
        and not attribution.coverage.gaps
        and not attribution.notes
    )


def _are_in_order(actors: Sequence[Actor]) -> bool:
    """Whether each system call is later than the one before, as is usual: the order decides what is said first."""
    last = -1
    for actor in actors:
        time_ns = actor.time_ns
        if time_ns is None or time_ns <= last:
            return False
        last = time_ns
    return True


def _keys(groups: Sequence[Sequence[Actor]], context: Hashable) -> tuple[Hashable, ...]:
    """What the text of each process depends on, unless several wrote one after the other."""
    return tuple([(context, tuple([_without_event(actor) for actor in calls])) for calls in groups])


def _without_event(actor: Actor) -> tuple[Any, ...]:
    return actor[:_TIME] + actor[_EVENT + 1 :]
