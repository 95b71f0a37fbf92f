"""Read the audit log into the store, each record once, and store the kernel's answers about its audit system."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from fimscan import attribution, audit
from fimscan.errors import InputError
from fimscan.gc_pause import gc_paused
from fimscan.linux.users import user_name
from fimscan.model import AuditObservation, EventId, FileAccess, NoticeKind, Scan
from fimscan.pipeline.audit.attribution import attribute_again
from fimscan.pipeline.audit.inspection import ProcessInspector
from fimscan.pipeline.audit.witness import Witness
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import hosts as host_store
from fimscan.store import process_facts as fact_store
from fimscan.store import processes as process_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_SETTLE_SECONDS = 5.0
_SETTLE_STEP = 0.05
_FORMER_SLACK_NS = 60 * 10**9  # records with a former name may be this much younger than the renaming
# Notices that weaken an answer if they are read after it was given.
_DECISIVE = frozenset(
    {
        NoticeKind.RULE_REMOVED,
        NoticeKind.URING_RULE_REMOVED,
        NoticeKind.UNNAMED_FILE,
        NoticeKind.USER_MOUNT,
        NoticeKind.EXTENTS_MOVED,
    }
)


class AuditSource(Struct, frozen=True, kw_only=True):
    """Which audit logs to read.

    Attributes:
        logs: paths of the logs.
        nodes: further ``node=`` names that mean this host.
        socket: the socket of audisp's af_unix plugin. Its events are stored, under its path, only if ``logs`` is empty.
        complete_key: the key of the rules to which rules for io_uring are added; ``None`` adds none.
        former_names: names that the host had, each with the time until which it means this host.
    """

    logs: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    socket: str | None = None
    complete_key: str | None = None
    former_names: tuple[tuple[str, int], ...] = ()

    @property
    def paths(self) -> tuple[bytes, ...]:
        """What is read, by the paths that the store uses."""
        if self.is_stream:
            return (os.fsencode(self.socket or ""),)
        return tuple(os.fsencode(log) for log in self.logs)

    @property
    def is_stream(self) -> bool:
        """Whether only the socket is read."""
        return not self.logs and self.socket is not None

    def is_ours(self, event: EventId) -> bool:
        """Whether an event is this host's: in collected logs, inode numbers of other hosts mean other files."""
        if not event.node or event.node in self.nodes or event.node in _own_names():
            return True
        return any(event.node == name and event.time_ns <= until_ns for name, until_ns in self.former_names)


def _with_former_names(source: AuditSource, database: Database) -> AuditSource:
    """Add the names that the host had before: records of that time have them. Later, another host may have one."""
    with database.read() as session:
        former = host_store.former_names(session)
    return replace(source, former_names=tuple((name, until_ns + _FORMER_SLACK_NS) for name, until_ns in former))


@cache
def _own_names() -> frozenset[str]:
    """Return the names that auditd may write for this host (``name_format`` in auditd.conf(5)); may query the DNS."""
    return frozenset((os.uname().nodename, socket.getfqdn()))


def read_audit(database: Database, source: AuditSource | None, *, settle: bool = False) -> tuple[str, ...]:
    """Query the kernel and read the logs once; return the problems, a line each. See :class:`AuditReader`."""
    return AuditReader(database, source).read_new(settle=settle)


