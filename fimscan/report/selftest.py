"""Describe a selftest, a line for each step."""

from __future__ import annotations

from collections.abc import Iterator

from fimscan.model import Selftest, StepResult, StepState
from fimscan.report.display import minute_text, show
from fimscan.report.words import plural


def selftest_lines(selftest: Selftest) -> Iterator[str]:
    """The result in one line, then the steps with their latencies."""
    yield headline(selftest)
    for item in selftest.steps:
        seconds = "" if item.seconds is None else f"{item.seconds:.2f} s"
        output = "" if item.output is None else f"{item.output}: "
        yield f"  {item.state.value:<7} {item.step.value:<10} {seconds:>8}  {output}{_shown(item.detail)}"


def headline(selftest: Selftest) -> str:
    """``selftest passed: /etc/.fimscan-selftest-1a2b3c4d``, or the first step that failed."""
    where = "" if selftest.path is None else f": {show(selftest.path)}"
    if selftest.has_passed:
        return f"selftest passed{where}"
    return f"selftest failed{where}"


def failure_text(selftest: Selftest) -> str:
    """The steps that failed, in one line."""
    first, *others = selftest.failed
    more = f" (and {plural(len(others), 'other step')})" if others else ""
    return f"not {_name(first)}: {_shown(first.detail)}{more}"


def last_text(last: Selftest) -> str:
    """When the last selftest was, what came of it, and how fast each step was."""
    when = minute_text(last.started_ns)
    if not last.has_passed:
        return f"failed {when}: {failure_text(last)}"
    timed = [f"{_name(item)} {item.seconds:.1f} s" for item in last.steps if item.seconds is not None]
    skipped = [f"{_name(item)} skipped" for item in last.steps if item.state is StepState.SKIPPED]
    return f"passed {when}: {', '.join(timed + skipped)}"


def _name(item: StepResult) -> str:
    return item.step.value if item.output is None else f"{item.step.value} ({item.output})"


def _shown(text: str) -> str:
    """A stored text; it was made safe to display before, unless another program altered it."""
    return text if text.isprintable() else show(text.encode("utf-8", "surrogateescape"))
