"""Which program a process runs: what EXECVE records say, where rules for execve are loaded."""

from __future__ import annotations

import re

from fimscan.audit.actors import UserName, actor
from fimscan.audit.said import said_of_program
from fimscan.model import Actor, AuditEvent

_SUCCESS = re.compile(rb' success="?yes"? ')


def execution(event: AuditEvent, user_name: UserName | None = None) -> Actor | None:
    """The process as it is after an execve that succeeded; ``None`` for every other event."""
    if b"\nEXECVE " not in event.text:  # as in most
        return None
    call = next((record for record in event.records if record.type == "SYSCALL"), None)
    if call is None or not _SUCCESS.search(call.body):
        return None
    return actor(said_of_program(event, call), (), user_name)
