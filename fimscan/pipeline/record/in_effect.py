"""Which processes run a changed program, library or unit as it is now, and which need a restart.

Only changed content counts. Nothing is asked of ``/proc`` if no program, library or unit changed. A script is mapped by
no process, so nothing can be said of it. Whether systemd has read a changed unit cannot be seen either: only whether
the unit's oldest process started before the change.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fimscan.grouping import Nature, nature_of
from fimscan.grouping.rank import is_program
from fimscan.linux.running import MappedFile, Sighting, Sightings, processes_with
from fimscan.linux.views import START_SLACK_NS
from fimscan.model import Change, ChangeKind, FileKind, Finding, InEffect, Runner, RunsAs, RunsVersion
from fimscan.pipeline.record.devices import Survey

_MOST = 32  # processes that are stored for one change; all are counted
_SERVICE = b".service"
_DROP_IN = b".service.d"
_VERSIONS = tuple(RunsVersion)
Identity = tuple[int, int]


class Subject(NamedTuple):
    """A changed file, with the identities that its old and new content have for the kernel.

    ``changed`` are the times between which the change happened. ``unit`` is the name of the unit that it configures.
    """

    change: Change
    old: frozenset[Identity]
    new: frozenset[Identity]
    changed: tuple[int, int]
    unit: bytes | None


def look_in_effect(changes: Iterable[Change], survey: Survey) -> dict[bytes, InEffect]:
    """Look at the processes, if programs, libraries or units are among the changes: what each of these is, by path."""
    subjects = [_subject(change, survey) for change in changes if _is_of_interest(change)]
    if not subjects:
        return {}
    inodes = {inode for one in subjects for _, inode in one.old | one.new}
    units = any(one.unit is not None for one in subjects)
    return judge(subjects, processes_with(inodes, {one.change.path for one in subjects}, with_units=units))


def with_in_effect(findings: Iterable[Finding], found: Mapping[bytes, InEffect]) -> Iterator[Finding]:
    """Yield the findings with what was found of each path."""
    for one in findings:
        path = one.change.path
        yield replace(one, in_effect=found[path]) if path in found else one


def judge(subjects: Sequence[Subject], found: Sightings, own_pid: int | None = None) -> dict[bytes, InEffect]:
    """Say of each file which processes use its old and its new content."""
    own_pid = os.getpid() if own_pid is None else own_pid
    by_inode: dict[int, list[tuple[Sighting, MappedFile]]] = {}
    by_path: dict[bytes, list[tuple[Sighting, MappedFile]]] = {}
    by_unit: dict[bytes, list[Sighting]] = {}
    for process in found.processes:
        for file in process.files:
            by_path.setdefault(file.path, []).append((process, file))
            if file.identity is not None:
                by_inode.setdefault(file.identity[1], []).append((process, file))
        for unit in process.units if process.container is None else ():
            by_unit.setdefault(unit, []).append(process)
    answers = {}
    for one in subjects:
        near = [pair for _, inode in one.old | one.new for pair in by_inode.get(inode, ())]
        runners = _without_heirs(_mapping(one, [*near, *by_path.get(one.change.path, ())]), found.processes)
        runners = [run for run in runners if run.version is not RunsVersion.NEW or not _is_own(run, found, own_pid)]
        runners += _of_unit(one, by_unit)
        answers[one.change.path] = _answer(runners, found)
    return answers


def _answer(runners: Sequence[Runner], found: Sightings) -> InEffect:
    counts = Counter(run.version for run in runners)
    ordered = sorted(runners, key=lambda run: (_VERSIONS.index(run.version), run.how is not RunsAs.PROGRAM, run.pid))
    return InEffect(
        as_of_ns=found.as_of_ns,
        old=counts[RunsVersion.OLD],
        new=counts[RunsVersion.NEW],
        unclear=counts[RunsVersion.UNCLEAR],
        unseen=found.unseen,
        runners=tuple(ordered[:_MOST]),
    )


def _is_own(run: Runner, found: Sightings, own_pid: int) -> bool:
    """Whether it is this scan, or a worker of it: it has only just started."""
    return any(own_pid in (one.pid, one.ppid) for one in found.processes if one.pid == run.pid)


# --------------------------------------------------------------------------------------------------------------------
# What is asked


def _is_of_interest(change: Change) -> bool:
    if change.kind is ChangeKind.MOVED or change.state.kind is not FileKind.FILE:
        return False
    if nature_of(change) is not Nature.CONTENT:
        return False  # whoever runs a file that was replaced by an equal one needs no restart
    return unit_of(change.path) is not None or any(is_program(state) for state in change.sides)


def unit_of(path: bytes) -> bytes | None:
    """The service that a file configures: ``nginx.service``, also for a drop-in; ``None`` for any other file."""
    directory, _, name = path.rpartition(b"/")
    if name.endswith(_SERVICE):
        return name
    above = directory.rpartition(b"/")[2]
    return above.removesuffix(b".d") if above.endswith(_DROP_IN) and name.endswith(b".conf") else None


def _subject(change: Change, survey: Survey) -> Subject:
    before, after, window = change.before, change.after, change.window
    changed = (window.after_ns, window.before_ns)
    if after is not None and window.after_ns <= after.ctime_ns <= window.before_ns:
        changed = (after.ctime_ns, after.ctime_ns)
    return Subject(
        change=change,
        old=frozenset() if before is None else frozenset(survey.kernel_ids(before.identity)),
        new=frozenset() if after is None else frozenset(survey.kernel_ids(after.identity)),
        changed=changed,
        unit=unit_of(change.path),
    )


# --------------------------------------------------------------------------------------------------------------------
# What is answered


def _mapping(one: Subject, near: Iterable[tuple[Sighting, MappedFile]]) -> list[Runner]:
    """The processes that have the file mapped, in its old or its new content. One that has both has the old one."""
    found: dict[int, Runner] = {}
    for process, file in near:
        version = _version(one, process, file)
        if version is None:
            continue
        how = RunsAs.PROGRAM if file.is_program else RunsAs.LIBRARY
        known = found.get(process.pid)
        if known is None or _VERSIONS.index(version) < _VERSIONS.index(known.version):
            found[process.pid] = _runner(process, version, how)
    return [*found.values()]


def _version(one: Subject, process: Sighting, file: MappedFile) -> RunsVersion | None:
    """Which content a mapping has; ``None`` if it is of another file."""
    before = one.change.before
    if file.identity is not None:
        if file.identity in one.new:
            # The same inode was written to in place: then only the time of the start tells.
            return _by_time(one, process) if file.identity in one.old else RunsVersion.NEW
        is_kept = before is not None and (file.size, file.mtime_ns) == (before.size, before.mtime_ns)
        if file.identity in one.old and is_kept:
            return RunsVersion.OLD
    if not process.is_here or file.path != one.change.path:
        return None
    # A file that had this path earlier, or whose identity is not known.
    return RunsVersion.OLD if file.is_deleted else _by_time(one, process)


def _by_time(one: Subject, process: Sighting) -> RunsVersion:
    first_ns, last_ns = one.changed
    if process.start_ns + START_SLACK_NS < first_ns:
        return RunsVersion.OLD
    return RunsVersion.NEW if process.start_ns - START_SLACK_NS > last_ns else RunsVersion.UNCLEAR


def _without_heirs(runners: list[Runner], processes: Iterable[Sighting]) -> list[Runner]:
    """A child that was started after the change, without a program of its own, has its parent's memory."""
    old = {run.pid: run.exe for run in runners if run.version is RunsVersion.OLD}
    parents = {process.pid: process.ppid for process in processes}
    return [
        run._replace(version=RunsVersion.UNCLEAR)
        if run.version is RunsVersion.NEW and (above := parents.get(run.pid)) in old and old[above] == run.exe
        else run
        for run in runners
    ]


def _of_unit(one: Subject, by_unit: Mapping[bytes, Sequence[Sighting]]) -> list[Runner]:
    if one.unit is None:
        return []
    prefix, _, suffix = one.unit.partition(b"@")
    is_template = suffix == _SERVICE
    found = []
    for unit, processes in by_unit.items():
        if unit == one.unit or (is_template and unit.startswith(prefix + b"@")):
            oldest = min(processes, key=lambda process: (process.start_ns, process.pid))
            found.append(_runner(oldest, _by_time(one, oldest), RunsAs.UNIT, unit))
    return found


def _runner(process: Sighting, version: RunsVersion, how: RunsAs, unit: bytes | None = None) -> Runner:
    return Runner(
        pid=process.pid,
        start_ns=process.start_ns,
        version=version,
        how=how,
        exe=process.exe,
        uid=process.uid,
        container=process.container,
        unit=unit,
    )
