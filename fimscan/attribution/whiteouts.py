"""Attribute whiteouts: devices that renameat2(2) with RENAME_WHITEOUT leaves at the old name. Pure.

The records are those of any other rename (tests/data/audit/fs_ext4.log): the flags are the fifth argument, and audit
logs four. So a whiteout is recognized by the device at the old name. A device made by mknod(2) has a record of its own.
"""

from __future__ import annotations

from fimscan.attribution.case import Case
from fimscan.attribution.claims import Claim, as_actor, latest
from fimscan.model import Action, FileKind, FileState, Role, Verdict, Why

_NOTE = "The process renamed the file with RENAME_WHITEOUT, which leaves a device (0:0) at the old name."


def who_left_whiteout(case: Case, after: FileState) -> Claim | None:
    """Claim who left a whiteout at a path that no recorded call gave to a file; ``None`` if there is no whiteout."""
    if after.kind is not FileKind.CHAR_DEVICE:
        return None
    bound = {access.event for access in case.index.binds(after.path)}  # RENAME_EXCHANGE puts another file there
    renames = [
        access
        for access in case.index.unbinds(after.path)
        if access.action is Action.RENAME
        and access.actor.syscall == "renameat2"
        and access.event not in bound
        and case.is_inside(access)
    ]
    last = latest(renames)
    if last is None:
        return None
    actors = (as_actor(last, Role.PLACER),)
    return Claim(verdict=Verdict.CONFIRMED, actors=actors, notes=(_NOTE,), ruled=((last, Why.PLACED),))
