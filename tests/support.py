"""Builders of model values for tests, with defaults that are consistent with each other."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from typing import Any

from fimscan.model import (
    Action,
    Actor,
    AuditObservation,
    AuditRule,
    Change,
    Digest,
    EventId,
    FileAccess,
    FileKind,
    FileState,
    Name,
    Window,
)

SECOND = 10**9
DEV = 0xFE00
DIRECTORY = b"/w"
DIRECTORY_ID = (DEV, 2)


def vouched_stat(found: os.stat_result, kind: FileKind = FileKind.FILE, *, taken: int = 0) -> tuple[int | str, ...]:
    """The fields by which ctime vouches for a file with ``taken`` digests (:data:`fimscan.scan.state.STAT`)."""
    owner = (found.st_nlink, found.st_mode & 0o7777, found.st_uid, found.st_gid)
    times = (*divmod(found.st_mtime_ns, SECOND), *divmod(found.st_ctime_ns, SECOND))
    return taken, kind.value, found.st_dev, found.st_ino, *owner, found.st_size, *times


def state(path: bytes = b"/w/f", content: bytes = b"old", **values: Any) -> FileState:
    """A regular file, last changed at second 100."""
    defaults: dict[str, Any] = {
        "path": path,
        "kind": FileKind.FILE,
        "dev": DEV,
        "inode": 10,
        "nlink": 1,
        "mode": 0o644,
        "uid": 0,
        "gid": 0,
        "size": len(content),
        "mtime_ns": 100 * SECOND,
        "ctime_ns": 100 * SECOND,
        "digests": (Digest(algorithm="xxh3_128", value=hashlib.md5(content).digest()),),
        "read_start_ns": 1000 * SECOND,
        "read_end_ns": 1000 * SECOND + 1,
    }
    return FileState(**{**defaults, **values})


def changed_state(content: bytes = b"new", at: float = 1500, **values: Any) -> FileState:
    """The same file after a change at second ``at``, read at second 2000."""
    defaults: dict[str, Any] = {
        "mtime_ns": int(at * SECOND),
        "ctime_ns": int(at * SECOND),
        "read_start_ns": 2000 * SECOND,
        "read_end_ns": 2000 * SECOND + 1,
    }
    return state(content=content, **{**defaults, **values})


WINDOW = Window(after_ns=1000 * SECOND, before_ns=2000 * SECOND)


def change(before: FileState | None, after: FileState | None, window: Window = WINDOW) -> Change:
    """The change between two states that differ."""
    from fimscan.compare import change_of

    found = change_of(before, after, window)
    assert found is not None
    return found


def actor(pid: int = 77, exe: bytes = b"/usr/bin/tool", **values: Any) -> Actor:
    """A process of a logged-in user."""
    return Actor(**{"pid": pid, "exe": exe, "auid": 1000, "uid": 0, "session": 3, **values})


_serial = iter(range(1, 10**9))


def access(action: Action, at: float, by: Actor | None = None, **values: Any) -> FileAccess:
    """An access to ``/w/f`` (inode 10) at second ``at``; serials follow the order of the calls."""
    event = EventId(int(at * 1000) * 10**6, next(_serial))
    who = by or actor()
    defaults: dict[str, Any] = {
        "name": Name(text=b"f", path=b"/w/f", parent=DIRECTORY_ID),
        "dev": DEV,
        "inode": 10,
        "mode": 0o100644,
    }

    who = who._replace(event=event, time_ns=event.time_ns)
    return FileAccess(event=event, action=action, actor=who, **{**defaults, **values})


def name(text: str, directory: bytes = DIRECTORY, parent: tuple[int, int] | None = DIRECTORY_ID) -> Name:
    """A name in the watched directory, as an absolute path whose parent is known."""
    return Name(text=text.encode(), path=directory + b"/" + text.encode(), parent=parent)


def rule(scope: bytes = b"/w", **values: Any) -> AuditRule:
    """A rule that watches everything below ``scope`` on both ABIs."""
    defaults: dict[str, Any] = {
        "scope": scope,
        "recursive": True,
        "arches": frozenset({"b64", "b32"}),
        "writes": True,
        "attributes": True,
        "key": "fimscan",
        "text": "",
    }
    return AuditRule(**{**defaults, **values})


def observation(at: float, **values: Any) -> AuditObservation:
    """A healthy audit system that watches ``/w``."""
    defaults: dict[str, Any] = {
        "time_ns": int(at * SECOND),
        "boot_id": "boot-1",
        "enabled": 1,
        "daemon_pid": 500,
        "lost": 0,
        "backlog": 0,
        "rules": (rule(),),
    }
    return AuditObservation(**{**defaults, **values})


def take_back_the_newest_schemas(connection: sqlite3.Connection) -> None:
    """Undo the schema revisions from 0006 on."""
    connection.execute("DROP TABLE control_note")
    connection.execute("DROP TABLE clock_look")
    connection.execute("DROP INDEX ix_scan_checkpoint")
    connection.execute("ALTER TABLE scan DROP COLUMN checkpoint")
    connection.execute("DROP TABLE selftest")
    connection.execute("DROP TABLE outbox")
    connection.execute("DROP TABLE control_failure")
    connection.execute("DROP TABLE missed_run")
    connection.execute("DROP TABLE host_event")
    for name in ("identity", "current_name"):
        connection.execute(f"ALTER TABLE host DROP COLUMN {name}")
    connection.execute("DROP TABLE in_effect")
    connection.execute("DROP TABLE plan")
    for name in ("act", "status", "category", "own", "undoes", "plan_id"):
        connection.execute(f"ALTER TABLE acceptance DROP COLUMN {name}")
    connection.execute("DROP INDEX ix_audit_block_stored")
    connection.execute("ALTER TABLE audit_block DROP COLUMN first_ns")
    connection.execute("ALTER TABLE audit_block DROP COLUMN stored_ns")
    connection.execute("DROP TABLE process_fact")
    connection.execute("DROP TABLE devices")
    connection.execute("ALTER TABLE notice DROP COLUMN actor")
    connection.execute("DROP INDEX ix_file_version_began")
    connection.execute("DROP INDEX ix_file_version_ended")
    connection.execute("DROP TABLE witness_event")
    connection.execute("DROP TABLE witness_extent")
    connection.execute("CREATE INDEX ix_file_version_first_scan ON file_version (first_scan)")
    connection.execute("CREATE INDEX ix_file_version_end_scan ON file_version (end_scan)")


def page_data(source: str) -> dict[str, Any]:
    """The data of an HTML page (fimscan/report/page/rows.py)."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


def page_paths(source: str) -> list[str]:
    """The paths of the rows of an HTML page, in order."""
    data = page_data(source)
    directories = data["directories"]
    columns = zip(data["rows"]["directory"], data["rows"]["name"], strict=True)
    return [directories[directory] + name for directory, name in columns]
