"""Whether processes run a changed file as it is now, or as it was before the change."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class RunsVersion(StrEnum):
    """Which content of a changed file a process runs."""

    OLD = "old"  # that of before the change; it needs a restart
    NEW = "new"  # the present one
    UNCLEAR = "unclear"  # it started while the change happened, or shares memory with a process that has the old one


class RunsAs(StrEnum):
    """How a process uses a changed file."""

    PROGRAM = "program"  # it executes it
    LIBRARY = "library"  # it has it mapped
    UNIT = "unit"  # it is the oldest process of the systemd unit


class Runner(NamedTuple):
    """One process that uses a changed file. ``exe`` is the path of its program, ``unit`` set for units only."""

    pid: int
    start_ns: int
    version: RunsVersion
    how: RunsAs
    exe: bytes | None = None
    uid: int | None = None
    container: str | None = None
    unit: bytes | None = None


class InEffect(Struct, frozen=True, kw_only=True):
    """The processes that used a changed program, library or unit, as a scan found them at ``as_of_ns``.

    ``old``, ``new`` and ``unclear`` count them all. ``runners`` are the first of them, those of the old content first.
    ``unseen`` is how many processes could not be inspected, so they may use the file as well.
    """

    as_of_ns: int
    old: int = 0
    new: int = 0
    unclear: int = 0
    unseen: int = 0
    runners: tuple[Runner, ...] = ()
