"""Describe failures of controls and changes of the host's name, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from fimscan.model import ControlFailure, ControlKind, ControlNote, ControlReport, HostEvent, HostEventKind
from fimscan.report.display import minute_text, moment_text, show
from fimscan.report.words import by_process_text

_MENDED = "Control works again"
_MOST_SUBJECTS = 3
_MINUTE_NS = 60 * 10**9
_UNITS = ((86400, "days"), (3600, "h"), (60, "min"))


def control_lines(report: ControlReport) -> Iterator[str]:
    """The lines about what began and what ended, each group of one cause in one line."""
    over = {item.id for item in report.mended}
    # The lines about the configuration itself say this already.
    began = [item for item in report.began if item.kind is not ControlKind.CONFIGURATION]
    yield from _lines("Control failed", (item for item in began if item.id not in over))
    yield from _lines("Control failed for a while", (item for item in began if item.id in over))
    known = {item.id for item in report.began}
    yield from _lines(_MENDED, (item for item in report.mended if item.id not in known))


def failed_lines(failures: Iterable[ControlFailure]) -> Iterator[str]:
    """The lines about failures that have not ended."""
    yield from _lines("Control failed", failures)


def mended_lines(failures: Iterable[ControlFailure]) -> Iterator[str]:
    """The lines about failures that are over."""
    yield from _lines("Control failed for a while", failures)


def numbered_lines(failures: Iterable[ControlFailure]) -> Iterator[str]:
    """Each failure with its number, and below it what people did about it."""
    for item in failures:
        over = "" if item.remedy is None else f"; {_shown(item.remedy)}"
        yield f"{item.id}  {item.kind}  {_text([item], was='')}{over}"
        yield from (f"    {_note_text(note)}" for note in item.notes)


def _note_text(note: ControlNote) -> str:
    """``2026-11-30 12:00 UTC, al (INC-7): audit loaded again; root cause: a package removed the rules``."""
    ticket = f" ({_shown(note.ticket)})" if note.ticket else ""
    cause = f"; root cause: {_shown(note.root_cause)}" if note.root_cause else ""
    return f"{minute_text(note.noted_ns)}, {_shown(note.user)}{ticket}: {_shown(note.remediation)}{cause}"


def _lines(head: str, failures: Iterable[ControlFailure]) -> Iterator[str]:
    groups: dict[tuple[object, ...], list[ControlFailure]] = {}
    for item in failures:
        said = tuple(replace(note, id=0, failure=0, noted_ns=0) for note in item.notes)
        who = None if item.actor is None else item.actor.pid
        key = (item.kind, item.cause, item.start_ns, item.end_ns, who, said)
        groups.setdefault(key, []).append(item)
    for group in groups.values():
        yield f"{head} ({group[0].kind}): {_text(group, was='failed: ' if head == _MENDED else '')}"
        yield from (f"  Noted {_note_text(note)}" for note in group[0].notes)


def _text(group: list[ControlFailure], was: str) -> str:
    """What failed, why, who did it and when: ``/etc: its audit rules were removed, by ...; since ...``."""
    first = group[0]
    subjects = [_shown(item.subject) for item in group]
    more = f" and {len(subjects) - _MOST_SUBJECTS:,} more" if len(subjects) > _MOST_SUBJECTS else ""
    who = "" if first.actor is None else f", {by_process_text(first.actor)}"
    return f"{', '.join(subjects[:_MOST_SUBJECTS])}{more}: {was}{_shown(first.cause)}{who}; {_when(first)}"


def _shown(text: str) -> str:
    """A stored text; it was made safe to display before, unless another program altered it."""
    return text if text.isprintable() else show(text.encode("utf-8", "surrogateescape"))


def _when(item: ControlFailure) -> str:
    if item.end_ns is None:
        return f"since {minute_text(item.start_ns)}"
    if item.end_ns == item.start_ns:
        return f"at {minute_text(item.start_ns)}"
    if item.end_ns - item.start_ns < _MINUTE_NS:
        return f"at {moment_text(item.start_ns)}, for {(item.end_ns - item.start_ns) / 1e9:.1f} s"
    seconds = (item.end_ns - item.start_ns) / 1e9
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"from {minute_text(item.start_ns)} to {minute_text(item.end_ns)} ({seconds / size:,.1f} {unit})"


def host_lines(events: Iterable[HostEvent]) -> Iterator[str]:
    """The lines about new names and take-overs."""
    for event in events:
        before, after = _shown(event.before), _shown(event.after)
        when = minute_text(event.time_ns)
        if event.kind is HostEventKind.RENAMED:
            yield f"Host renamed: {before} -> {after} (noticed {when}); its baseline and history continue."
        elif event.kind is HostEventKind.ADOPTED:
            yield f"Host adopted: the baseline and history of {before} are continued by {after} (since {when})."
