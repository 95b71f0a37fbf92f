"""Assemble interleaved records into events.

An event is finished when it has its PROCTITLE (or EOE) and all the PATH records that its SYSCALL announces
(``items=``). An event that lacks a record is given up when the record clock of its node has advanced by ``timeout_ns``.
The record clock is the time in the records, never the wall clock, so that reading a log again yields the same events.
Each node has its own record clock, because the clocks of two hosts differ.

The records of one event may come in any order (exports sorted by time alone, syslog over UDP). A record that comes
after its event was finished is added, and the event is returned once more: see :meth:`Assembler.add`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from fimscan.model import AuditEvent, AuditRecord, EventId

TIMEOUT_NS = 5_000_000_000
MAX_OPEN = 20_000
#: An event is given up if this many bytes of the log came after its first record: that bounds the memory, whatever the
#: events, nodes and records of a log are, and what is read again when the next reading begins with the oldest event.
MOST_BYTES = 16 << 20
_CHECK_BYTES = 1 << 20
# Records come seconds late, never minutes; a larger step back means that the clock was set back.
_CLOCK_STEP_NS = 60_000_000_000
_NEVER = 1 << 63
_MOST_NODES = 10_000
# How often a clock jump can restart the timeout of an open event; bounded, so that events of a quiet host end.
_MOST_JUMPS = 32

# User space sends these as one record each (linux/audit.h: 1100-1299 and 2100-2999), so the assembler does not wait. A
# crash is recorded outside of any system call, too (audit_core_dumps in kernel/auditsc.c).
_SINGLE = ("DAEMON_", "USER_", "CRED_", "SERVICE_", "SYSTEM_", "ANOM_ABEND")
_CALLS = frozenset({"SYSCALL", "URINGOP"})
_ENDS = frozenset({"PROCTITLE", "EOE"})
_COMPANIONS = _ENDS | {"PATH", "CWD", "OPENAT2", "EXECVE", "SOCKADDR", "MMAP"}  # these never come without a call
_COMMON = frozenset({"SYSCALL", "PATH", "CWD", "PROCTITLE"})
_TELL_NOTHING = frozenset({"SOCKADDR", "MMAP", "EOE"})  # records that say nothing about files
_ITEMS = re.compile(rb' items="?(\d{1,6})')
_OPENAT2 = re.compile(rb' syscall="?(?:[456]?437|openat2)\b')  # 437 everywhere except on MIPS, which adds a base to it
_URING_ENTER = re.compile(rb' syscall="?(?:[456]?426|io_uring_enter)\b')
_ODD_CALL = re.compile(rb' syscall="?(?:[456]?4(?:37|26)|openat2|io_uring_enter)\b')
_WORDS = re.compile(rb"(?:^| )a\d{1,7}(?:_len)?=")
_ARGC = re.compile(rb'argc="?(\d{1,7})')


class Lost(NamedTuple):
    """An event that was given up incomplete, the position of its first record, and what it lacks."""

    event: AuditEvent
    position: int
    problem: str


class _Node:
    """The record clock and the unfinished events of one host.

    ``elapsed`` is how far the clock advanced in steps of at most the timeout. A longer step, or a step back, is a jump:
    it restarts the timeout of every open event.
    """

    __slots__ = ("due", "elapsed", "jumped", "jumps", "name", "now", "open", "sees_calls", "started", "waiting")

    def __init__(self, event: EventId, *, resumed: bool) -> None:
        self.name = event.node
        self.due = _NEVER  # no event times out before ``elapsed`` reaches this
        self.now = self.started = event.time_ns
        self.elapsed = 0
        self.jumped = 0  # ``elapsed`` at the last jump
        self.jumps = 0
        self.open: dict[EventId, _Open] = {}  # oldest first
        self.waiting: dict[EventId, _Open] = {}  # finished, but a record of the event may still come
        self.sees_calls = resumed  # records before the first call can belong to an event in an earlier log

    def move_to(self, now_ns: int, timeout_ns: int) -> bool:
        """Advance the clock to the time of one record; return whether an event may have timed out."""
        step = now_ns - self.now
        if 0 < step <= timeout_ns:
            self.now = now_ns
            self.elapsed += step
            return self.elapsed >= self.due
        if step > timeout_ns or step < -_CLOCK_STEP_NS:
            self.now = now_ns
            self.jumps += 1
            self.jumped = self.elapsed
            return self.due is not _NEVER
        return False

    def expect(self, timeout_ns: int) -> None:
        """Note that an event waits from now on."""
        if self.due is _NEVER:  # otherwise an earlier event is due first
            self.due = self.elapsed + timeout_ns


class _Open:
    """An event that is still being assembled."""

    __slots__ = (
        "cwd",
        "id",
        "items",
        "jumps",
        "last",
        "node",
        "odd",
        "opened_ns",
        "orphan",
        "paths",
        "position",
        "records",
        "since",
    )

    def __init__(self, event: EventId, position: int, node: _Node, *, orphan: bool) -> None:
        self.id = event
        self.node = node
        self.records: list[AuditRecord] = []
        self.items: int | None = None  # number of PATH records announced; None before the SYSCALL record
        self.paths = 0
        self.last = False  # PROCTITLE or EOE was seen
        self.cwd = False
        self.odd = False  # has, or should have, records that most events do not have
        self.position = position
        self.opened_ns = node.now
        self.since = node.elapsed
        self.jumps = node.jumps
        self.orphan = orphan  # its SYSCALL record may be in a part of the log that was not read

    def is_due(self, timeout_ns: int) -> bool:
        """Whether the event has waited longer than the timeout.

        A record that stands alone (CONFIG_CHANGE, ANOM_ABEND, ...) announces no other record. On a quiet host, it waits
        no longer than until the next record.
        """
        node = self.node
        if self.items is None and not any(record.type in _COMPANIONS for record in self.records):
            return abs(node.now - self.opened_ns) >= timeout_ns
        return node.elapsed - max(self.since, node.jumped) >= timeout_ns or node.jumps - self.jumps >= _MOST_JUMPS

    def kinds(self) -> set[str]:
        """The types of its records."""
        return {record.type for record in self.records}

    def is_whole(self) -> bool:
        """Whether all announced PATH records are there; a repeated line counts as one record."""
        items = {record.body.partition(b" ")[0] for record in self.records if record.type == "PATH"}
        self.paths = len(items)
        return self.items is not None and self.paths >= self.items

    def missing(self) -> str:
        """Which announced or required record is missing; empty where none is."""
        if self.items is None:
            alone = any(record.type in _COMPANIONS for record in self.records)
            return "the SYSCALL record of its event is missing" if alone else ""
        whole = self.is_whole()
        return "" if whole else f"{self.items - self.paths} of {self.items} PATH records of its event are missing"

    def can_grow(self) -> bool:
        """Whether a record that such an event has is missing: the last record may have overtaken it."""
        if self.items and not self.cwd:
            return True
        if not self.odd:
            return False
        kinds = self.kinds()
        calls = [record.body for record in self.records if record.type == "SYSCALL"]
        if not calls and "PROCTITLE" in kinds:  # an io_uring operation that ran within the system call
            return True
        if "OPENAT2" not in kinds and any(map(_OPENAT2.search, calls)):
            return True
        if "URINGOP" not in kinds and any(map(_URING_ENTER.search, calls)):
            return True
        words = [record.body for record in self.records if record.type == "EXECVE"]
        argc = max((int(found[1]) for body in words if (found := _ARGC.search(body))), default=0)
        return argc > sum(len(_WORDS.findall(body)) for body in words)

    def event(self) -> AuditEvent:
        """The event with the records received so far; complete if all announced records are there."""
        return AuditEvent.of(self.id, self.records, complete=not self.missing())


class Assembler:
    """Groups records into events by node, time and serial.

    A record that comes after its event was given up makes an incomplete event of its own. Such an event has too few
    records to name an actor.

    Args:
        timeout_ns: how far the record clock may advance past an unfinished event.
        max_open: how many events of a node may be open at once; beyond that, the oldest is given up.
        resumed: the first records may belong to events that an earlier reading finished.
    """

    def __init__(self, *, timeout_ns: int = TIMEOUT_NS, max_open: int = MAX_OPEN, resumed: bool = False) -> None:
        self._timeout_ns = timeout_ns
        self._max_open = max_open
        self._resumed = resumed
        self._nodes: dict[str, _Node] = {}
        self._current: _Open | None = None  # the event of the last record; the next record mostly has the same
        self._last: _Node | None = None  # node of the last contiguous event; the next one mostly has the same
        self._lost: list[Lost] = []
        self._positions: dict[EventId, int] = {}  # positions of the first records of returned events
        self._checked = 0  # the position at which events were last given up for their distance
        self._most_nodes = _MOST_NODES

    def oldest_open(self, waiting: Iterable[EventId] = ()) -> int | None:
        """The position of the first record of the event open longest; reading from there again loses nothing.

        ``waiting`` are events that may still grow, and that the caller has not passed on.
        """
        oldest = [next(iter(node.open.values())).position for node in self._nodes.values() if node.open]
        oldest += [self._nodes[event.node].waiting[event].position for event in waiting]
        return min(oldest, default=None)

    def lost(self) -> Sequence[Lost]:
        """Events that were given up incomplete, each returned once."""
        if not self._lost:  # the usual case
            return ()
        lost, self._lost = self._lost, []
        return lost

    def add(self, record: AuditRecord, position: int = 0) -> tuple[AuditEvent, ...]:
        """Add one record at ``position`` (any ascending number); return the events that it finishes.

        An event can be returned twice. It is returned as soon as it has all records that it announces, because nothing
        says whether another follows (kernels and rules differ in what they log). If another record comes for it within
        the timeout, the event is returned again with that record. The later one replaces the earlier.
        """
        if position - self._checked >= _CHECK_BYTES:
            return (*self._left_behind(position), *self.add(record, position))
        kind = record.type
        group = self._current
        if group is None or group.id is not record.id:
            node = self._nodes.get(record.id.node)
            group = None if node is None else node.open.get(record.id)
            if group is None:
                return self._start(record, position)
            self._current = group
        group.records.append(record)
        if kind == "PATH":
            group.paths += 1
        elif kind in _ENDS:
            group.last = True
        elif kind in _CALLS:
            items = _ITEMS.search(record.body)
            group.items = max(int(items[1]) if items else 0, group.items or 0)
            group.odd = group.odd or kind == "URINGOP" or _ODD_CALL.search(record.body, 0, 64) is not None
            group.node.sees_calls = True
        elif kind == "CWD":
            group.cwd = True
        elif kind == "EXECVE":
            group.odd = True
        if group.last and group.items is not None and group.paths >= group.items and group.is_whole():
            node = group.node
            del node.open[group.id]
            self._current = None
            if group.can_grow():
                if len(node.waiting) >= self._max_open:
                    del node.waiting[next(iter(node.waiting))]
                node.waiting[group.id] = group
                group.since = node.elapsed
                node.expect(self._timeout_ns)
            self._positions[group.id] = group.position
            return (AuditEvent.of(group.id, group.records),)
        return ()

    def pass_to(self, event: EventId) -> tuple[AuditEvent, ...] | None:
        """Advance the record clock to a contiguous event; return the events that timed out.

        ``None`` where some of its records came earlier, so that the contiguous lines are not the whole event.
        """
        node = self._last
        if node is None or node.name != event.node:
            node = self._last = self._nodes.get(event.node) or self._first_of(event)
        if (node.open and event in node.open) or (node.waiting and event in node.waiting):
            return None
        node.sees_calls = True
        return () if event.time_ns == node.now else self._moved(node, event.time_ns)

    def _first_of(self, event: EventId) -> _Node:
        """Create the clock of a new node. Damaged logs can name any number of nodes, so idle ones are dropped."""
        if len(self._nodes) >= self._most_nodes:
            self._nodes = {name: node for name, node in self._nodes.items() if node.open or node.waiting}
            self._last = None
            self._most_nodes = max(_MOST_NODES, 2 * len(self._nodes))
        made = self._nodes[event.node] = _Node(event, resumed=self._resumed)
        return made

    def _moved(self, node: _Node, now_ns: int) -> tuple[AuditEvent, ...]:
        return tuple(self._expired(node)) if node.move_to(now_ns, self._timeout_ns) else ()

    def can_grow(self, event: EventId) -> bool:
        """Whether an event that was returned may be returned again."""
        node = self._nodes.get(event.node)
        return node is not None and event in node.waiting

    def begun_at(self, event: EventId) -> int:
        """The position of the first record of a returned event; can be asked only once."""
        return self._positions.pop(event, 0)

    def settle(self) -> tuple[AuditEvent, ...]:
        """Close events without a system call that have all their records; call it when no record is on its way.

        An operation of an io_uring worker has no PROCTITLE record that would end its event (seen on 6.18).
        """
        events = []
        for node in self._nodes.values():
            done = [group for group in node.open.values() if not group.missing() and "SYSCALL" not in group.kinds()]
            for group in done:
                del node.open[group.id]
                events.append(self._given_up(group))
        self._current = None
        return tuple(events)

    def flush(self) -> tuple[AuditEvent, ...]:
        """Give up every event that is still open, oldest first."""
        groups = [group for node in self._nodes.values() for group in node.open.values()]
        groups.sort(key=lambda group: group.position)
        events = tuple([self._given_up(group) for group in groups])
        for node in self._nodes.values():
            node.open.clear()
            node.waiting.clear()
            node.due = _NEVER
        self._current = None
        return events

    def _start(self, record: AuditRecord, position: int) -> tuple[AuditEvent, ...]:
        identity = record.id
        node = self._nodes.get(identity.node)
        if node is None:
            node = self._first_of(identity)
        expired = self._moved(node, identity.time_ns)
        if record.type.startswith(_SINGLE):
            return (*expired, AuditEvent.of(identity, (record,)))
        if node.waiting and (late := node.waiting.get(identity)) is not None:
            return expired + self._grown(node, late, record)
        if record.type == "EOE":
            return expired
        if len(node.open) >= self._max_open:
            oldest = node.open.pop(next(iter(node.open)))
            expired += (self._given_up(oldest, whole=False),)
        orphan = self._is_cut_off(node, identity)
        self._current = node.open[identity] = _Open(identity, position, node, orphan=orphan)
        node.expect(self._timeout_ns)
        return expired + self.add(record, position)

    def _left_behind(self, position: int) -> tuple[AuditEvent, ...]:
        """Give up the events whose first record is too far behind, oldest first."""
        self._checked = position
        begin, groups = position - MOST_BYTES, []
        for node in self._nodes.values():
            for waiting in [key for key, group in node.waiting.items() if group.position < begin]:
                del node.waiting[waiting]
            groups += [group for group in node.open.values() if group.position < begin]
        groups.sort(key=lambda group: group.position)
        for group in groups:
            del group.node.open[group.id]
            if group is self._current:
                self._current = None
        return tuple([self._given_up(group, whole=False) for group in groups])

    def _is_cut_off(self, node: _Node, event: EventId) -> bool:
        """Whether the beginning of the event can be in a part that is not read: an earlier log, or before a cursor."""
        if not node.sees_calls:
            return True
        return self._resumed and event.time_ns <= node.started + self._timeout_ns

    def _grown(self, node: _Node, group: _Open, record: AuditRecord) -> tuple[AuditEvent, ...]:
        """Add one more record to a finished event. A repeated record and EOE add nothing."""
        if record.type == "EOE" or record in group.records:
            return ()
        group.records.append(record)
        group.cwd = group.cwd or record.type == "CWD"
        group.odd = group.odd or record.type not in _COMMON
        if not group.can_grow():
            del node.waiting[group.id]
        self._positions[group.id] = group.position
        return (AuditEvent.of(group.id, group.records),)

    def _given_up(self, group: _Open, *, whole: bool = True) -> AuditEvent:
        missing = group.missing()
        self._positions[group.id] = group.position
        event = AuditEvent.of(group.id, group.records, complete=whole and not missing)
        if missing and (group.items is not None or not (group.orphan or _TELL_NOTHING.issuperset(group.kinds()))):
            self._lost.append(Lost(event, group.position, missing))
        return event

    def _expired(self, node: _Node) -> Iterator[AuditEvent]:
        for groups in (node.waiting, node.open):
            while groups:
                key, group = next(iter(groups.items()))
                if not group.is_due(self._timeout_ns):
                    break
                del groups[key]
                if groups is node.open:
                    if group is self._current:
                        self._current = None
                    yield self._given_up(group)
        oldest = [next(iter(groups.values())) for groups in (node.waiting, node.open) if groups]
        node.due = min((max(g.since, node.jumped) + self._timeout_ns for g in oldest), default=_NEVER)
