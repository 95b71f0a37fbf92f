"""What fanotify adds: who of those that had a file open did write to it, and who certainly did not. Pure.

A process is left out (:data:`Why.WROTE_NOTHING`) only where all of this holds, each checked here:

1. fanotify missed nothing on the file system from before the process opened the file, or from before the window began
   if that is later, until it had closed it: one extent, without an overflow or any other end in between.
2. On that file system, then, content cannot be changed unseen but by a mapping: the extent has no :class:`WitnessHole`.
3. Nobody can have mapped the file writable: every process that audit saw opening it for writing since the window began,
   or since the file was made, opened it with O_WRONLY. mmap(2) takes a descriptor that can also be read, as MAP_SHARED
   with PROT_WRITE. Nobody held it before, and it is known that nobody did. Audit missed nothing in the window.
4. Audit saw the process open the file once, without truncating it, and fanotify saw that process close it after that.
   The last close of a descriptor comes after all writes through it, and fanotify gives its events in order.
5. No event says that this process id changed the file.
6. All who changed the file are among those who were seen opening it. Nobody had a descriptor by another way.
7. The file has one name and was not renamed, linked or made in the window, and no event is of another file that had its
   inode number: events are kept by directory, and found by inode number.

What it does not do: it names nobody in place of those whom audit names. A process that changed the file and had not
opened it is one more candidate if it is known and no descendant of an opener, which hands its descriptors on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fimscan.attribution.case import Case, Life, Ruled
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BINDS, WRITES
from fimscan.model import Action, Actor, FileAccess, FileKind, Role, Why, WitnessEvent, WitnessExtent, WitnessMask

#: What became one event is no further apart than this, as a rule: the time between two readings of the queue.
_LONGEST_DRAIN_NS = 10**9


class Sifted(NamedTuple):
    """The candidates after fanotify was asked.

    ``kept`` are the accesses, and ``holding`` the holders, that remain; ``added`` are processes that wrote and were not
    among them. ``contradicts`` says that fanotify saw no candidate write, and that one of them must have.
    """

    kept: Sequence[FileAccess]
    holding: Sequence[Actor]
    added: Sequence[Actor] = ()
    ruled: Sequence[Ruled] = ()
    notes: tuple[str, ...] = ()
    contradicts: bool = False


def sift_by_witness(case: Case, life: Life, candidates: Sequence[FileAccess], holding: Sequence[Actor]) -> Sifted:
    """Leave out who certainly wrote nothing; add who wrote and is no candidate; say where both witnesses agree.

    ``candidates`` are the write-opens that may have brought about the change, ``holding`` the processes that could
    write without an open. Where fanotify did not watch, all stays as it is.
    """
    after, testimony = case.change.after, case.evidence.testimony
    as_they_are = Sifted(candidates, holding)
    if after is None or after.kind is not FileKind.FILE or not testimony.extents.get(after.dev):
        return as_they_are
    events = _of_this_file(testimony.events.get(after.identity, ()), case, life)
    wrote = [event for event in events if event.mask & WitnessMask.MODIFY]
    since = _since(candidates, holding)
    strangers = _one_each(event for event in wrote if not _is_one_of(event, since))
    ruled: list[Ruled] = []
    kept = candidates
    if candidates and not strangers and not holding and _is_plain(case, life, candidates):
        silent = _who_wrote_nothing(case, life, events, testimony.extents[after.dev])
        kept = [access for access in candidates if access.actor.pid not in silent]
        ruled = [(access, Why.WROTE_NOTHING) for access in candidates if access.actor.pid in silent]
    if candidates and not kept:  # somebody wrote whom neither has seen: that clears nobody
        note = "fanotify saw none of them write to it, and missed nothing that it sees: investigate."
        return as_they_are._replace(contradicts=True, notes=(note,))
    added, told = _strangers(strangers, candidates, holding, case)
    return Sifted(
        kept=kept,
        holding=holding,
        added=added,
        ruled=[*ruled, *((actor, Why.WROTE) for actor in added)],
        notes=(*_agreement(kept, [event for event in wrote if _is_one_of(event, since)]), *told),
    )


def _since(candidates: Iterable[FileAccess], holding: Iterable[Actor]) -> dict[int, int]:
    """From when on each candidate could write, by process id."""
    since: dict[int, int] = {}
    for access in candidates:
        pid, time_ns = access.actor.pid, access.event.time_ns - SLACK_NS
        since[pid] = min(since.get(pid, time_ns), time_ns)
    return since | {actor.pid: 0 for actor in holding}


def _is_one_of(event: WitnessEvent, since: Mapping[int, int]) -> bool:
    """Whether a candidate can have done it: what was done before its open was by another process, or descriptor."""
    first_ns = since.get(event.actor.pid)
    return first_ns is not None and event.until_ns >= first_ns


def _of_this_file(events: Iterable[WitnessEvent], case: Case, life: Life) -> list[WitnessEvent]:
    """The events that may have been in the window, and not about a file that had the inode number before."""
    start, end = case.window.after_ns - SLACK_NS, case.window.before_ns + SLACK_NS
    if life.birth is not None:
        start = max(start, life.birth.event.time_ns - SLACK_NS)
    return [event for event in events if event.until_ns >= start and event.since_ns <= end]


def _is_plain(case: Case, life: Life, candidates: Iterable[FileAccess]) -> bool:
    """Premises 3 and 7."""
    before, after, holders = case.change.before, case.change.after, case.change.holders
    if not case.is_covered or before is None or after is None or before.identity != after.identity:
        return False
    if life.reborn or life.birth is not None:
        return False
    if before.nlink != 1 or after.nlink != 1 or case.elsewhere_since(after) is not None:
        return False
    if holders is None or not holders.complete or holders.actors or holders.later:
        return False
    if any(access.action in BINDS for access in life.accesses if case.is_inside(access)):
        return False
    known = [access for access in life.accesses if access.action in WRITES and case.is_inside(access)]
    return all(_cannot_map(access) for access in (*known, *candidates))


def _cannot_map(access: FileAccess) -> bool:
    """truncate(2) gives no descriptor; an open without its flags may have been any."""
    if access.action is Action.TRUNCATE:
        return "open" not in (access.actor.syscall or "open")
    return "O_WRONLY" in access.actor.flags


def _who_wrote_nothing(
    case: Case, life: Life, events: Sequence[WitnessEvent], extents: Iterable[WitnessExtent]
) -> frozenset[int]:
    """The process ids to which premises 1, 2, 4 and 5 apply."""
    start_ns = case.window.after_ns - SLACK_NS
    if len({event.handle for event in events}) != 1:
        return frozenset()
    opens: dict[int, list[FileAccess]] = {}
    for access in life.accesses:
        if access.action in WRITES:
            opens.setdefault(access.actor.pid, []).append(access)
    whole = [extent for extent in extents if not extent.holes]
    wrote = {event.actor.pid for event in events if event.mask & WitnessMask.MODIFY}
    found = set()
    for pid, (access, *others) in opens.items():
        if pid in wrote or others or access.action is not Action.OPEN_WRITE or "O_TRUNC" in access.actor.flags:
            continue
        opened_ns = access.event.time_ns - SLACK_NS
        closed = [e.until_ns for e in events if e.actor.pid == pid and e.mask & WitnessMask.CLOSE_WRITE]
        end_ns = max(closed, default=0)
        if end_ns < opened_ns:
            continue
        if any(extent.start_ns <= max(opened_ns, start_ns) and extent.end_ns >= end_ns for extent in whole):
            found.add(pid)
    return frozenset(found)


# --------------------------------------------------------------------------------------------------------------------
# Who wrote


def _strangers(
    strangers: Sequence[WitnessEvent], candidates: Sequence[FileAccess], holding: Sequence[Actor], case: Case
) -> tuple[list[Actor], list[str]]:
    """(those to name as well, a sentence about each of the others).

    A descriptor is handed on to children as a rule: then the opener is responsible for what they write. One of which
    nothing but the number is known may be such a child. It is named only where nobody else can be.
    """
    openers = {access.actor.pid for access in candidates} | {actor.pid for actor in holding}
    start_ns = case.window.after_ns - SLACK_NS
    added, told = [], []
    for event in strangers:
        pid = event.actor.pid
        is_known = event.started_ns is not None
        is_within = event.since_ns >= start_ns or event.until_ns >= start_ns + _LONGEST_DRAIN_NS
        if not pid or not is_within or event.since_ns > case.unchanged_after_ns:
            continue
        if openers and (not is_known or not openers.isdisjoint(event.ancestors)):
            what = f"process {pid}" if is_known else f"process {pid}, of which no more is known,"
            told.append(f"fanotify saw {what} write to it, through a descriptor that it did not open itself.")
            continue
        added.append(event.actor._replace(role=Role.WRITER, time_ns=event.until_ns))
    return added, told


def _agreement(kept: Sequence[FileAccess], wrote: Sequence[WitnessEvent]) -> list[str]:
    """That fanotify saw write whom audit saw open the file, and that it did not see it of others."""
    writers = {event.actor.pid for event in wrote}
    pids = list(dict.fromkeys(access.actor.pid for access in kept))
    seen = sorted(pid for pid in pids if pid in writers)
    if not seen:
        return []
    told = [f"fanotify saw {_processes(seen)} write to it."]
    silent = sorted(pid for pid in pids if pid not in writers)
    if silent:
        told.append(
            f"It did not see {_processes(silent)} write, which clears nobody here: a mapping, io_submit(2) or a time"
            " over which it did not watch may have hidden that."
        )
    return told


def _processes(pids: Sequence[int]) -> str:
    return f"process {pids[0]}" if len(pids) == 1 else f"processes {', '.join(map(str, pids))}"


def _one_each(events: Iterable[WitnessEvent]) -> list[WitnessEvent]:
    """One event a process, that which says most about it."""
    found: dict[int, WitnessEvent] = {}
    for event in events:
        known = found.get(event.actor.pid)
        if known is None or known.started_ns is None:
            found[event.actor.pid] = event
    return list(found.values())
