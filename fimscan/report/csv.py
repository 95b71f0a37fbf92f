"""The CSV report: one row for each change and actor."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from typing import TextIO

from fimscan.model import Actor, Diff, Disposition, FileState, Finding, PackageAnswer, Unreadable
from fimscan.report.attributes import NAMED, flags_text, named_text
from fimscan.report.display import b64_or_none, cell_text, command_text, mode_octal, moment_text, show, time_text
from fimscan.report.in_effect import in_effect_words
from fimscan.report.plans import plans_by_path
from fimscan.report.words import origin_text

_STATE = ("kind", "size", "mode", "uid", "gid", "mtime", "sha256", "xxh3_128", "link_target", *NAMED, "flags")
_ACTOR = (
    *("role", "pid", "ppid", "exe", "comm", "cmdline", "cwd", "auid", "login_user", "uid", "user", "euid", "session"),
    *("tty", "syscall", "flags", "time", "event", "key"),
    *("since", "login_origin", "exe_origin", "container"),
)
COLUMNS = (
    *("host", "from_scan", "to_scan", "scan", "id", "kind", "path", "path_b64", "moved_from", "moved_from_b64"),
    *("changed", "breach", "steps"),
    *(f"before_{name}" for name in _STATE),
    *(f"after_{name}" for name in _STATE),
    *("window_after", "window_before", "verdict", "reason", "coverage_complete", "coverage_gaps", "notes"),
    *_ACTOR,
    *("severity", "category"),
    *("package", "package_version", "package_class", "package_reason", "package_proof", "package_facts"),
    "shown",
    *("disposition", "disposition_category", "disposition_ticket", "disposition_reason", "reviewer"),
    *("disposition_time", "decision", "disposition_current", "disposition_own"),
    *("plan", "plan_ticket"),
    "in_effect",
)

_Cells = dict[str, str | int | None]


def write_csv(diff: Diff, out: TextIO) -> None:
    """Write a header, a row for each change and actor (one row if no actor is named), then the unreadable files.

    Texts are escaped by :func:`fimscan.report.display.show`. Paths that are not UTF-8 are also there in base64. A cell
    that a spreadsheet would treat as a formula starts with an apostrophe.
    """
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in _rows(diff):
        writer.writerow({column: _cell(value) for column, value in row.items()})


def _cell(value: str | int | None) -> str:
    return "" if value is None else cell_text(str(value))


def _rows(diff: Diff) -> Iterator[_Cells]:
    context: _Cells = {
        "host": show(diff.host),
        "from_scan": diff.start.id,
        "to_scan": diff.end.id,
        "shown": diff.shown,
    }
    plans = plans_by_path(diff)
    for finding in diff.findings:
        row = context | _finding(finding)
        if finding.disposition is not None:
            row |= _disposition(finding.disposition)
        if (plan := plans.get(finding.change.path)) is not None:
            row |= {"plan": plan.id, "plan_ticket": show(plan.ticket)}
        if not finding.attribution.actors:
            yield row
        for actor in finding.attribution.actors:
            yield row | _actor(actor)
    for item in diff.unreadable:
        yield context | _unreadable(item)


def _unreadable(item: Unreadable) -> _Cells:
    return {
        "kind": "unreadable",
        **_path("path", item.path),
        "changed": " ".join(item.differs),
        "window_after": None if item.since_ns is None else time_text(item.since_ns),
        "reason": item.reason.value,
        "notes": show(item.detail),
    }


def _finding(finding: Finding) -> _Cells:
    change, attribution = finding.change, finding.attribution
    gaps = (f"{time_text(gap.start_ns)}/{time_text(gap.end_ns)} {gap.reason}" for gap in attribution.coverage.gaps)
    return {
        "scan": finding.scan,
        "id": change.id,
        "kind": change.kind.value,
        **_path("path", change.path),
        **_path("moved_from", change.moved_from),
        "changed": " ".join(change.changed),
        "breach": change.breach,
        "steps": max(1, len(finding.steps)),
        **_state("before", change.before),
        **_state("after", change.after),
        "window_after": time_text(change.window.after_ns),
        "window_before": time_text(change.window.before_ns),
        "verdict": attribution.verdict.value,
        "reason": attribution.reason.value if attribution.reason else None,
        "coverage_complete": "true" if attribution.coverage.complete else "false",
        "coverage_gaps": "; ".join(gaps),
        "notes": "; ".join(map(show, attribution.notes)),
        "severity": finding.severity,
        "category": _text(finding.category),
        "in_effect": "; ".join(in_effect_words(finding.in_effect)),
        **(_package(finding.package) if finding.package is not None else {}),
    }


def _package(answer: PackageAnswer) -> _Cells:
    owner = answer.owner
    return {
        "package": _text(owner.name) if owner is not None else None,
        "package_version": _text(owner.version) if owner is not None else None,
        "package_class": answer.kind.value,
        "package_reason": answer.reason,
        "package_proof": answer.proof,
        "package_facts": " ".join(answer.facts),
    }


def _disposition(item: Disposition) -> _Cells:
    record, approval = item.record, item.record.approval
    return {
        "disposition": item.status.value,
        "disposition_category": None if approval.category is None else approval.category.value,
        "disposition_ticket": show(approval.ticket),
        "disposition_reason": show(approval.reason),
        "reviewer": show(approval.user),
        "disposition_time": time_text(approval.accepted_ns),
        "decision": record.act,
        "disposition_current": "true" if item.is_current else "false",
        "disposition_own": "true" if record.is_own else "false",
    }


def _path(column: str, path: bytes | None) -> _Cells:
    text = _text(path)
    exact = b64_or_none(path)
    if path is not None and exact is None and text is not None and cell_text(text) != text:
        exact = base64.b64encode(path).decode("ascii")
    return {column: text, f"{column}_b64": exact}


def _text(value: bytes | str | None) -> str | None:
    return None if value is None else show(value)


def _state(side: str, state: FileState | None) -> _Cells:
    if state is None:
        return {}
    sha256, xxh3 = state.digest("sha256"), state.digest("xxh3_128")
    values: tuple[str | int | None, ...] = (
        state.kind.value,
        state.size,
        mode_octal(state.mode),
        state.uid,
        state.gid,
        time_text(state.mtime_ns),
        sha256.hex() if sha256 is not None else None,
        xxh3.hex() if xxh3 is not None else None,
        _text(state.link_target),
        *(named_text(state, field) for field in NAMED),
        flags_text(state),
    )
    unknown = {name.removesuffix("_ns") for name in state.unknown}
    return {f"{side}_{name}": None if name in unknown else value for name, value in zip(_STATE, values, strict=True)}


def _actor(actor: Actor) -> _Cells:
    view = actor.view
    values: tuple[str | int | None, ...] = (
        actor.role.value if actor.role else None,
        actor.pid,
        actor.ppid,
        _text(actor.exe),
        _text(actor.comm),
        command_text(actor),
        _text(actor.cwd),
        actor.auid,
        _text(actor.login_user),
        actor.uid,
        _text(actor.user),
        actor.euid,
        actor.session,
        _text(actor.tty),
        _text(actor.syscall),
        " ".join(map(show, actor.flags)),
        time_text(actor.time_ns) if actor.time_ns is not None else None,
        show(str(actor.event)) if actor.event is not None else None,
        _text(actor.key),
        moment_text(actor.since_ns) if actor.since_ns is not None else None,
        origin_text(actor.login) if actor.login is not None else None,
        view.exe_origin.value if view is not None else None,
        _text(view.container) if view is not None else None,
    )
    return dict(zip(_ACTOR, values, strict=True))
