"""Find who wrote, created or placed the earlier files of a path, those before its present file. Pure.

A file that was renamed over, or removed and re-created, may still have shaped the present content: an editor reads the
old file and writes what it read to the new one. Audit records no reads. So whoever contributed to an earlier file of
the path inside the window may have contributed to the present content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fimscan.attribution.case import Case, LateOpens, Ruled, freed_number_before_creation, may_have_opened_created
from fimscan.attribution.claims import Claim, one_each
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BIRTHS, MOVES, WRITES, Identity, in_order, time_of
from fimscan.model import Action, Actor, FileAccess, FileKind, Reason, Role, Verdict, Why

#: By the kind of the present file: the calls that give a file of this kind its content.
_CONTENT_OF = {FileKind.FILE: WRITES, FileKind.SYMLINK: frozenset({Action.SYMLINK})}


class _EarlierFile(NamedTuple):
    """A file that had the path for a while.

    Attributes:
        identity: device and inode.
        shown_by: the access that shows the file at the path; ``None`` for the file that the older observation found.
        since_ns: accesses to the file count from this time on.
        until_ns: they count up to this time; the file was replaced by then.
        placed: whether ``shown_by`` moved or linked the file to the path.
    """

    identity: Identity
    shown_by: FileAccess | None
    since_ns: int
    until_ns: int
    placed: bool = False


def earlier_writers(case: Case, placed: FileAccess | None) -> list[Ruled]:
    """Find all who wrote to an earlier file of the path in the window, in order of time, and all who held one open.

    ``placed`` is the access that put the present file at the path.
    """
    after = case.change.after
    calls = None if after is None else _CONTENT_OF.get(after.kind)
    if calls is None or not had_other_files(case, placed):
        return []
    files = _earlier_files(case, placed)
    found = {id(a): a for a in _calls_on(case, files, calls)}
    # A file that was moved or linked here brought content with it, so its placer counts as well.
    found |= {id(f.shown_by): f.shown_by for f in files if f.placed and f.shown_by is not None}
    assert after is not None, "its kind was asked for"
    doubtful = case.life_of(after.identity).doubtful
    if placed is None or not [*_are_other_files(case, [*doubtful, placed], placed.identity)][-1]:
        found |= {id(a): a for a in doubtful if a.action in calls and case.is_inside(a)}
    ruled: list[Ruled] = [(access, Why.EARLIER_WRITER) for access in sorted(found.values(), key=in_order)]
    return ruled + [(actor, Why.EARLIER_HOLDER) for actor in _earlier_holders(case)]


def earlier_removals(case: Case, placed: FileAccess | None) -> list[FileAccess]:
    """Find the accesses that removed an earlier file from the path, in order of time."""
    until_ns = _until(case, placed)
    taken = case.index.unbinds(case.change.path)
    return [a for a in taken if case.is_inside(a) and a is not placed and a.event.time_ns <= until_ns]


def _until(case: Case, placed: FileAccess | None) -> int:
    """Until when another file can have had the path. Times of audit events need no slack: they have one clock."""
    return case.window.before_ns + SLACK_NS if placed is None else placed.event.time_ns


def earlier_changers(case: Case, placed: FileAccess, calls: frozenset[Action]) -> list[FileAccess]:
    """Find who set attributes of an earlier file of the path, in order of time: editors copy them to the new file.

    A chmod to another mode than the present one is left out: its mode was not copied.
    """
    after = case.change.after
    if after is None or not calls or not had_other_files(case, placed):
        return []
    found = {id(a): a for a in _calls_on(case, _earlier_files(case, placed), calls)}
    kept = [a for a in found.values() if a.action is not Action.CHMOD or a.argument in (None, after.mode)]
    return sorted(kept, key=in_order)


def with_earlier(claim: Claim, ruled: Sequence[Ruled], beside: Iterable[Actor], *, can_be_in_it: bool) -> Claim:
    """Add those who contributed to earlier files to a claim about the present file.

    Args:
        claim: about the present file.
        ruled: who contributed to earlier files.
        beside: the actors of the claim. Other processes in ``ruled`` become additional actors.
        can_be_in_it: whether the present content can include what was written to earlier files. If so, additional
            actors make the claim contested; if not, the verdict stays.
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


def had_other_files(case: Case, placed: FileAccess | None) -> bool:
    """Whether the path can have had another file in the window; for most changes it had not.

    A file that only moved with a directory above it is still the only one, although ``placed`` put it there.
    """
    after = case.change.after
    assert after is not None, "a removed file has no present content"
    if not case.is_same_file:
        return True
    life = case.life_of(after.identity)
    if placed is not None:
        is_with_directory = placed.is_directory and not (case.index.binds(after.path) or case.index.unbinds(after.path))
        return not is_with_directory or life.reborn
    return bool(life.earlier or life.doubtful)


def _earlier_files(case: Case, placed: FileAccess | None) -> list[_EarlierFile]:
    """Find the earlier files of the path, and those of the names from which they and the present file were moved."""
    change = case.change
    until_ns = _until(case, placed)
    since_ns, path_since_ns = case.window.after_ns, _since(case)
    found: list[_EarlierFile] = []
    # Moving the old or the present file back to the path brings no content that others wrote.
    own = _ids(case.life_of(change.after.identity).accesses) if change.after is not None else set()
    if change.before is not None:
        first = _EarlierFile(change.before.identity, None, path_since_ns, until_ns)
        own |= _ids(a for a in _accesses_to(case, first) if a.identity == first.identity)
        found.append(first)
    paths: list[tuple[bytes, int, int]] = [(change.path, path_since_ns, until_ns)]
    seen = {change.path}
    while paths:
        path, start_ns, until_ns = paths.pop()
        for access in (*case.index.binds(path), *case.index.unbinds(path)):
            if not start_ns - SLACK_NS <= access.event.time_ns <= until_ns:
                continue
            here = access.action in MOVES and path in case.index.places(access, access.name)
            found += _shown_by(access, start_ns, until_ns, brought=here and id(access) not in own)
            if here and access.old is not None:
                origins = case.index.places(access, access.old) - seen
                seen |= origins
                paths += [(origin, since_ns, access.event.time_ns) for origin in sorted(origins)]
    return found


