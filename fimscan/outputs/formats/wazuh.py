"""JSON as of Wazuh's syscheck alerts, for rules and dashboards that are made for these."""

from __future__ import annotations

from typing import Any

from fimscan.outputs.rows import (
    Document,
    lead_of,
    left_out,
    named_actor,
    path_text,
    rows_of,
    signing_key,
    without_nulls,
)

_LEVELS = {None: 3, "low": 5, "medium": 7, "high": 10, "critical": 13}
_EVENTS = {"added": "added", "removed": "deleted"}  # all others: modified
_NAMES = {"mode": "permission", "xattr": "attributes"}
_KEPT = (("size", "size"), ("mode", "perm"), ("uid", "uid"), ("gid", "gid"), ("inode", "inode"), ("mtime", "mtime"))


def wazuh(message: Document) -> dict[str, Any]:
    """The alert of a message; ``syscheck`` is its most urgent change."""
    lead = lead_of(message)
    alert = {
        "timestamp": message["time"],
        "id": message["id"],
        "rule": {
            "level": _LEVELS[message["severity"]],
            "description": message["subject"],
            "id": f"fimscan-{message['kind']}",
            "groups": ["fimscan", "syscheck"] if lead is not None else ["fimscan"],
        },
        "agent": {"name": message["host"]},
        "manager": {"name": message["host"]},
        "decoder": {"name": "fimscan"},
        "location": "syscheck" if lead is not None else "fimscan",
        "full_log": message["subject"],
        "syscheck": None if lead is None else _syscheck(lead),
        "data": {
            "fimscan": {
                "kind": message["kind"],
                "scan": message["to_scan"],
                "head": message["head"],
                "signing_key": signing_key(message),
                "summary": message["summary"],
                "sets": [item["title"] for item in message["sets"]],
                "changes": [_syscheck(row) for row in rows_of(message)],
                "more": left_out(message),
                "unreadable": [path_text(item) for item in message["unreadable"]],
                "problems": message["problems"],
                "configuration": [item["key"] for item in message["configuration"]],
            }
        },
    }
    return without_nulls(alert)  # type: ignore[no-any-return]  # a dictionary stays one


def _syscheck(row: Document) -> dict[str, Any]:
    before, after = row["before"] or {}, row["after"] or {}
    answer = row["attribution"]
    found: dict[str, Any] = {
        "path": path_text(row),
        "event": _EVENTS.get(row["kind"], "modified"),
        "mode": "whodata" if answer["actors"] else "scheduled",
        "changed_attributes": [_NAMES.get(name, name) for name in row["changed"] if name != "content"]
        + (["sha256"] if "content" in row["changed"] else []),
        "moved_from": path_text(row, "moved_from"),
        "sha256_before": before.get("sha256"),
        "sha256_after": after.get("sha256"),
        "verdict": answer["verdict"],
        "reason": answer["reason"],
        "answer": row["answer"],
        "audit": _audit(named_actor(row)),
    }
    for key, name in _KEPT:
        was, now = before.get(key), after.get(key)
        found |= {f"{name}_before": was if row["after"] is not None and was != now else None}
        found |= {f"{name}_after": now if row["after"] is not None else was}
    return found


def _audit(actor: Document | None) -> dict[str, Any] | None:
    if actor is None:
        return None
    return {
        "user": {"id": _text(actor["uid"]), "name": actor["user"]},
        "effective_user": {"id": _text(actor["euid"])},
        "login_user": {"id": _text(actor["auid"]), "name": actor["login_user"]},
        "process": {"id": actor["pid"], "name": actor["exe"], "cwd": actor["cwd"], "ppid": actor["ppid"]},
    }


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
