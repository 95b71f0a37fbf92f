"""The monitored host: what it is known by, and what was recorded about its names."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class IdSource(StrEnum):
    """What a host is known by."""

    MACHINE = "machine"  # its machine-id(5)
    RECORDED = "recorded"  # an id that fimscan made and stored beside the database
    NAME = "name"  # only its name: the caller has no other identity for it


class HostIdentity(Struct, frozen=True, kw_only=True):
    """A host: its name, which may change, and its id, which stays.

    ``id`` is ``None`` as long as it is not known: with the source ``RECORDED``, the database makes and records one.
    """

    name: str
    id: str | None = None
    source: IdSource = IdSource.NAME


class HostEventKind(StrEnum):
    """What happened to the identity of a host, or to fimscan's own files on it."""

    IDENTIFIED = "identified"  # records that were kept by name only are now kept by id
    RENAMED = "renamed"
    ADOPTED = "adopted"  # --adopt-host: the records of another host are continued by this one
    INSTALLED = "installed"  # fimscan's own files, as a scan saw them first, or changed
    BOOTED = "booted"  # the running kernel is another one than at the scan before


class HostEvent(Struct, frozen=True, kw_only=True):
    """One change of a host's names or id. ``before`` and ``after`` are names, except for ``IDENTIFIED``: an id.

    For ``INSTALLED``, ``after`` is an inventory as JSON (:mod:`fimscan.pipeline.controls.own_files`); for ``BOOTED``,
    a :class:`Boot`.
    """

    time_ns: int
    kind: HostEventKind
    before: str
    after: str


class Boot(Struct, frozen=True, kw_only=True):
    """A running kernel, as a scan saw it: its id, the time, and for how long it had been running."""

    id: str
    time_ns: int
    up_ns: int

    @property
    def began_ns(self) -> int:
        """When it was started, by the clock that it has now."""
        return self.time_ns - self.up_ns
