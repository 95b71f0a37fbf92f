"""Diff and FileAccess -> plain dictionaries: the JSON that other programs rely on.

The shape of :func:`diff_document` is fixed by ``schemas/diff.json``. Unknown is ``None``; every text has been through
:func:`fimscan.report.display.json_text`, and where a path is not UTF-8 its ``..._b64`` neighbour has the exact bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fimscan.model import (
    Actor,
    Attribution,
    Change,
    ChangeKind,
    Diff,
    FileAccess,
    FileState,
    Finding,
    Gap,
    LoginOrigin,
    Name,
    ProcessView,
    Scan,
    UnmodifiedOpen,
    Unreadable,
    Verdict,
    device_text,
)
from fimscan.report.attributes import NAMED, flags_text, named_text, other_texts
from fimscan.report.configuration import configuration_document
from fimscan.report.display import b64_or_none, json_text, mode_octal, moment_text, time_text
from fimscan.report.schema import DIFF_SCHEMA


def diff_document(diff: Diff) -> dict[str, Any]:
    """The ``fimscan.diff/1`` document of a diff."""
    return {
        "schema": DIFF_SCHEMA,
        "host": json_text(diff.host),
        "from": _scan(diff.start),
        "to": _scan(diff.end),
        "summary": summary(diff),
        "changes": [row_document(finding) for finding in diff.findings],
        "unreadable": [unreadable_document(item) for item in diff.unreadable],
        "opened_unmodified": [opened_document(item) for item in diff.opened_unmodified],
        "configuration": configuration_document(diff.start, diff.end, diff.reconfigurations),
    }


def summary(diff: Diff) -> dict[str, int]:
    """How many rows there are of each kind and of each verdict."""
    kinds = Counter(finding.change.kind for finding in diff.findings)
    verdicts = Counter(finding.attribution.verdict for finding in diff.findings)
    return {
        **{kind.value: kinds[kind] for kind in ChangeKind},
        "unreadable": len(diff.unreadable),
        **{verdict.value: verdicts[verdict] for verdict in Verdict},
        "opened_unmodified": len(diff.opened_unmodified),
        "logs_grown": diff.logs_grown,
        "logs_rotated": diff.logs_rotated,
    }


def row_document(finding: Finding) -> dict[str, Any]:
    """One changed path: an entry of ``changes``."""
    change = finding.change
    document = {
        "id": change.id,
        "scan": finding.scan,
        **_text("path", change.path),
        **_change(change),
        "attribution": _attribution(finding.attribution),
    }
    if len(finding.steps) > 1:
        document["steps"] = [_step(step) for step in finding.steps]
    return document


def unreadable_document(item: Unreadable) -> dict[str, Any]:
    """One file that could not be compared."""
    return {
        **_text("path", item.path),
        "reason": item.reason.value,
        "detail": json_text(item.detail),
        "since": None if item.since_ns is None else time_text(item.since_ns),
        "changed": list(item.differs),
    }


def opened_document(item: UnmodifiedOpen) -> dict[str, Any]:
    """One file that was opened for writing and is known to be the same."""
    return {**_text("path", item.path), "actors": [actor_document(actor) for actor in item.actors]}


def actor_document(actor: Actor) -> dict[str, Any]:
    """One process at one system call, ``role`` first."""
    return {"role": actor.role.value if actor.role else None, "earlier": actor.earlier, **_process(actor)}


def access_document(access: FileAccess) -> dict[str, Any]:
    """One access of ``fimscan audit events``.

    ``path`` and ``old_path`` are absolute, or ``None`` when the record does not say for sure; ``name`` and ``old_name``
    are what the record said, whatever that is worth.
    """
    return {
        "event": json_text(str(access.event)),
        "time": time_text(access.event.time_ns),
        "action": access.action.value,
        **_name("", access.name),
        "dev": None if access.dev is None else device_text(access.dev),
        "inode": access.inode,
        **_name("old_", access.old or Name()),
        "success": access.success,
        "actor": _process(access.actor),
    }


def _name(prefix: str, name: Name) -> dict[str, str | None]:
    return {**_text(f"{prefix}path", name.path), **_text(f"{prefix}name", name.text)}


def _text(key: str, value: bytes | None) -> dict[str, str | None]:
    return {key: _optional(value), f"{key}_b64": b64_or_none(value)}


def _optional(value: bytes | str | None) -> str | None:
    return None if value is None else json_text(value)


def _scan(scan: Scan) -> dict[str, Any]:
    finished = None if scan.finished_ns is None else time_text(scan.finished_ns)
    document: dict[str, Any] = {"scan": scan.id, "started": time_text(scan.started_ns), "finished": finished}
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
        **_text("moved_from", change.moved_from),
        "before": _state(change.before),
        "after": _state(change.after),
        "window": {"after": time_text(change.window.after_ns), "before": time_text(change.window.before_ns)},
    }


def _state(state: FileState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    digests: dict[str, str | None] = {"xxh3_128": None, "sha256": None}
    digests |= {digest.algorithm: digest.value.hex() for digest in state.digests}
    return {
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
        **{field: _optional(named_text(state, field)) for field in NAMED},
        "xattrs": other_texts(state),
        "flags": flags_text(state),
        **_text("link_target", state.link_target),
    }


def _attribution(attribution: Attribution) -> dict[str, Any]:
    coverage = attribution.coverage
    return {
        "verdict": attribution.verdict.value,
        "reason": attribution.reason.value if attribution.reason else None,
        "actors": [actor_document(actor) for actor in attribution.actors],
        "coverage": {"complete": coverage.complete, "gaps": [_gap(gap) for gap in coverage.gaps]},
        "notes": [json_text(note) for note in attribution.notes],
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "start": time_text(gap.start_ns),
        "end": time_text(gap.end_ns),
        "reason": gap.reason.value,
        "lost": gap.lost,
        "by": None if gap.actor is None else actor_document(gap.actor),
    }


def _process(actor: Actor) -> dict[str, Any]:
    return {
        "pid": actor.pid,
        "ppid": actor.ppid,
        "exe": _optional(actor.exe),
        "comm": _optional(actor.comm),
        "cmdline": None if actor.cmdline is None else [json_text(argument) for argument in actor.cmdline],
        "cwd": _optional(actor.cwd),
        "auid": actor.auid,
        "login_user": _optional(actor.login_user),
        "uid": actor.uid,
        "user": _optional(actor.user),
        "euid": actor.euid,
        "session": actor.session,
        "tty": _optional(actor.tty),
        "syscall": _optional(actor.syscall),
        "flags": [json_text(flag) for flag in actor.flags],
        "time": None if actor.time_ns is None else time_text(actor.time_ns),
        "event": None if actor.event is None else json_text(str(actor.event)),
        "key": _optional(actor.key),
        "since": None if actor.since_ns is None else moment_text(actor.since_ns),
        "login_origin": _login_origin(actor.login),
        **_view(actor.view),
    }


def _login_origin(origin: LoginOrigin | None) -> dict[str, Any] | None:
    if origin is None:
        return None
    return {
        "source": origin.source.value,
        "uid": origin.uid,
        "user": _optional(origin.user),
        "pid": origin.pid,
        "exe": _optional(origin.exe),
        "claimed": _optional(origin.claimed),
        "event": None if origin.event is None else json_text(str(origin.event)),
    }


def _view(view: ProcessView | None) -> dict[str, Any]:
    seen = view or ProcessView()
    return {
        "exe_origin": None if view is None else view.exe_origin.value,
        "container": _optional(seen.container),
        "traced_by": seen.tracer,
        "preload": _optional(seen.preload),
    }
