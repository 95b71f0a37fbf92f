"""Find who wrote the present content of a file. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fimscan.attribution.case import Case, Life, Ruled
from fimscan.attribution.claims import Claim, as_actor, decide, latest, named, nobody, with_role
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.doubts import why_not_alone
from fimscan.attribution.history import earlier_removals, earlier_writers, had_other_files, with_earlier
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

#: The judgements of the groups of accesses that :func:`writers_in_place` forms, in its order.
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
    """Claim who gave the path its present content, including writers of earlier files that may be part of it."""
    after, (placed, overruled) = case.change.after, bind
    assert after is not None, "content is asked of a file that exists"
    claim = _present_writers(case, placed)
    if not had_other_files(case, placed):  # usual: the same file had the path all the time
        return claim._replace(ruled=(*claim.ruled, *overruled)) if overruled else claim
    earlier = earlier_writers(case, placed)
    can_be_in_it = _can_be_taken_over(case, after)
    if can_be_in_it:
        claim = _weakened_by_doubts(claim, case)
    writers = [actor for actor in claim.actors if actor.role is Role.WRITER] or claim.actors
    claim = with_earlier(claim, earlier, writers, can_be_in_it=can_be_in_it)
    took = named(earlier_removals(case, placed), Why.TOOK_ANOTHER)
    return claim._replace(ruled=(*claim.ruled, *overruled, *took))


def _present_writers(case: Case, placed: FileAccess | None) -> Claim:
    """Claim who wrote the present file and, if it was put there by name, who placed it."""
    after = case.change.after
    assert after is not None, "content is asked of a file that exists"
    if placed is not None:
        return _writers_of_placed(case, after, placed)
    ruled: tuple[Ruled, ...] = ()
    if case.is_same_file:
        claim = writers_in_place(case, case.life_of(after.identity))
        if claim.actors:
            return claim
        ruled = claim.ruled
    claim = _path_only(case, after)
    return claim._replace(ruled=(*claim.ruled, *ruled))


def _weakened_by_doubts(claim: Claim, case: Case) -> Claim:
    """Weaken a claim if the old file was replaced and an uninspected process may have written to it before."""
    before, after, holders = case.change.before, case.change.after, case.change.holders
    if claim.verdict is not Verdict.CONFIRMED or before is None or after is None or holders is None:
        return claim
    if not case.is_same_file:
        doubts = holders.earlier_doubts
    elif case.life_of(after.identity).reborn:
        doubts = holders.doubts
    else:
        return claim
    if not (notes := why_not_alone(doubts, complete=holders.complete)):
        return claim
    return claim._replace(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, notes=(*claim.notes, *notes))


def _can_be_taken_over(case: Case, after: FileState) -> bool:
    """Whether the present content can include what was written to earlier files of this path.

    It cannot if the path has the same content as before, or if the present file kept its own content since before the
    window. The target of a symbolic link comes from its creator alone.
    """
    if after.kind is not FileKind.FILE:
        return False
    before = case.change.before
    if before is not None and before.kind is after.kind and same_content(before, after):
        return False
    return not _is_unchanged(case, after)


def _is_unchanged(case: Case, after: FileState) -> bool:
    """Whether the present file was known before the window with the same content.

    The size of a directory is not content: on most file systems it changes with its entries.
    """
    life = case.life_of(after.identity)
    prior = None if life.reborn else case.evidence.prior.get(after.identity)
    if prior is None or prior.kind is not after.kind:
        return False
    return after.kind is FileKind.DIRECTORY or same_content(prior, after)


def _writers_of_placed(case: Case, after: FileState, placed: FileAccess) -> Claim:
    """Claim who wrote and who placed a file that ``placed`` put at the path by creation, rename or link."""
    life = case.life_of(after.identity)
    made = placed.action in BIRTHS
    placers = () if made else (as_actor(placed, Role.PLACER),)
    because = (placed, Why.MADE if made else Why.PLACED)
    unbound = latest(a for a in case.index.unbinds(after.path) if case.is_inside(a))
    name_went = unbound is not None and unbound.event > placed.event
    if name_went or (made and life.birth is None):
        # The name or the file was removed after this, yet it exists: a later call was not seen.
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
    """Claim for a file whose creation audit saw: its creator, and all who had it open since."""
    life = case.life_of(after.identity)
    made = Claim(verdict=Verdict.CONFIRMED, actors=_created(birth), ruled=((birth, Why.MADE), *life.rulings))
    if birth.action not in WRITES and after.kind is not FileKind.FILE:
        # A directory, link, FIFO or device has no content beside what its creator gave it.
        return made
    written = writers_in_place(case, life)
    return made if written.names_nobody else written


def _writers_of_older(case: Case, after: FileState, placed: FileAccess) -> Claim:
    """Claim for a file that was put in place and whose creation was not seen: whether it brought new content.

    The caller adds the placer. A confirmed or likely claim without actors is about the placing alone.
    """
    life = case.life_of(after.identity)
    if _is_unchanged(case, after):
        return Claim(verdict=Verdict.CONFIRMED, notes=("A file that was already known was put here, unchanged.",))
    prior = None if life.reborn else case.evidence.prior.get(after.identity)
    written = writers_in_place(case, life)
    if not written.names_nobody:
        return written if prior is not None or _is_by(placed, written) else _placed_and_opened(written)
    if prior is None:
        return _from_outside(case, after, placed)
    # The same file had other content when it was last read, and audit saw no process open it for writing.
    if case.outside_since(after) is not None:
        note = "In between, the file was outside the watched directories; who wrote to it there is not known."
        return written._replace(verdict=Verdict.LIKELY, reason=Reason.COVERAGE_GAP, notes=(note,))
    return written


def _is_by(placed: FileAccess, written: Claim) -> bool:
    """Whether the placer is the only writer."""
    return {actor.process for actor in written.actors} == {placed.actor.process}


def _placed_and_opened(written: Claim) -> Claim:
    """Contest a claim about a file that came with content: processes that opened it need not have changed it."""
    if written.verdict not in (Verdict.CONFIRMED, Verdict.LIKELY):
        return written
    return written._replace(
        verdict=Verdict.CONTESTED,
        reason=Reason.SEVERAL_WRITERS,
        notes=(
            *written.notes,
            "The file already had content when it was put here; whether it was written to since is not known.",
        ),
    )


def _from_outside(case: Case, after: FileState, placed: FileAccess) -> Claim:
    """Claim for a file from an unmonitored place: the placer is known, the writer of the content is not."""
    note = "The content was written elsewhere, before the file was put here; which process wrote it is not known."
    known = max((a.event.time_ns for a in case.index.of_file(after.identity)), default=0)
    if after.ctime_ns > max(known, placed.event.time_ns) + SLACK_NS and after.kind is FileKind.FILE:
        # The file changed after it was placed, and was not opened here: the writer used an earlier descriptor.
        return Claim(verdict=Verdict.LIKELY, reason=Reason.HELD_DESCRIPTOR, notes=(note,))
    return Claim(verdict=Verdict.CONFIRMED, notes=(note,))


def writers_in_place(case: Case, life: Life) -> Claim:
    """Claim who had the file open for writing: since its creation or, for an older file, in the window."""
    holders = case.change.holders or Holders(as_of_ns=0)
    start = case.window.after_ns - SLACK_NS
    # What an earlier opener wrote is in the old content, unless it kept the file open. A process that opened the file
    # before the processes were inspected, and is not among the holders, had closed it by then.
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
            (early if time_ns >= closed_before or case.may_act_inside(access) else closed).append(access)
    seen = sift_by_witness(case, life, (*recent, *early), _holding(life, holders))
    if len(seen.kept) < len(recent) + len(early):
        kept = {id(access) for access in seen.kept}
        recent, early = ([access for access in some if id(access) in kept] for some in (recent, early))
    holding = [*seen.holding, *seen.added]
    doubts = () if life.reborn else _doubts(life, holders)
    may_hold: list[FileAccess] = []
    if doubts:
        # Not everything that a process can have open was visible: whether they had closed it is not known.
        closed, may_hold = [], closed
        if any(doubt.why is Unseen.NO_PROCESS for doubt in doubts):
            # The kernel counted a writer that no process showed. It may be any process that opened the file before.
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
    actors = tuple([with_role(actor, Role.WRITER) for actor in actors])
    return Claim(verdict, reason, actors, (*notes, *seen.notes), (*ruled, *seen.ruled, *life.rulings))


def _doubts(life: Life, holders: Holders) -> tuple[Doubt, ...]:
    """Return the doubts that apply. A file whose creation audit saw has no unknown names."""
    if life.birth is None:
        return holders.doubts
    return tuple(doubt for doubt in holders.doubts if doubt.why is not Unseen.NAME)


def _holding(life: Life, holders: Holders) -> list[Actor]:
    """List the processes that could write without opening the file in the window.

    A process that audit saw opening the file is judged by its open instead. A later holder with the pid of an opener
    is taken for that opener: it may have called exec in between. An earlier holder with the pid of a later opener is
    not: it may have ended, and the pid may have been reused.
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
    """Claim from records that match the path but not the device: leads, never proof."""
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
