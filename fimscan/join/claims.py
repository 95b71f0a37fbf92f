"""What the accesses say about one side of a change: its presence, its content, its attributes. Pure.

A :class:`Claim` answers as if audit had seen everything; :mod:`fimscan.join.attribute` then weighs what it had not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fimscan.join.compare import same_content
from fimscan.join.coverage import SLACK_NS
from fimscan.join.index import BIRTHS, WRITES, AccessIndex, Identity
from fimscan.model import (
    Action,
    Actor,
    Change,
    FileAccess,
    FileKind,
    FileState,
    Holders,
    Reason,
    Role,
    Verdict,
    Window,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An answer for one side of a change."""

    verdict: Verdict
    reason: Reason | None = None
    actors: tuple[Actor, ...] = ()
    notes: tuple[str, ...] = ()


NOBODY = Claim(verdict=Verdict.UNATTRIBUTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the claims are drawn from.

    ``prior`` gives the last known state of a file by its identity, whatever it was called: it tells whether a file
    that was moved into place brought new content with it. ``names`` counts, for files with several hard links, the
    names that the scans know (one that is missing counts as 1).
    """

    index: AccessIndex
    prior: Mapping[Identity, FileState]
    names: Mapping[Identity, int] = field(default_factory=dict)


def as_actor(access: FileAccess, role: Role) -> Actor:
    """The process of an access, in the part that it played."""
    return replace(access.actor, role=role)


def inside(access: FileAccess, window: Window) -> bool:
    """Whether an access fell into the window, as far as two coarse clocks can tell."""
    return window.after_ns - SLACK_NS <= access.event.time_ns <= window.before_ns + SLACK_NS


def last_touched(state: FileState) -> int:
    """The latest moment that ctime can stand for.

    Some file systems keep whole seconds (ext4 with 128-byte inodes), or every second one (FAT).
    """
    return state.ctime_ns + (2 * 10**9 if state.ctime_ns % 10**9 == 0 else 0)


# --------------------------------------------------------------------------------------------------------------------
# Presence


def who_removed(change: Change, evidence: Evidence) -> Claim:
    """Who took the file from its name: an unlink, a rename away or over it, or a rename of a directory above it."""
    before = change.before
    assert before is not None, "a removed file was known"
    index, window, path = evidence.index, change.window, before.path
    unbound = [*index.unbinds(path), *index.moved_from_unknown(before.identity, path)]
    taken = [a for a in (*unbound, *index.directory_unbinds(path)) if inside(a, window)]
    own = _removal_of(before, taken, window, index)
    last = own or _latest(taken)
    if last is None:
        return NOBODY
    actors = (as_actor(last, Role.REMOVER),)
    notes = ("It was renamed, not deleted.",) if last.action is Action.RENAME else ()
    if own is None or own.identity is None:
        return Claim(verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY, actors=actors, notes=notes)
    return Claim(verdict=Verdict.CONFIRMED, actors=actors, notes=notes)


def _removal_of(
    before: FileState, taken: Sequence[FileAccess], window: Window, index: AccessIndex
) -> FileAccess | None:
    """What took this very file from its name, in order of time.

    Whoever later removed another file of this name, or of this inode number, or moved the directory that it had been
    in, has not removed it.
    """
    identity = before.identity
    binds = index.binds(before.path)
    takes = [a for a in taken if a.identity == identity or a.is_directory]
    takes += [a for a in binds if a.replaced == identity and inside(a, window)]
    returns = [a for a in (*binds, *index.directory_binds(before.path)) if a not in takes and inside(a, window)]
    found: FileAccess | None = None
    for access in sorted((*takes, *returns), key=lambda a: (a.event, a.item)):
        if access.identity == identity and access.action in BIRTHS:
            break  # the number's next life
        if access in takes:
            if found is None or access.identity == identity:
                found = access
        elif found is not None and access.identity in (identity, found.identity):
            found = None  # put back
    return found


def who_moved(change: Change, evidence: Evidence) -> Claim:
    """Who gave the file its new name and, where that was somebody else, who took the old one away."""
    before, after = change.before, change.after
    assert before is not None and after is not None, "a moved file has both sides"
    placed = last_bind(after, change.window, evidence.index)
    if placed is None:
        return NOBODY
    index, window = evidence.index, change.window
    if life_of(after.identity, window.before_ns, evidence).reborn:
        return _made_anew(change, evidence)
    actors = [as_actor(placed, Role.PLACER)]
    unbound = [a for a in index.unbinds(before.path) if a.identity == before.identity]
    gone = _latest(a for a in (*unbound, *index.directory_unbinds(before.path)) if inside(a, window))
    if gone is not None and gone.actor.process != placed.actor.process:
        actors.append(as_actor(gone, Role.REMOVER))
    return Claim(verdict=Verdict.CONFIRMED, actors=tuple(actors))


def _made_anew(change: Change, evidence: Evidence) -> Claim:
    """Not one file under two names, but two files with the same content, the second of which got the first's number."""
    made, removed = who_wrote(change, evidence), who_removed(change, evidence)
    weaker = min(made, removed, key=lambda claim: claim.verdict.strength)
    note = "The old file was removed and this one made anew; it only has the same content and inode number."
    return replace(weaker, actors=(*made.actors, *removed.actors), notes=(note,))


def last_bind(after: FileState, window: Window, index: AccessIndex) -> FileAccess | None:
    """The last access in the window that made ``after.path`` name this very file, if any did.

    A creation whose directory is not known counts by its inode and last component; a rename of a directory counts
    for every path below it.
    """
    base = after.path.rpartition(b"/")[2]
    direct = [a for a in index.binds(after.path) if a.identity == after.identity]
    born = [a for a in index.of_file(after.identity) if a.action in BIRTHS and a.name.base == base]
    # A rename or link relative to two descriptors: which directory is meant is not decided, the file and its name are.
    unplaced = index.moved_to_unknown(after.identity, after.path)
    return _latest(a for a in (*direct, *born, *unplaced, *index.directory_binds(after.path)) if inside(a, window))


# --------------------------------------------------------------------------------------------------------------------
# Content


def who_wrote(change: Change, evidence: Evidence) -> Claim:
    """Who wrote the content that is there now and, when it was put there by name, who placed it."""
    after = change.after
    assert after is not None, "content is asked of a file that exists"
    placed = last_bind(after, change.window, evidence.index)
    if placed is not None:
        return _writers_of_placed(change, after, placed, evidence)
    if change.before is not None and change.before.identity == after.identity:
        life = life_of(after.identity, change.window.before_ns, evidence)
        claim = _writers_in_place(change, after, life)
        if claim.actors:
            return claim
    return _path_only(change, after, evidence)


def _writers_of_placed(change: Change, after: FileState, placed: FileAccess, evidence: Evidence) -> Claim:
    index = evidence.index
    life = life_of(after.identity, change.window.before_ns, evidence)
    placers = () if placed.action in BIRTHS else (as_actor(placed, Role.PLACER),)
    unbound = _latest(a for a in index.unbinds(after.path) if inside(a, change.window))
    if unbound is not None and unbound.event > placed.event:
        # The name was taken away again after this, and yet it is there: something was not seen.
        return Claim(verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY, actors=placers or _created(placed))
    if life.birth is not None:
        claim = _writers_since_birth(change, after, life.birth, evidence)
    else:
        claim = _writers_of_older(change, after, placed, evidence)
    return replace(claim, actors=(*claim.actors, *placers)) if claim is not NOBODY else NOBODY


def _writers_since_birth(change: Change, after: FileState, birth: FileAccess, evidence: Evidence) -> Claim:
    """A file that was seen to be made: whoever made it, and whoever had it open since."""
    made = Claim(verdict=Verdict.CONFIRMED, actors=_created(birth))
    if birth.action not in WRITES and after.kind is not FileKind.FILE:
        # A directory, link, FIFO or device is what its maker made; opening it changes nothing in it.
        return made
    life = life_of(after.identity, change.window.before_ns, evidence)
    written = _writers_in_place(change, after, life)
    return made if written.verdict is Verdict.UNATTRIBUTED else written


def _writers_of_older(change: Change, after: FileState, placed: FileAccess, evidence: Evidence) -> Claim:
    """Whether a file that is older than what was seen of it brought other content to the name that it was given.

    The placer is added by the caller; a claim without actors is one about the placing alone.
    """
    life = life_of(after.identity, change.window.before_ns, evidence)
    prior = None if life.reborn else evidence.prior.get(after.identity)
    if prior is not None and prior.kind is after.kind and same_content(prior, after):
        return Claim(verdict=Verdict.CONFIRMED, notes=("A file that was known already was put here, as it was.",))
    written = _writers_in_place(change, after, life)
    if written.verdict is not Verdict.UNATTRIBUTED:
        return written
    if prior is None:
        return _brought_in(after, placed, evidence.index)
    # The same file had other content when it was last read, and nobody was seen writing to it.
    if elsewhere(after, change.window, evidence):
        note = "It was away from the watched directories in between; who wrote it there is not known."
        return Claim(verdict=Verdict.LIKELY, reason=Reason.COVERAGE_GAP, notes=(note,))
    return NOBODY


def _brought_in(after: FileState, placed: FileAccess, index: AccessIndex) -> Claim:
    """A file that came from where nobody looks: the placer is known, the writer of the content is not."""
    note = "The content was written elsewhere, before it was put here; who wrote it is not known."
    known = max((a.event.time_ns for a in index.of_file(after.identity)), default=0)
    if after.ctime_ns > max(known, placed.event.time_ns) + SLACK_NS and after.kind is FileKind.FILE:
        # Something changed the file after it was placed without opening it here: a descriptor from before.
        return Claim(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, notes=(note,))
    return Claim(verdict=Verdict.CONFIRMED, notes=(note,))


def _writers_in_place(change: Change, after: FileState, life: Life) -> Claim:
    """Who had the file open for writing: since its birth or, for a file that is older, over the window."""
    window = change.window
    opened = [
        a
        for a in life.accesses
        if a.action in WRITES
        # A write sets ctime, which no system call can set back: whoever opened later has written nothing.
        and a.event.time_ns <= last_touched(after) + SLACK_NS
    ]
    # Opened before the old content was read: what was written then is in the old content, unless it was kept open.
    # Who had it open already when that was looked at, and is not among the holders, had closed it.
    holders = change.holders or Holders(as_of_ns=0)
    early = [a for a in opened if holders.as_of_ns - SLACK_NS <= a.event.time_ns < window.after_ns - SLACK_NS]
    recent = [a for a in opened if a.event.time_ns >= window.after_ns - SLACK_NS]
    held = [as_actor(a, Role.WRITER) for a in early]
    if not life.reborn:
        known_pids = {a.actor.pid for a in (*early, *recent)}
        held += [replace(holder, role=Role.WRITER) for holder in holders.actors if holder.pid not in known_pids]
    return _decide([as_actor(a, Role.WRITER) for a in recent], held)


def _decide(recent: Sequence[Actor], held: Sequence[Actor]) -> Claim:
    """One process in the window and nobody else who could have written: confirmed. Anything else says less."""
    writers = _one_each(recent)
    others = [a for a in _one_each(held) if a.process not in {w.process for w in writers}]
    if len(writers) == 1 and not others:
        return Claim(verdict=Verdict.CONFIRMED, actors=tuple(writers))
    if not writers and len(others) == 1:
        return Claim(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, actors=tuple(others))
    if not writers and not others:
        return NOBODY
    return Claim(verdict=Verdict.CONTESTED, actors=(*writers, *others))


def _path_only(change: Change, after: FileState, evidence: Evidence) -> Claim:
    """Records that match the path and not the device can still be a lead; they are no proof."""
    leads = [
        a
        for a in evidence.index.by_path_only(after)
        if inside(a, change.window) and (a.action in WRITES or a.action in (Action.RENAME, Action.LINK))
    ]
    claim = _decide([as_actor(a, Role.WRITER if a.action in WRITES else Role.PLACER) for a in leads], ())
    if claim.verdict is Verdict.CONFIRMED:
        return replace(claim, verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY)
    return claim


# --------------------------------------------------------------------------------------------------------------------
# Attributes

_SETUID_BITS = 0o6000


def who_changed(change: Change, evidence: Evidence) -> list[Claim]:
    """Who set the mode, the owner, the extended attributes or, when nothing else differs, links and times."""
    before, after = change.before, change.after
    if before is None or after is None:
        return []
    done = [
        a
        for a in life_of(after.identity, change.window.before_ns, evidence).accesses
        if inside(a, change.window) and a.event.time_ns <= last_touched(after) + SLACK_NS
    ]
    fields = set(change.changed)
    claims: list[Claim] = []
    if "mode" in fields:
        claims.append(_who_set_mode(before, after, done))
    if fields & {"uid", "gid"}:
        claims.append(_all_changers(done, (Action.CHOWN,)))
    if "xattr" in fields:
        # Writing to a file, chown and chmod can each drop or rewrite attributes (capabilities, ACLs).
        claims.append(_first_all(done, (Action.SETXATTR,), (Action.CHOWN, Action.CHMOD), tuple(WRITES)))
    if claims or fields & {"kind", "content", "link_target", "inode", "dev"}:
        return claims
    return [_who_touched(fields, done)]


def who_changed_placed(change: Change, evidence: Evidence) -> tuple[Actor, ...]:
    """For a file that was put into place as a whole: who then changed its mode, owner or attributes.

    What no such call explains came with the file, from its writer and placer.
    """
    after = change.after
    assert after is not None, "only an existing file was placed"
    life = life_of(after.identity, change.window.before_ns, evidence)
    kinds = {"mode": Action.CHMOD, "uid": Action.CHOWN, "gid": Action.CHOWN, "xattr": Action.SETXATTR}
    wanted = {kinds[name] for name in change.changed if name in kinds}
    done = [a for a in life.accesses if a.action in wanted and inside(a, change.window)]
    return tuple(_one_each(as_actor(a, Role.CHANGER) for a in done))


def _who_set_mode(before: FileState, after: FileState, done: Sequence[FileAccess]) -> Claim:
    exact = [a for a in done if a.action is Action.CHMOD and a.argument == after.mode]
    # One that found the mode as it should be has changed nothing.
    exact = [a for a in exact if a.mode is None or a.mode & 0o7777 != a.argument] or exact
    if exact:
        return _last_changer(exact, (Action.CHMOD,))
    if before.mode & ~_SETUID_BITS == after.mode and before.mode != after.mode:
        # The kernel itself takes setuid and setgid away when a file is written or changes its owner.
        return _first_answer(done, (Action.CHOWN,), tuple(WRITES), (Action.CHMOD,))
    return _all_changers(done, (Action.SETXATTR, Action.CHMOD))


def _who_touched(fields: set[str], done: Sequence[FileAccess]) -> Claim:
    if "nlink" in fields:
        return _all_changers(done, (Action.LINK, Action.UNLINK, Action.RENAME))
    if "mtime" in fields or "size" in fields:
        writers = _decide([as_actor(a, Role.WRITER) for a in done if a.action in WRITES], ())
        changers = _last_changer(done, (Action.UTIME,))
        if changers.verdict is Verdict.UNATTRIBUTED:
            return writers
        return changers if writers.verdict is Verdict.UNATTRIBUTED else _contest(changers, writers)
    return _first_answer(done, tuple(Action))


def _contest(*claims: Claim) -> Claim:
    actors = [actor for claim in claims for actor in claim.actors]
    if len({actor.process for actor in actors}) == 1:
        return Claim(verdict=Verdict.CONFIRMED, actors=tuple(actors))
    return Claim(verdict=Verdict.CONTESTED, actors=tuple(actors))


def _first_answer(done: Sequence[FileAccess], *choices: tuple[Action, ...]) -> Claim:
    return next((c for c in (_last_changer(done, choice) for choice in choices) if c.actors), NOBODY)


def _first_all(done: Sequence[FileAccess], *choices: tuple[Action, ...]) -> Claim:
    return next((c for c in (_all_changers(done, choice) for choice in choices) if c.actors), NOBODY)


def _all_changers(done: Sequence[FileAccess], actions: tuple[Action, ...]) -> Claim:
    """All count where the last call need not be the one that made the difference (chgrp after chown, two xattrs)."""
    actors = _one_each(as_actor(a, _role_of(a)) for a in done if a.action in actions)
    if not actors:
        return NOBODY
    return Claim(verdict=Verdict.CONFIRMED if len(actors) == 1 else Verdict.CONTESTED, actors=tuple(actors))


def _last_changer(done: Sequence[FileAccess], actions: tuple[Action, ...]) -> Claim:
    """The last call decides what an attribute is now; calls too close together to be ordered are contested."""
    matching = [a for a in done if a.action in actions]
    last = _latest(matching)
    if last is None:
        return NOBODY
    rivals = [a for a in matching if last.event.time_ns - a.event.time_ns <= SLACK_NS]
    actors = _one_each(as_actor(a, _role_of(a)) for a in rivals)
    verdict = Verdict.CONFIRMED if len({a.process for a in actors}) == 1 else Verdict.CONTESTED
    return Claim(verdict=verdict, actors=tuple(actors))


def _role_of(access: FileAccess) -> Role:
    return Role.WRITER if access.action in WRITES else Role.CHANGER


# --------------------------------------------------------------------------------------------------------------------


def _latest(accesses: Iterable[FileAccess]) -> FileAccess | None:
    return max(accesses, key=lambda a: (a.event, a.item), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The present life of an inode number: what was done to the file that has it, and not to those that had it before.

    ``birth`` is its creation, where that was seen. ``reborn`` says that the file that was known by this number when
    the older observation was made is gone, so that what was known of it says nothing of this one.
    """

    birth: FileAccess | None
    accesses: tuple[FileAccess, ...]
    reborn: bool


def life_of(identity: Identity, until_ns: int, evidence: Evidence) -> Life:
    """Follow one inode number through creations, links and removals: the kernel gives it away again at once."""
    prior = evidence.prior.get(identity)
    # Without a known link count the first removal is taken as the end: better to lose a lead than to follow a dead one.
    names = prior.nlink if prior is not None else 1
    birth: FileAccess | None = None
    accesses: list[FileAccess] = []
    reborn = False
    for access in evidence.index.of_file(identity):
        if access.event.time_ns > until_ns + SLACK_NS:
            break
        if access.action in BIRTHS:
            birth, accesses, reborn = access, [access], True
            names = 0 if access.name.text is None else 1  # O_TMPFILE: no name yet
            continue
        accesses.append(access)
        if access.action is Action.LINK:
            names += 1
        elif access.action is Action.UNLINK or access.replaced == identity:
            names -= 1
            if names <= 0:
                birth, accesses, reborn = None, [], True
    return Life(birth=birth, accesses=tuple(accesses), reborn=reborn)


def elsewhere(state: FileState, window: Window, evidence: Evidence) -> bool:
    """Whether the file had, in the window, a name in a directory that no scan knows: rules go by directory."""
    index = evidence.index
    life = life_of(state.identity, window.before_ns, evidence)
    if life.reborn or state.identity not in evidence.prior:
        return False  # it came from there: that is the placer's deed
    moves = [a for a in life.accesses if a.action in (Action.RENAME, Action.LINK) and a.identity == state.identity]
    moves += [a for a in index.directory_unbinds(state.path) if a.action is Action.RENAME]
    names = [n for a in moves if inside(a, window) for n in (a.name, a.old) if n is not None]
    return any(not index.known.is_inside(name) for name in names)


def _created(birth: FileAccess) -> tuple[Actor, ...]:
    return (as_actor(birth, Role.WRITER),)


def _one_each(actors: Iterable[Actor]) -> list[Actor]:
    """One entry a process, its latest call, latest first."""
    latest: dict[object, Actor] = {}
    for actor in sorted(actors, key=lambda a: a.time_ns or 0):
        latest[actor.process] = actor
    return sorted(latest.values(), key=lambda a: a.time_ns or 0, reverse=True)
