"""Find process facts in the log: programs that were started, logins, and crashes."""

from __future__ import annotations

import re
from typing import TypeAlias

from fimscan.audit.actors import UserName, actor
from fimscan.audit.logins import logins, process_of
from fimscan.audit.parsed_call import parse_execve
from fimscan.audit.paths import parse_item
from fimscan.audit.records import fields, int_value
from fimscan.model import Actor, AuditEvent, Crash, ExeOrigin, Login, ProcessView

_SUCCESS = re.compile(rb' success="?yes"? ')
_CANDIDATE = re.compile(rb"\n(?:EXECVE|LOGIN|ANOM_ABEND) ")

#: A process as it was when it began to run a program; a login uid that was set; a process that crashed.
ProcessFact: TypeAlias = Actor | Login | Crash


def process_facts(event: AuditEvent, user_name: UserName | None = None) -> tuple[ProcessFact, ...]:
    """The process facts in an event; empty for most events."""
    if not _CANDIDATE.search(event.text):
        return ()
    others = (crash(event, user_name), execution(event, user_name))
    return (*logins(event, user_name), *(fact for fact in others if fact is not None))


def execution(event: AuditEvent, user_name: UserName | None = None) -> Actor | None:
    """The process after a successful execve; ``None`` for every other event.

    The first PATH record is of the executed file. For a script, that is not the file that the process runs, so the
    identity is recorded for other programs only.
    """
    if b"\nEXECVE " not in event.text:  # the usual case
        return None
    call = next((record for record in event.records if record.type == "SYSCALL"), None)
    if call is None or not _SUCCESS.search(call.body):
        return None
    found = actor(parse_execve(event, call), (), user_name)
    if found is None:
        return None
    items = [
        item for record in event.records if record.type == "PATH" and (item := parse_item(record.body)) is not None
    ]
    program = next((item.identity for item in items if item.number == 0), None)
    # A script has the PATH records of its interpreter and the loader: one more than a program has.
    if program is None or len(items) > 2:
        return found
    return found._replace(view=ProcessView(ExeOrigin.UNKNOWN, program))


def crash(event: AuditEvent, user_name: UserName | None = None) -> Crash | None:
    """The process that a signal ended, with a core dump if its limits allow one (audit_core_dumps in auditsc.c)."""
    if b"\nANOM_ABEND " not in event.text:
        return None
    record = next(record for record in event.records if record.type == "ANOM_ABEND")
    signal = int_value(fields(record.body).get(b"sig"))
    who = process_of(record, user_name)
    return None if who is None or signal is None else Crash(event.id, who, signal, record.body)
