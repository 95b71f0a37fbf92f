"""Reading the audit log into the store, and asking the kernel how its audit system is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

from fimscan import attribution, audit
from fimscan.errors import InputError
from fimscan.gc_pause import gc_paused
from fimscan.linux.users import user_name
from fimscan.model import AuditObservation, EventId, FileAccess, NoticeKind, Scan
from fimscan.pipeline.audit.joining import attribute_again
from fimscan.pipeline.audit.looking import Looker
from fimscan.pipeline.audit.witness import Witness
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import process_facts as fact_store
from fimscan.store import processes as process_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_SETTLE_SECONDS = 5.0
_SETTLE_STEP = 0.05
# Notices that make an answer less sure, when they are read after it was given.
_DECISIVE = frozenset(
    {
        NoticeKind.RULE_REMOVED,
        NoticeKind.URING_RULE_REMOVED,
        NoticeKind.UNNAMED_FILE,
        NoticeKind.USER_MOUNT,
        NoticeKind.EXTENTS_MOVED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Which audit logs to read, and which ``node=`` names in them are this host's (besides its own).

    ``socket`` is that of audisp's af_unix plugin. Only where there are no logs is what it sends stored, under its path.
    ``complete_key`` is that of the rules which are completed by those for io_uring; ``None`` leaves them as they are.
    """

    logs: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    socket: str | None = None
    complete_key: str | None = None

    @property
    def paths(self) -> tuple[bytes, ...]:
        """What is read, as the store knows it."""
        if self.is_stream:
            return (os.fsencode(self.socket or ""),)
        return tuple(os.fsencode(log) for log in self.logs)

    @property
    def is_stream(self) -> bool:
        """Whether the socket is all there is."""
        return not self.logs and self.socket is not None

    def is_ours(self, event: EventId) -> bool:
        """Whether an event is this host's: collected logs hold those of others, whose inodes mean other files."""
        return not event.node or event.node in self.nodes or event.node in _own_names()


@cache
def _own_names() -> frozenset[str]:
    """What auditd may call this host (``name_format`` in auditd.conf(5)); the second may take a question to the DNS."""
    return frozenset((os.uname().nodename, socket.getfqdn()))


def look_at_audit(database: Database, source: AuditSource | None, *, settle: bool = False) -> tuple[str, ...]:
    """Observe, then read, once; gives the problems, a line each. See :class:`AuditReader`."""
    return AuditReader(database, source).look(settle=settle)


