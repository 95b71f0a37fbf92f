"""Explain the verdict of a change: the stored reasoning, with the rules, records and programs that it rests on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from msgspec.structs import replace

from fimscan import attribution, audit, compare
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.gc_pause import gc_paused
from fimscan.model import (
    Actor,
    AuditRecord,
    EventId,
    ExeOrigin,
    Explanation,
    Finding,
    Lineage,
    ProcessView,
    Program,
    Scan,
    ScanStatus,
    Standing,
)
from fimscan.pipeline.audit.processes import Processes
from fimscan.pipeline.history.dispositions import Decisions, in_effect
from fimscan.pipeline.importance import Importance
from fimscan.store import acceptance as acceptance_store
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import process_facts as fact_store
from fimscan.store import processes as process_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_EVENTS_SHOWN = 20
_DELETED = b" (deleted)"


def explain(database: Database, wanted: bytes | int, config: Config | None = None) -> Explanation:
    """Explain a change by its number, or the latest change of a path; its severity is that of ``config``.

    Raises:
        UsageError: there is no such change.
    """
    with database.read() as session:
        finding = _finding(session, wanted)
        last = scan_store.last_finished(session)
        assert last is not None, "a scan found the change"
        finding = Importance.current(config, session, last).on(finding)
        return _explained(session, database, finding)


def _finding(session: Session, wanted: bytes | int) -> Finding:
    if isinstance(wanted, int):
        found = finding_store.one_finding(session, wanted)
        if found is None:
            raise UsageError(f"there is no change {wanted}; 'fimscan diff' shows their numbers")
        return found
    history = finding_store.history_of(session, wanted)
    if not history:
        shown = wanted.decode("utf-8", "backslashreplace")
        raise UsageError(f"no scan has found a change of {shown}; 'fimscan diff' shows what differs")
    return history[-1]


@gc_paused()
def explain_all(database: Database, findings: Iterable[Finding]) -> dict[int, Explanation]:
    """Explain stored changes of a report, by their numbers. What many of them share is read once."""
    findings = [finding for finding in findings if finding.change.id]
    with database.read() as session:
        findings = _with_reasoning(session, findings)
        explainer = _Explainer(session, database.host, findings)
        return {finding.change.id: explainer.explained(finding) for finding in findings}


def _with_reasoning(session: Session, findings: Sequence[Finding]) -> list[Finding]:
    """Findings of a report, whose answers come without their reasoning, with it."""
    stored = finding_store.reasoning_of(session, (finding.change.id for finding in findings))
    return [
        replace(finding, attribution=finding.attribution._replace(reasoning=stored.get(finding.change.id)))
        for finding in findings
    ]


def _explained(session: Session, database: Database, finding: Finding) -> Explanation:
    return _Explainer(session, database.host, [finding]).explained(finding)


class _Explainer:
    """Explains changes within one transaction, and keeps what it has read for the next one.

    Only facts are kept, by what they depend on: no conclusion about one process is used for another.
    """

    def __init__(self, session: Session, host: str, findings: Sequence[Finding]) -> None:
        self._session = session
        self._host = host
        self._scans = [
            scan
            for scan in scan_store.all_scans(session)
            if scan.status is ScanStatus.FINISHED and scan.checkpoint is None
        ]
        windows = [finding.change.window for finding in findings]
        span = (min((w.after_ns for w in windows), default=0), max((w.before_ns for w in windows), default=0))
        self._coverage = attribution.CoverageMap(audit_store.observations(session, *span))
        self._processes = Processes(session)
        self._prepared: set[int] = set()
        moments = [actor.moment for finding in findings for actor in finding.attribution.actors]
        self._until = max(moments, default=0)
        self._of_pid: dict[int, list[Actor]] = {}
        self._programs: dict[tuple[bytes, int], tuple[Program, files.Version | None]] = {}
        self._decisions = Decisions(session, {finding.change.path for finding in findings})
        self._events = access_store.RecordReader(session)
        self._events.locate(event for finding in findings for event in _events_shown(finding))
        self._logins: dict[object, list[AuditRecord]] = {}

    def explained(self, finding: Finding) -> Explanation:
        """The explanation of one of the findings."""
        actors, change = finding.attribution.actors, finding.change
        window = change.window
        earlier = [scan for scan in self._scans if scan.id < finding.scan]
        decisions = self._decisions.about(finding)
        return Explanation(
            host=self._host,
            finding=replace(finding, disposition=in_effect(decisions)),
            after_scan=_reading(earlier, window.after_ns),
            before_scan=_reading([scan for scan in self._scans if scan.id == finding.scan], window.before_ns),
            protected=earlier[-1].counts.get("protected_processes", 0) if earlier else 0,
            rules=self._coverage.rules(change.path, window),
            lineages=self._lineages(actors),
            programs=self._programs_of(actors, finding.scan),
            records=self._records(finding),
            dispositions=decisions,
        )

    def _lineages(self, actors: Iterable[Actor]) -> tuple[Lineage, ...]:
        """Return a lineage for each process, as of its first call: when a parent ends, the ppid changes."""
        first: dict[object, Actor] = {}
        for actor in sorted(actors, key=lambda a: a.moment):
            first.setdefault((actor.process, actor.ppid), actor)
        processes = self._processes
        found = [
            attribution.lineage(actor, self._known, boot_ns=processes.boot_ns(actor.time_ns or 0))
            for actor in first.values()
        ]
        parents = {parent.pid for lineage in found for parent in lineage.ancestors}
        if parents - self._prepared:
            processes.prepare(parents - self._prepared, (0, time.time_ns()))
            self._prepared |= parents
        return tuple(
            replace(lineage, ancestors=tuple(map(processes.completed, lineage.ancestors))) for lineage in found
        )

    def _known(self, pid: int, moment: int) -> list[Actor]:
        """Return the records of a pid up to and including a moment, latest first."""
        if pid not in self._of_pid:
            found = process_store.actors_between(self._session, [pid], (0, self._until))
            self._of_pid[pid] = sorted(found, key=attrgetter("moment"), reverse=True)
        return [record for record in self._of_pid[pid] if record.moment <= moment]

    def _programs_of(self, actors: Iterable[Actor], scan_id: int) -> tuple[Program, ...]:
        ran = _programs_run(actors)
        new = {exe for exe, *_ in ran if (exe, scan_id) not in self._programs}
        if new:
            versions = files.at_paths(self._session, sorted(new), scan_id)
            for item in programs(self._session, new, scan_id):
                self._programs[item.path, scan_id] = item, versions.get(item.path)
        return _as_they_ran(ran, {exe: self._programs[exe, scan_id] for exe, *_ in ran})

    def _records(self, finding: Finding) -> tuple[bytes, ...]:
        """Return the audit records of the named processes: their events, logins and crashes."""
        records = [record for event in _events_shown(finding) for record in self._events.records(event)]
        for actor in finding.attribution.actors:
            records += self._facts(actor)
        return tuple(dict.fromkeys(map(audit.line_of, records)))

    def _facts(self, actor: Actor) -> list[AuditRecord]:
        if actor.syscall is None:  # maybe a crash, which has a record of its own
            return fact_store.records(self._session, actor)
        if actor.login is None or actor.login.event is None:
            return []
        key = (actor.login.event, actor.session)
        if key not in self._logins:
            self._logins[key] = fact_store.records(self._session, actor)
        return self._logins[key]


def _events_shown(finding: Finding) -> list[EventId]:
    """The events of the named processes whose records are shown, in order: the last ones of very many."""
    reasoning = finding.attribution.reasoning
    events = {actor.event for actor in finding.attribution.actors if actor.event is not None}
    for ruling in reasoning.rulings if reasoning else ():
        if ruling.why.names:
            events.update(ruling.events)
    return sorted(events)[-_EVENTS_SHOWN:]


def _reading(scans: Iterable[Scan], time_ns: int) -> int | None:
    """Return the scan that was running at a time."""
    at_it = (scan.id for scan in scans if scan.finished_ns and scan.started_ns <= time_ns <= scan.finished_ns)
    return next(at_it, None)


_Run = tuple[bytes, ExeOrigin, ProcessView | None]


def _programs_run(actors: Iterable[Actor]) -> dict[_Run, Actor]:
    """One process for each program and each view of it."""
    ran: dict[_Run, Actor] = {}
    for actor in actors:
        if actor.exe is not None:
            view = actor.view
            seen = None if view is None else view._replace(seen_ns=0)
            origin = ExeOrigin.UNKNOWN if view is None else view.exe_origin
            ran.setdefault((actor.exe.removesuffix(_DELETED), origin, seen), actor)
    return ran


def _as_they_ran(
    ran: Mapping[_Run, Actor], known: Mapping[bytes, tuple[Program, files.Version | None]]
) -> tuple[Program, ...]:
    """Return what is known of the programs that processes ran; one entry for each program and each view of it."""
    return tuple(sorted((_as_run(*known[exe], actor) for (exe, *_), actor in ran.items()), key=_PATH))


_PATH = attrgetter("path")


def _as_run(program: Program, version: files.Version | None, actor: Actor) -> Program:
    """Add to a program's file how the process was seen, and whether the process ran this file."""
    view = actor.view or ProcessView()
    after_ns = max(view.seen_ns - actor.time_ns, 0) if view.seen_ns and actor.time_ns is not None else None
    program = replace(program, view=view, seen_after_ns=after_ns)
    if view.exe_origin is ExeOrigin.OTHER_ROOT:
        return replace(program, standing=Standing.OTHER_ROOT, change=None)
    # Compare identities, not paths: the process may have had another root.
    is_same_file = version is not None and view.exe_id == version.state.identity
    if program.standing is Standing.ACCEPTED and not is_same_file:
        return replace(program, standing=Standing.NOT_KNOWN)
    return program


