"""Combine net changes with their steps into one row per path, however many scans lie in between. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from fimscan.model import Attribution, Breach, Change, ChangeKind, Coverage, FileState, Finding, Reason, Verdict, Window

_UNKNOWN = Attribution(
    verdict=Verdict.UNATTRIBUTED,
    reason=Reason.COVERAGE_GAP,
    coverage=Coverage(complete=False),
    notes=("No scan recorded a step that leads to this difference.",),
)


def rows_with_steps(net: Iterable[Change], by_path: Mapping[bytes, list[Finding]]) -> list[Finding]:
    """Make a row of each net change with the steps that led to it (:func:`steps_by_path`), in order of path.

    The verdict of a row is the weakest of its steps. Its actors are those of all steps, latest step first. Its number
    is that of the last step. Steps under earlier names of a moved file are included.
    """
    found = (_row(change, _steps_of(change, by_path)) for change in net)
    return sorted(found, key=lambda row: row.change.path)


def steps_by_path(steps: Iterable[Finding]) -> dict[bytes, list[Finding]]:
    """The steps of each path, those that moved its file away included."""
    by_path: dict[bytes, list[Finding]] = defaultdict(list)
    for step in steps:
        change = step.change
        by_path[change.path].append(step)
        if (moved_from := change.moved_from) is not None:
            by_path[moved_from].append(step)
    return by_path


def only_step(steps: Sequence[Finding], before: FileState | None, after: FileState | None) -> Finding | None:
    """The only step of a path if it leads from one of these states to the other; then it is the row as it is.

    Not if it can be part of a move.
    """
    if len(steps) != 1:
        return None
    change = steps[0].change
    is_same_file = change.kind in (ChangeKind.MODIFIED, ChangeKind.ATTRIBUTES)
    return steps[0] if is_same_file and change.before is before and change.after is after else None


def _steps_of(change: Change, by_path: Mapping[bytes, list[Finding]]) -> Sequence[Finding]:
    """Collect the steps of one path, following renames back."""
    found: dict[int, Finding] = {}
    path, until = change.path, None
    if (own := by_path.get(path)) is not None and len(own) == 1 and own[0].change.moved_from is None:
        return own
    while True:
        earlier = [s for s in by_path.get(path, ()) if until is None or s.change.id < until]
        came_from = next((s for s in reversed(earlier) if s.change.path == path and s.change.moved_from), None)
        since = came_from.change.id if came_from is not None else 0
        found.update((s.change.id, s) for s in earlier if s.change.id >= since)
        if came_from is None or came_from.change.moved_from is None:
            return [found[number] for number in sorted(found)]
        path, until = came_from.change.moved_from, came_from.change.id


def _row(change: Change, steps: Sequence[Finding]) -> Finding:
    """Make the row of a net change: an unknown answer without steps, the answer of one step, or a combined one."""
    if not steps:
        return Finding(change=change, attribution=_UNKNOWN)
    last = steps[-1]
    if len(steps) == 1:
        return Finding(
            change=replace(
                change,
                id=last.change.id,
                window=last.change.window,
                holders=last.change.holders,
                breach=last.change.breach,
            ),
            attribution=last.attribution,
            scan=last.scan,
            in_effect=last.in_effect,
        )
    window = Window(after_ns=steps[0].change.window.after_ns, before_ns=last.change.window.before_ns)
    return Finding(
        change=replace(change, id=last.change.id, window=window, breach=_last_breach(steps)),
        attribution=_combined(steps),
        scan=last.scan,
        steps=tuple(steps),
        in_effect=last.in_effect,
    )


def _last_breach(steps: Sequence[Finding]) -> Breach | None:
    return next((step.change.breach for step in reversed(steps) if step.change.breach is not None), None)


def _combined(steps: Sequence[Finding]) -> Attribution:
    answers = [step.attribution for step in reversed(steps)]
    weakest = min(answers, key=lambda answer: answer.verdict.strength)
    return Attribution(
        verdict=weakest.verdict,
        reason=weakest.reason,
        actors=tuple(dict.fromkeys(actor for answer in answers for actor in answer.actors)),
        coverage=Coverage(
            complete=all(answer.coverage.complete for answer in answers),
            gaps=tuple(dict.fromkeys(gap for answer in reversed(answers) for gap in answer.coverage.gaps)),
        ),
        notes=tuple(dict.fromkeys(note for answer in answers for note in answer.notes)),
    )
