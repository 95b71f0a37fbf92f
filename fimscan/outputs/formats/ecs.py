"""Elastic Common Schema 9.4. What ECS has no field for is below ``fimscan``.

A message about several changes is one document: its ``file`` and ``process`` are those of the most urgent change, and
``fimscan.changes`` has all that are listed.
"""

from __future__ import annotations

from typing import Any

from fimscan import __version__
from fimscan.outputs.rows import (
    Document,
    directory_and_name,
    lead_of,
    left_out,
    named_actor,
    path_text,
    rows_of,
    signing_key,
    state_of,
    without_nulls,
)

_ACTIONS = {
    "added": ("created", "creation"),
    "removed": ("deleted", "deletion"),
    "modified": ("updated", "change"),
    "moved": ("moved", "change"),
    "attributes": ("attributes_modified", "change"),
}
_SEVERITIES = {None: 0, "low": 21, "medium": 47, "high": 73, "critical": 99}  # as Elastic's rules count


def ecs(message: Document) -> dict[str, Any]:
    """The document of a message."""
    lead = lead_of(message)
    action, kind = _ACTIONS[lead["kind"]] if lead is not None else (message["kind"], "info")
    is_alert = message["severity"] is not None
    document = {
        "@timestamp": message["time"],
        "ecs": {"version": "9.4.0"},
        "message": message["subject"],
        "event": {
            "id": message["id"],
            "kind": "alert" if is_alert else "event",
            "category": ["file"] if lead is not None else ["host"],
            "type": [kind],
            "action": action,
            "module": "fimscan",
            "dataset": f"fimscan.{message['kind'].replace('-', '_')}",
            "provider": "fimscan",
            "outcome": "success",
            "severity": _SEVERITIES[message["severity"]],
            "start": message["sets"][0]["start"] if message["sets"] else None,
            "end": message["sets"][0]["end"] if message["sets"] else None,
        },
        "host": {"name": message["host"], "hostname": message["host"]},
        "agent": {"type": "fimscan", "version": __version__},
        "related": _related(message),
        "tags": ["fimscan"],
        "fimscan": {
            "kind": message["kind"],
            "severity": message["severity"],
            "scan": message["to_scan"],
            "head": message["head"],
            "signing_key": signing_key(message),
            "summary": message["summary"],
            "sets": [item["title"] for item in message["sets"]],
            "changes": [_change(row) for row in rows_of(message)],
            "more": left_out(message),
            "unreadable": [path_text(item) for item in message["unreadable"]],
            "problems": message["problems"],
            "configuration": [item["key"] for item in message["configuration"]],
        },
    }
    if lead is not None:
        document |= {"file": _file(lead), "rule": {"name": lead["category"]}, **_process(named_actor(lead))}
    return without_nulls(document)  # type: ignore[no-any-return]  # a dictionary stays one


def _file(row: Document) -> dict[str, Any]:
    path = path_text(row) or ""
    state = state_of(row)
    directory, name = directory_and_name(path)
    stem, dot, extension = name.rpartition(".")
    return {
        "path": path,
        "directory": directory,
        "name": name,
        "extension": extension if dot and stem else None,
        "target_path": path_text(state, "link_target"),
        "type": {"file": "file", "directory": "dir", "symlink": "symlink"}.get(state.get("kind") or "", "file"),
        "inode": _text(state.get("inode")),
        "device": state.get("dev"),
        "uid": _text(state.get("uid")),
        "gid": _text(state.get("gid")),
        "mode": state.get("mode"),
        "size": state.get("size"),
        "mtime": state.get("mtime"),
        "ctime": state.get("ctime"),
        "hash": {"sha256": state.get("sha256"), "sha512": state.get("sha512")},
    }


def _process(actor: Document | None) -> dict[str, Any]:
    if actor is None:
        return {}
    return {
        "process": {
            "pid": actor["pid"],
            "parent": {"pid": actor["ppid"]},
            "executable": actor["exe"],
            "name": actor["comm"],
            "args": actor["cmdline"],
            "args_count": None if actor["cmdline"] is None else len(actor["cmdline"]),
            "command_line": None if actor["cmdline"] is None else " ".join(actor["cmdline"]),
            "working_directory": actor["cwd"],
        },
        "user": {
            "id": _text(actor["uid"]),
            "name": actor["user"],
            "effective": {"id": _text(actor["euid"])},
        },
    }


def _related(message: Document) -> dict[str, Any]:
    rows = list(rows_of(message))
    states = [state for row in rows for state in (row["before"], row["after"]) if state is not None]
    actors = [actor for row in rows for actor in row["attribution"]["actors"]]
    return {
        "hosts": [message["host"]],
        "hash": sorted({state["sha256"] for state in states if state.get("sha256")}),
        "user": sorted({name for actor in actors for name in (actor["user"], actor["login_user"]) if name}),
    }


def _change(row: Document) -> dict[str, Any]:
    answer = row["attribution"]
    before, after = row["before"] or {}, row["after"] or {}
    return {
        "id": row["id"],
        "kind": row["kind"],
        "path": path_text(row),
        "moved_from": path_text(row, "moved_from"),
        "changed": row["changed"],
        "severity": row["severity"],
        "category": row["category"],
        "look": row["rank"]["level"] == "look",
        "reasons": row["rank"]["reasons"],
        "verdict": answer["verdict"],
        "reason": answer["reason"],
        "answer": row["answer"],
        "differences": row["differences"],
        "sha256_before": before.get("sha256"),
        "sha256_after": after.get("sha256"),
        "processes": [_candidate(actor) for actor in answer["actors"]],
        "package": None if row["package"] is None else row["package"].get("class"),
    }


def _candidate(actor: Document) -> dict[str, Any]:
    keys = ("role", "pid", "exe", "uid", "user", "auid", "login_user", "session", "time", "event")
    return {key: actor[key] for key in keys}


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
