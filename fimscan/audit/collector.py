"""Turn blocks of log lines into events and batches; shared by the readers of rotated logs and of streams."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from msgspec import Struct

from fimscan.audit.accesses import accesses, accesses_of_call
from fimscan.audit.actors import UserName
from fimscan.audit.damage import CUT, cut_record, is_cut
from fimscan.audit.events import Assembler
from fimscan.audit.fast_event import whole_event
from fimscan.audit.journal import BEGINNING, Export, JournalError, is_entry, parse_entry
from fimscan.audit.laurel import NotLaurelError, is_object, parse_event
from fimscan.audit.notices import notice
from fimscan.audit.parsed_call import ParsedCall
from fimscan.audit.paths import parse_item
from fimscan.audit.processes import ProcessFact, process_facts
from fimscan.audit.records import (
    BRACKET,
    OF_KERNEL,
    USUAL_LINES,
    inner_records,
    line_of,
    lines_pattern,
    matched_record,
    parse_line,
    usual_record,
)
from fimscan.audit.relays import problem_of
from fimscan.audit.segments import LogCursor, Segment, empty_log
from fimscan.audit.uring import with_processes
from fimscan.model import (
    Actor,
    AuditEvent,
    AuditNotice,
    AuditRecord,
    Crash,
    DamagedLine,
    EventId,
    FileAccess,
    Login,
)

_EVENT = 1 << 10  # a damaged line counts as one event, plus one per this many bytes
# How the first line of an event begins, in a log that was not relayed.
_BEGINNINGS = (b"type=SYSCALL", b"node=")
# Of one reading; further ones are counted. Anybody who may write to syslog can write any number of them.
MOST_DAMAGED = 5000
_BLANK = re.compile(rb"(?:[ \t\r\f\v]*\n)+")
# What every record has in some format: auditd's and its relays', laurel's, journald's.
_RECORD = re.compile(rb"audit\(|\"ID\"|__CURSOR|__REALTIME_TIMESTAMP")
_KEPT = 1 << 14  # auditd truncates lines at 8970 bytes; of a longer line, only its beginning is kept for inspection


class AuditBatch(Struct, frozen=True, kw_only=True):
    """The result of reading one stretch of a log.

    ``found`` holds each event that is about files, with the accesses parsed from it. ``process_facts`` holds program
    starts, logins and crashes. ``cursor`` is where the next reading must start: at the beginning of the oldest event
    that was still open. ``first_ns`` and ``last_ns`` are the times of the earliest and latest event of any kind,
    ``None`` without events. ``lost_continuity`` is true in the first batch after a part of the log was found missing.
    """

    found: tuple[tuple[AuditEvent, Sequence[FileAccess]], ...] = ()
    process_facts: tuple[ProcessFact, ...] = ()
    notices: tuple[AuditNotice, ...] = ()
    damaged: tuple[DamagedLine, ...] = ()
    cursor: LogCursor
    first_ns: int | None = None
    last_ns: int | None = None
    lost_continuity: bool = False

    @property
    def executions(self) -> tuple[Actor, ...]:
        """Actors, each at the moment it started to run a program."""
        return tuple([fact for fact in self.process_facts if isinstance(fact, Actor)])

    @property
    def logins_and_crashes(self) -> tuple[Login | Crash, ...]:
        """Logins and crashes: the process facts other than program starts."""
        return tuple([fact for fact in self.process_facts if not isinstance(fact, Actor)])

    @property
    def accesses(self) -> tuple[FileAccess, ...]:
        """The accesses of all events, in the order of the events."""
        return tuple(chain.from_iterable([those for _, those in self.found]))

    @property
    def events(self) -> tuple[AuditEvent, ...]:
        """The events alone, without their accesses."""
        return tuple([event for event, _ in self.found])


class Collector:
    """Takes the blocks of one segment after another and returns batches.

    An event may begin in one segment and end in the next. Positions are therefore one ascending number over all
    segments: where the segment starts, plus the offset in it.
    """

    def __init__(self, log: bytes, *, batch_events: int, user_name: UserName | None) -> None:
        self._log = log
        self.lost_continuity = False
        self._batch_events = batch_events
        self._user_name = user_name
        self._assembler = Assembler()
        self._journal: Export | None = None
        self._kindless: set[EventId] = set()  # events with a PATH record that has no nametype
        self._with_kinds = False  # PATH records have a nametype, except on RHEL 6
        self._segments: list[Segment] = []
        self._starts: list[int] = []
        self._position = 0
        self._damaged_count = 0
        self._uncounted = 0  # damaged lines since the last batch that are only counted
        self._told = 0  # the position up to which batches were returned
        self._clear()

    def _clear(self) -> None:
        self._found: list[tuple[AuditEvent, Sequence[FileAccess]]] = []
        self._growing: dict[EventId, int] = {}  # place in ``_found`` of each event that may be returned again
        self._has_empty = False  # an event in ``_found`` has no access
        self._process_facts: list[ProcessFact] = []
        self._notices: list[AuditNotice] = []
        self._damaged: list[DamagedLine] = []
        self._count = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    @property
    def offset(self) -> int:
        """How far the current segment has been read, in bytes."""
        return self._position - self._starts[-1]

    @property
    def source(self) -> bytes:
        """The path of the current segment."""
        return self._segments[-1].path

    @property
    def is_settled(self) -> bool:
        """Whether no event is open."""
        return self._assembler.oldest_open() is None

    @property
    def has_news(self) -> bool:
        """Whether anything was read since the last batch, or was not given with it."""
        return self._position != self._told or self._count > 0 or bool(self._found) or self.lost_continuity

    def enter(self, segment: Segment, offset: int) -> None:
        """Start a segment at ``offset``, or continue the current one under its new name."""
        if self._segments and self._segments[-1].fingerprint == segment.fingerprint:
            self._segments[-1] = segment
            return
        if not self._segments and offset:
            self._assembler = Assembler(resumed=True)
        self._segments.append(segment)
        self._starts.append(self._position - offset)

    def take(self, block: bytes) -> Iterator[AuditBatch]:
        """Parse whole lines that follow the last block; only the last line may lack its newline."""
        base, end, place = self._position, len(block), 0
        line = lines_pattern(block)
        relayed = line is not USUAL_LINES
        record_of = matched_record if relayed else usual_record
        while place < end:
            begins = self._journal is None and (relayed or block.startswith(_BEGINNINGS, place))
            whole = whole_event(block, place, relayed=relayed) if begins else None
            if whole is not None and (expired := self._assembler.pass_to(whole[0].id)) is not None:
                event, parsed, place = whole
                if expired:
                    self._events(expired)
                self._event(event, parsed)
            elif self._journal is None and (match := line.match(block, place)):
                self._record(record_of(match), base + place)
                place = match.end()
            else:
                stop = block.find(b"\n", place)
                stop = end if stop < 0 else stop
                self._unusual(block[place:stop], base + place)
                place = min(stop + 1, end)
                if self._journal is None:  # there, a blank line ends an entry
                    if blank := _BLANK.match(block, place):
                        place = blank.end()
                    if self._damaged_count >= MOST_DAMAGED:
                        place = self._skip_damaged(block, place)
            if self._count >= self._batch_events:  # where the file is not a log, every line is damaged and counted
                self._position = base + place
                yield self.batch(more=True)
        self._position = base + end

    def damage(self, line: bytes, offset: int, problem: str) -> None:
        """Keep a line that could not be parsed; ``offset`` is its offset in the current segment."""
        self._damage(self.source, line, offset, problem)

    def _damage(self, source: bytes, line: bytes, offset: int, problem: str) -> None:
        self._damaged_count += 1
        if self._damaged_count > MOST_DAMAGED:
            self._uncounted += 1
            return
        kept = line[:_KEPT]
        self._count += 1 + len(kept) // _EVENT
        self._damaged.append(DamagedLine(source=source, offset=offset, line=kept, problem=problem))

    def _skip_damaged(self, block: bytes, place: int) -> int:
        """Return where the next line begins that may be a record; the lines before it are counted as damaged."""
        found = _RECORD.search(block, place)
        stop = block.rfind(b"\n", place, len(block) if found is None else found.start()) + 1
        if stop <= place:
            return place
        self._uncounted += block.count(b"\n", place, stop)
        return stop

    def skip(self, size: int) -> None:
        """Move past bytes that contain no line to parse."""
        self._position += size

    def settle(self) -> None:
        """Close events that will get no more records, because the log already has all that was recorded so far."""
        self._events(self._assembler.settle())

    def finish(self) -> None:
        """End of input: give up the events that are still open."""
        if self._journal is not None:
            self._of_journal(None, self._position)
        self._events(self._assembler.flush())

    def batch(self, *, more: bool = False) -> AuditBatch:
        """Return what was read since the last batch.

        With ``more`` to come, events that may be returned again are held back.
        """
        growing = []
        for place in self._growing.values():
            event, _ = self._found[place]
            if more and self._assembler.can_grow(event.id):
                growing.append(event)
            else:
                self._found[place] = (event, self._parsed(event))
        found = [one for one in self._found if one[1]] if self._has_empty else self._found
        if any(those[0].actor.exe is None for _, those in found):
            completed = with_processes([event for event, _ in found])
            found = [
                (now, those if now is event else accesses(now, self._user_name))
                for (event, those), now in zip(found, completed, strict=True)
            ]
        if self._uncounted:
            problem = f"one of the damaged lines after the first {MOST_DAMAGED:,} of a reading"
            further = DamagedLine(source=self.source, offset=0, line=b"", problem=problem, count=self._uncounted)
            self._damaged.append(further)
            self._uncounted = 0
        result = AuditBatch(
            found=tuple(found),
            process_facts=tuple(self._process_facts),
            notices=tuple(self._notices),
            damaged=tuple(self._damaged),
            cursor=self._cursor(growing),
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            lost_continuity=self.lost_continuity,
        )
        self._clear()
        for event in growing:
            self._hold(event)
        self._told = self._position
        self.lost_continuity = False
        return result

    def _cursor(self, held_back: Iterable[AuditEvent] = ()) -> LogCursor:
        """Return where to read on: at the first record of the oldest event that no batch has given up to now."""
        if not self._segments:
            return empty_log(self._log)
        position = self._assembler.oldest_open(event.id for event in held_back)
        if position is None:
            position = self._position
            index = len(self._starts) - 1
        else:
            index = bisect_right(self._starts, position) - 1
        segment = self._segments[index]
        return LogCursor(self._log, segment.dev, segment.inode, position - self._starts[index], segment.fingerprint)

    def _records(self, record: AuditRecord, position: int) -> None:
        """Add every record of a line that holds several."""
        body, others, is_torn = inner_records(record)
        record = record._replace(body=body)
        if is_torn and not is_cut(record.type, body):
            self._damage_at(position, line_of(record), CUT)
        self._record(record, position, is_alone=True)
        host = record.id.node.encode("latin-1") or None
        for other in others:
            if (inner := parse_line(other, host)) is not None:
                self._record(inner, position, is_alone=True)

    def _record(self, record: AuditRecord, position: int, *, is_alone: bool = False) -> None:
        """Add one record. Unless it ``is_alone``, its line may hold further records of the event."""
        event, kind, body = record
        if not is_alone and BRACKET in body and body.find(b"audit(") >= 0 and kind in OF_KERNEL:
            self._records(record, position)
            return
        if kind == "PATH" and (item := parse_item(body)) is not None and item.kind:
            pass  # the usual case
        elif is_cut(kind, body):
            self._damage_at(position, line_of(record), CUT)
        elif kind == "PATH":
            self._kindless.add(event)
        if events := self._assembler.add(record, position):
            self._events(events)

    def _events(self, events: Iterable[AuditEvent]) -> None:
        for event in events:
            self._event(event)
        for lost in self._assembler.lost():
            self._damage_at(lost.position, line_of(lost.event.records[0]), lost.problem)

    def _event(self, event: AuditEvent, parsed: ParsedCall | None = None) -> None:
        """Add a finished event. ``parsed`` is its parsed call, if that is known already.

        An event that was returned before is replaced.
        """
        time_ns = event.id.time_ns
        if self._first_ns is None or time_ns < self._first_ns:
            self._first_ns = time_ns
        if self._last_ns is None or time_ns > self._last_ns:
            self._last_ns = time_ns
        if parsed is None:
            self._of_records(event)
        else:
            self._count += 1
            if found := accesses_of_call(parsed, self._user_name):
                self._found.append((event, found))
        if not self._with_kinds:
            self._with_kinds = b" nametype=" in event.text

    def _of_records(self, event: AuditEvent) -> None:
        """Parse an event; one that may be returned again is parsed with its last record, or for the batch."""
        place = self._growing.get(event.id) if self._growing else None
        if place is not None and not event.text.startswith(self._found[place][0].text):
            place = None  # only records that came too late for it
        if place is None:
            self._count += 1
        if self._assembler.can_grow(event.id):
            self._hold(event)
        elif place is not None:
            del self._growing[event.id]
            self._found[place] = (event, self._parsed(event))
        elif found := self._parsed(event):
            self._found.append((event, found))

    def _hold(self, event: AuditEvent) -> None:
        """Keep an event that may be returned again, without its accesses, in place of what it was before."""
        place = self._growing.get(event.id)
        if place is None:
            self._growing[event.id] = len(self._found)
            self._found.append((event, ()))
        else:
            self._found[place] = (event, ())
        self._has_empty = True

    def _parsed(self, event: AuditEvent) -> Sequence[FileAccess]:
        """The accesses of an event whose lines were not contiguous; process facts, notices and damage are collected."""
        found = accesses(event, self._user_name)
        begin = self._assembler.begun_at(event.id)
        if not found:
            self._process_facts += process_facts(event, self._user_name)
        if (noticed := notice(event, self._user_name)) is not None:
            self._notices.append(noticed)
        is_odd = event.id in self._kindless or (b"OUID=" in event.text and b"FSGID=" not in event.text)
        self._kindless.discard(event.id)
        if is_odd and (cut := cut_record(event, with_kinds=self._with_kinds)) is not None:
            self._damage_at(begin, line_of(cut), CUT)
        return found

    def _damage_at(self, position: int, line: bytes, problem: str) -> None:
        index = max(bisect_right(self._starts, position) - 1, 0)
        self._damage(self._segments[index].path, line, position - self._starts[index], problem)

    def _unusual(self, line: bytes, position: int) -> None:
        """Handle a line with a syslog prefix, of laurel, of journald, blank, or damaged."""
        if self._journal is not None or line.startswith(BEGINNING):
            self._of_journal(line, position)
        elif record := parse_line(line):
            self._record(record, position)
        elif is_entry(line):
            self._entry(line, position)
        elif is_object(line):
            self._object(line, position)
        elif problem := problem_of(line):
            self.damage(line, position - self._starts[-1], problem)

    def _object(self, line: bytes, position: int) -> None:
        try:
            event = parse_event(line)
        except NotLaurelError as error:
            self.damage(line, position - self._starts[-1], str(error))
        else:
            self._events((event,))

    def _of_journal(self, line: bytes | None, position: int) -> None:
        """Take the next line of an exported journal; ``None`` at its end."""
        if self._journal is None:
            self._journal = Export()
        try:
            record = self._journal.finish() if line is None else self._journal.add(line)
        except JournalError as error:
            self.damage(line or b"", position - self._starts[-1], str(error))
        else:
            if record is not None:
                self._record(record, position)

    def _entry(self, line: bytes, position: int) -> None:
        try:
            record = parse_entry(line)
        except JournalError as error:
            self.damage(line, position - self._starts[-1], str(error))
        else:
            if record is not None:
                self._record(record, position)
