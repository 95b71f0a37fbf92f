"""Combine audit with fanotify: which processes that opened a file wrote to it, and which did not. Pure.

A process is cleared (:data:`Why.WROTE_NOTHING`) only if all of this holds. Each premise is checked here:

1. fanotify missed nothing on the file system until the process had closed the file. This counts from before the process
   opened it, or from before the window began if that is later: one extent, without an overflow or another end.
2. In this extent, content cannot change without an event except by a mapping: it has no :class:`WitnessHole`.
3. No process can have mapped the file writable. Every process that audit saw opening it for writing since the window
   began, or since the file was created, used O_WRONLY; mmap(2) with MAP_SHARED and PROT_WRITE needs a descriptor that
   can also be read. No process held it before, all processes were inspected, and audit has no gap in the window.
4. Audit saw the process open the file once, without truncating it, and fanotify saw this process close it after that.
   The last close of a descriptor comes after all writes through it, and fanotify reports its events in order.
5. No event says that this process id changed the file.
6. All processes that changed the file are among those that opened it. None had a descriptor by another way.
7. The file has one name and was not renamed, linked or created in the window. No event is of another file that had its
   inode number: events are kept by directory, and found by inode number.

fanotify never replaces an actor that audit names. A process that changed the file without opening it becomes one more
candidate, if it is known and not a descendant of an opener. (An opener hands its descriptors to its children.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fimscan.attribution.case import Case, Life, Ruled
from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BINDS, WRITES
from fimscan.model import Action, Actor, FileAccess, FileKind, Role, Why, WitnessEvent, WitnessExtent, WitnessMask

#: Calls that fanotify merges into one event are usually no further apart: this is the time between two reads.
_LONGEST_DRAIN_NS = 10**9


class Sifted(NamedTuple):
    """The candidates after fanotify's events were taken into account.

    Attributes:
        kept: the write-opens that remain.
        holding: the holders that remain.
        added: processes that wrote and were no candidates.
        ruled: the judgements that fanotify gives.
        notes: sentences for the answer.
        contradicts: fanotify saw no candidate write, although one of them must have.
    """

    kept: Sequence[FileAccess]
    holding: Sequence[Actor]
    added: Sequence[Actor] = ()
    ruled: Sequence[Ruled] = ()
    notes: tuple[str, ...] = ()
    contradicts: bool = False


def sift_by_witness(case: Case, life: Life, candidates: Sequence[FileAccess], holding: Sequence[Actor]) -> Sifted:
    """Clear candidates that certainly wrote nothing, add other writers, and note where audit and fanotify agree.

    ``candidates`` are the write-opens that may have made the change, ``holding`` the processes that could write without
    an open. If fanotify did not watch the file system, everything stays as it is.
    """
    after, data = case.change.after, case.evidence.witness
    unchanged = Sifted(candidates, holding)
    if after is None or after.kind is not FileKind.FILE or not data.extents.get(after.dev):
        return unchanged
    events = _of_this_file(data.events.get(after.identity, ()), case, life)
    wrote = [event for event in events if event.mask & WitnessMask.MODIFY]
    since = _since(candidates, holding)
    strangers = _one_each(event for event in wrote if not _is_one_of(event, since))
    ruled: list[Ruled] = []
    kept = candidates
    if candidates and not strangers and not holding and _is_plain(case, life, candidates):
        silent = _who_wrote_nothing(case, life, events, data.extents[after.dev])
        kept = [access for access in candidates if access.actor.pid not in silent]
        ruled = [(access, Why.WROTE_NOTHING) for access in candidates if access.actor.pid in silent]
    if candidates and not kept:  # a process that neither audit nor fanotify saw wrote: this clears nobody
        note = "fanotify saw none of the openers write to the file, although it was watching all the time: investigate."
        return unchanged._replace(contradicts=True, notes=(note,))
    added, notes = _without_open(strangers, candidates, holding, case)
    return Sifted(
        kept=kept,
        holding=holding,
        added=added,
        ruled=[*ruled, *((actor, Why.WROTE) for actor in added)],
        notes=(*_agreement(kept, [event for event in wrote if _is_one_of(event, since)]), *notes),
    )


def _since(candidates: Iterable[FileAccess], holding: Iterable[Actor]) -> dict[int, int]:
    """By process id: from when on each candidate could write."""
    since: dict[int, int] = {}
    for access in candidates:
        pid, time_ns = access.actor.pid, access.event.time_ns - SLACK_NS
        since[pid] = min(since.get(pid, time_ns), time_ns)
    return since | {actor.pid: 0 for actor in holding}


def _is_one_of(event: WitnessEvent, since: Mapping[int, int]) -> bool:
    """Whether a candidate can have caused an event: before its open, another process or descriptor did."""
    first_ns = since.get(event.actor.pid)
    return first_ns is not None and event.until_ns >= first_ns


def _of_this_file(events: Iterable[WitnessEvent], case: Case, life: Life) -> list[WitnessEvent]:
    """Select the events that may be in the window and are not of a file that had the inode number before."""
    start, end = case.window.after_ns - SLACK_NS, case.window.before_ns + SLACK_NS
    if life.birth is not None:
        start = max(start, life.birth.event.time_ns - SLACK_NS)
    return [event for event in events if event.until_ns >= start and event.since_ns <= end]


def _is_plain(case: Case, life: Life, candidates: Iterable[FileAccess]) -> bool:
    """Whether premises 3 and 7 hold."""
    before, after, holders = case.change.before, case.change.after, case.change.holders
    if not case.is_covered or before is None or after is None or before.identity != after.identity:
        return False
    if life.reborn or life.birth is not None:
        return False
    if before.nlink != 1 or after.nlink != 1 or case.outside_since(after) is not None:
        return False
    if holders is None or not holders.complete or holders.actors or holders.later:
        return False
    if any(access.action in BINDS for access in life.accesses if case.is_inside(access)):
        return False
    known = [access for access in life.accesses if access.action in WRITES and case.is_inside(access)]
    return all(_cannot_map(access) for access in (*known, *candidates))


def _cannot_map(access: FileAccess) -> bool:
    """Whether an access gave no descriptor for a writable mapping: truncate(2), or an open known to be O_WRONLY."""
    if access.action is Action.TRUNCATE:
        return "open" not in (access.actor.syscall or "open")
    return "O_WRONLY" in access.actor.flags


def _who_wrote_nothing(
    case: Case, life: Life, events: Sequence[WitnessEvent], extents: Iterable[WitnessExtent]
) -> frozenset[int]:
    """Find the process ids for which premises 1, 2, 4 and 5 hold."""
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
# Processes that wrote


def _without_open(
    strangers: Sequence[WitnessEvent], candidates: Sequence[FileAccess], holding: Sequence[Actor], case: Case
) -> tuple[list[Actor], list[str]]:
    """Return (writers to name in addition, a sentence about each other writer).

    A process usually got its descriptor from the parent that opened the file. Then the opener answers for what its
    child writes. A process of which only the pid is known may be such a child, so it is named only if nobody else is,
    or if audit has a gap: then it may have opened the file itself.
    """
    openers = {access.actor.pid for access in candidates} | {actor.pid for actor in holding}
    start_ns = case.window.after_ns - SLACK_NS
    added, notes = [], []
    for event in strangers:
        pid = event.actor.pid
        is_known = event.started_ns is not None
        is_within = event.since_ns >= start_ns or event.until_ns >= start_ns + _LONGEST_DRAIN_NS
        if not pid or not is_within or event.since_ns > case.unchanged_after_ns:
            continue
        is_child = not openers.isdisjoint(event.ancestors) if is_known else case.is_covered
        if openers and is_child:
            what = f"process {pid}" if is_known else f"process {pid}, of which only the pid is known,"
            notes.append(f"fanotify saw {what} write to it, through a descriptor that it did not open itself.")
            continue
        added.append(event.actor._replace(role=Role.WRITER, time_ns=event.until_ns))
    return added, notes


def _agreement(kept: Sequence[FileAccess], wrote: Sequence[WitnessEvent]) -> list[str]:
    """Note which processes that opened the file fanotify saw write, and which it did not."""
    writers = {event.actor.pid for event in wrote}
    pids = list(dict.fromkeys(access.actor.pid for access in kept))
    seen = sorted(pid for pid in pids if pid in writers)
    if not seen:
        return []
    notes = [f"fanotify saw {_processes(seen)} write to it."]
    silent = sorted(pid for pid in pids if pid not in writers)
    if silent:
        notes.append(
            f"fanotify did not see {_processes(silent)} write. This clears nobody: a mapping, io_submit(2) or a gap in"
            " its own coverage may have hidden a write."
        )
    return notes


def _processes(pids: Sequence[int]) -> str:
    return f"process {pids[0]}" if len(pids) == 1 else f"processes {', '.join(map(str, pids))}"


def _one_each(events: Iterable[WitnessEvent]) -> list[WitnessEvent]:
    """Keep one event of each process, preferably one from which the process's start is known."""
    found: dict[int, WitnessEvent] = {}
    for event in events:
        known = found.get(event.actor.pid)
        if known is None or known.started_ns is None:
            found[event.actor.pid] = event
    return list(found.values())
