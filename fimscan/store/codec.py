r"""Values <-> the JSON text in which the store keeps what it never searches by.

Bytes travel as text with surrogate escapes, which JSON writes as ``\udcXX``: every byte string survives the round
trip. Absent and default values are left out, so that rows stay small and old rows stay readable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from fimscan.model import (
    Actor,
    Attribution,
    AuditObservation,
    AuditRule,
    Coverage,
    EventId,
    Gap,
    GapReason,
    Holders,
    Reason,
    Role,
    Verdict,
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
        }
    )


def dump_actors(actors: Iterable[Actor]) -> str:
    """Actors -> JSON text."""
    return _dump([_actor(actor) for actor in actors])


def load_actors(text: str) -> tuple[Actor, ...]:
    """The inverse of :func:`dump_actors`."""
    return tuple(_load_actor(item) for item in json.loads(text))


def dump_attribution(attribution: Attribution) -> str:
    """An attribution -> JSON text."""
    return _dump(
        _sparse(
            verdict=attribution.verdict,
            reason=attribution.reason,
            actors=[_actor(actor) for actor in attribution.actors],
            complete=attribution.coverage.complete,
            gaps=[[g.start_ns, g.end_ns, g.reason, g.lost] for g in attribution.coverage.gaps],
            notes=list(attribution.notes),
        )
    )


def load_attribution(text: str) -> Attribution:
    """The inverse of :func:`dump_attribution`."""
    data = json.loads(text)
    gaps = tuple(
        Gap(start_ns=start, end_ns=end, reason=GapReason(reason), lost=lost)
        for start, end, reason, lost in data.get("gaps", ())
    )
    return Attribution(
        verdict=Verdict(data["verdict"]),
        reason=Reason(data["reason"]) if "reason" in data else None,
        actors=tuple(_load_actor(item) for item in data.get("actors", ())),
        coverage=Coverage(complete=data["complete"], gaps=gaps),
        notes=tuple(data.get("notes", ())),
    )


def dump_holders(holders: Holders | None) -> str | None:
    """Holders -> JSON text; ``None`` stays ``None``."""
    if holders is None:
        return None
    return _dump([holders.as_of_ns, holders.complete, [_actor(actor) for actor in holders.actors]])


def load_holders(text: str | None) -> Holders | None:
    """The inverse of :func:`dump_holders`."""
    if text is None:
        return None
    as_of_ns, complete, actors = json.loads(text)
    return Holders(as_of_ns=as_of_ns, complete=complete, actors=tuple(_load_actor(item) for item in actors))


def dump_observation(observation: AuditObservation) -> str:
    """An observation -> JSON text (its time is a column)."""
    return _dump(
        _sparse(
            boot_id=observation.boot_id,
            enabled=observation.enabled,
            daemon_pid=observation.daemon_pid,
            lost=observation.lost,
            backlog=observation.backlog,
            backlog_limit=observation.backlog_limit,
            rules=[_rule(rule) for rule in observation.rules],
            suppressed=list(observation.suppressed),
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
    ]


def load_observation(time_ns: int, text: str) -> AuditObservation:
    """The inverse of :func:`dump_observation`."""
    data = json.loads(text)
    rules = tuple(
        AuditRule(
            scope=_bytes(scope) or b"",
            recursive=recursive,
            arches=frozenset(arches),
            writes=writes,
            attributes=attributes,
            key=key,
            text=rule_text,
        )
        for scope, recursive, arches, writes, attributes, key, rule_text in data.pop("rules", ())
    )
    suppressed = tuple(data.pop("suppressed", ()))
    return AuditObservation(time_ns=time_ns, rules=rules, suppressed=suppressed, **data)
