"""``09-changes.csv`` and ``.json``: every change and who made it (PCI DSS 10.2.2: user, type, time, outcome, object).

Both omit command lines and file content, which can hold passwords and card data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from fimscan.evidence.archive import Staged
from fimscan.evidence.tables import Cell, Table, hex_digest, path_cells
from fimscan.model import Actor, Finding
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
_WATCH = ("severity", "category")


def write_changes(table: Staged, text: Staged, data: Iterable[Finding], host: str, period: tuple[int, int]) -> int:
    """Write the CSV and the JSON in one pass; return the number of changes.

    A finding with several steps is written as its steps. A change has one CSV row for each candidate, and one row if
    there is no candidate. The JSON's ``changes`` are as in ``fimscan.diff/1``, with ``cmdline`` null, plus ``outcome``.
    """
    text.write(_ascii(evidence_changes_head(host, period))[:-1] + b', "changes": [')
    count = 0
    with Table(table, host, (*_CHANGE, *_ACTOR, *_WATCH)) as rows:
        for step in (step for finding in data for step in finding.steps or (finding,)):
            bare = _without_command_lines(step)
            for cells in _rows(bare):
                rows.add(*cells)
            text.write((b",\n" if count else b"\n") + _ascii(evidence_change_document(bare)))
            count += 1
    text.write(b"\n]}\n")
    return count


def _without_command_lines(finding: Finding) -> Finding:
    """Remove the command lines, which may have passwords, of all processes: also of those that caused a gap."""
    answer = finding.attribution
    actors = tuple(actor._replace(cmdline=None) for actor in answer.actors)
    gaps = tuple(
        gap if gap.actor is None else replace(gap, actor=gap.actor._replace(cmdline=None))
        for gap in answer.coverage.gaps
    )
    coverage = answer.coverage._replace(gaps=gaps)
    return replace(finding, attribution=answer._replace(actors=actors, coverage=coverage))


def _ascii(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode("ascii")


def _rows(finding: Finding) -> Iterable[tuple[Cell, ...]]:
    change, answer = finding.change, finding.attribution
    about: tuple[Cell, ...] = (
        *(change.id, finding.scan, change.kind, *path_cells(change.path), *path_cells(change.moved_from)),
        *(" ".join(change.changed), change.breach),
        *(time_text(change.window.after_ns), time_text(change.window.before_ns), OUTCOME),
        *(hex_digest(change.before, "sha256"), hex_digest(change.after, "sha256")),
        *(answer.verdict, answer.reason, show(" ".join(answer.notes))),
    )
    watch = (finding.severity, _shown(finding.category))
    if not answer.actors:
        yield (*about, "none", *(None for _ in _ACTOR), *watch)
    for number, actor in enumerate(answer.actors, 1):
        yield (*about, f"{number} of {len(answer.actors)}", *_actor(actor), *watch)


def _actor(actor: Actor) -> tuple[Cell, ...]:
    return (
        *(actor.role, _shown(actor.login_user), actor.auid, _shown(actor.user), actor.uid, actor.euid),
        time_text(actor.time_ns) if actor.time_ns is not None else None,
        *(_shown(actor.exe), actor.pid, actor.ppid, _shown(actor.tty), actor.session, _shown(actor.syscall)),
        show(str(actor.event)) if actor.event is not None else None,
        origin_text(actor.login) if actor.login is not None else None,
        *((actor.view.exe_origin, _shown(actor.view.container)) if actor.view is not None else (None, None)),
    )


def _shown(value: bytes | str | None) -> str | None:
    return show(value) if value is not None else None
