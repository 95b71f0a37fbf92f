"""Add the processes whose calls began before the window and may have acted within it. Pure.

Audit's time of a call is that of its begin. A call can wait for as long as its caller wants: for a lock, for arguments
in memory that answers slowly, for processor time. The kernel writes the record when the call ends. So a call had ended
by the time at which its record was read. Between its begin and that time, it may have acted at any moment.
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
    "A call began before the old state was read, and no record shows that it had ended by then: it may have had its"
    " effect later."
)


# Judgements by the time of a call, by the file that had the inode number at that time, or by the kind of call. They do
# not hold for a call that may have acted later. A call with any other judgement is left as it was judged.
_BY_TIME_OR_KIND = frozenset({Why.NO_WRITE, Why.EARLIER_FILE, Why.BEFORE_WINDOW})


def with_late_calls(claim: Claim, case: Case) -> Claim:
    """Add the processes of such calls to a claim: then it is contested, or likely if only one process is named."""
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
    """List the calls that may have acted within the window and can bring about what differs, in order of time."""
    found = {id(access): access for access in _concerned(case) if case.may_act_inside(access)}
    return sorted(found.values(), key=in_order)


def _concerned(case: Case) -> Iterator[FileAccess]:
    """Yield the calls at any time that can bring about what differs: on the file by inode number, or at its path."""
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
    """The ids of calls on earlier files of this inode number that ended before the present file got the number.

    They cannot have acted on the present file. The serials show the order: the kernel assigns an event's serial when
    the call ends.
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
