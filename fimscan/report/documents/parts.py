"""Objects and fields that several documents share: texts, times, processes, unreadable files.

Unknown is ``None``. Every text is converted by :func:`fimscan.report.display.json_text`. If a path is not UTF-8, the
key ``..._b64`` has its exact bytes.
"""

from __future__ import annotations

from typing import Any

from fimscan.model import Actor, LoginOrigin, ProcessView, Unreadable
from fimscan.report.display import b64_or_none, json_text, moment_text, time_text


def text_fields(key: str, value: bytes | None) -> dict[str, str | None]:
    """A path or name; ``KEY_b64`` has its exact bytes if they are not UTF-8."""
    return {key: optional_text(value), f"{key}_b64": b64_or_none(value)}


def optional_text(value: bytes | str | None) -> str | None:
    """Text for JSON; ``None`` stays ``None``."""
    return None if value is None else json_text(value)


def optional_time(ns: int | None) -> str | None:
    """Time for JSON; ``None`` stays ``None``."""
    return None if ns is None else time_text(ns)


def unreadable_document(item: Unreadable) -> dict[str, Any]:
    """One file that could not be compared."""
    return {
        **text_fields("path", item.path),
        "reason": item.reason.value,
        "detail": json_text(item.detail),
        "since": optional_time(item.since_ns),
        "changed": list(item.differs),
    }


def actor_document(actor: Actor) -> dict[str, Any]:
    """One process at one system call, ``role`` first."""
    return {"role": actor.role.value if actor.role else None, "earlier": actor.earlier, **process_document(actor)}


def process_document(actor: Actor) -> dict[str, Any]:
    """One process at one system call, without a role."""
    return {
        "pid": actor.pid,
        "ppid": actor.ppid,
        "exe": optional_text(actor.exe),
        "comm": optional_text(actor.comm),
        "cmdline": None if actor.cmdline is None else [json_text(argument) for argument in actor.cmdline],
        "cwd": optional_text(actor.cwd),
        "auid": actor.auid,
        "login_user": optional_text(actor.login_user),
        "uid": actor.uid,
        "user": optional_text(actor.user),
        "euid": actor.euid,
        "session": actor.session,
        "tty": optional_text(actor.tty),
        "syscall": optional_text(actor.syscall),
        "flags": [json_text(flag) for flag in actor.flags],
        "time": optional_time(actor.time_ns),
        "event": None if actor.event is None else json_text(str(actor.event)),
        "key": optional_text(actor.key),
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
        "user": optional_text(origin.user),
        "pid": origin.pid,
        "exe": optional_text(origin.exe),
        "claimed": optional_text(origin.claimed),
        "event": None if origin.event is None else json_text(str(origin.event)),
    }


def _view(view: ProcessView | None) -> dict[str, Any]:
    seen = view or ProcessView()
    return {
        "exe_origin": None if view is None else view.exe_origin.value,
        "container": optional_text(seen.container),
        "traced_by": seen.tracer,
        "preload": optional_text(seen.preload),
    }
