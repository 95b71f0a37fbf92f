"""Judge what was found of a canary: values -> the results of the steps. Pure."""

from __future__ import annotations

import hashlib

from fimscan.model import (
    Attribution,
    ChangeKind,
    FileState,
    Finding,
    Reason,
    SelftestStep,
    StepResult,
    StepState,
    Verdict,
)
from fimscan.report.display import show

_ADVICE = {
    Reason.COVERAGE_GAP: "audit did not see everything since the last scan; run 'fimscan scan', then this again",
    Reason.NOT_COVERED: "no audit rule was loaded for this path since the last scan; 'fimscan audit status' says why",
    Reason.NO_EVENT: "audit covers this path, and reported nothing; see 'fimscan audit status'",
    Reason.HELD_DESCRIPTOR: "not all processes could be inspected; run this as root",
}
_OWN_PIDS = (
    "this container has process ids of its own, and audit records those of the host, so no process can be recognised:"
    " start it with the host's (docker run --pid=host, hostPID: true in Kubernetes)"
)
_MOST_NAMED = 3


def detected(finding: Finding | None, path: bytes, content: bytes, seconds: float, why_not: str = "") -> StepResult:
    """Whether the canary was found as it is: added, with its content."""
    if finding is None:
        return _failed(SelftestStep.DETECTED, why_not or "the scanner saw no change", seconds)
    change = finding.change
    if change.kind is not ChangeKind.ADDED or change.after is None or change.path != path:
        return _failed(SelftestStep.DETECTED, f"found as {change.kind}: {show(change.path)}", seconds)
    if not has_content(change.after, content):
        return _failed(SelftestStep.DETECTED, "found with another content than it has", seconds)
    return StepResult(
        step=SelftestStep.DETECTED, state=StepState.PASSED, detail=f"{change.kind}, with its content", seconds=seconds
    )


def has_content(state: FileState, content: bytes) -> bool:
    """Whether a file was recorded with a content; only its size counts where no SHA-256 is recorded."""
    sha256 = state.digest("sha256")
    return state.size == len(content) and (sha256 is None or sha256 == hashlib.sha256(content).digest())


def attributed(answer: Attribution, pid: int, exe: bytes, seconds: float, *, sees_host_pids: bool = True) -> StepResult:
    """Whether the answer is a proof, and names exactly the process that did it."""
    named = {(actor.pid, actor.exe) for actor in answer.actors}
    verdict = answer.verdict.value + (f" ({answer.reason})" if answer.reason else "")
    who = ", ".join(f"pid {actor.pid}, {show(actor.exe or b'?')}" for actor in answer.actors[:_MOST_NAMED])
    text = f"{verdict}: {who or 'no process named'}"
    if answer.verdict is Verdict.CONFIRMED and named == {(pid, exe)}:
        return StepResult(step=SelftestStep.ATTRIBUTED, state=StepState.PASSED, detail=text, seconds=seconds)
    if not sees_host_pids:
        return _failed(SelftestStep.ATTRIBUTED, f"{_OWN_PIDS}; the answer was {text}", seconds)
    if named != {(pid, exe)}:
        text += f"; it was pid {pid}, {show(exe)}"
    advice = _ADVICE.get(answer.reason) if answer.reason is not None else None
    return _failed(SelftestStep.ATTRIBUTED, f"{text}; {advice}" if advice else text, seconds)


def skipped(step: SelftestStep, why: str) -> StepResult:
    """A step that was not taken."""
    return StepResult(step=step, state=StepState.SKIPPED, detail=why)


def _failed(step: SelftestStep, why: str, seconds: float | None = None) -> StepResult:
    return StepResult(step=step, state=StepState.FAILED, detail=why, seconds=seconds)
