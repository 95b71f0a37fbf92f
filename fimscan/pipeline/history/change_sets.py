"""Group the findings of a diff to change sets, with what is stored about the processes that made them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from operator import attrgetter

from msgspec.structs import replace

from fimscan import attribution
from fimscan.gc_pause import gc_paused
from fimscan.grouping import Facts, Grouping, earliest_calls, group, process_key
from fimscan.model import Actor, Attribution, Diff, Finding, Lineage
from fimscan.pipeline.audit.processes import Processes
from fimscan.pipeline.history.newcomers import newcomers
from fimscan.store import processes as process_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_MOST_PROCESSES = 2000
_GENERATIONS = 16
_INIT = 1
_MOMENT = attrgetter("moment")


@gc_paused()
def grouping_of(database: Database, diff: Diff, known: Facts | None = None) -> Grouping:
    """Rank and group the findings of a diff. ``known`` are facts beside those of the diff.

    Lineages that are not among them are those of the database.
    """
    known = known or Facts()
    lineages = known.lineages or lineages_of(database, diff.findings)
    with database.read() as session:
        new = newcomers(session, diff.findings)
    facts = replace(known, suspects=Facts.of(diff).suspects, lineages=lineages, newcomers=new)
    return group(diff.findings, facts)


def lineages_of(database: Database, findings: Iterable[Finding]) -> Mapping[object, Lineage]:
    """The ancestors of each process in findings, by its key, as of its first call there."""
    with database.read() as session:
        return _lineages(session, (row.attribution for row in findings))


def _lineages(session: Session, answers: Iterable[Attribution]) -> Mapping[object, Lineage]:
    """The same of all processes that these answers name.

    Of very many processes, only the earliest are looked up. The others are grouped by their parent's number.
    """
    first = earliest_calls(answers, process_key)
    wanted = sorted(first.items(), key=lambda item: (item[1].moment, item[1].pid))[:_MOST_PROCESSES]
    records = _Records(session)
    records.load(actor for _, actor in wanted)
    processes = Processes(session)
    found = {
        key: attribution.lineage(actor, records.known, boot_ns=processes.boot_ns(actor.time_ns or 0))
        for key, actor in wanted
    }
    # Whether a login is proven, and whether a program is this host's, is not in the records themselves.
    ancestors = {parent for lineage in found.values() for parent in lineage.ancestors}
    processes.prepare({parent.pid for parent in ancestors}, (0, time.time_ns()))
    completed = {parent: processes.completed(parent) for parent in ancestors}
    return {
        key: replace(lineage, ancestors=tuple(completed[parent] for parent in lineage.ancestors))
        for key, lineage in found.items()
    }


class _Records:
    """The records of processes, loaded for a whole generation at once."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._of_pid: dict[int, list[Actor]] = {}

    def load(self, actors: Iterable[Actor]) -> None:
        """Load the records of processes and of their ancestors."""
        actors = list(actors)
        until_ns = max((actor.time_ns or 0 for actor in actors), default=0)
        pids = {pid for actor in actors for pid in (actor.pid, actor.ppid) if pid is not None and pid > _INIT}
        for _ in range(_GENERATIONS):
            pids -= self._of_pid.keys()
            if not pids:
                return
            self._of_pid.update((pid, []) for pid in pids)
            for record in process_store.actors_between(self._session, pids, (0, until_ns + 1_000_000)):
                self._of_pid[record.pid].append(record)
            above = [record.ppid for pid in pids for record in self._of_pid[pid]]
            pids = {pid for pid in above if pid is not None and pid > _INIT}

    def known(self, pid: int, moment: int) -> list[Actor]:
        """The records of a pid up to and including a moment, latest first."""
        found = [record for record in self._of_pid.get(pid, ()) if record.moment <= moment]
        return sorted(found, key=_MOMENT, reverse=True)
