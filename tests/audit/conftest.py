"""Fixtures that read recorded logs and serialize the accesses found in them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

import pytest

from fimscan.audit import AuditBatch, read_stream
from fimscan.model import FileAccess, Name, device_text

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "audit")

Accesses = Callable[[bytes], list[FileAccess]]


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        with open(f"{DATA}/{name}.log", "rb") as file:
            return file.read()

    return read


@pytest.fixture(scope="session")
def accesses_of() -> Accesses:
    def read(log: bytes) -> list[FileAccess]:
        return [access for batch in batches_of(log) for access in batch.accesses]

    return read


def batches_of(log: bytes) -> list[AuditBatch]:
    return list(read_stream(io.BytesIO(log), b"test"))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")


def _identity(value: tuple[int, int] | None) -> str | None:
    return None if value is None else f"{device_text(value[0])}/{value[1]}"


def _name(name: Name | None) -> dict[str, str | None] | None:
    if name is None:
        return None
    return {"text": _text(name.text), "path": _text(name.path), "parent": _identity(name.parent)}


@pytest.fixture(scope="session")
def as_json() -> Callable[[FileAccess], dict[str, Any]]:
    def convert(access: FileAccess) -> dict[str, Any]:
        actor = access.actor
        return {
            "event": str(access.event),
            "item": access.item,
            "action": access.action.value,
            "name": _name(access.name),
            "file": _identity(access.identity),
            "mode": None if access.mode is None else f"{access.mode:o}",
            "old": _name(access.old),
            "replaced": _identity(access.replaced),
            "argument": None if access.argument is None else f"{access.argument:o}",
            "success": access.success,
            "actor": {
                **{key: getattr(actor, key) for key in ("pid", "ppid", "auid", "login_user", "uid", "user", "euid")},
                **{key: getattr(actor, key) for key in ("session", "tty", "syscall", "key")},
                "flags": list(actor.flags),
                "exe": _text(actor.exe),
                "comm": _text(actor.comm),
                "cwd": _text(actor.cwd),
                "cmdline": None if actor.cmdline is None else [_text(word) for word in actor.cmdline],
            },
        }

    return convert
