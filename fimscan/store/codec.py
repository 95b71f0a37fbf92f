r"""Convert values to JSON text and back, for the columns that the store never searches by.

Bytes become text with surrogate escapes, which JSON writes as ``\udcXX``: every byte string survives the round trip.
Absent and default values are left out, so rows stay small and old rows stay readable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from msgspec.structs import replace

from fimscan.model import (
    Action,
    Actor,
    AnswerPattern,
    Attribution,
    AuditObservation,
    AuditRule,
    Coverage,
    Crash,
    Doubt,
    EventId,
    ExeOrigin,
    Gap,
    GapReason,
    Holders,
    InEffect,
    Login,
    LoginOrigin,
    LoginSource,
    ProcessView,
    Reason,
    Reasoning,
    Rights,
    Role,
    Ruling,
    Runner,
    RunsAs,
    RunsVersion,
    Unseen,
    Verdict,
    Why,
)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode("utf-8", "surrogateescape")


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _sparse(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None and value != []}


def _event(event: EventId | None) -> list[object] | None:
    return None if event is None else [event.time_ns, event.serial, event.node]


def _actor(actor: Actor) -> dict[str, object]:
    return _sparse(
        pid=actor.pid,
        ppid=actor.ppid,
        exe=_text(actor.exe),
        comm=_text(actor.comm),
        cmdline=None if actor.cmdline is None else {"argv": [_text(word) for word in actor.cmdline]},
        cwd=_text(actor.cwd),
        auid=actor.auid,
        login_user=actor.login_user,
        uid=actor.uid,
        user=actor.user,
        euid=actor.euid,
        session=actor.session,
        tty=actor.tty,
        syscall=actor.syscall,
        flags=list(actor.flags),
        time_ns=actor.time_ns,
        event=_event(actor.event),
        key=actor.key,
        role=actor.role,
        earlier=actor.earlier or None,
        since_ns=actor.since_ns,
        login=_login_origin(actor.login),
        view=_view(actor.view),
    )


def _load_actor(data: dict[str, Any]) -> Actor:
    words = data.get("cmdline")
    return Actor(
        **{
            **data,
            "exe": _bytes(data.get("exe")),
            "comm": _bytes(data.get("comm")),
            "cwd": _bytes(data.get("cwd")),
            "cmdline": None if words is None else tuple(_bytes(word) or b"" for word in words["argv"]),
            "flags": tuple(data.get("flags", ())),
            "event": EventId(*data["event"]) if "event" in data else None,
            "role": Role(data["role"]) if "role" in data else None,
            "login": _load_login_origin(data["login"]) if "login" in data else None,
            "view": _load_view(data["view"]) if "view" in data else None,
        }
    )


def _login_origin(login: LoginOrigin | None) -> list[object] | None:
    return None if login is None else [*login[:4], _text(login.exe), login.claimed, _event(login.event)]


def _load_login_origin(row: list[Any]) -> LoginOrigin:
    source, uid, user, pid, exe, claimed, event = row
    return LoginOrigin(
        LoginSource(source), uid, user, pid, _bytes(exe), claimed, None if event is None else EventId(*event)
    )


def _view(view: ProcessView | None) -> dict[str, object] | None:
    if view is None:
        return None
    return _sparse(
        origin=None if view.exe_origin is ExeOrigin.UNKNOWN else view.exe_origin,
        exe=view.exe_id,
        container=view.container,
        tracer=view.tracer,
        preload=_text(view.preload),
        seen_ns=view.seen_ns or None,
    )


def _load_view(data: dict[str, Any]) -> ProcessView:
    exe_id = data.get("exe")
    return ProcessView(
        exe_origin=ExeOrigin(data.get("origin", ExeOrigin.UNKNOWN)),
        exe_id=None if exe_id is None else (exe_id[0], exe_id[1]),
        container=data.get("container"),
        tracer=data.get("tracer"),
        preload=_bytes(data.get("preload")),
        seen_ns=data.get("seen_ns", 0),
    )


def dump_login(login: Login) -> str:
    """A login -> JSON text (its session is a column)."""
    return _dump([_event(login.event), *login[1:8], _text(login.exe), _text(login.record)])


def load_login(text: str) -> Login:
    """The inverse of :func:`dump_login`."""
    event, pid, uid, user, old_auid, auid, name, session, exe, record = json.loads(text)
    return Login(EventId(*event), pid, uid, user, old_auid, auid, name, session, _bytes(exe), _bytes(record) or b"")


def dump_crash(crash: Crash) -> str:
    """A crash -> JSON text."""
    return _dump([_event(crash.event), _actor(crash.actor), crash.signal, _text(crash.record)])


def load_crash(text: str) -> Crash:
    """The inverse of :func:`dump_crash`."""
    event, actor, signal, record = json.loads(text)
    return Crash(EventId(*event), _load_actor(actor), signal, _bytes(record) or b"")


def dump_actors(actors: Iterable[Actor]) -> str:
    """Actors -> JSON text."""
    return _dump([_actor(actor) for actor in actors])


def load_actors(text: str) -> tuple[Actor, ...]:
    """The inverse of :func:`dump_actors`."""
    return tuple(_load_actor(item) for item in json.loads(text))


def dump_in_effect(found: InEffect) -> str:
    """The processes that run a changed file -> JSON text."""
    counts = [found.as_of_ns, found.old, found.new, found.unclear, found.unseen]
    return _dump([counts, *map(_runner, found.runners)])


def load_in_effect(text: str | None) -> InEffect | None:
    """The inverse of :func:`dump_in_effect`; ``None`` stays ``None``."""
    if text is None:
        return None
    (as_of_ns, old, new, unclear, unseen), *runners = json.loads(text)
    return InEffect(
        as_of_ns=as_of_ns,
        old=old,
        new=new,
        unclear=unclear,
        unseen=unseen,
        runners=tuple(_load_runner(*row) for row in runners),
    )


def _runner(one: Runner) -> list[object]:
    return [*one[:2], one.version, one.how, _text(one.exe), one.uid, one.container, _text(one.unit)]


def _load_runner(  # the columns of one process
    pid: int, start_ns: int, version: str, how: str, exe: str | None, *rest: Any
) -> Runner:
    uid, container, unit = rest
    return Runner(pid, start_ns, RunsVersion(version), RunsAs(how), _bytes(exe), uid, container, _bytes(unit))


def dump_attribution(attribution: Attribution) -> str:
    """An attribution -> JSON text."""
    return _dump(
        _sparse(
            verdict=attribution.verdict,
            reason=attribution.reason,
            actors=[_actor(actor) for actor in attribution.actors],
            complete=attribution.coverage.complete,
            gaps=[_gap(gap) for gap in attribution.coverage.gaps],
            notes=list(attribution.notes),
            reasoning=_reasoning(attribution),
        )
    )


# As _actor writes it. Quotation marks in JSON strings are escaped, so no string has a part that looks like this.
_COMMAND_LINE = re.compile(r',"cmdline":\{"argv":\[(?:"(?:[^"\\]|\\.)*",?)*\]\}')


def without_command_lines(text: str) -> str:
    """JSON text of actors or of an attribution without the command lines, which may have passwords."""
    return _COMMAND_LINE.sub("", text) if '"cmdline":' in text else text


def programs_in(text: str) -> frozenset[bytes]:
    """The programs of the processes that an attribution names, without the mark of removed ones."""
    actors = json.loads(text).get("actors", ())
    return frozenset((_bytes(one["exe"]) or b"").removesuffix(b" (deleted)") for one in actors if one.get("exe"))


def _gap(gap: Gap) -> list[object]:
    row: list[object] = [gap.start_ns, gap.end_ns, gap.reason, gap.lost]
    return row if gap.actor is None else [*row, _actor(gap.actor)]


def _load_gap(start_ns: int, end_ns: int, reason: str, lost: int | None, *actor: dict[str, Any]) -> Gap:
    return Gap(
        start_ns=start_ns,
        end_ns=end_ns,
        reason=_GAP_REASONS[reason],
        lost=lost,
        actor=_load_actor(actor[0]) if actor else None,
    )


def _reasoning(attribution: Attribution) -> list[object] | None:
    """[time of the last change by ctime, number of omitted rulings, rulings]; ``None`` for an answer without."""
    kept = attribution.reasoning
    if kept is None:
        return None
    places = {actor: place for place, actor in enumerate(attribution.actors)}
    return [kept.last_change_ns, kept.omitted, [_ruling(ruling, places) for ruling in kept.rulings]]


def _ruling(ruling: Ruling, places: Mapping[Actor, int]) -> list[object]:
    """[actor, action, why, count, first time, events]; defaults are left out.

    A named actor is given by its position in the answer.
    """
    actor = ruling.actor
    usual = () if actor.event is None else (actor.event,)
    place = places.get(actor)
    row: list[object] = [_actor(actor) if place is None else place, ruling.action, ruling.why]
    rest: list[object] = [ruling.calls, ruling.first_ns, [_event(event) for event in ruling.events]]
    return row if (ruling.calls, ruling.first_ns, ruling.events) == (1, actor.time_ns, usual) else row + rest


def _load_reasoning(data: list[Any], actors: Sequence[Actor]) -> Reasoning:
    last_change_ns, omitted, rulings = data
    return Reasoning(
        rulings=tuple(_load_ruling(row, actors) for row in rulings), omitted=omitted, last_change_ns=last_change_ns
    )


def _load_ruling(row: list[Any], actors: Sequence[Actor]) -> Ruling:
    who, action, why, *rest = row
    actor = actors[who] if isinstance(who, int) else _load_actor(who)
    usual = () if actor.event is None else (actor.event,)
    calls, first_ns = rest[:2] if rest else (1, actor.time_ns)
    return Ruling(
        actor=actor,
        action=None if action is None else Action(action),
        why=Why(why),
        calls=calls,
        first_ns=first_ns,
        events=tuple(EventId(*event) for event in rest[2]) if rest else usual,
    )


def load_attribution(text: str) -> Attribution:
    """The inverse of :func:`dump_attribution`."""
    data = json.loads(text)
    gaps = tuple(_load_gap(*values) for values in data.get("gaps", ()))
    actors = tuple(_load_actor(item) for item in data.get("actors", ()))
    return Attribution(
        verdict=Verdict(data["verdict"]),
        reason=Reason(data["reason"]) if "reason" in data else None,
        actors=actors,
        coverage=Coverage(complete=data["complete"], gaps=gaps),
        notes=tuple(data.get("notes", ())),
        reasoning=_load_reasoning(data["reasoning"], actors) if "reasoning" in data else None,
    )


#: What differs between the system calls of one process: the time and the event.
_MOMENT = re.compile(r'"time_ns":(\d+),"event":\[(\d+),(\d+),')
# The parts of an attribution, in this order after its actors; any may be missing.
_GAPS, _NOTES, _REASONING = ',"gaps":', ',"notes":', ',"reasoning":['
_MOST_SHAPES = 5000
_GAP_REASONS = {reason.value: reason for reason in GapReason}
_TIME, _EVENT = Actor._fields.index("time_ns"), Actor._fields.index("event")
_AFTER_EVENT = _EVENT + 1
_new: Any = tuple.__new__


class _Call(NamedTuple):
    """An actor without its time and event: the fields before and after these two, and the node of the event."""

    head: tuple[Any, ...]
    node: str
    tail: tuple[Any, ...]


class _Shape(NamedTuple):
    """An attribution without its numbers. A ruling has the position of its call; the named actors come first."""

    answer: AnswerPattern
    calls: tuple[_Call, ...]
    named: int
    rulings: tuple[tuple[int, Action | None, Why], ...]
    omitted: int


class _OfPattern(Attribution):
    """An answer with the pattern of another one. An altered copy is its own pattern."""

    @cached_property
    def pattern(self) -> Attribution:
        return self


class AttributionReader:
    """Loads many attributions, of which most differ only in times and events: the rest is parsed once, and shared.

    The text without these numbers is the key. Quotation marks in JSON strings are escaped, so no name has a part that
    looks like ``"time_ns":``.

    Without ``with_reasoning``, no answer has its reasoning: most of a report needs none.
    """

    def __init__(self, *, with_reasoning: bool = True) -> None:
        self._with_reasoning = with_reasoning
        self._shapes: dict[object, _Shape | None] = {}
        self._gaps: dict[str, tuple[Gap, ...]] = {}
        self._actors: dict[Actor, Actor] = {}

    def load(self, text: str) -> Attribution:
        """The inverse of :func:`dump_attribution`."""
        head, _, reasoning = text.partition(_REASONING)
        last_change, _, rulings = reasoning.partition(",")
        head, _, notes = head.partition(_NOTES)
        head, _, gaps = head.partition(_GAPS)
        moments = _MOMENT.split(head)
        key: object = notes, *moments[::4]
        if self._with_reasoning:
            back = _MOMENT.split(rulings)
            key = key, *back[::4]
            moments += back[1:]
        shape = self._shapes.get(key)
        if shape is not None:
            coverage = shape.answer.coverage
            if gaps or coverage.gaps:
                coverage = Coverage(coverage.complete, self._gaps_of(gaps) if gaps else ())
            return _filled(shape, coverage, moments, None if last_change == "null" else int(last_change or 0))
        found = load_attribution(text)
        if not self._with_reasoning:
            found = found._replace(reasoning=None)
        if key not in self._shapes and len(self._shapes) < _MOST_SHAPES:
            shape = _shape(found)
            fits = shape is not None and len(shape.calls) == len(moments) // 4
            self._shapes[key] = shape if fits else None
            if shape is not None and fits:
                return _of_pattern(found, shape.answer)
        return found

    def _gaps_of(self, text: str) -> tuple[Gap, ...]:
        """The gaps of an answer. Each change has its own, cut to its window: often only the first numbers differ."""
        start, _, behind = text.removeprefix("[[").partition(",")
        end, _, rest = behind.partition(",")
        known = self._gaps.get(rest)
        if known is None:
            # Where the gaps are the last part, the bracket of the whole text is behind them.
            known = tuple([self._shared(_load_gap(*values)) for values in json.loads(text.removesuffix("}"))])
            if len(self._gaps) < _MOST_SHAPES:
                self._gaps[rest] = known
        first = known[0]
        start_ns, end_ns = int(start), int(end)
        if (start_ns, end_ns) == (first.start_ns, first.end_ns):
            return known
        cut = Gap(start_ns=start_ns, end_ns=end_ns, reason=first.reason, lost=first.lost, actor=first.actor)
        return (cut, *known[1:])

    def _shared(self, gap: Gap) -> Gap:
        """The gap with a process that others share: who removed the rules is the same for every file."""
        if gap.actor is None or len(self._actors) >= _MOST_SHAPES:
            return gap
        return replace(gap, actor=self._actors.setdefault(gap.actor, gap.actor))


def _shape(answer: Attribution) -> _Shape | None:
    """What an attribution has in common with others; ``None`` if it has numbers of other kinds."""
    reasoning = answer.reasoning or Reasoning()
    actors = list(answer.actors)
    rulings = []
    for actor, action, why, *rest in reasoning.rulings:
        if tuple(rest) != (1, actor.time_ns, (actor.event,)):
            return None
        place = next((place for place, named in enumerate(answer.actors) if named is actor), len(actors))
        if place == len(actors):
            actors.append(actor)
        rulings.append((place, action, why))
    if any(actor.event is None for actor in actors):
        return None
    calls = [_Call(actor[:_TIME], event.node, actor[_AFTER_EVENT:]) for actor in actors if (event := actor.event)]
    pattern = AnswerPattern(*answer)
    return _Shape(pattern, tuple(calls), len(answer.actors), tuple(rulings), reasoning.omitted)


def _of_pattern(values: tuple[Any, ...], pattern: AnswerPattern) -> Attribution:
    found: _OfPattern = _new(_OfPattern, values)
    found.pattern = pattern
    return found


def _filled(shape: _Shape, coverage: Coverage, moments: Sequence[str], last_change_ns: int | None) -> Attribution:
    # The classes' own constructors take three times as long.
    calls: list[Actor] = [
        _new(Actor, (*head, time_ns, _new(EventId, (event_ns, serial, node)), *tail))
        for (head, node, tail), time_ns, event_ns, serial in zip(
            shape.calls,
            map(int, moments[1::4]),
            map(int, moments[2::4]),
            map(int, moments[3::4]),
            strict=True,
        )
    ]
    verdict, reason, _, _, notes, reasoning = shape.answer
    if reasoning is not None:
        rulings = [
            _new(Ruling, (actor, action, why, 1, actor[_TIME], (actor[_EVENT],)))
            for place, action, why in shape.rulings
            for actor in (calls[place],)
        ]
        reasoning = Reasoning(tuple(rulings), shape.omitted, last_change_ns)
    named = tuple(calls[: shape.named])
    return _of_pattern((verdict, reason, named, coverage, notes, reasoning), shape.answer)


def dump_holders(holders: Holders | None) -> str | None:
    """Holders -> JSON text; ``None`` stays ``None``."""
    if holders is None:
        return None
    row: list[object] = [holders.as_of_ns, holders.complete, [_actor(actor) for actor in holders.actors]]
    has_doubts = bool(holders.doubts or holders.earlier_doubts)
    has_earlier = bool(holders.earlier_ns or holders.earlier or has_doubts)
    if holders.later_ns or has_earlier:
        row.append([holders.later_ns, [_actor(actor) for actor in holders.later]])
    if has_earlier:
        row.append([holders.earlier_ns, [_actor(actor) for actor in holders.earlier]])
    if has_doubts:
        row.append([_doubts(holders.doubts), _doubts(holders.earlier_doubts)])
    return _dump(row)


def _doubts(doubts: Iterable[Doubt]) -> list[object]:
    return [[doubt.why.value, doubt.actor and _actor(doubt.actor)] for doubt in doubts]


@lru_cache(maxsize=256)  # most files of a scan have the same: none
def load_holders(text: str | None) -> Holders | None:
    """The inverse of :func:`dump_holders`."""
    if text is None:
        return None
    as_of_ns, complete, actors, *more = json.loads(text)
    later_ns, later = more[0] if more else (0, ())
    earlier_ns, earlier = more[1] if len(more) > 1 else (0, ())
    doubts, earlier_doubts = more[2] if len(more) > 2 else ((), ())
    return Holders(
        as_of_ns=as_of_ns,
        complete=complete,
        actors=tuple(_load_actor(item) for item in actors),
        later_ns=later_ns,
        later=tuple(_load_actor(item) for item in later),
        earlier_ns=earlier_ns,
        earlier=tuple(_load_actor(item) for item in earlier),
        doubts=_load_doubts(doubts),
        earlier_doubts=_load_doubts(earlier_doubts),
    )


def _load_doubts(items: Iterable[Sequence[Any]]) -> tuple[Doubt, ...]:
    return tuple(Doubt(Unseen(why), actor and _load_actor(actor)) for why, actor in items)


def dump_doubts(doubts: Iterable[Doubt]) -> str:
    """Doubts -> JSON text, with the rights of their processes."""
    return _dump([[doubt.why.value, doubt.actor and _actor(doubt.actor), doubt.rights] for doubt in doubts])


def load_doubts(text: str) -> tuple[Doubt, ...]:
    """The inverse of :func:`dump_doubts`."""
    return tuple(
        Doubt(Unseen(why), actor and _load_actor(actor), rights and _load_rights(*rights))
        for why, actor, rights in json.loads(text)
    )


def _load_rights(uids: list[int], gids: list[int] | None, any_file: bool, owned: list[list[int]]) -> Rights:  # noqa: FBT001
    ranges = tuple((first, count) for first, count in owned)
    return Rights(uids=tuple(uids), gids=None if gids is None else tuple(gids), any_file=any_file, owned=ranges)


def dump_observation(observation: AuditObservation) -> str:
    """An observation -> JSON text (its time is a column)."""
    return _dump(
        _sparse(
            boot_id=observation.boot_id,
            boottime_ns=observation.boottime_ns,
            enabled=observation.enabled,
            daemon_pid=observation.daemon_pid,
            lost=observation.lost,
            backlog=observation.backlog,
            backlog_limit=observation.backlog_limit,
            rules=[_rule(rule) for rule in observation.rules],
            suppressed=list(observation.suppressed),
            guards=None if observation.guards is None else {"wanted": list(observation.guards)},
            uring=None if observation.uring is None else {"directories": [_text(path) for path in observation.uring]},
            holes=list(observation.holes),
            error=observation.error,
        )
    )


def _rule(rule: AuditRule) -> Sequence[object]:
    return [
        _text(rule.scope),
        rule.recursive,
        sorted(rule.arches),
        rule.writes,
        rule.attributes,
        rule.key,
        rule.text,
        None if rule.target is None else list(rule.target),
        rule.since_ns,
        rule.stale,
        sorted(rule.guards),
    ]


def load_observation(time_ns: int, text: str) -> AuditObservation:
    """The inverse of :func:`dump_observation`."""
    data = json.loads(text)
    rules = tuple(_load_rule(*values) for values in data.pop("rules", ()))
    suppressed = tuple(data.pop("suppressed", ()))
    guards, uring = data.pop("guards", None), data.pop("uring", None)
    return AuditObservation(
        time_ns=time_ns,
        rules=rules,
        suppressed=suppressed,
        guards=None if guards is None else tuple(guards["wanted"]),
        uring=None if uring is None else tuple(_bytes(path) or b"" for path in uring["directories"]),
        holes=tuple(map(GapReason, data.pop("holes", ()))),
        **data,
    )


def _load_rule(  # noqa: PLR0913, PLR0917  # in the order of _rule
    scope: str,
    recursive: bool,  # noqa: FBT001
    arches: list[str],
    writes: bool,  # noqa: FBT001
    attributes: bool,  # noqa: FBT001
    key: str | None,
    text: str,
    target: list[int] | None = None,
    since_ns: int = 0,
    stale: bool = False,  # noqa: FBT001, FBT002
    guards: Sequence[str] = (),
) -> AuditRule:
    return AuditRule(
        scope=_bytes(scope) or b"",
        recursive=recursive,
        arches=frozenset(arches),
        writes=writes,
        attributes=attributes,
        key=key,
        text=text,
        target=None if target is None else (target[0], target[1]),
        since_ns=since_ns,
        stale=stale,
        guards=frozenset(guards),
    )