def _since(case: Case) -> int:
    """From when on writes to files of the path may be missing in the old content.

    This is when the processes were inspected for open files: one that opened the file after that, and before the file
    was read, may still have had it open. The old file may have been read on its own, after the begin of the window,
    which is the earliest time at which the *present* file may have existed.
    """
    start, change = case.window.after_ns, case.change
    if change.before is None:
        return start
    if change.holders is None:
        return 0  # the processes were not inspected: whoever opened it at any time may have it open
    if change.window.after_ns > change.window.before_ns:
        return start
    return change.holders.earlier_ns or min(start, change.holders.as_of_ns or start)


def _shown_by(access: FileAccess, since_ns: int, until_ns: int, *, brought: bool) -> Iterator[_EarlierFile]:
    """Yield the files that an access gave the path to or took it from."""
    if access.is_directory:
        return
    if access.identity is not None:
        yield _EarlierFile(access.identity, access, since_ns, until_ns, placed=brought)
    if access.replaced is not None and access.replaced != access.identity:
        yield _EarlierFile(access.replaced, access, since_ns, until_ns)


def _calls_on(case: Case, files: Iterable[_EarlierFile], calls: frozenset[Action]) -> Iterator[FileAccess]:
    """Yield the ``calls`` on earlier files while they can have had the path, except calls on the present file.

    A file that came to the path and left it many times is looked at once.
    """
    after = case.change.after
    present: set[int] = set()
    if after is not None:
        present = _ids(a for a in case.life_of(after.identity).accesses if a.identity == after.identity)
    seen: set[tuple[int, int, int]] = set()
    for earlier in files:
        life = _accesses_to(case, earlier)
        key = id(life), earlier.since_ns, earlier.until_ns
        if key in seen:
            continue
        seen.add(key)
        for access in life:
            counts = access.action in calls and access.identity == earlier.identity and id(access) not in present
            if counts and earlier.since_ns - SLACK_NS <= access.event.time_ns <= earlier.until_ns:
                yield access


def _accesses_to(case: Case, earlier: _EarlierFile) -> Sequence[FileAccess]:
    """Return the accesses to an earlier file, without those to other files that had its inode number."""
    known = case.files_of.get(earlier.identity)
    if known is None:
        found = _by_file(case, earlier.identity)
        known = case.files_of[earlier.identity] = found, _lives(case, found, earlier.identity)
    files, lives = known
    if earlier.shown_by is not None:
        return lives.get(id(earlier.shown_by), ())
    start = case.window.after_ns - SLACK_NS
    born_before = [file for file in files[1:] if file and time_of(file[0]) < start]
    return born_before[-1] if born_before else files[0]


def _lives(case: Case, files: Iterable[Sequence[FileAccess]], identity: Identity) -> dict[int, Sequence[FileAccess]]:
    """Map the id of each access to an inode number to what was done to its file since it came here."""
    lives: dict[int, Sequence[FileAccess]] = {}
    for file in files:
        life: Sequence[FileAccess] = file
        for place, (access, is_other) in enumerate(zip(file, _are_other_files(case, file, identity), strict=True)):
            if is_other:
                life = file[place:]
            lives.setdefault(id(access), life)
    return lives


def _are_other_files(case: Case, accesses: Iterable[FileAccess], identity: Identity | None) -> Iterator[bool]:
    """Yield for each access whether it moved another file with the same inode number here from outside.

    It did unless the old file was moved or linked outside before. The creation of the other file was not seen: it
    happened outside.
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
    """Split the accesses to an inode number into one list for each file that had it.

    A creation starts another file. The removal of the last name ends a file, if its creation was seen: all of its
    names are known then. An older file may have unknown names.
    """
    known = case.index.known
    files: list[list[FileAccess]] = [[]]
    names: int | None = None  # number of names of the current file; None if its creation was not seen
    opens = LateOpens(case.window, case.evidence)
    for access in case.index.of_file(identity):
        current = files[-1]
        opens.add(access)
        if access.action in BIRTHS and access.identity == identity:
            since = 1 + max((place for place, one in enumerate(current) if _removes(one, identity)), default=-1)
            opened = [one for one in current[since:] if may_have_opened_created(one, access, known)]
            files[-1] = [one for one in current if one not in opened]
            known_ids = _ids(opened)
            files.append([access, *opened, *(one for one in opens.ended_after(access) if id(one) not in known_ids)])
            names = 0 if access.name.text is None else 1  # O_TMPFILE: no name yet
        elif names is not None and _removes(access, identity):
            if freed_number_before_creation(access, identity, current, known):
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


def _earlier_holders(case: Case) -> Iterable[Actor]:
    """The processes that held the old file open, if the present file is another one."""
    before, after, holders = case.change.before, case.change.after, case.change.holders
    if before is None or after is None or holders is None:
        return ()
    if not case.is_same_file:
        return holders.earlier
    return holders.actors if case.life_of(after.identity).reborn else ()


def _ids(accesses: Iterable[FileAccess]) -> set[int]:
    return {id(access) for access in accesses}