class AuditReader:
    """Queries the kernel's audit system and reads what is new in the logs into the store.

    Args:
        database: the store.
        source: the logs; ``None`` reads nothing.
        observe: queries the kernel; by default :func:`fimscan.audit.observe`.
        on_accesses: called with the accesses that were read, after they are stored.
        stream: the socket, if only that is read.
        witness: fanotify's reader; its events are stored after each reading, before changes are attributed.
    """

    def __init__(
        self,
        database: Database,
        source: AuditSource | None,
        *,
        observe: Callable[[int], AuditObservation] | None = None,
        on_accesses: Callable[[Sequence[FileAccess]], None] | None = None,
        stream: audit.EventStream | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.source = None if source is None else _with_former_names(source, database)
        self._database = database
        self._observe = observe
        self._on_accesses = on_accesses
        self._stream = stream
        self._completion = audit.Completion(source.complete_key) if source is not None and source.complete_key else None
        self._witness = witness
        self._inspector = ProcessInspector()
        self._continued = False  # whether the stream was read without a gap so far
        # By log: (the time up to which everything was read, whether that continues the stored extent).
        self._reached: dict[bytes, tuple[int, bool]] = {}

    def read_new(self, *, settle: bool = False) -> tuple[str, ...]:
        """Add the rules for io_uring, query the kernel, then read the logs; return the problems, a line each.

        With ``settle``, first wait until the records of everything done so far have reached the log.
        """
        if self.source is None:
            return ()
        if self._completion is not None:
            self._completion.complete()
        observation = self._settled() if settle else self._ask()
        problems = [observation.error] if observation.error else []
        self._reached.clear()
        problems += self._read(self.source, observation, settled=settle and not observation.backlog)
        self._store_observation(observation)
        self._continued |= bool(self._reached)
        if self._witness is not None:
            self._witness.store(self._database, now=settle)
        self._attribute_again(self.source)
        return tuple(problems)

    def _read(self, source: AuditSource, observation: AuditObservation, *, settled: bool) -> Iterator[str]:
        if source.is_stream:
            yield from self._receive(source)
            return
        for log in source.paths:
            try:
                yield from self._ingest_log(source, log, observation.daemon_pid, settled=settled)
            except InputError as error:
                yield str(error)

    def _store_observation(self, observation: AuditObservation) -> None:
        """Store the kernel's answer. Call it after reading: the logs say which rules were loaded again before."""
        with self._database.begin() as session:
            for log, (reached_ns, known) in self._reached.items():
                extent = attribution.Extent(start_ns=reached_ns, end_ns=reached_ns)
                audit_store.shorten(session, log, reached_ns, time.time_ns())
                audit_store.extend(session, log, extent, continued=known)
            earlier = audit_store.last_answer(session, observation.time_ns)
            since_ns = min((rule.since_ns for rule in earlier.rules), default=0) if earlier is not None else 0
            notices = audit_store.notices(session, since_ns, observation.time_ns)
            # Without the backlog: nothing uses it later, and it would make each answer differ from the one before.
            answer = audit.keep_rule_targets(earlier, replace(observation, backlog=None), notices)
            audit_store.add_observation(session, answer)

    def _ask(self) -> AuditObservation:
        return (self._observe or audit.observe)(time.time_ns())

    def _settled(self) -> AuditObservation:
        """Wait until the kernel's queue is empty: auditd then has the records of everything done so far."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            time.sleep(_SETTLE_STEP)
            observation = self._ask()
            if not observation.backlog or time.monotonic() > deadline:
                # auditd has the records now, and still needs a moment to write them.
                time.sleep(_SETTLE_STEP)
                return observation

    def _ingest_log(self, source: AuditSource, log: bytes, daemon_pid: int | None, *, settled: bool) -> list[str]:
        """Read one log from where reading last ended.

        Each batch is one transaction: its records, the new position, and the time up to which the log is known. So a
        killed process loses no record, counts none twice, and claims no coverage over a gap.
        """
        database = self._database
        with database.read() as session:
            cursor = audit_store.cursor(session, log)
        known = cursor is not None
        reached_ns = time.time_ns()
        foreign = 0
        with gc_paused():
            for batch in audit.read_log(log, cursor, settled=settled, user_name=user_name):
                foreign += self._store(source, log, batch, reached_ns, known=known)
                known = True
        if _is_written_by(daemon_pid, log):  # records may be missing from any other file
            self._reached[log] = reached_ns, known
        return [_skipped(log, foreign)] if foreign else []

    def _receive(self, source: AuditSource) -> list[str]:
        """Read what the socket has. Coverage has a gap before each new connection."""
        log = source.paths[0]
        reached_ns = time.time_ns()
        if self._stream is None:
            return [f"{os.fsdecode(log)}: only 'fimscan schedule' can read this socket, and [audit] logs is empty"]
        batches, fresh, settled = self._stream.read()
        self._continued &= not fresh
        for batch in batches:
            self._store(source, log, batch, reached_ns, known=self._continued)
            self._continued = True
        connected = self._stream.source.is_connected
        # An incomplete event would be lost if this process ended now, so its time is not covered yet.
        if connected and settled:
            self._reached[log] = reached_ns, self._continued
        problem = f"{os.fsdecode(log)}: no process sends events; check that audisp's af_unix plugin is active"
        return [] if connected else [problem]

    def _store(self, source: AuditSource, log: bytes, batch: audit.AuditBatch, reached_ns: int, *, known: bool) -> int:
        """Store a batch in one transaction; return how many accesses were skipped as another host's."""
        ours = [(event, accesses) for event, accesses in batch.found if source.is_ours(event.id)]
        first_ns = min(batch.first_ns or reached_ns, reached_ns)
        last_ns = min(batch.last_ns or first_ns, reached_ns)
        # After a loss, older segments may be read again. The lost records may be anywhere before the last of these.
        extent = attribution.Extent(start_ns=last_ns if batch.lost_continuity else first_ns, end_ns=last_ns)
        started = [actor for actor in batch.executions if actor.event and source.is_ours(actor.event)]
        facts = [fact for fact in batch.logins_and_crashes if source.is_ours(fact.event)]
        sightings = [*started, *(accesses[0].actor for _, accesses in ours)]
        looks = self._inspector.inspect(sightings)
        with self._database.begin() as session:
            last = scan_store.last_finished(session)
            access_store.add(session, ours)
            process_store.add(session, sightings)
            fact_store.add(session, facts)
            fact_store.add_looks(session, looks)
            audit_store.add_notices(session, [n for n in batch.notices if source.is_ours(n.event)])
            audit_store.add_damaged(session, batch.damaged)
            audit_store.set_cursor(session, batch.cursor)
            audit_store.extend(session, log, extent, continued=known and not batch.lost_continuity)
            late = [event.id.time_ns for event, _ in ours] + [fact.event.time_ns for fact in facts]
            late += [notice.event.time_ns for notice in batch.notices if notice.kind in _DECISIVE]
            _note_late(session, log, late, last)
        if self._on_accesses is not None and ours:
            self._on_accesses([access for _, accesses in ours for access in accesses])
        return sum(len(accesses) for _, accesses in batch.found) - sum(len(accesses) for _, accesses in ours)

    def _attribute_again(self, source: AuditSource) -> None:
        """Attribute changes of earlier scans again, if records about them came late."""
        for log in source.paths:
            with self._database.begin() as session:
                late_ns = audit_store.late_since(session, log)
                if late_ns is not None:
                    attribute_again(session, late_ns, source.paths)
                    audit_store.note_late(session, log, None)


def _skipped(log: bytes, count: int) -> str:
    what = "1 access of another host" if count == 1 else f"{count:,} accesses of other hosts"
    return f"{os.fsdecode(log)}: skipped {what} (node=). If such a name is this host's, add it to [audit] nodes"


def _note_late(session: Session, log: bytes, times_ns: Iterable[int], last: Scan | None) -> None:
    """Store that changes which were already attributed have to be attributed again."""
    if last is None or last.finished_ns is None:
        return
    times = [time_ns for time_ns in times_ns if time_ns <= last.finished_ns]
    if times:
        earlier = audit_store.late_since(session, log)
        audit_store.note_late(session, log, min(times) if earlier is None else min(earlier, *times))


def _is_written_by(pid: int | None, log: bytes) -> bool:
    """Whether the process (auditd) has this file open."""
    if not pid:
        return False
    try:
        wanted = os.stat(log)
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        with suppress(OSError):
            found = os.stat(f"/proc/{pid}/fd/{name}")
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False
