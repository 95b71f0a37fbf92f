"""Was it a package manager that wrote a file, one of its maintainer scripts, or something else? Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from fimscan.model import PACKAGE_MANAGERS, SCRIPTED_PACKAGE_MANAGERS, Actor, ExeOrigin, Lineage

_PYTHON = re.compile(rb"/usr/(?:bin|libexec)/(?:platform-)?python3(?:\.\d+)?\Z")
# Programs that start sessions and services. What is above them, such as a script that restarted sshd, has no part in
# what is done below.
_BOUNDARY = re.compile(
    rb"(?:/usr)?/(?:s?bin|lib|libexec)/(?:[\w.-]+/)?"
    rb"(?:sshd|sshd-session|sshd-auth|login|agetty|cron|crond|atd|systemd|init|tmux|screen)\Z"
)
_INIT = 1
_SCRIPT = re.compile(rb"/var/lib/dpkg/(?:info/([^/]+)\.|tmp\.ci/)((?:pre|post)(?:inst|rm)|config)\Z")
# The kernel names a process after the script, in 15 bytes.
_COMMAND = re.compile(rb"(?:[^/]+\.)?(?:(?:pre|post)(?:inst|rm)|config)\Z")


class WriterKind(StrEnum):
    """What wrote a file."""

    MANAGER = "manager"
    SCRIPT = "script"  # a maintainer script, a trigger, or a program that one of them started
    OTHER = "other"
    UNKNOWN = "unknown"


class Writer(NamedTuple):
    """What wrote a file; ``script`` names the maintainer script (``man-db.postinst``), if its command line does."""

    kind: WriterKind
    script: str = ""


_MANAGER = Writer(WriterKind.MANAGER)


class Writers(NamedTuple):
    """What wrote a file: the processes, of what kinds they are, and the names of the maintainer scripts among them."""

    actors: tuple[Actor, ...] = ()
    kinds: frozenset[WriterKind] = frozenset()
    scripts: tuple[str, ...] = ()


def writers_of(lineages: Sequence[Lineage]) -> Writers:
    """Judge all processes that wrote a file."""
    found = [writer_of(lineage) for lineage in lineages]
    return Writers(
        tuple(lineage.actor for lineage in lineages),
        frozenset(writer.kind for writer in found),
        tuple(dict.fromkeys(writer.script for writer in found if writer.script)),
    )


def writer_of(lineage: Lineage) -> Writer:
    """Judge one process by its program and its ancestors.

    Only the kernel's record of the program counts. A process can call itself what it likes, so a command line alone
    makes nobody a package manager (except dnf, a Python program) or a script (unless dpkg is an ancestor).
    """
    actor = lineage.actor
    if actor.exe is None:
        return Writer(WriterKind.UNKNOWN)
    if _is_manager(actor):
        return _MANAGER
    ancestors, is_whole = _in_session(lineage)
    above = next((number for number, one in enumerate(ancestors) if _is_manager(one)), None)
    if above is not None:
        # The nearest script: it may have called others.
        scripts = filter(None, map(_script_of, (actor, *ancestors[:above])))
        return Writer(WriterKind.SCRIPT, next(scripts, ""))
    is_known = is_whole and all(one.exe is not None for one in ancestors)
    return Writer(WriterKind.OTHER if is_known else WriterKind.UNKNOWN)


def _in_session(lineage: Lineage) -> tuple[tuple[Actor, ...], bool]:
    """The ancestors up to the one that began the session or service, and whether that one is known."""
    for number, one in enumerate((lineage.actor, *lineage.ancestors)):
        if one.exe is not None and _BOUNDARY.match(one.exe.removesuffix(b" (deleted)")):
            return lineage.ancestors[:number], True
    return lineage.ancestors, lineage.unknown in (None, _INIT)


def _is_manager(actor: Actor) -> bool:
    exe = actor.exe
    if exe is None or (actor.view is not None and actor.view.exe_origin is ExeOrigin.OTHER_ROOT):
        return False
    if exe in PACKAGE_MANAGERS:
        return True
    exe = exe.removesuffix(b" (deleted)")  # the manager may be replacing itself
    if exe in PACKAGE_MANAGERS:
        return True
    arguments = (actor.cmdline or ())[:3]
    return bool(_PYTHON.match(exe)) and not SCRIPTED_PACKAGE_MANAGERS.isdisjoint(arguments)


def _script_of(actor: Actor) -> str:
    """The name of the script that a process runs: from its command line, else the name that the kernel gave it."""
    for argument in (actor.cmdline or ())[:3]:
        if match := _SCRIPT.search(argument):
            name = (match[1] or b"").partition(b":")[0].decode("ascii", "backslashreplace")
            return f"{name}.{match[2].decode('ascii')}" if name else match[2].decode("ascii")
    match = _COMMAND.match(actor.comm or b"")
    return match[0].decode("ascii", "backslashreplace") if match else ""