class AuditReader:
    """Observes the audit system and reads what is new in its logs into the store.

    Args:
        observe: what asks the kernel; :func:`fimscan.audit.observe` unless told otherwise.
        on_accesses: told of the accesses that were read, once they are stored.
        stream: the socket, where that is all there is to read.
        witness: what fanotify told is stored whenever the log was read, in time for the answers that follow.
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
        self.source = source
        self._database = database
        self._observe = observe
        self._on_accesses = on_accesses
        self._stream = stream
        self._completion = audit.Completion(source.complete_key) if source is not None and source.complete_key else None
        self._witness = witness
        self._looker = Looker()
        self._continued = False  # whether what the stream brings next follows on what it brought before
        self._reached: dict[bytes, tuple[int, bool]] = {}  # by log: until when all was read, on what was known before

    def look(self, *, settle: bool = False) -> tuple[str, ...]:
        """Complete the rules, observe, then read; gives the problems, a line each.

        With ``settle``, first wait until what was done so far has reached the log.
        """
        if self.source is None:
            return ()
        if self._completion is not None:
            self._completion.complete()
        observation = self._settled() if settle else self._ask()
        problems = [observation.error] if observation.error else []
        self._reached.clear()
        problems += self._read(self.source, observation, settled=settle and not observation.backlog)
        self._remember(observation)
        self._continued |= bool(self._reached)
        if self._witness is not None:
            self._witness.store(self._database, now=settle)
        self._answer_anew(self.source)
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

    def _remember(self, observation: AuditObservation) -> None:
        """After the logs were read: they say which rules were loaded again before the observation."""
        with self._database.begin() as session:
            for log, (reached_ns, known) in self._reached.items():
                stretch = attribution.Extent(start_ns=reached_ns, end_ns=reached_ns)
                audit_store.extend(session, log, stretch, continued=known)
            earlier = audit_store.last_answer(session)
            since_ns = min((rule.since_ns for rule in earlier.rules), default=0) if earlier is not None else 0
            notices = audit_store.notices(session, since_ns, observation.time_ns)
            # How long the queue was is of no use later, and would make every answer another one.
            answer = audit.carried_on(earlier, replace(observation, backlog=None), notices)
            audit_store.add_observation(session, answer)

    def _ask(self) -> AuditObservation:
        return (self._observe or audit.observe)(time.time_ns())

    def _settled(self) -> AuditObservation:
        """Wait until the kernel's queue is empty: its records are on their way, and the last change's among them."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            time.sleep(_SETTLE_STEP)
            observation = self._ask()
            if not observation.backlog or time.monotonic() > deadline:
                # An empty queue means that the daemon has the records; it writes them out at once, but not in no time.
                time.sleep(_SETTLE_STEP)
                return observation

    def _ingest_log(self, source: AuditSource, log: bytes, daemon_pid: int | None, *, settled: bool) -> list[str]:
        """Read one log from where it was last left, exactly once.

        What was read, how far, and over which time the log is known are one transaction each batch: a process that is
        killed loses nothing, counts nothing twice, and takes no hole for coverage.
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
        if _is_written_by(daemon_pid, log):  # of another file, nobody knows what is missing
            self._reached[log] = reached_ns, known
        return [_left_out(log, foreign)] if foreign else []

    def _receive(self, source: AuditSource) -> list[str]:
        """Take what the socket has. Between two connections there is a hole, and before a process's first one."""
        log = source.paths[0]
        reached_ns = time.time_ns()
        if self._stream is None:
            return [f"{os.fsdecode(log)} is read by 'fimscan schedule' only, and no log is configured"]
        batches, fresh, settled = self._stream.read()
        self._continued &= not fresh
        for batch in batches:
            self._store(source, log, batch, reached_ns, known=self._continued)
            self._continued = True
        connected = self._stream.source.is_connected
        # An event that is only half here would be lost with this process: it is not covered yet.
        if connected and settled:
            self._reached[log] = reached_ns, self._continued
        return [] if connected else [f"{os.fsdecode(log)}: nobody sends events; is audisp's af_unix plugin active?"]

    def _store(self, source: AuditSource, log: bytes, batch: audit.AuditBatch, reached_ns: int, *, known: bool) -> int:
        """One batch, in one transaction; gives how many accesses are another host's."""
        ours = [(event, those) for event, those in batch.found if source.is_ours(event.id)]
        first_ns = min(batch.first_ns or reached_ns, reached_ns)
        last_ns = min(batch.last_ns or first_ns, reached_ns)
        # After a loss, older segments may be read again: what was lost lies somewhere before the newest of this.
        stretch = attribution.Extent(start_ns=last_ns if batch.lost_continuity else first_ns, end_ns=last_ns)
        started = [actor for actor in batch.executions if actor.event and source.is_ours(actor.event)]
        facts = [fact for fact in batch.logins_and_crashes if source.is_ours(fact.event)]
        sightings = [*started, *(those[0].actor for _, those in ours)]
        looks = self._looker.look(sightings)
        with self._database.begin() as session:
            last = scan_store.last_finished(session)
            access_store.add(session, ours)
            process_store.add(session, sightings)
            fact_store.add(session, facts)
            fact_store.add_looks(session, looks)
            audit_store.add_notices(session, [n for n in batch.notices if source.is_ours(n.event)])
            audit_store.add_damaged(session, batch.damaged)
            audit_store.set_cursor(session, batch.cursor)
            audit_store.extend(session, log, stretch, continued=known and not batch.lost_continuity)
            late = [event.id.time_ns for event, _ in ours] + [fact.event.time_ns for fact in facts]
            late += [notice.event.time_ns for notice in batch.notices if notice.kind in _DECISIVE]
            _note_late(session, log, late, last)
        if self._on_accesses is not None and ours:
            self._on_accesses([access for _, those in ours for access in those])
        return sum(len(those) for _, those in batch.found) - sum(len(those) for _, those in ours)

    def _answer_anew(self, source: AuditSource) -> None:
        """Changes of earlier scans of which the logs only now said something."""
        for log in source.paths:
            with self._database.begin() as session:
                late_ns = audit_store.late_since(session, log)
                if late_ns is not None:
                    attribute_again(session, late_ns, source.paths)
                    audit_store.note_late(session, log, None)


def _left_out(log: bytes, count: int) -> str:
    what = "1 access of another host was" if count == 1 else f"{count:,} accesses of other hosts were"
    return f"{os.fsdecode(log)}: {what} left out. If a name there is this host's, add it to [audit] nodes"


def _note_late(session: Session, log: bytes, times_ns: Iterable[int], last: Scan | None) -> None:
    """Remember that changes which were already answered have to be answered anew."""
    if last is None or last.finished_ns is None:
        return
    times = [time_ns for time_ns in times_ns if time_ns <= last.finished_ns]
    if times:
        earlier = audit_store.late_since(session, log)
        audit_store.note_late(session, log, min(times) if earlier is None else min(earlier, *times))


def _is_written_by(pid: int | None, log: bytes) -> bool:
    """Whether the audit daemon has this very file open."""
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
