"""Who wrote, made or placed the files that had a path before the file that has it now. Pure.

A rename over a file, or its removal and re-creation, does not undo what was written to it: an editor reads the old file
and writes what it read to the new one. Audit records no reads, so whoever had a part in an earlier file of the path,
inside of the window, may have a part in the present content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fimscan.attribution.case import Case, Ruled, opened_what_was_made, took_the_one_before
from fimscan.attribution.claims import Claim, one_each
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BIRTHS, MOVES, WRITES, Identity, in_order, time_of
from fimscan.model import Action, Actor, FileAccess, FileKind, Reason, Role, Verdict, Why

#: Calls that give a file its content, by the kind of the file that is there now.
_CONTENT_OF = {FileKind.FILE: WRITES, FileKind.SYMLINK: frozenset({Action.SYMLINK})}


class _Tenant(NamedTuple):
    """A file that had the path for a while.

    ``shown_by`` is the access that shows it there, ``None`` for the file that the older observation found. What was
    done to it counts from ``since_ns`` on, and until it was replaced, at ``until_ns`` at the latest. ``placed``: that
    access put it there.
    """

    identity: Identity
    shown_by: FileAccess | None
    since_ns: int
    until_ns: int
    placed: bool = False


def earlier_writers(case: Case, placed: FileAccess | None) -> list[Ruled]:
    """Everybody who gave content to an earlier file of the path in the window, in order of time, and who held one open.

    ``placed`` is the access that put the present file there.
    """
    after = case.change.after
    calls = None if after is None else _CONTENT_OF.get(after.kind)
    if calls is None or not had_others(case, placed):
        return []
    tenants = _tenants(case, placed)
    found = {id(a): a for a in _done_to(case, tenants, calls)}
    # A file that was moved or linked here brought content that somebody else wrote: its placer counts as well.
    found |= {id(t.shown_by): t.shown_by for t in tenants if t.placed and t.shown_by is not None}
    assert after is not None, "its kind was asked for"
    doubtful = case.life_of(after.identity).doubtful
    if placed is None or not [*_came_anew(case, [*doubtful, placed], placed.identity)][-1]:
        found |= {id(a): a for a in doubtful if a.action in calls and case.is_inside(a)}
    ruled: list[Ruled] = [(access, Why.EARLIER_WRITER) for access in sorted(found.values(), key=in_order)]
    return ruled + [(actor, Why.EARLIER_HOLDER) for actor in _held(case)]


def earlier_removals(case: Case, placed: FileAccess | None) -> list[FileAccess]:
    """Who took an earlier file of the path away, in order of time: without that, the old content would be there."""
    until_ns = _until(case, placed)
    taken = case.index.unbinds(case.change.path)
    return [a for a in taken if case.is_inside(a) and a is not placed and a.event.time_ns <= until_ns]


def _until(case: Case, placed: FileAccess | None) -> int:
    """Until when another file can have had the path. Audit events have one clock: their times compare as they are."""
    return case.window.before_ns + SLACK_NS if placed is None else placed.event.time_ns


def earlier_changers(case: Case, placed: FileAccess, calls: frozenset[Action]) -> list[FileAccess]:
    """Who set attributes of an earlier file of the path, in order of time: an editor copies them to the new file.

    A chmod to another mode than the present one is not among them: its mode was not copied.
    """
    after = case.change.after
    if after is None or not calls or not had_others(case, placed):
        return []
    found = {id(a): a for a in _done_to(case, _tenants(case, placed), calls)}
    kept = [a for a in found.values() if a.action is not Action.CHMOD or a.argument in (None, after.mode)]
    return sorted(kept, key=in_order)


def with_earlier(claim: Claim, ruled: Sequence[Ruled], beside: Iterable[Actor], *, can_be_in_it: bool) -> Claim:
    """A claim about the present file, with those who had a part in the files before it.

    Where a process that is none of those ``beside`` is among them, and what it did can be in what is there now, nothing
    separates them: contested. Where it cannot, the process is listed all the same, and the verdict stays.
    """
    if not ruled:
        return claim
    claim = claim._replace(ruled=(*claim.ruled, *ruled))
    known = {actor.process for actor in beside}
    others = [actor for actor in one_each(map(_as_earlier, ruled)) if actor.process not in known]
    if claim.names_nobody or not others:
        return claim
    claim = claim._replace(actors=(*claim.actors, *others))
    if not can_be_in_it:
        return claim
    return claim._replace(verdict=Verdict.CONTESTED, reason=Reason.SEVERAL_WRITERS)


def _as_earlier(item: Ruled) -> Actor:
    who, why = item
    if isinstance(who, Actor):
        return who._replace(role=Role.WRITER, earlier=True)
    role = Role.PLACER if who.action in MOVES else Role.CHANGER if why is Why.EARLIER_CHANGER else Role.WRITER
    return who.actor._replace(role=role, earlier=True)


def had_others(case: Case, placed: FileAccess | None) -> bool:
    """Whether the path can have had another file in the window; of most changes, none had."""
    before, after = case.change.before, case.change.after
    assert after is not None, "a removed file has no present content"
    if placed is not None or before is None or before.identity != after.identity:
        return True
    life = case.life_of(after.identity)
    return bool(life.earlier or life.doubtful)


def _tenants(case: Case, placed: FileAccess | None) -> list[_Tenant]:
    """The earlier files of the path, and of the names that they and the present file came from."""
    change = case.change
    until_ns = _until(case, placed)
    since_ns, path_since_ns = case.window.after_ns, _since(case)
    found: list[_Tenant] = []
    # To put back the file that was there anyway, or the one that is there now, brings no content of anybody else.
    own = _ids(case.life_of(change.after.identity).accesses) if change.after is not None else set()
    if change.before is not None:
        first = _Tenant(change.before.identity, None, path_since_ns, until_ns)
        own |= _ids(a for a in _of_tenant(case, first) if a.identity == first.identity)
        found.append(first)
    paths: list[tuple[bytes, int, int]] = [(change.path, path_since_ns, until_ns)]
    seen = {change.path}
    while paths:
        path, start_ns, until_ns = paths.pop()
        for access in (*case.index.binds(path), *case.index.unbinds(path)):
            if not start_ns - SLACK_NS <= access.event.time_ns <= until_ns:
                continue
            here = access.action in MOVES and path in case.index.known.places(access.name)
            found += _shown_by(access, start_ns, until_ns, brought=here and id(access) not in own)
            if here and access.old is not None:
                origins = case.index.known.places(access.old) - seen
                seen |= origins
                paths += [(origin, since_ns, access.event.time_ns) for origin in sorted(origins)]
    return found


def _since(case: Case) -> int:
    """From when on what was written to files of the path is not in the old content.

    Who opened one between the look at who holds it and its reading may still have had it open afterwards. The old file
    may have been read by itself, later than the window begins: that is as long as the *present* file may have existed.
    """
    start, change = case.window.after_ns, case.change
    if change.before is None:
        return start
    if change.holders is None:
        return 0  # nobody looked who held it: whoever opened it, ever, may have it open
    if change.window.after_ns > change.window.before_ns:
        return start
    return change.holders.earlier_ns or min(start, change.holders.as_of_ns or start)


def _shown_by(access: FileAccess, since_ns: int, until_ns: int, *, brought: bool) -> Iterator[_Tenant]:
    """The files that an access gave the path to, or took it from."""
    if access.is_directory:
        return
    if access.identity is not None:
        yield _Tenant(access.identity, access, since_ns, until_ns, placed=brought)
    if access.replaced is not None and access.replaced != access.identity:
        yield _Tenant(access.replaced, access, since_ns, until_ns)


def _done_to(case: Case, tenants: Iterable[_Tenant], calls: frozenset[Action]) -> Iterator[FileAccess]:
    """The calls on tenants, of those that count, while they can have had the path; not what is the present file's.

    A file that came to the path and left it many times is looked at once.
    """
    after = case.change.after
    present: set[int] = set()
    if after is not None:
        present = _ids(a for a in case.life_of(after.identity).accesses if a.identity == after.identity)
    seen: set[tuple[int, int, int]] = set()
    for tenant in tenants:
        life = _of_tenant(case, tenant)
        key = id(life), tenant.since_ns, tenant.until_ns
        if key in seen:
            continue
        seen.add(key)
        for access in life:
            counts = access.action in calls and access.identity == tenant.identity and id(access) not in present
            if counts and tenant.since_ns - SLACK_NS <= access.event.time_ns <= tenant.until_ns:
                yield access


def _of_tenant(case: Case, tenant: _Tenant) -> Sequence[FileAccess]:
    """What was done to the file that a tenant was, and not to others that had its inode number before or after it."""
    known = case.files_of.get(tenant.identity)
    if known is None:
        files = _by_file(case, tenant.identity)
        known = case.files_of[tenant.identity] = files, _lives(case, files, tenant.identity)
    files, lives = known
    if tenant.shown_by is not None:
        return lives.get(id(tenant.shown_by), ())
    start = case.window.after_ns - SLACK_NS
    born_before = [file for file in files[1:] if file and time_of(file[0]) < start]
    return born_before[-1] if born_before else files[0]


def _lives(case: Case, files: Iterable[Sequence[FileAccess]], identity: Identity) -> dict[int, Sequence[FileAccess]]:
    """By the id of each access to an inode number: what was done to its file, since that came here."""
    lives: dict[int, Sequence[FileAccess]] = {}
    for file in files:
        life: Sequence[FileAccess] = file
        for place, (access, came_anew) in enumerate(zip(file, _came_anew(case, file, identity), strict=True)):
            if came_anew:
                life = file[place:]
            lives.setdefault(id(access), life)
    return lives


def _came_anew(case: Case, accesses: Iterable[FileAccess], identity: Identity | None) -> Iterator[bool]:
    """Whether each brought a file from outside of the known directories that had not gone there before: another one.

    Its inode number is that of a file which is gone: nobody saw its creation, since that was elsewhere.
    """
    known = case.index.known
    is_out = is_linked_out = False
    for access in accesses:
        is_move = access.action in MOVES and access.identity == identity
        from_outside = is_move and access.old is not None and not known.is_inside(access.old)
        yield from_outside and not (is_out or is_linked_out)
        if is_move:
            is_out = not known.is_inside(access.name)
            is_linked_out = is_linked_out or (is_out and access.action is Action.LINK)
        elif identity is not None and _removes(access, identity):
            is_out = False  # it had been given to a file in here


def _by_file(case: Case, identity: Identity) -> list[list[FileAccess]]:
    """The accesses to an inode number, split where it was given to another file.

    A creation proves that. So does the removal of the last name of a file whose creation was seen: all of its names
    are known. Of an older file one more name may be known to nobody.
    """
    known = case.index.known
    files: list[list[FileAccess]] = [[]]
    names: int | None = None  # of the present file; None where its creation was not seen
    for access in case.index.of_file(identity):
        current = files[-1]
        if access.action in BIRTHS and access.identity == identity:
            since = 1 + max((place for place, one in enumerate(current) if _removes(one, identity)), default=-1)
            opened = [one for one in current[since:] if opened_what_was_made(one, access, known)]
            files[-1] = [one for one in current if one not in opened]
            files.append([access, *opened])
            names = 0 if access.name.text is None else 1  # O_TMPFILE: no name yet
        elif names is not None and _removes(access, identity):
            if took_the_one_before(access, identity, current, known):
                files[-2].append(access)
                continue
            current.append(access)
            names -= 1
            if names <= 0:
                files.append([])
                names = None
        else:
            current.append(access)
            if names is not None and access.action is Action.LINK:
                names += 1
    return files


def _removes(access: FileAccess, identity: Identity) -> bool:
    return access.action is Action.UNLINK or access.replaced == identity


def _held(case: Case) -> Iterable[Actor]:
    """Who held the file that the older observation found open, where the present one is another."""
    before, after, holders = case.change.before, case.change.after, case.change.holders
    if before is None or after is None or holders is None:
        return ()
    if before.identity != after.identity:
        return holders.earlier
    return holders.actors if case.life_of(after.identity).reborn else ()


def _ids(accesses: Iterable[FileAccess]) -> set[int]:
    return {id(access) for access in accesses}
