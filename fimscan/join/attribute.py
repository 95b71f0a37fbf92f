"""Change x accesses x coverage -> Attribution: who did it, how sure that is, and why it is not surer. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fimscan.join.claims import (
    Claim,
    Evidence,
    as_actor,
    elsewhere,
    who_changed,
    who_changed_placed,
    who_moved,
    who_removed,
    who_wrote,
)
from fimscan.join.claims import last_bind as _last_bind
from fimscan.join.compare import same_content
from fimscan.join.coverage import CoverageMap, Need
from fimscan.join.index import WRITES, Identity
from fimscan.model import (
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

_CONTENT = frozenset({"kind", "content", "link_target", "inode", "dev"})
_ATTRIBUTES = frozenset({"mode", "uid", "gid", "xattr"})


def attribute(change: Change, evidence: Evidence, coverage: CoverageMap) -> Attribution:
    """Answer for one change.

    Each side of it (presence, content, attributes) is claimed on its own; the answer is as strong as the weakest
    claim, and never stronger than what audit was there to see.
    """
    claims = _claims(change, evidence)
    weakest = min(claims, key=lambda claim: claim.verdict.strength)
    actors = _distinct(actor for claim in claims for actor in claim.actors)
    notes = tuple(dict.fromkeys(note for claim in claims for note in claim.notes))
    need = _need(change)
    seen = _with_other_names(coverage.over(change.path, change.window, need), change, evidence)
    verdict, reason = weakest.verdict, weakest.reason
    if verdict is Verdict.UNATTRIBUTED:
        if coverage.watched(change.path, change.window, need) is False:
            reason = Reason.NOT_COVERED
        else:
            reason = Reason.NO_EVENT if seen.complete else Reason.COVERAGE_GAP
    elif verdict is Verdict.CONFIRMED and not seen.complete:
        verdict, reason = Verdict.LIKELY, Reason.COVERAGE_GAP
    return Attribution(verdict=verdict, reason=reason, actors=actors, coverage=seen, notes=notes)


def _with_other_names(seen: Coverage, change: Change, evidence: Evidence) -> Coverage:
    """A hard link in a directory that is not watched is a way to the content that no rule with ``dir=`` sees."""
    states = [s for s in (change.before, change.after) if s is not None and s.kind is not FileKind.DIRECTORY]
    away = (
        change.after is not None
        and change.kind is not ChangeKind.ADDED
        and elsewhere(change.after, change.window, evidence)
    )
    if not away and all(state.nlink <= max(evidence.names.get(state.identity, 1), 1) for state in states):
        return seen
    window = change.window
    gap = Gap(start_ns=window.after_ns, end_ns=window.before_ns, reason=GapReason.OTHER_NAME)
    return Coverage(complete=False, gaps=(*seen.gaps, gap))


def _claims(change: Change, evidence: Evidence) -> list[Claim]:
    match change.kind:
        case ChangeKind.REMOVED:
            return [who_removed(change, evidence)]
        case ChangeKind.ADDED:
            return [who_wrote(change, evidence)]
        case ChangeKind.MOVED:
            moved = who_moved(change, evidence)
            return [moved, *(who_changed(change, evidence) if _ATTRIBUTES & set(change.changed) else ())]
    if not _CONTENT & set(change.changed):
        return who_changed(change, evidence)
    written = who_wrote(change, evidence)
    assert change.after is not None, "only a removal has no new side"
    if _last_bind(change.after, change.window, evidence.index) is None:
        return [written, *who_changed(change, evidence)]
    changers = who_changed_placed(change, evidence)
    return [
        Claim(verdict=written.verdict, reason=written.reason, actors=(*written.actors, *changers), notes=written.notes)
    ]


def _need(change: Change) -> Need:
    attributes = change.before is not None and bool(_ATTRIBUTES & set(change.changed))
    only_attributes = change.kind is ChangeKind.ATTRIBUTES and not _CONTENT & set(change.changed)
    return Need(writes=not (only_attributes and attributes), attributes=attributes or only_attributes)


def _distinct(actors: Iterable[Actor]) -> tuple[Actor, ...]:
    """Each process once a role, in the order of the claims."""
    return tuple({(a.process, a.role): a for a in reversed(list(actors))}.values())[::-1]


def opened_unmodified(
    accesses: Iterable[FileAccess],
    states: Mapping[Identity, Iterable[tuple[FileState, Window]]],
) -> tuple[UnmodifiedOpen, ...]:
    """Files that were opened for writing in their window and have the content that they had before.

    ``states`` gives, by identity, the unmodified files (every hard link's path) with their windows. Order: by path.
    """
    found: dict[bytes, list[Actor]] = {}
    for access in accesses:
        if not access.success or access.action not in WRITES or access.identity is None:
            continue
        for state, window in states.get(access.identity, ()):
            if window.after_ns <= access.event.time_ns < window.before_ns:
                found.setdefault(state.path, []).append(as_actor(access, Role.WRITER))
    return tuple(UnmodifiedOpen(path=path, actors=_distinct(actors)) for path, actors in sorted(found.items()))


def content_kept(change: Change) -> bool:
    """Whether a change left the file's content as it was (attributes, times, a mere move)."""
    before, after = change.before, change.after
    return before is not None and after is not None and before.kind is after.kind and same_content(before, after)
