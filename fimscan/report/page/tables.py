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
        self._certain: dict[Hashable, int] = {}

    def add(self, attribution: Attribution, change: Change) -> tuple[int, list[Events]]:
        """The number of an answer in the table, and the events of each process that it names."""
        groups = calls_by_process(attribution.actors) if attribution.actors else []
        state = change.state
        context = (attribution.verdict, change.kind, state.kind, bool(state.size))
        # What a process is said to have done depends on these alone, unless several wrote one after the other.
        keys = tuple([(context, tuple([_without_event(actor) for actor in calls])) for calls in groups])
        if _is_certain(attribution):  # then nothing else is said
            place = self._certain.get(keys)
            if place is None:
                place = self._certain[keys] = self._place(keys, attribution, change)
        else:
            place = self._place(keys, attribution, change)
        return place, [self._events(calls) for calls in groups]

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


def _without_event(actor: Actor) -> tuple[Any, ...]:
    return actor[:_TIME] + actor[_EVENT + 1 :]
