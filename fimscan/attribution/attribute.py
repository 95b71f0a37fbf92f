"""Answer one change: verdict, reason, actors and coverage, from the accesses and from what audit could see. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fimscan.attribution.attributes import has_unseen_flags, who_changed, who_changed_placed, who_set_flags
from fimscan.attribution.case import Case, Evidence, last_touched
from fimscan.attribution.claims import Claim, as_actor
from fimscan.attribution.content import who_wrote
from fimscan.attribution.coverage import BEYOND_RULES, SLACK_NS, CoverageMap, Need
from fimscan.attribution.history import with_earlier
from fimscan.attribution.holes import has_unseen_times, without_irrelevant
from fimscan.attribution.index import WRITES, Identity
from fimscan.attribution.late import with_late_calls
from fimscan.attribution.presence import last_bind, recreated, who_moved, who_removed
from fimscan.attribution.reasoning import reasoning
from fimscan.attribution.whiteouts import who_left_whiteout
from fimscan.compare.states import same_content
from fimscan.model import (
    Action,
    Actor,
    Attribution,
    Change,
    ChangeKind,
    Coverage,
    FileAccess,
    FileKind,
    FileState,
    Gap,
    GapReason,
    Reason,
    Role,
    UnmodifiedOpen,
    Verdict,
    Window,
)
from fimscan.paths import parent

# With these gaps the ctime proves nothing: a clock set at boot leaves no other trace, and moved blocks keep the ctime.
_NO_CTIME = frozenset({GapReason.CLOCK_CHANGED, GapReason.BOOT, GapReason.EXTENT_MOVE})
_CONTENT = frozenset({"kind", "content", "link_target", "inode", "dev"})
_ATTRIBUTES = frozenset({"mode", "uid", "gid", "acl", "capabilities", "selinux", "xattr"})


def attribute(change: Change, evidence: Evidence, coverage: CoverageMap) -> Attribution:
    """Answer one change.

    Each side of the change (presence, content, attributes) gets a claim of its own. The answer is as strong as the
    weakest claim. It is never confirmed where audit has a gap.
    """
    need = _need(change)
    seen = coverage.over(change.path, change.window, need)
    untimed = False
    if seen.gaps:
        directories = evidence.directories.get(parent(change.path), ())
        given = _gives_rights(change, evidence, directories)
        seen = without_irrelevant(seen, change, directories, rights_given=given)
        untimed = any(gap.reason in _NO_CTIME for gap in seen.gaps)
    case = Case(change, evidence, clock_changed=untimed, is_covered=seen.complete)
    claims = _claims(case)
    claim = claims[0] if len(claims) == 1 else _all_of(claims)
    verdict, reason, actors, notes, ruled = with_late_calls(claim, case)
    actors = _distinct(actors)
    seen = _with_other_names(seen, case)
    if verdict is not Verdict.UNATTRIBUTED and "flags" in change.changed and _set_flags(actors):
        seen = _with_gap(seen, case, GapReason.UNSEEN_CALL)
    if has_unseen_times(change):
        seen = _with_gap(seen, case, GapReason.TIMES_CALL)
    if verdict is Verdict.UNATTRIBUTED:
        if reason is Reason.NOT_COVERED:
            seen = _with_gap(seen, case, GapReason.UNSEEN_CALL)
        elif any(gap.reason in BEYOND_RULES for gap in seen.gaps):
            reason = Reason.NOT_COVERED
        elif coverage.watched(change.path, change.window, need) is False:
            reason = Reason.NOT_COVERED
        elif seen.complete and not coverage.watches_device(change.path, change.window, change.state.dev):
            # A file system was mounted below the directory, perhaps after its rules were loaded: they may not cover it.
            reason = Reason.NOT_COVERED
            seen = _with_gap(seen, case, GapReason.NO_RULE)
        else:
            reason = Reason.NO_EVENT if seen.complete else Reason.COVERAGE_GAP
    elif _is_changed_in_later_gap(case, actors, seen):
        verdict, reason, actors = Verdict.UNATTRIBUTED, Reason.COVERAGE_GAP, ()
        notes = (
            *notes,
            "The file was last changed in a gap, and was opened before it; which process changed it is not known.",
        )
    elif verdict is Verdict.CONFIRMED and not seen.complete:
        verdict, reason = Verdict.LIKELY, Reason.COVERAGE_GAP
    elif verdict is Verdict.CONFIRMED and any(actor.event in evidence.doubtful for actor in actors):
        verdict, reason = Verdict.LIKELY, Reason.PATH_ONLY
        notes = (*notes, "The audit record does not say in which subvolume (or overlay layer) the file is.")
    return Attribution(
        verdict=verdict,
        reason=reason,
        actors=actors,
        coverage=seen,
        notes=notes,
        reasoning=reasoning(case, ruled, actors),
    )


_SETS_RIGHTS = frozenset({Action.CHMOD, Action.CHOWN, Action.SETXATTR})


def _gives_rights(change: Change, evidence: Evidence, directories: Iterable[FileState]) -> bool:
    """Whether calls in the window may have let others write to a file or its directory: owner, mode or ACL were set."""
    window = change.window
    until_ns = max(window.after_ns, window.before_ns) + SLACK_NS
    identities = {state.identity for state in (*change.sides, *directories)}
    calls = (access for identity in identities for access in evidence.index.of_file(identity))
    since_ns = min(window.after_ns, window.before_ns) - SLACK_NS
    return any(
        access.action in _SETS_RIGHTS
        and since_ns <= access.event.time_ns <= until_ns
        and (access.action is not Action.CHMOD or access.argument is None or bool(access.argument & 0o022))
        for access in calls
    )


def _all_of(claims: Sequence[Claim]) -> Claim:
    """Combine the claims about all sides of a change into one, as strong as the weakest of them."""
    weakest = min(claims, key=lambda claim: claim.verdict.strength)
    reason = weakest.reason
    if weakest.names_nobody and not all(claim.reason is reason for claim in claims if claim.names_nobody):
        reason = None  # one side has no actor although audit would have recorded one
    return Claim(
        verdict=weakest.verdict,
        reason=reason,
        actors=tuple(actor for claim in claims for actor in claim.actors),
        notes=tuple(dict.fromkeys(note for claim in claims for note in claim.notes)),
        ruled=tuple(item for claim in claims for item in claim.ruled),
    )


def _with_gap(seen: Coverage, case: Case, reason: GapReason) -> Coverage:
    """Add a gap over the whole window."""
    gap = Gap(start_ns=case.window.after_ns, end_ns=case.window.before_ns, reason=reason)
    return Coverage(complete=False, gaps=(*seen.gaps, gap))


def _is_changed_in_later_gap(case: Case, actors: Iterable[Actor], seen: Coverage) -> bool:
    """Whether this same file was last changed in a gap that began after all known actors had opened it."""
    before, after = case.change.before, case.change.after
    if not seen.gaps or before is None or after is None or before.identity != after.identity:
        return False
    if any(gap.reason in _NO_CTIME for gap in seen.gaps):
        return False
    # Also where the ctime can clear nobody, because some changes do not set it, it is the time of one change.
    last = last_touched(after) if case.last_change_ns is None else case.last_change_ns
    if not all(actor.role is Role.WRITER and actor.time_ns is not None for actor in actors):
        return False  # held open since before the window, or put into place: a gap does not put that in doubt
    opened = max((actor.time_ns or 0 for actor in actors), default=last)
    return any(opened + SLACK_NS < gap.start_ns <= last <= gap.end_ns for gap in seen.gaps)


def _set_flags(actors: Iterable[Actor]) -> bool:
    return any(actor.syscall == "file_setattr" for actor in actors)


def _with_other_names(seen: Coverage, case: Case) -> Coverage:
    """Add a gap where the file had another name: writing through it escapes rules with ``dir=``.

    Such a name is a hard link in a directory that is not watched.
    """
    change, names = case.change, case.evidence.names
    since = None
    if change.after is not None and change.kind is not ChangeKind.ADDED:
        since = case.outside_since(change.after)
    sides = (change.before, change.after if since is None else None)
    linked = [s for s in sides if s is not None and s.nlink > 1 and s.kind is not FileKind.DIRECTORY]
    if any(s.nlink > names.get(s.identity, 1) for s in linked):
        since = case.window.after_ns
    if since is None:
        return seen
    gap = Gap(start_ns=max(since, case.window.after_ns), end_ns=case.window.before_ns, reason=GapReason.OTHER_NAME)
    return Coverage(complete=False, gaps=(*seen.gaps, gap))


def _claims(case: Case) -> list[Claim]:
    """Make the claims about all sides of the change that differ."""
    change = case.change
    changed = set(change.changed)
    match change.kind:
        case ChangeKind.REMOVED:
            return [who_removed(case)]
        case ChangeKind.ADDED:
            return [_written(case)]
        case ChangeKind.MOVED:
            return [_moved(case), *(who_changed(case) if (_ATTRIBUTES | {"flags"}) & changed else ())]
    if not _CONTENT & changed:
        return who_changed(case)
    assert change.after is not None, "only a removal has no new side"
    placed = last_bind(change.after, case)
    if placed[0] is None and (left := who_left_whiteout(case, change.after)) is not None:
        return [left]
    written = who_wrote(case, placed)
    if placed[0] is None:
        return [written, *who_changed(case)]
    changers, ruled, earlier = who_changed_placed(case, placed[0])
    claim = written._replace(actors=(*written.actors, *changers), ruled=(*written.ruled, *ruled))
    claim = with_earlier(claim, earlier, claim.actors, can_be_in_it=True)
    unseen = "flags" in changed and has_unseen_flags(change.before, change.after)
    return [claim, who_set_flags(_in_window(case, change.after))] if unseen else [claim]


def _in_window(case: Case, state: FileState) -> list[FileAccess]:
    return [access for access in case.life_of(state.identity).accesses if case.is_inside(access)]


def _moved(case: Case) -> Claim:
    after = case.change.after
    assert after is not None, "a moved file is somewhere"
    placed = last_bind(after, case)
    if placed[0] is not None and case.life_of(after.identity).reborn:
        return recreated(who_wrote(case, placed), who_removed(case))
    return who_moved(case, placed)


def _written(case: Case) -> Claim:
    after = case.change.after
    assert after is not None, "what was added is there"
    placed = last_bind(after, case)
    left = who_left_whiteout(case, after) if placed[0] is None else None
    return left or who_wrote(case, placed)


def _need(change: Change) -> Need:
    attributes = change.before is not None and not _ATTRIBUTES.isdisjoint(change.changed)
    only_attributes = change.kind is ChangeKind.ATTRIBUTES and _CONTENT.isdisjoint(change.changed)
    return Need(writes=not (only_attributes and attributes), attributes=attributes or only_attributes)


def _distinct(actors: Iterable[Actor]) -> tuple[Actor, ...]:
    """Keep one entry per process and role, in the order of the claims."""
    given = tuple(actors)
    if len(given) < 2:
        return given
    return tuple({(a.process, a.role): a for a in reversed(given)}.values())[::-1]


def opened_unmodified(
    accesses: Iterable[FileAccess],
    states: Mapping[Identity, Iterable[tuple[FileState, Window]]],
) -> tuple[UnmodifiedOpen, ...]:
    """List files that were opened for writing in their window although their content did not change, by path.

    Args:
        accesses: the accesses of the windows.
        states: by identity, the unmodified files (one entry for each hard link's path) with their windows.
    """
    found: dict[bytes, list[Actor]] = {}
    for access in accesses:
        if not access.success or access.action not in WRITES or access.identity is None or access.flags_unknown:
            continue
        for state, window in states.get(access.identity, ()):
            if window.after_ns <= access.event.time_ns < window.before_ns:
                found.setdefault(state.path, []).append(as_actor(access, Role.WRITER))
    return tuple(UnmodifiedOpen(path=path, actors=_openers(actors)) for path, actors in sorted(found.items()))


def _openers(actors: Iterable[Actor]) -> tuple[Actor, ...]:
    """Keep one entry per process.

    There are too many openers to check each for a reused pid, so pid, user and parent stand for the process.
    """
    return tuple({(a.process, a.uid, a.ppid): a for a in reversed(tuple(actors))}.values())[::-1]


def content_kept(change: Change) -> bool:
    """Whether a change left the file's content as it was (only attributes or times changed, or the file moved)."""
    before, after = change.before, change.after
    return before is not None and after is not None and before.kind is after.kind and same_content(before, after)
