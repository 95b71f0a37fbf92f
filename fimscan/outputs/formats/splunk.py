"""Splunk's Common Information Model, the data set Endpoint.Filesystem."""

from __future__ import annotations

from typing import Any

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

_ACTIONS = {"added": "created", "removed": "deleted", "modified": "modified", "moved": "modified"}
_RIGHTS = frozenset({"mode", "uid", "gid", "acl"})
_SEVERITIES = {None: "informational"}


def splunk(message: Document) -> dict[str, Any]:
    """The event of a message: the fields are those of its most urgent change, ``changes`` has all listed ones."""
    lead = lead_of(message)
    event = {
        "time": epoch_ms(message["time"]) / 1000,
        "id": message["id"],
        "signature": message["subject"],
        "type": "alert" if message["severity"] is not None else "event",
        "severity": _SEVERITIES.get(message["severity"], message["severity"]),
        "dest": message["host"],
        "vendor_product": "fimscan",
        "app": "fimscan",
        "kind": message["kind"],
        "scan": message["to_scan"],
        "ledger_head": message["head"]["entry"] if message["head"] is not None else None,
        "signing_key": signing_key(message),
        "summary": message["summary"],
        "sets": [item["title"] for item in message["sets"]],
        "changes": [_change(row) for row in rows_of(message)],
        "more": left_out(message),
        "unreadable": [path_text(item) for item in message["unreadable"]],
        "problems": message["problems"],
        "configuration": [item["key"] for item in message["configuration"]],
    }
    return without_nulls(event | (_change(lead) if lead is not None else {}))  # type: ignore[no-any-return]


def _change(row: Document) -> dict[str, Any]:
    path, state, actor = path_text(row) or "", state_of(row), named_actor(row)
    answer = row["attribution"]
    found = {
        "action": _action(row),
        "object_category": "file",
        "status": "success",
        "file_path": path,
        "file_name": directory_and_name(path)[1],
        "file_hash": state.get("sha256"),
        "file_hash_before": (row["before"] or {}).get("sha256"),
        "file_size": state.get("size"),
        "file_acl": state.get("mode"),
        "file_modify_time": state.get("mtime"),
        "change_id": row["id"],
        "changed": row["changed"],
        "verdict": answer["verdict"],
        "verdict_reason": answer["reason"],
        "answer": row["answer"],
        "look": row["rank"]["level"] == "look",
    }
    if actor is not None:
        found |= {
            "process": None if actor["cmdline"] is None else " ".join(actor["cmdline"]),
            "process_path": actor["exe"],
            "process_name": actor["comm"],
            "process_id": actor["pid"],
            "parent_process_id": actor["ppid"],
            "user": actor["user"],
            "user_id": actor["uid"],
            "src_user": actor["login_user"],
        }
    return found


def _action(row: Document) -> str:
    if row["kind"] == "attributes":
        return "acl_modified" if _RIGHTS & set(row["changed"]) else "modified"
    return _ACTIONS[row["kind"]]
