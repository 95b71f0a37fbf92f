"""Summarize how an answer was found: one ruling per process, kind of call and judgement, kept with the answer. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, itemgetter

from fimscan.attribution.case import Case, Ruled
from fimscan.attribution.claims import when
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import Identity
from fimscan.model import Action, Actor, EventId, FileAccess, Reasoning, Ruling, Why

_KEPT = 200  # rulings; the audit log has the rest
_EVENTS_KEPT = 4


def reasoning(case: Case, ruled: Sequence[Ruled], actors: Sequence[Actor]) -> Reasoning:
    """Summarize the judgements of all accesses and processes that concern the file.

    ``ruled`` are the judgements of the claims, and ``actors`` are those that the answer names.
    """
    asked = {id(item[0]) for item in ruled}
    judged = ruled if len(asked) == len(ruled) else _one_judgement_each(ruled)
    rulings = sorted(_grouped((*judged, *_unjudged(case, asked)), actors), key=_place)
    return Reasoning(
        rulings=tuple(rulings[:_KEPT]), omitted=max(len(rulings) - _KEPT, 0), last_change_ns=case.last_change_ns
    )


def _one_judgement_each(judged: Iterable[Ruled]) -> list[Ruled]:
    """Keep one judgement of each access: the first that names its process, else the first that clears nobody."""
    once: dict[int, Ruled] = {}
    for item in judged:
        known = once.setdefault(id(item[0]), item)
        if _weight(item[1]) > _weight(known[1]):
            once[id(item[0])] = item
    return list(once.values())


def _weight(why: Why) -> int:
    return 2 if why.names else 0 if why.clears else 1


def _place(ruling: Ruling) -> tuple[bool, int, int, str]:
    """Sort key: rulings that name a process first, then the latest first."""
    return not ruling.why.names, -(ruling.actor.time_ns or 0), ruling.actor.pid, ruling.why


def _unjudged(case: Case, asked: Container[int]) -> Iterator[Ruled]:
    """Judge the accesses that no claim judged, each once: by their kind, their time or their file."""
    sides = [state for state in (case.change.before, case.change.after) if state is not None]
    identities, paths = {state.identity for state in sides}, {state.path for state in sides}
    start, end = case.window.after_ns - SLACK_NS, case.window.before_ns + SLACK_NS
    concerned = {id(access): access for access in _concerned(case, identities, paths) if id(access) not in asked}
    later = _on_later_file(case) if concerned else ()
    for access in concerned.values():
        time_ns = access.event.time_ns
        if time_ns < start:
            yield access, Why.BEFORE_WINDOW
        elif time_ns > end:
            yield access, Why.AFTER_WINDOW
        elif id(access) in later:
            yield access, Why.LATER_FILE
        elif access.identity in identities or access.replaced in identities or access.is_directory:
            yield access, Why.NO_PART
        else:
            yield access, Why.NOT_MATCHED if access.event in case.evidence.doubtful else Why.OTHER_FILE
    if case.index.has_failed:
        keys: list[Identity | bytes] = [*identities, *paths]
        refused = {id(access): access for key in keys for access in case.index.failed(key)}
        for access in refused.values():
            if case.is_inside(access):
                yield access, Why.FAILED


def _on_later_file(case: Case) -> Container[int]:
    """The ids of accesses to a later file that got the inode number of the old one."""
    before = case.change.before
    if before is None or case.is_same_file:
        return ()
    life = case.life_of(before.identity)
    return {id(access) for access in life.accesses} if life.birth is not None else ()


def _concerned(case: Case, identities: Iterable[Identity], paths: Iterable[bytes]) -> Iterator[FileAccess]:
    """Yield all accesses to these files and paths, and to directories above the paths; some more than once."""
    index, window = case.index, case.window
    found = [index.of_file(identity) for identity in identities]
    for path in paths:
        by_name = index.of_path(path)
        if by_name not in found:  # usually equal: all accesses to the file used this name
            found.append(by_name)
        found += (index.binds(path), index.unbinds(path))
        found += (index.directory_binds(path, window), index.directory_unbinds(path, window))
    return chain.from_iterable(found)


#: Fields of an actor: what distinguishes its process (as in ``Actor.process``), then its parent.
_CALLER = itemgetter(*map(Actor._fields.index, ("pid", "auid", "session", "exe", "since_ns", "ppid")))
_EVENT = attrgetter("event")
_DELETED = b" (deleted)"
_Caller = tuple[int, int | None, int | None, bytes | None, int | None, int | None]
_Calls = list[Actor]
_Groups = dict[tuple[Action | None, Why, _Caller], _Calls]


def _by_judgement(judged: Iterable[Ruled]) -> _Groups:
    groups: _Groups = {}
    for item, why in judged:
        action, actor = (item.action, item.actor) if isinstance(item, FileAccess) else (None, item)
        key = action, why, _CALLER(actor)
        calls = groups.get(key)
        if calls is None:
            groups[key] = [actor]
        else:
            calls.append(actor)
    return groups


def _by_process(groups: _Groups, named: Container[object]) -> _Groups:
    """Group by process; change the judgements that would name a process which the answer does not name.

    Another side of the change, or stronger evidence, decided instead.
    """
    final: _Groups = {}
    for (action, why, caller), calls in groups.items():
        exe, judgement, whose = caller[3], why, caller
        if exe is not None and exe.endswith(_DELETED):
            whose = *caller[:3], exe.removesuffix(_DELETED), *caller[4:]
        if why.names and whose[:-1] not in named:
            judgement = Why.EARLIER_PART if why.is_earlier else Why.NO_PART
        process = action, judgement, whose
        known = final.get(process)
        if known is None:
            final[process] = calls
        else:
            known += calls
    return final


def _grouped(judged: Iterable[Ruled], actors: Sequence[Actor]) -> Iterator[Ruling]:
    """Group judgements by call, judgement and process, and by parent, which usually differs if a pid was reused."""
    named: dict[object, list[Actor]] = {}
    for actor in actors:
        named.setdefault(actor.process, []).append(actor)
    for (action, why, caller), calls in _by_process(_by_judgement(judged), named).items():
        if len(calls) > 1:
            calls.sort(key=when if action is None else _EVENT)  # only a holder can lack an event
            events = _latest_events(calls)
        else:
            events = () if calls[0].event is None else (calls[0].event,)
        last = calls[-1]
        if why.names:
            answering = named[caller[:-1]]
            same = [a for a in answering if a.event == last.event] if len(answering) > 1 else answering
            last = (same or answering)[0]
        yield Ruling(last, action, why, len(calls), calls[0].time_ns, events)


def _latest_events(calls: _Calls) -> tuple[EventId, ...]:
    """The last events, newest first, each once: one call can have been judged under two names."""
    return tuple(dict.fromkeys([call.event for call in calls[: -_EVENTS_KEPT - 1 : -1] if call.event is not None]))
