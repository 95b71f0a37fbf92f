"""Find who removed a file, who moved it, and which access put a file at its path. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fimscan.attribution.case import Case, Ruled
from fimscan.attribution.claims import Claim, as_actor, latest, named, nobody, one_each
from fimscan.attribution.index import BINDS, BIRTHS, MOVES, in_order, is_unplaced
from fimscan.model import Action, Actor, FileAccess, FileState, Reason, Role, Verdict, Why

#: The result of :func:`last_bind`.
Bind = tuple[FileAccess | None, list[Ruled]]


def who_removed(case: Case) -> Claim:
    """Claim who removed the name: by an unlink, a rename of or over the file, or a rename of a directory above it.

    After the file was gone, others may have had its path. Then the last removal left the path empty.
    """
    before = case.change.before
    assert before is not None, "a removed file was known"
    index, path = case.index, before.path
    unbound = [*index.unbinds(path), *index.moved_from_unknown(before.identity, path)]
    taken = [a for a in unbound if case.is_inside(a)] + index.directory_unbinds(path, case.window)
    own, rivals, ruled = _removal_of(before, taken, case)
    last = own or latest(taken)
    if last is None:
        return nobody(ruled)
    final, is_sure = _last_removal(case, last, taken)
    actors: tuple[Actor, ...] = (as_actor(final, Role.REMOVER),)
    notes = ("It was renamed, not deleted.",) if final.action is Action.RENAME else ()
    ruled = [(last, Why.TOOK_AWAY), *ruled]
    if final is not last:
        ruled.append((final, Why.TOOK_AWAY))
        if last.actor.process != final.actor.process:
            notes = (*notes, _REPLACED)
            if _party(last) == _party(final):
                actors = (*actors, as_actor(last, Role.REMOVER)._replace(earlier=True))
            else:
                rivals = [*rivals, last]
    if not is_sure:
        notes = (*notes, _WENT_UNSEEN)
        return Claim(verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY, actors=actors, notes=notes, ruled=tuple(ruled))
    if own is None or own.identity is None:
        return Claim(verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY, actors=actors, notes=notes, ruled=tuple(ruled))
    others = [a for a in one_each(as_actor(r, Role.REMOVER) for r in rivals) if a.process != final.actor.process]
    if others:
        if any(a.process != last.actor.process for a in others):
            notes = (*notes, _CAME_BACK)
        return Claim(verdict=Verdict.CONTESTED, actors=(*actors, *others), notes=notes, ruled=tuple(ruled))
    return Claim(verdict=Verdict.CONFIRMED, actors=actors, notes=notes, ruled=tuple(ruled))


def _last_removal(case: Case, own: FileAccess, taken: Sequence[FileAccess]) -> tuple[FileAccess, bool]:
    """Return (the access that left the path empty, whether its removal was seen) after ``own`` removed the known file.

    Another file that had the path later counts, unless whoever put it there took it away again. While a directory above
    the path was moved, it is not known which of the later files had this path.
    """
    path, after = case.change.path, in_order(own)
    if case.index.directory_unbinds(path, case.window):
        return own, True
    put = latest(a for a in case.index.binds(path) if case.is_inside(a) and in_order(a) >= after)
    later = [a for a in taken if in_order(a) > (after if put is None else max(after, in_order(put)))]
    if put is None:
        unseen = latest(a for a in later if not a.is_directory)
        return unseen or own, True
    removal = latest(later)
    if removal is None:
        return own, False
    by_itself = put is not own and _party(put) == _party(removal)
    return (own if by_itself else removal), True


def _party(access: FileAccess) -> tuple[object, ...]:
    """The user and login session of a call: its processes act for each other, as a shell and the commands it starts."""
    actor = access.actor
    return actor.uid, actor.euid, actor.auid, actor.session


_REPLACED = "Another file had this path after it; the last removal took that one away."
_WENT_UNSEEN = "A file was put there again after that; no record shows how it went."
_CAME_BACK = "It was removed more than once; no record shows how it came back in between."


def _removal_of(
    before: FileState, taken: Sequence[FileAccess], case: Case
) -> tuple[FileAccess | None, list[FileAccess], list[Ruled]]:
    """Return (the access that removed this file's name, earlier removals that were not undone, the other judgements).

    Accesses are replayed in order of time. Later accesses that removed another file of this name or inode number, or
    moved the directory that the file had been in, did not remove this file.
    """
    identity, index = before.identity, case.index
    binds = [a for a in index.binds(before.path) if case.is_inside(a)]
    takes = [a for a in taken if a.identity == identity or a.is_directory]
    takes += [a for a in binds if a.replaced == identity]
    is_take = {id(a) for a in takes}
    returns = [a for a in (*binds, *index.directory_binds(before.path, case.window)) if id(a) not in is_take]
    ruled: list[Ruled] = [(a, Why.TOOK_ANOTHER) for a in taken if id(a) not in is_take]
    by_name = {id(a) for a in taken}
    rivals: list[FileAccess] = []
    found: FileAccess | None = None
    reborn = False
    for access in sorted((*takes, *returns), key=in_order):
        reborn = reborn or (access.identity == identity and access.action in BIRTHS)
        if reborn:  # the inode number was given to another file
            ruled.append((access, Why.TOOK_ANOTHER if id(access) in by_name else Why.LATER_FILE))
        elif id(access) in is_take:
            if found is None or (access.identity == identity and found.identity != identity):
                ruled += [(found, Why.OVERRULED)] if found is not None else []
                found = access
            elif access.identity == identity:
                # It was gone and is removed again: an unseen call put it back or created it again.
                rivals.append(found)
                found = access
            else:
                ruled.append((access, Why.NO_PART))
        elif found is not None and access.identity in (identity, found.identity):
            ruled += [(found, Why.UNDONE), (access, Why.UNDONE)]
            found = None  # put back
        else:
            ruled.append((access, Why.LATER_FILE if found is not None else Why.OTHER_FILE))
    return found, rivals, [*ruled, *named(rivals, Why.REMOVED_TOO)]


def who_moved(case: Case, bind: Bind) -> Claim:
    """Claim who gave the file its new name and, if it was another process, who removed the old name."""
    before, after = case.change.before, case.change.after
    assert before is not None and after is not None, "a moved file has both sides"
    placed, ruled = bind
    if placed is None:
        return nobody(ruled)
    index = case.index
    actors = [as_actor(placed, Role.PLACER)]
    unbound = [a for a in index.unbinds(before.path) if a.identity == before.identity and case.is_inside(a)]
    gone = latest((*unbound, *index.directory_unbinds(before.path, case.window)))
    chosen: list[Ruled] = [(placed, Why.PLACED)]
    if gone is not None and gone.actor.process != placed.actor.process:
        actors.append(as_actor(gone, Role.REMOVER))
        chosen.append((gone, Why.TOOK_AWAY))
    return Claim(verdict=Verdict.CONFIRMED, actors=tuple(actors), ruled=(*chosen, *ruled))


def recreated(made: Claim, removed: Claim) -> Claim:
    """Combine the claims for a file that was re-created with the same content and, by reuse, the same inode number.

    It looks like a move, but the old file was removed and another one created.
    """
    weaker = min(made, removed, key=lambda claim: claim.verdict.strength)
    note = "The old file was removed and this one was created; it only has the same content and inode number."
    return weaker._replace(actors=(*made.actors, *removed.actors), notes=(note,), ruled=(*made.ruled, *removed.ruled))


def last_bind(after: FileState, case: Case) -> Bind:
    """Return (the last access in the window that made ``after.path`` name this file or ``None``, the earlier ones).

    A creation whose directory is not known counts by its inode and last component. A rename of a directory counts for
    every path below it.
    """
    index, identity = case.index, after.identity
    binds, turns = index.binds(after.path), index.turns_of(identity)
    moves = index.directory_binds(after.path, case.window)
    if not (binds or turns or moves):
        return None, []
    base = after.path.rpartition(b"/")[2]
    found = [a for a in binds if a.identity == identity and case.is_inside(a)]
    for access in turns:
        if access.action in BINDS and access.identity == identity and case.is_inside(access):
            # The record of a rename or link relative to two descriptors does not name the directory: the file and the
            # last component decide.
            born = access.action in BIRTHS and access.name.base == base
            if born or (access.action in MOVES and is_unplaced(access.name, after.path)):
                found.append(access)
    found += moves
    last = latest(found)
    return last, named((a for a in found if a is not last), Why.OVERRULED)
