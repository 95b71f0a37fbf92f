"""How an answer was found, short enough to be kept with it: one entry a process, kind of call and judgement. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import chain

from fimscan.join.case import Case, Ruled
from fimscan.join.claims import Claim, when
from fimscan.join.coverage import SLACK_NS
from fimscan.join.index import Identity
from fimscan.model import Action, Actor, FileAccess, Reasoning, Ruling, Why

_KEPT = 200  # entries; whoever wants more has the log
_EVENTS_KEPT = 4


def reasoning(case: Case, claims: Sequence[Claim], actors: Sequence[Actor]) -> Reasoning:
    """What the claims made of everybody who had to do with the file; ``actors`` are those that the answer names."""
    judged: dict[int, Ruled] = {}
    for claim in claims:
        for item in claim.ruled:
            known = judged.setdefault(id(item[0]), item)
            if known is not item and item[1].names and not known[1].names:
                judged[id(item[0])] = item
    for item in _never_asked(case, judged):
        judged[id(item[0])] = item
    rulings = sorted(_grouped(judged.values(), actors), key=_place)
    return Reasoning(
        rulings=tuple(rulings[:_KEPT]), omitted=max(len(rulings) - _KEPT, 0), last_change_ns=case.last_change_ns
    )


def _place(ruling: Ruling) -> tuple[bool, int, int, str]:
    """Those named first, then the latest first."""
    return not ruling.why.names, -(ruling.actor.time_ns or 0), ruling.actor.pid, ruling.why


def _never_asked(case: Case, judged: Container[int]) -> Iterator[Ruled]:
    """Those that no claim had to look at: for what they did, when, or to which file."""
    sides = [state for state in (case.change.before, case.change.after) if state is not None]
    identities, paths = {state.identity for state in sides}, {state.path for state in sides}
    start, end = case.window.after_ns - SLACK_NS, case.window.before_ns + SLACK_NS
    later = _on_later_file(case)
    for access in _concerned(case, identities, paths):
        if id(access) in judged:
            continue
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
            yield access, Why.OTHER_FILE
    keys: list[Identity | bytes] = [*identities, *paths]
    for key in keys:
        for access in case.index.failed(key):
            if case.is_inside(access):
                yield access, Why.FAILED


def _on_later_file(case: Case) -> Container[int]:
    """What was done to a file that got the inode number of the old one, which is gone."""
    before, after = case.change.before, case.change.after
    if before is None or (after is not None and after.identity == before.identity):
        return ()
    life = case.life_of(before.identity)
    return {id(access) for access in life.accesses} if life.birth is not None else ()


def _concerned(case: Case, identities: Iterable[Identity], paths: Iterable[bytes]) -> Iterator[FileAccess]:
    index, window = case.index, case.window
    of_files = [index.of_file(identity) for identity in identities]
    of_paths = [
        accesses
        for path in paths
        for accesses in (
            index.of_path(path),
            index.binds(path),
            index.unbinds(path),
            index.directory_binds(path, window),
            index.directory_unbinds(path, window),
        )
    ]
    return chain.from_iterable((*of_files, *of_paths))


def _grouped(judged: Iterable[Ruled], actors: Sequence[Actor]) -> Iterator[Ruling]:
    """By process, and by parent: two that had one pid after the other have different ones, mostly."""
    named: dict[object, list[Actor]] = {}
    for actor in actors:
        named.setdefault(actor.process, []).append(actor)
    groups: dict[tuple[Action | None, Why, object, int | None], list[Actor]] = {}
    for item, why in judged:
        action, actor = (item.action, item.actor) if isinstance(item, FileAccess) else (None, item)
        process = actor.process
        # Where another side of the change, or stronger evidence, decided, this did not.
        judgement = Why.NO_PART if process not in named and why.names else why
        group = groups.get(key := (action, judgement, process, actor.ppid))
        if group is None:
            group = groups[key] = []
        group.append(actor)
    for (action, why, whose, _), group in groups.items():
        yield _ruling(action, why, group, named.get(whose, ()))


def _ruling(action: Action | None, why: Why, calls: list[Actor], named: Sequence[Actor]) -> Ruling:
    """Calls of one process, of one kind, judged alike, in short; ``named`` are those of it that the answer names."""
    if len(calls) > 1:
        calls.sort(key=when)
    last = calls[-1]
    same = [other for other in named if other.event == last.event] or named
    latest = dict.fromkeys([call.event for call in calls[: -_EVENTS_KEPT - 1 : -1] if call.event is not None])
    return Ruling(
        actor=same[0] if why.names else last,
        action=action,
        why=why,
        count=len(calls),
        first_ns=calls[0].time_ns,
        events=tuple(latest),
    )
