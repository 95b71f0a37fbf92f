"""OCSF 1.8. One change is File System Activity (1001); several are one Detection Finding (2004) with evidences.

``actor`` is required in File System Activity. If nobody can be named, it has a user of the type *unknown*; the verdict,
its reason and the candidates are in ``unmapped``.
"""

from __future__ import annotations

from typing import Any

from fimscan import __version__
from fimscan.outputs.rows import (
    Document,
    directory_and_name,
    epoch_ms,
    lead_of,
    left_out,
    named_actor,
    path_text,
    rows_of,
    signing_key,
    state_of,
    without_nulls,
)

_SEVERITY_IDS = {None: 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_ACTIVITIES = {"added": 1, "modified": 3, "removed": 4, "moved": 5, "attributes": 6}
_SECURITY = frozenset({"mode", "uid", "gid", "acl", "capabilities", "selinux"})
_SET_SECURITY = 7
_FILE_TYPES = {"file": 1, "directory": 2, "chardev": 3, "blockdev": 4, "fifo": 5, "socket": 6, "symlink": 7}
_ALGORITHMS = {"sha256": 3, "sha512": 4}
_OTHER = 99


def ocsf(message: Document) -> dict[str, Any]:
    """The event of a message."""
    rows = list(rows_of(message))
    lead = lead_of(message)
    is_single = len(rows) == 1 and not left_out(message) and lead is not None
    event = {**_base(message), **(_activity(message, rows[0]) if is_single else _finding(message, rows))}
    return without_nulls(event)  # type: ignore[no-any-return]  # a dictionary stays one


def _base(message: Document) -> dict[str, Any]:
    return {
        "time": epoch_ms(message["time"]),
        "severity_id": _SEVERITY_IDS[message["severity"]],
        "message": message["subject"],
        "metadata": {
            "version": "1.8.0",
            "uid": message["id"],
            "product": {"name": "fimscan", "vendor_name": "fimscan", "version": __version__},
            "log_name": "fimscan",
            "event_code": message["kind"],
            "profiles": ["host"],
        },
        "device": {"hostname": message["host"], "type_id": 0},
        "unmapped": {
            "scan": message["to_scan"],
            "head": message["head"],
            "signing_key": signing_key(message),
            "summary": message["summary"],
            "sets": [item["title"] for item in message["sets"]],
            "more": left_out(message),
            "unreadable": [path_text(item) for item in message["unreadable"]],
            "problems": message["problems"],
            "configuration": [item["key"] for item in message["configuration"]],
        },
    }


def _activity(message: Document, row: Document) -> dict[str, Any]:
    activity = _ACTIVITIES[row["kind"]]
    if row["kind"] == "attributes" and _SECURITY & set(row["changed"]):
        activity = _SET_SECURITY
    moved = path_text(row, "moved_from")
    file = _file(row, state_of(row))
    event = {
        "class_uid": 1001,
        "category_uid": 1,
        "activity_id": activity,
        "type_uid": 100100 + activity,
        "actor": _actor(named_actor(row)),
        "file": file,
        "unmapped": {"change": _unmapped(row), "head": message["head"], "signing_key": signing_key(message)},
    }
    if moved is not None:
        event |= {"file": {**file, "path": moved, "name": directory_and_name(moved)[1]}, "file_result": file}
    elif row["kind"] in ("modified", "attributes") and row["before"] is not None:
        event |= {"file": _file(row, row["before"]), "file_result": file}
    return event


def _finding(message: Document, rows: list[Document]) -> dict[str, Any]:
    return {
        "class_uid": 2004,
        "category_uid": 2,
        "activity_id": 1,
        "type_uid": 200401,
        "status_id": 1,
        "is_alert": message["severity"] is not None,
        "finding_info": {
            "uid": message["id"],
            "title": message["subject"],
            "desc": "; ".join(item["title"] for item in message["sets"][:3]) or None,
            "analytic": {"name": "fimscan", "type_id": _OTHER, "type": "file integrity monitoring"},
        },
        "evidences": [
            {
                "file": _file(row, state_of(row)),
                "actor": _actor(named_actor(row)),
                "data": _unmapped(row),
            }
            for row in rows
        ],
    }


def _file(row: Document, state: Document) -> dict[str, Any]:
    path = path_text(row) or ""
    directory, name = directory_and_name(path)
    return {
        "name": name or "/",
        "path": path,
        "parent_folder": directory,
        "type_id": _FILE_TYPES.get(state.get("kind") or "", 0),
        "size": state.get("size"),
        "modified_time": None if state.get("mtime") is None else epoch_ms(state["mtime"]),
        "uid": None if state.get("inode") is None else str(state["inode"]),
        "owner": None if state.get("uid") is None else {"uid": str(state["uid"])},
        "hashes": [
            {"algorithm_id": number, "value": state[name]} for name, number in _ALGORITHMS.items() if state.get(name)
        ],
    }


def _actor(actor: Document | None) -> dict[str, Any]:
    if actor is None:
        return {"user": {"type_id": 0, "type": "Unknown", "name": "unknown"}}
    user = {"uid": _text(actor["uid"]), "name": actor["user"], "type_id": 0}
    exe = actor["exe"]
    found: dict[str, Any] = {
        "process": {
            "pid": actor["pid"],
            "name": actor["comm"] or (directory_and_name(exe)[1] if exe else None),
            "cmd_line": None if actor["cmdline"] is None else " ".join(actor["cmdline"]),
            "working_directory": actor["cwd"],
            "file": None if exe is None else {"name": directory_and_name(exe)[1], "path": exe, "type_id": 1},
            "parent_process": None if actor["ppid"] is None else {"pid": actor["ppid"]},
        },
    }
    if user["uid"] is not None or user["name"] is not None:
        found["user"] = user
    return found


def _unmapped(row: Document) -> dict[str, Any]:
    answer = row["attribution"]
    return {
        "id": row["id"],
        "kind": row["kind"],
        "changed": row["changed"],
        "verdict": answer["verdict"],
        "reason": answer["reason"],
        "answer": row["answer"],
        "processes": answer["actors"],
        "look": row["rank"]["level"] == "look",
        "reasons": row["rank"]["reasons"],
    }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
