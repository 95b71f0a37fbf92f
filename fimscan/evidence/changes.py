"""``09-changes.csv`` and ``.json``: every change and who made it (PCI DSS 10.2.2: user, type, time, outcome, object).

Both omit command lines and file content, which can hold passwords and card data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from fimscan.evidence.archive import Staged
from fimscan.evidence.ascii_json import ascii_json
from fimscan.evidence.inputs import FoundChange
from fimscan.evidence.tables import Cell, Table, hex_digest, path_cells, text_cell, yes_no
from fimscan.model import Actor, DispositionStatus, Finding
from fimscan.report.display import show, time_text
from fimscan.report.documents.evidence import OUTCOME, evidence_change_document, evidence_changes_head
from fimscan.report.words import origin_text

_CHANGE = (
    *("change", "scan", "type", "object", "object_b64", "moved_from", "moved_from_b64", "changed", "breach"),
    *("window_after_utc", "window_before_utc", "outcome", "sha256_before", "sha256_after"),
    *("verdict", "reason", "notes", "candidate"),
)
_ACTOR = (
    *("role", "login_user", "auid", "user", "uid", "euid", "time_utc", "exe", "pid", "ppid", "tty", "session"),
    *("syscall", "event", "login_origin", "exe_origin", "container"),
)
_JUDGED = (
    *("severity", "category", "set", "package", "package_version", "package_class"),
    *("status", "ticket", "reviewer", "decided_utc", "decision_category", "decision_reason", "decision", "own"),
)


def write_changes(table: Staged, text: Staged, data: Iterable[FoundChange], host: str, period: tuple[int, int]) -> int:
    """Write the CSV and the JSON in one pass; return the number of changes.

    A finding with several steps is written as its steps. A change has one CSV row for each candidate, and one row if
    there is no candidate. The JSON's ``changes`` are as in ``fimscan.diff/1``, with ``cmdline`` null, plus ``outcome``.
    """
    text.write(ascii_json(evidence_changes_head(host, period))[:-1] + b',"changes":[')
    count = 0
    with Table(table, host, (*_CHANGE, *_ACTOR, *_JUDGED)) as rows:

        def documents() -> Iterator[bytes]:
            nonlocal count
            for found in data:
                for step in found.finding.steps or (found.finding,):
                    bare = _without_command_lines(step)
                    for cells in _rows(bare, found.set):
                        rows.add(*cells)
                    yield (b",\n" if count else b"\n") + ascii_json(evidence_change_document(bare, found.set))
                    count += 1

        text.write_all(documents())
    text.write(b"\n]}\n")
    return count


def _without_command_lines(finding: Finding) -> Finding:
    """Remove the command lines, which may have passwords, of all processes: also of those that caused a gap."""
    answer = finding.attribution
    actors = tuple([actor._replace(cmdline=None) for actor in answer.actors])
    coverage = answer.coverage
    if coverage.gaps:
        gaps = tuple(
            gap if gap.actor is None else replace(gap, actor=gap.actor._replace(cmdline=None)) for gap in coverage.gaps
        )
        coverage = coverage._replace(gaps=gaps)
    return replace(finding, attribution=answer._replace(actors=actors, coverage=coverage))


def _rows(finding: Finding, set_number: int | None) -> Iterable[tuple[Cell, ...]]:
    change, answer = finding.change, finding.attribution
    about: tuple[Cell, ...] = (
        *(change.id, finding.scan, change.kind, *path_cells(change.path), *path_cells(change.moved_from)),
        *(" ".join(change.changed), change.breach),
        *(time_text(change.window.after_ns), time_text(change.window.before_ns), OUTCOME),
        *(hex_digest(change.before, "sha256"), hex_digest(change.after, "sha256")),
        *(answer.verdict, answer.reason, show(" ".join(answer.notes))),
    )
    judged = (finding.severity, text_cell(finding.category), set_number, *_package(finding), *_decision(finding))
    if not answer.actors:
        yield (*about, "none", *(None for _ in _ACTOR), *judged)
    for number, actor in enumerate(answer.actors, 1):
        yield (*about, f"{number} of {len(answer.actors)}", *_actor(actor), *judged)


def _package(finding: Finding) -> tuple[Cell, ...]:
    answer = finding.package
    if answer is None:
        return None, None, None
    owner = answer.owner
    named = (None, None) if owner is None else (text_cell(owner.name), text_cell(owner.version))
    return (*named, answer.kind)


def _decision(finding: Finding) -> tuple[Cell, ...]:
    """Status, ticket, reviewer, time, category, reason, number of the decision, and whether it is on own changes."""
    decided = finding.disposition
    if decided is None:
        return (DispositionStatus.PENDING, *(None for _ in range(7)))
    why, record = decided.record.approval, decided.record
    about = text_cell(why.ticket), text_cell(why.user), time_text(why.accepted_ns)
    return (decided.status, *about, why.category, text_cell(why.reason), record.act, yes_no(record.is_own))


def _actor(actor: Actor) -> tuple[Cell, ...]:
    return (
        *(actor.role, text_cell(actor.login_user), actor.auid, text_cell(actor.user), actor.uid, actor.euid),
        time_text(actor.time_ns) if actor.time_ns is not None else None,
        *(text_cell(actor.exe), actor.pid, actor.ppid, text_cell(actor.tty), actor.session, text_cell(actor.syscall)),
        show(str(actor.event)) if actor.event is not None else None,
        origin_text(actor.login) if actor.login is not None else None,
        *((actor.view.exe_origin, text_cell(actor.view.container)) if actor.view is not None else (None, None)),
    )