def programs(session: Session, exes: Iterable[bytes], scan_id: int) -> tuple[Program, ...]:
    """Return what is known, as of a scan, of this host's files at the paths of programs, in order of path."""
    paths = sorted({exe.removesuffix(_DELETED) for exe in exes})
    baseline = acceptance_store.baseline(session)
    if baseline is None or not paths:
        return tuple(Program(path=path, standing=Standing.NOT_MONITORED) for path in paths)
    now = files.at_paths(session, paths, scan_id)
    accepted: dict[bytes, files.Version | None] = dict(files.at_paths(session, paths, baseline.scan))
    accepted.update({path: baseline.overrides[path][0] for path in paths if path in baseline.overrides})
    return tuple(_program(session, path, now, accepted, scan_id) for path in paths)


def suspects(session: Session, actors: Iterable[Actor], scan_id: int) -> tuple[Program, ...]:
    """Return the programs of processes that are monitored and differ from what was accepted."""
    alarming = (Standing.CHANGED, Standing.GONE)
    exes = {actor.exe for actor in actors if actor.exe is not None and not _is_elsewhere(actor)}
    return tuple(item for item in programs(session, exes, scan_id) if item.standing in alarming)


def _is_elsewhere(actor: Actor) -> bool:
    return actor.view is not None and actor.view.exe_origin is ExeOrigin.OTHER_ROOT


def _program(
    session: Session,
    path: bytes,
    now: Mapping[bytes, files.Version],
    accepted: Mapping[bytes, files.Version | None],
    scan_id: int,
) -> Program:
    version, wanted = now.get(path), accepted.get(path)
    if version is None and wanted is None:
        return Program(path=path, standing=Standing.NOT_MONITORED)
    if version is not None and (version.adopted if wanted is None else _equal(version, wanted)):
        return Program(path=path, standing=Standing.ACCEPTED)
    changes = [f for f in finding_store.history_of(session, path) if f.scan <= scan_id]
    return Program(
        path=path,
        standing=Standing.GONE if version is None else Standing.CHANGED,
        change=changes[-1].change.id if changes else None,
    )


def _equal(version: files.Version, accepted: files.Version) -> bool:
    return version.state.kind is accepted.state.kind and compare.same_content(version.state, accepted.state)
