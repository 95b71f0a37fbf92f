"""Text about the processes that run a changed file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fimscan.model import InEffect, Runner, RunsAs, RunsVersion
from fimscan.report.display import minute_text, moment_text, show
from fimscan.report.words import plural

_DELETED = b" (deleted)"
_NAMED = 2


def in_effect_words(found: InEffect | None) -> Iterator[str]:
    """In short: who needs a restart, and who runs the new content. Nothing if no process uses the file.

    What has to be restarted is told with the time of the scan: a later report does not know what was done since.
    """
    if found is None:
        return
    seen = f" (as of {minute_text(found.as_of_ns)})"
    old = _of(found, RunsVersion.OLD)
    if units := [run for run in old if run.how is RunsAs.UNIT]:
        restart = f"reload systemd and restart {_it(len(units))}"
        yield f"{_names(units, len(units))} started before this change: {restart}{seen}"
    others = [run for run in old if run.how is not RunsAs.UNIT]
    if count := found.old - len(units):
        runs = "runs" if count == 1 else "run"
        yield f"{_names(others, count)} still {runs} the old one: restart {_it(count)}{seen}"
    if found.new:
        new = _of(found, RunsVersion.NEW)
        started = all(run.how is RunsAs.UNIT for run in new)
        words = "started after this change" if started else f"{'runs' if found.new == 1 else 'run'} the new one"
        yield f"{_names(new, found.new)} {words}"
    if found.unclear:
        names = _names(_of(found, RunsVersion.UNCLEAR), found.unclear)
        yield f"{names} may have either content: restart to be sure{seen}"


def in_effect_sentences(found: InEffect | None) -> Iterator[str]:
    """In full, for ``explain``: each process, those that could not be inspected, and when this was seen."""
    if found is None:
        return
    for run in found.runners:
        yield f"{_runner_text(run)}, started {moment_text(run.start_ns)}: {_VERSIONS[run.version]}"
    omitted = found.old + found.new + found.unclear - len(found.runners)
    if omitted:
        counts = (f"{found.old} with the old content", f"{found.new} with the new one", f"{found.unclear} unclear")
        yield f"and {plural(omitted, 'more process', 'more processes')}; of all, {', '.join(counts)}"
    if not found.runners:
        yield "no process has it mapped; a script is mapped by none"
    if found.unseen:
        yield f"{plural(found.unseen, 'process', 'processes')} could not be inspected, and may use it as well"
    yield f"as of {moment_text(found.as_of_ns)}"


_VERSIONS = {
    RunsVersion.OLD: "the old content",
    RunsVersion.NEW: "the new content",
    RunsVersion.UNCLEAR: "either; it started while the file changed, or shares memory with one that has the old",
}
_HOW = {RunsAs.PROGRAM: "runs it", RunsAs.LIBRARY: "has it mapped", RunsAs.UNIT: "is the oldest process of"}


def _runner_text(run: Runner) -> str:
    how = _HOW[run.how] + (f" {show(run.unit)}" if run.unit is not None else "")
    user = "" if run.uid is None else f" as uid {run.uid}"
    exe = "a process without a program" if run.exe is None else show(run.exe.removesuffix(_DELETED))
    return f"{exe} (pid {run.pid}){_place(run)}{user} {how}"


def _names(runs: Sequence[Runner], count: int) -> str:
    """``nginx (pid 812)``, ``nginx (pid 812), cron (pid 9) and 4 more processes``."""
    named = [_name(run) for run in runs[: _NAMED if count > _NAMED else count]]
    more = count - len(named)
    if more:
        named.append(plural(more, "more process", "more processes"))
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]


def _name(run: Runner) -> str:
    name = run.unit or (run.exe or b"").removesuffix(_DELETED).rpartition(b"/")[2]
    return f"{show(name) or 'a process'} (pid {run.pid}){_place(run)}"


def _place(run: Runner) -> str:
    return f" in container {show(run.container)}" if run.container is not None else ""


def _of(found: InEffect, version: RunsVersion) -> list[Runner]:
    return [run for run in found.runners if run.version is version]


def _it(count: int) -> str:
    return "it" if count == 1 else "them"
