"""The documents of ``fimscan diff``: ``fimscan.diff/1``, and ``fimscan.change/1`` for each line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fimscan.grouping import Facts, Grouping, RankedRow, group
from fimscan.model import (
    Attribution,
    Change,
    ChangePlan,
    ControlReport,
    Diff,
    FileState,
    Finding,
    Gap,
    InEffect,
    Scan,
    UnmodifiedOpen,
    device_text,
)
from fimscan.report.attributes import NAMED, flags_text, named_text, other_texts
from fimscan.report.display import json_text, mode_octal, moment_text, time_text
from fimscan.report.documents.change_sets import rank_document, set_document
from fimscan.report.documents.configuration import configuration_document
from fimscan.report.documents.controls import report_fields
from fimscan.report.documents.dispositions import disposition_document
from fimscan.report.documents.packages import package_document
from fimscan.report.documents.parts import (
    actor_document,
    optional_text,
    optional_time,
    text_fields,
    unreadable_document,
)
from fimscan.report.documents.plans import plan_document
from fimscan.report.documents.texts import text_document
from fimscan.report.plans import plans_by_path
from fimscan.report.summary import summary


def diff_document(
    diff: Diff, grouping: Grouping | None = None, controls: ControlReport | None = None, *, texts: bool = False
) -> dict[str, Any]:
    """The ``fimscan.diff/1`` document of a diff. ``grouping`` is that of its findings; by default it is made here.

    ``controls`` is what a scan reports beside changes. With ``texts``, rows have what changed in their text, which may
    be confidential.
    """
    grouping = grouping or group(diff.findings, Facts.of(diff))
    planned = plans_by_path(diff)
    return {
        "schema": "fimscan.diff/1",
        "host": json_text(diff.host),
        "from": _scan(diff.start),
        "to": _scan(diff.end),
        "shown": diff.shown,
        "summary": summary(diff),
        "sets": [set_document(item, diff.end.started_ns) for item in grouping.sets],
        "plans": [plan_document(item) for item in diff.plans],
        "changes": [_ranked_document(row, planned, texts=texts) for row in grouping.rows],
        "unreadable": [unreadable_document(item) for item in diff.unreadable],
        "opened_unmodified": [opened_document(item) for item in diff.opened_unmodified],
        "configuration": configuration_document(diff.start, diff.end, diff.reconfigurations),
        "signing_key": diff.signing_key,
        **report_fields(controls or ControlReport()),
    }


def change_lines(diff: Diff, grouping: Grouping | None = None, *, texts: bool = False) -> Iterator[dict[str, Any]]:
    """The lines of NDJSON, each a ``fimscan.change/1`` document.

    A line is a row of ``changes`` with ``schema``, ``host``, ``from_scan``, ``to_scan`` and ``time`` (when fimscan saw
    it) in front. Unreadable files are lines of kind ``unreadable``. Files that were opened for writing but not changed
    are lines of kind ``opened-unmodified``.
    """
    end = diff.end.started_ns if diff.end.finished_ns is None else diff.end.finished_ns
    grouping = grouping or group(diff.findings, Facts.of(diff))
    planned = plans_by_path(diff)
    for row in grouping.rows:
        yield {
            **_context(diff, row.finding.change.window.before_ns),
            **_ranked_document(row, planned, texts=texts),
        }
    for unreadable in diff.unreadable:
        yield {**_context(diff, end), "kind": "unreadable", **unreadable_document(unreadable)}
    for opened in diff.opened_unmodified:
        yield {**_context(diff, end), "kind": "opened-unmodified", **opened_document(opened)}


def _context(diff: Diff, time_ns: int) -> dict[str, Any]:
    return {
        "schema": "fimscan.change/1",
        "host": json_text(diff.host),
        "from_scan": diff.start.id,
        "to_scan": diff.end.id,
        "shown": diff.shown,
        "time": time_text(time_ns),
    }


def row_document(finding: Finding, *, texts: bool = False) -> dict[str, Any]:
    """One changed path: an entry of ``changes``; ``texts`` as in :func:`diff_document`."""
    change = finding.change
    document = {
        "id": change.id,
        "scan": finding.scan,
        **text_fields("path", change.path),
        "severity": finding.severity,
        "category": optional_text(finding.category),
        **_change(change),
        "attribution": _attribution(finding.attribution),
        "in_effect": None if finding.in_effect is None else _in_effect(finding.in_effect),
        "disposition": disposition_document(finding.disposition),
    }
    if len(finding.steps) > 1:
        document["steps"] = [_step(step) for step in finding.steps]
    if texts and finding.text is not None:
        document["text"] = text_document(finding.text)
    return document


def _ranked_document(row: RankedRow, planned: Mapping[bytes, ChangePlan], *, texts: bool) -> dict[str, Any]:
    answer = row.finding.package
    plan = planned.get(row.finding.change.path)
    return {
        **row_document(row.finding, texts=texts),
        "package": None if answer is None else package_document(answer),
        "plan": None if plan is None else plan.id,
        "set": row.number,
        "rank": rank_document(row.rank),
    }


def opened_document(item: UnmodifiedOpen) -> dict[str, Any]:
    """One file that was opened for writing and is unchanged."""
    return {**text_fields("path", item.path), "actors": [actor_document(actor) for actor in item.actors]}


def _scan(scan: Scan) -> dict[str, Any]:
    document: dict[str, Any] = {
        "scan": scan.id,
        "started": time_text(scan.started_ns),
        "finished": optional_time(scan.finished_ns),
    }
    if scan.vouched is not None:
        files, read_ns = scan.vouched
        document["vouched"] = {"files": files, "read_after": time_text(read_ns)}
    return document


def _step(step: Finding) -> dict[str, Any]:
    return {"scan": step.scan, **_change(step.change), "attribution": _attribution(step.attribution)}


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "changed": list(change.changed),
        "breach": change.breach.value if change.breach is not None else None,
        **text_fields("moved_from", change.moved_from),
        "before": _state(change.before),
        "after": _state(change.after),
        "window": {"after": time_text(change.window.after_ns), "before": time_text(change.window.before_ns)},
    }


_UNNAMED = dict.fromkeys(NAMED)


def _state(state: FileState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    digests: dict[str, str | None] = {"xxh3_128": None, "sha256": None}
    for digest in state.known_digests:
        digests[digest.algorithm] = digest.value.hex()
    document = {
        "kind": state.kind.value,
        "size": state.size,
        "mode": mode_octal(state.mode),
        "uid": state.uid,
        "gid": state.gid,
        "inode": state.inode,
        "dev": device_text(state.dev),
        "nlink": state.nlink,
        "mtime": time_text(state.mtime_ns),
        "ctime": time_text(state.ctime_ns),
        **digests,
        "xattr_sha256": None if state.xattr_digest is None else state.xattr_digest.hex(),
        **({field: optional_text(named_text(state, field)) for field in NAMED} if state.xattrs else _UNNAMED),
        "xattrs": other_texts(state),
        "flags": flags_text(state),
        **text_fields("link_target", state.link_target),
    }
    return document | {name.removesuffix("_ns"): None for name in state.unknown} if state.unknown else document


def _attribution(attribution: Attribution) -> dict[str, Any]:
    coverage = attribution.coverage
    return {
        "verdict": attribution.verdict.value,
        "reason": attribution.reason.value if attribution.reason else None,
        "actors": [actor_document(actor) for actor in attribution.actors],
        "coverage": {"complete": coverage.complete, "gaps": [_gap(gap) for gap in coverage.gaps]},
        "notes": [json_text(note) for note in attribution.notes],
    }


def _in_effect(found: InEffect) -> dict[str, Any]:
    return {
        "as_of": moment_text(found.as_of_ns),
        "old": found.old,
        "new": found.new,
        "unclear": found.unclear,
        "unseen": found.unseen,
        "processes": [
            {
                "pid": run.pid,
                "started": moment_text(run.start_ns),
                "version": run.version.value,
                "how": run.how.value,
                **text_fields("exe", run.exe),
                "uid": run.uid,
                "container": optional_text(run.container),
                "unit": optional_text(run.unit),
            }
            for run in found.runners
        ],
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "start": time_text(gap.start_ns),
        "end": time_text(gap.end_ns),
        "reason": gap.reason.value,
        "lost": gap.lost,
        "by": None if gap.actor is None else actor_document(gap.actor),
    }
