"""Inspect running processes in /proc: the audit log does not say which file they run, and in which root."""

from __future__ import annotations

from collections.abc import Iterable

from fimscan.linux import views
from fimscan.linux.mounts import MountTables
from fimscan.model import Actor
from fimscan.store.process_facts import Look

_MOST = 200  # processes per batch; an inspection takes half a millisecond
_KEPT = 10_000  # processes that are remembered


class ProcessInspector:
    """Inspects each process once, and again when it executes another program."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes | None], int] = {}

    def inspect(self, actors: Iterable[Actor]) -> list[Look]:
        """Inspect those of the processes that still run, each as of its latest record."""
        latest = {actor.pid: actor for actor in actors}
        alive = views.running_pids() if latest else set()
        found, tables = [], MountTables()
        for pid in [pid for pid in reversed(latest) if pid in alive][:_MOST]:
            actor = latest[pid]
            seen_ns = self._known.get((pid, actor.exe))
            if seen_ns is not None and actor.time_ns is not None and actor.time_ns <= seen_ns:
                continue
            look = views.inspect_process(pid, tables)
            if look is None or not look.is_of(actor):
                continue
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[pid, actor.exe] = look.time_ns
            found.append(Look(pid, look.time_ns, look.start_ns, look.exe, look.view))
        return found
