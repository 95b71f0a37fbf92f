"""The data of the page: a few columns of every change, its change sets, and what is beside them.

Columns of numbers and tables of shared values take a tenth of the space of one object per row. All texts are safe to
display (:func:`fimscan.report.display.show`), so the script shows them as they are.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from fimscan.grouping import ChangeSet, Grouping, Rank, RankedRow
from fimscan.model import (
    Actor,
    ChangeKind,
    ChangePlan,
    Continuity,
    Diff,
    DispositionStatus,
    Finding,
    Gap,
    PackageAnswer,
    Scan,
    ScanStatus,
    Verdict,
)
from fimscan.report.actor_text import actor_texts
from fimscan.report.change_sets import rank_words, same_content_text, set_tail, set_title
from fimscan.report.differences import differences
from fimscan.report.display import command_text, show
from fimscan.report.dispositions import disposition_facts
from fimscan.report.in_effect import in_effect_words
from fimscan.report.packages import is_alarming, package_words
from fimscan.report.page.tables import Answers, Table, Texts
from fimscan.report.plans import planned_text, plans_by_path
from fimscan.report.text import suspect_texts
from fimscan.report.words import (
    GAP_WORDS,
    gap_actor_text,
    plural,
    process_text,
    unmodified_heading,
    unreadable_groups,
    unreadable_text,
    user_text,
)

_MILLISECOND = 10**6
_NOT_DECIDED = ((), "", False)
_ROOTS_SHOWN = 3
_WITHOUT_PATH = attrgetter(*(name for name in PackageAnswer.__struct_fields__ if name != "path"))
_SEVERITIES = ("critical", "high", "medium", "low", "")


def ordered_rows(grouping: Grouping) -> list[RankedRow]:
    """The rows in the order of the page: those that stand out, then the others in the order of their sets."""
    others = (row for item in grouping.sets for row in item.rows if not row.rank.stands_out)
    return [*grouping.standing_out, *others]


def rows_document(diff: Diff, grouping: Grouping, rows: list[RankedRow]) -> dict[str, Any]:
    """The data of the page. ``rows`` are those of the grouping in order."""
    base_ms = min([diff.start.started_ns, *(row.finding.change.window.after_ns for row in rows)]) // _MILLISECOND
    answers, directories, ranks, packages = Answers(base_ms), Table(), Texts(), Texts()
    packages.place(("", False))
    decisions, plans = Table(), plans_by_path(diff)
    decisions.place(_NOT_DECIDED)
    columns: list[tuple[Any, ...]] = []
    steps: dict[int, list[Any]] = {}
    warnings: dict[int, list[str]] = {}
    running: dict[int, list[Any]] = {}
    kinds = {kind: place for place, kind in enumerate(ChangeKind)}
    severities = {severity: place for place, severity in enumerate((*_SEVERITIES[:-1], None))}
    has_warnings = bool(diff.suspect_programs)
    for index, row in enumerate(rows):
        finding, rank = row.finding, row.rank
        change = finding.change
        directory, _, name = change.path.rpartition(b"/")
        answer, events = answers.add(finding.attribution, change)
        columns.append(
            (
                directories.place(directory),
                show(name),
                kinds[change.kind],
                severities[finding.severity],
                answer,
                _rank(ranks, rank) if rank.reasons else -1,
                row.number,
                change.id,
                row.time_ns // _MILLISECOND - base_ms,
                _package(packages, finding.package) if finding.package is not None else 0,
                "\n".join(differences(change)),
                events,
                decisions.place(_decided(finding, plans.get(change.path))),
            )
        )
        if finding.in_effect is not None and (words := list(in_effect_words(finding.in_effect))):
            running[index] = [words, bool(finding.in_effect.old)]
        if len(finding.steps) > 1:
            steps[index] = [_step(step, answers, kinds) for step in finding.steps]
        if has_warnings and (texts := suspect_texts(finding, diff)):
            warnings[index] = texts
    names = (
        *("directory", "name", "kind", "severity", "answer", "rank", "set", "number", "time", "package"),
        *("differences", "events", "decision"),
    )
    return {
        "base": base_ms,
        "span": [diff.start.started_ns // _MILLISECOND - base_ms, _end_ms(diff.end) - base_ms],
        "kinds": [kind.value for kind in ChangeKind],
        "severities": list(_SEVERITIES),
        "verdicts": [verdict.value for verdict in Verdict],
        "directories": [f"{show(directory)}/" for directory in directories.values],  # type: ignore[arg-type]  # bytes
        "ranks": ranks.values,
        "packages": packages.values,
        "decisions": decisions.values,
        "processes": answers.processes.values,
        "answers": answers.answers.values,
        "standing_out": len(grouping.standing_out),
        "rows": dict(zip(names, zip(*columns, strict=True), strict=True)) if columns else dict.fromkeys(names, ()),
        "steps": steps,
        "warnings": warnings,
        "running": running,
        "sets": [_set(item, diff, base_ms) for item in grouping.sets],
        "same_content": same_content_text(grouping.sets),
        "unreadable": [
            [heading, [[show(item.path), unreadable_text(item), bool(item.differs)] for item in items]]
            for heading, items in unreadable_groups(diff)
        ],
        "opened": [unmodified_heading(diff), [_opened(item.path, item.actors) for item in diff.opened_unmodified]],
    }


def _rank(ranks: Texts, rank: Rank) -> int:
    key = (rank.reasons, rank.deciding, rank.accounts, None if rank.place is None else rank.place.name)
    return ranks.place_by(key, lambda: (rank_words(rank), rank.deciding, rank.techniques))


def _package(packages: Texts, answer: PackageAnswer) -> int:
    def made() -> tuple[str, bool]:
        return ", ".join(package_words(answer)), is_alarming(answer)

    return packages.place_by(_WITHOUT_PATH(answer), made)


def continuity_document(diff: Diff, continuity: Continuity, base_ms: int) -> dict[str, Any]:
    """When scans ran, and when audit is known to have missed events, also those of single paths of the rows."""
    of_rows = (gap for row in diff.findings for gap in row.attribution.coverage.gaps)
    known = dict.fromkeys((*(continuity.gaps or ()), *of_rows))
    gaps = sorted(known, key=lambda gap: (gap.start_ns, gap.end_ns, gap.reason))
    return {
        "scans": [
            [scan.id, scan.started_ns // _MILLISECOND - base_ms, _end_ms(scan) - base_ms, _scan_words(scan)]
            for scan in continuity.scans or (diff.start, diff.end)
        ],
        "gaps": [_gap(gap, base_ms) for gap in gaps] if gaps or continuity.gaps is not None else None,
    }


def _scan_words(scan: Scan) -> str:
    kind = "live look at single files" if scan.is_partial else "scan of everything"
    return kind if scan.status is ScanStatus.FINISHED else f"{kind}, {scan.status}"


def _gap(gap: Gap, base_ms: int) -> list[Any]:
    lost = f" ({gap.lost} lost)" if gap.lost is not None else ""
    words = f"{GAP_WORDS[gap.reason]}{lost}{gap_actor_text(gap)}"
    return [gap.start_ns // _MILLISECOND - base_ms, gap.end_ns // _MILLISECOND - base_ms, words]


def _end_ms(scan: Scan) -> int:
    return (scan.finished_ns or scan.started_ns) // _MILLISECOND


def _decided(finding: Finding, plan: ChangePlan | None) -> tuple[tuple[str, ...], str, bool]:
    """(what was decided, as which plan it is, whether it is a violation)."""
    item = finding.disposition
    if item is None and plan is None:
        return _NOT_DECIDED
    return (
        () if item is None else disposition_facts(item),
        "" if plan is None else planned_text(plan),
        item is not None and item.status is DispositionStatus.VIOLATION,
    )


def _step(step: Finding, answers: Answers, kinds: dict[ChangeKind, int]) -> list[Any]:
    answer, events = answers.add(step.attribution, step.change)
    return [step.scan, kinds[step.change.kind], step.change.id, "\n".join(differences(step.change)), answer, events]


def _set(item: ChangeSet, diff: Diff, base_ms: int) -> dict[str, Any]:
    roots = [_root(root) for root in item.roots[:_ROOTS_SHOWN]]
    if len(item.roots) > _ROOTS_SHOWN:
        roots.append([f"and {plural(len(item.roots) - _ROOTS_SHOWN, 'more command')}", ""])
    return {
        "number": item.number,
        "title": set_title(item, diff.end.started_ns),
        "tail": list(set_tail(item)),
        "span": [item.start_ns // _MILLISECOND - base_ms, item.end_ns // _MILLISECOND - base_ms],
        "roots": roots,
    }


def _root(root: Actor) -> list[str]:
    command = command_text(root)
    cwd = "" if root.cwd is None else show(root.cwd)
    return [f"{process_text(root)}, {user_text(root)}", "" if command is None else f"{cwd}$ {command}"]


def _opened(path: bytes, actors: tuple[Actor, ...]) -> list[Any]:
    texts = actor_texts(actors, Verdict.CONFIRMED, None)
    return [show(path), [", ".join((text.process, text.user, *text.events)) for text in texts]]
