"""Who wrote the content that a file has. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fimscan.attribution.case import Case, Life, Ruled
from fimscan.attribution.claims import Claim, as_actor, decide, latest, named, nobody
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.doubts import why_not_alone
from fimscan.attribution.history import earlier_removals, earlier_writers, had_others, with_earlier
from fimscan.attribution.index import BIRTHS, WRITES
from fimscan.attribution.presence import Bind
from fimscan.attribution.witness import sift_by_witness
from fimscan.compare.states import same_content
from fimscan.model import (
    Action,
    Actor,
    Doubt,
    FileAccess,
    FileKind,
    FileState,
    Holders,
    Reason,
    Role,
    Unseen,
    Verdict,
    Why,
)

#: What is made of those whom :func:`writers_in_place` tells apart, in its order.
_JUDGEMENTS = (
    Why.WRITE_ACCESS,
    Why.HELD_OPEN,
    Why.HELD_OPEN,
    Why.AFTER_LAST_CHANGE,
    Why.CLOSED_BEFORE,
    Why.MAY_HOLD,
    Why.NO_WRITE,
)


def who_wrote(case: Case, bind: Bind) -> Claim:
    """Who gave the path the content that is there now, and whose earlier work may be in it."""
    after, (placed, overruled) = case.change.after, bind
    assert after is not None, "content is asked of a file that exists"
    claim = _present_writers(case, placed)
    if not had_others(case, placed):  # as most: one and the same file had the path
        return claim
    earlier = earlier_writers(case, placed)
    can_be_in_it = _can_be_taken_over(case, after)
    if can_be_in_it:
        claim = _unexamined(claim, case)
    writers = [actor for actor in claim.actors if actor.role is Role.WRITER] or claim.actors
    claim = with_earlier(claim, earlier, writers, can_be_in_it=can_be_in_it)
    took = named(earlier_removals(case, placed), Why.TOOK_ANOTHER)
    return claim._replace(ruled=(*claim.ruled, *overruled, *took))


def _present_writers(case: Case, placed: FileAccess | None) -> Claim:
    """Who wrote the file that is there now and, when it was put there by name, who placed it."""
    before, after = case.change.before, case.change.after
    assert after is not None, "content is asked of a file that exists"
    if placed is not None:
        return _writers_of_placed(case, after, placed)
    ruled: tuple[Ruled, ...] = ()
    if before is not None and before.identity == after.identity:
        claim = writers_in_place(case, case.life_of(after.identity))
        if claim.actors:
            return claim
        ruled = claim.ruled
    claim = _path_only(case, after)
    return claim._replace(ruled=(*claim.ruled, *ruled))


def _unexamined(claim: Claim, case: Case) -> Claim:
    """Where the old file was replaced: somebody who does not show it may have written to it before that."""
    before, after, holders = case.change.before, case.change.after, case.change.holders
    if claim.verdict is not Verdict.CONFIRMED or before is None or after is None or holders is None:
        return claim
    if before.identity != after.identity:
        doubts = holders.earlier_doubts
    elif case.life_of(after.identity).reborn:
        doubts = holders.doubts
    else:
        return claim
    if not (notes := why_not_alone(doubts, complete=holders.complete)):
        return claim
    return claim._replace(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, notes=(*claim.notes, *notes))


def _can_be_taken_over(case: Case, after: FileState) -> bool:
    """Whether what earlier writers left in files of this path can be in the present content.

    It cannot where the path has the content that it had before, or a file that has kept its own content since before
    the window. A symbolic link's target is what its maker said, whatever was there before.
    """
    if after.kind is not FileKind.FILE:
        return False
    before = case.change.before
    if before is not None and before.kind is after.kind and same_content(before, after):
        return False
    return not _is_as_it_was(case, after)


def _is_as_it_was(case: Case, after: FileState) -> bool:
    """Whether the file that is there now was known before the window, with the content that it has.

    The size of a directory is no content: on most file systems it changes with the names in it.
    """
    life = case.life_of(after.identity)
    prior = None if life.reborn else case.evidence.prior.get(after.identity)
    if prior is None or prior.kind is not after.kind:
        return False
    return after.kind is FileKind.DIRECTORY or same_content(prior, after)


def _writers_of_placed(case: Case, after: FileState, placed: FileAccess) -> Claim:
    life = case.life_of(after.identity)
    made = placed.action in BIRTHS
    placers = () if made else (as_actor(placed, Role.PLACER),)
    because = (placed, Why.MADE if made else Why.PLACED)
    unbound = latest(a for a in case.index.unbinds(after.path) if case.is_inside(a))
    name_went = unbound is not None and unbound.event > placed.event
    if name_went or (made and life.birth is None):
        # The name, or the file, was taken away again after this, and yet it is there: something was not seen.
        actors = placers or _created(placed)
        return Claim(verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY, actors=actors, ruled=(because,))
    if life.birth is not None:
        claim = _writers_since_birth(case, after, life.birth)
    else:
        claim = _writers_of_older(case, after, placed)
    if claim.names_nobody:
        return nobody(((placed, Why.ONLY_PLACED), *claim.ruled))
    if not made:
        claim = claim._replace(actors=(*claim.actors, *placers), ruled=(because, *claim.ruled))
    return claim


def _writers_since_birth(case: Case, after: FileState, birth: FileAccess) -> Claim:
    """A file that was seen to be made: whoever made it, and whoever had it open since."""
    life = case.life_of(after.identity)
    made = Claim(verdict=Verdict.CONFIRMED, actors=_created(birth), ruled=((birth, Why.MADE), *life.rulings))
    if birth.action not in WRITES and after.kind is not FileKind.FILE:
        # A directory, link, FIFO or device is what its maker made; opening it changes nothing in it.
        return made
    written = writers_in_place(case, life)
    return made if written.names_nobody else written


def _writers_of_older(case: Case, after: FileState, placed: FileAccess) -> Claim:
    """Whether a file that is older than what was seen of it brought other content to the name that it was given.

    The placer is added by the caller; a claim without actors is one about the placing alone.
    """
    life = case.life_of(after.identity)
    if _is_as_it_was(case, after):
        return Claim(verdict=Verdict.CONFIRMED, notes=("A file that was known already was put here, as it was.",))
    prior = None if life.reborn else case.evidence.prior.get(after.identity)
    written = writers_in_place(case, life)
    if not written.names_nobody:
        return written if prior is not None or _is_by(placed, written) else _brought_and_written(written)
    if prior is None:
        return _brought_in(case, after, placed)
    # The same file had other content when it was last read, and nobody was seen writing to it.
    if case.elsewhere_since(after) is not None:
        note = "It was away from the watched directories in between; who wrote it there is not known."
        return written._replace(verdict=Verdict.LIKELY, reason=Reason.COVERAGE_GAP, notes=(note,))
    return written


def _is_by(placed: FileAccess, written: Claim) -> bool:
    return {actor.process for actor in written.actors} == {placed.actor.process}


def _brought_and_written(written: Claim) -> Claim:
    """A file that came with content of its own, and that others opened for writing: they need not have changed it."""
    if written.verdict not in (Verdict.CONFIRMED, Verdict.LIKELY):
        return written
    return written._replace(
        verdict=Verdict.CONTESTED,
        reason=Reason.SEVERAL_WRITERS,
        notes=(*written.notes, "The file came with content of its own; whether it was written to here is not known."),
    )


def _brought_in(case: Case, after: FileState, placed: FileAccess) -> Claim:
    """A file that came from where nobody looks: the placer is known, the writer of the content is not."""
    note = "The content was written elsewhere, before it was put here; who wrote it is not known."
    known = max((a.event.time_ns for a in case.index.of_file(after.identity)), default=0)
    if after.ctime_ns > max(known, placed.event.time_ns) + SLACK_NS and after.kind is FileKind.FILE:
        # Something changed the file after it was placed without opening it here: a descriptor from before.
        return Claim(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, notes=(note,))
    return Claim(verdict=Verdict.CONFIRMED, notes=(note,))


def writers_in_place(case: Case, life: Life) -> Claim:
    """Who had the file open for writing: since its birth or, for a file that is older, over the window."""
    holders = case.change.holders or Holders(as_of_ns=0)
    start = case.window.after_ns - SLACK_NS
    # Opened before the old content was read: what was written then is in the old content, unless it was kept open.
    # Who had it open already when that was looked at, and is not among the holders, had closed it.
    closed_before = min(start, holders.as_of_ns - SLACK_NS)
    unchanged_after = case.unchanged_after_ns
    others: list[FileAccess] = []
    late: list[FileAccess] = []
    closed: list[FileAccess] = []
    early: list[FileAccess] = []
    recent: list[FileAccess] = []
    for access in life.accesses:
        time_ns = access.event.time_ns
        if access.action not in WRITES:
            others.append(access)
        elif time_ns > unchanged_after:
            late.append(access)
        elif time_ns >= start:
            recent.append(access)
        else:
            (early if time_ns >= closed_before else closed).append(access)
    seen = sift_by_witness(case, life, (*recent, *early), _holding(life, holders))
    kept = {id(access) for access in seen.kept}
    recent, early = ([access for access in some if id(access) in kept] for some in (recent, early))
    holding = [*seen.holding, *seen.added]
    doubts = () if life.reborn else _doubts(life, holders)
    may_hold: list[FileAccess] = []
    if doubts:
        # That they had closed it was not seen: not everything that can be open was shown.
        closed, may_hold = [], closed
    if any(doubt.why is Unseen.NO_PROCESS for doubt in doubts):
        # The kernel counted a writer, and no process showed it: whoever opened the file before may have been that.
        early, may_hold = [*early, *may_hold], []
    verdict, reason, actors, notes, _ = decide([a.actor for a in recent], [*[a.actor for a in early], *holding])
    if verdict is Verdict.LIKELY and not seen.holding and not early:
        reason = Reason.WITNESS_ONLY
    if verdict is Verdict.CONFIRMED and seen.contradicts:
        verdict = Verdict.CONTESTED
    others_may = () if life.reborn else why_not_alone(doubts, complete=holders.complete)
    if verdict is Verdict.CONFIRMED and others_may:
        verdict, reason, notes = Verdict.LIKELY, Reason.HELD_DESCRIPTOR, others_may
    judged: Sequence[Sequence[FileAccess | Actor]] = (recent, early, seen.holding, late, closed, may_hold, others)
    ruled = [(access, why) for why, some in zip(_JUDGEMENTS, judged, strict=True) for access in some]
    actors = tuple([actor._replace(role=Role.WRITER) for actor in actors])
    return Claim(verdict, reason, actors, (*notes, *seen.notes), (*ruled, *seen.ruled, *life.rulings))


def _doubts(life: Life, holders: Holders) -> tuple[Doubt, ...]:
    """Who may have had the file open; of one that was made in sight, all names are known."""
    if life.birth is None:
        return holders.doubts
    return tuple(doubt for doubt in holders.doubts if doubt.why is not Unseen.NAME)


def _holding(life: Life, holders: Holders) -> list[Actor]:
    """Who could write without opening the file in the window.

    A process that was seen opening it is judged by that, and by its pid: between the open and the look at who holds
    the file it can have become another program. A pid alone does not say so in the other direction: who held the file
    first, and has the pid of a later opener, may have ended before the pid was given away again.
    """
    if not holders.actors and not holders.later:
        return []
    openers = [access.actor for access in life.accesses if access.action in WRITES]
    opening = {actor.process for actor in openers}
    pids = {actor.pid for actor in openers}
    found = [] if life.reborn else [h for h in holders.actors if h.process not in opening]
    known = {h.process for h in found}
    if life.birth is None or life.birth.event.time_ns <= holders.later_ns:
        found += [h for h in holders.later if h.pid not in pids and h.process not in known]
    return found


def _path_only(case: Case, after: FileState) -> Claim:
    """Records that match the path and not the device can still be a lead; they are no proof."""
    leads = [
        a
        for a in case.index.by_path_only(after)
        if case.is_inside(a) and (a.action in WRITES or a.action in (Action.RENAME, Action.LINK))
    ]
    claim = decide([as_actor(a, Role.WRITER if a.action in WRITES else Role.PLACER) for a in leads], ())
    claim = claim._replace(ruled=tuple(named(leads, Why.SAME_PATH)))
    if claim.verdict is Verdict.CONFIRMED:
        return claim._replace(verdict=Verdict.LIKELY, reason=Reason.PATH_ONLY)
    return claim


def _created(birth: FileAccess) -> tuple[Actor, ...]:
    return (as_actor(birth, Role.WRITER),)
