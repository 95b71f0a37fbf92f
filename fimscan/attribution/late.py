"""Add the calls that began before the window and may have acted within it. Pure.

Audit's time of a call is that of its begin. A call can wait for as long as its caller wants: for a lock, for its
arguments in memory that is slow to come, for processor time. Its record is written at its end, so the call had ended by
the time at which its record was read. Of an older call it is not known when it acted.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from fimscan.attribution.case import Case
from fimscan.attribution.claims import Claim, as_actor, named, one_each
from fimscan.attribution.index import BINDS, BIRTHS, UNBINDS, WRITES, Identity, in_order
from fimscan.model import Action, Actor, ChangeKind, FileAccess, Reason, Role, Verdict, Why

_OF_PRESENCE = BINDS | UNBINDS
_OF_CONTENT = frozenset({"kind", "content", "link_target", "inode", "dev"})
_SETTING = {
    "mode": frozenset({Action.CHMOD, Action.SETXATTR}),
    "uid": frozenset({Action.CHOWN}),
    "gid": frozenset({Action.CHOWN}),
    "acl": frozenset({Action.SETXATTR, Action.CHMOD}),
    "capabilities": frozenset({Action.SETXATTR}),
    "selinux": frozenset({Action.SETXATTR}),
    "xattr": frozenset({Action.SETXATTR}),
    "flags": frozenset({Action.SETFLAGS}),
}
_NOTE = (
    "A call that began before the old state was read was not known to have ended by then: it may have had its effect"
    " later."
)


# Judgements that do not hold for a call that may have had its effect later than it began, or on another file.
_BY_TIME_OR_KIND = frozenset({Why.NO_WRITE, Why.EARLIER_FILE, Why.BEFORE_WINDOW})


def with_late_calls(claim: Claim, case: Case) -> Claim:
    """Add the processes whose calls may have acted within the window although they began before it."""
    if not case.evidence.ended_by:  # the usual case
        return claim
    judged = {id(item) for item, why in claim.ruled if why not in _BY_TIME_OR_KIND}
    late = [access for access in _late_calls(case) if id(access) not in judged]
    if not late:
        return claim
    ruled = (*claim.ruled, *named(late, Why.UNFINISHED))
    known = {actor.process for actor in claim.actors}
    others = [actor for actor in one_each(map(_as_actor, late)) if actor.process not in known]
    if not others:
        return claim._replace(ruled=ruled)
    actors, notes = (*claim.actors, *others), (*claim.notes, _NOTE)
    if claim.names_nobody and len(others) == 1:
        return Claim(Verdict.LIKELY, Reason.HELD_DESCRIPTOR, actors, notes, ruled)
    return Claim(Verdict.CONTESTED, None, actors, notes, ruled)


def _late_calls(case: Case) -> list[FileAccess]:
    """List the late calls that can bring about what differs, in order of time."""
    found = {id(access): access for access in _concerned(case) if case.may_act_inside(access)}
    return sorted(found.values(), key=in_order)


def _concerned(case: Case) -> Iterator[FileAccess]:
    change, index = case.change, case.index
    fields = set(change.changed)
    is_presence = change.kind in (ChangeKind.REMOVED, ChangeKind.ADDED, ChangeKind.MOVED) or bool(fields & _OF_CONTENT)
    setting = frozenset(action for name in fields for action in _SETTING.get(name, ()))
    if not is_presence and not setting:
        setting = frozenset(Action)  # only times or the link count: most calls set these
    wanted = setting | (WRITES if fields & _OF_CONTENT else frozenset())
    for identity in {state.identity for state in change.sides}:
        ended = _on_earlier_files(case, identity)
        for access in index.of_file(identity):
            if access.action in wanted and not _sets_another_mode(access, case) and id(access) not in ended:
                yield access
    if is_presence:
        for path in {state.path for state in change.sides}:
            yield from (a for a in _turns(case, path) if a.action in _OF_PRESENCE)


def _on_earlier_files(case: Case, identity: Identity) -> Container[int]:
    """The ids of calls to earlier files with this inode number that had ended before the number was free again.

    Serials tell: the kernel gives an event its serial when its call ends.
    """
    life = case.life_of(identity)
    if not life.earlier:  # the usual case
        return ()
    ends = [life.birth] if life.birth is not None else [a for a in life.earlier if a.action in UNBINDS]
    ended = {a.event.node: a.event.serial for a in sorted(ends, key=in_order)}
    return {id(a) for a in life.earlier if a.serial_at_end and a.event.serial < ended.get(a.event.node, 0)}


def _turns(case: Case, path: bytes) -> Iterable[FileAccess]:
    index = case.index
    return (*index.binds(path), *index.unbinds(path), *index.directory_moves(path))


def _sets_another_mode(access: FileAccess, case: Case) -> bool:
    after = case.change.after
    return access.action is Action.CHMOD and after is not None and access.argument not in (None, after.mode)


def _as_actor(access: FileAccess) -> Actor:
    if access.action in WRITES or access.action in BIRTHS:
        role = Role.WRITER
    elif access.action in BINDS:
        role = Role.PLACER
    else:
        role = Role.REMOVER if access.action in UNBINDS else Role.CHANGER
    return as_actor(access, role)
