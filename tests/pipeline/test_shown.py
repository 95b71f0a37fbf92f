"""The name of a report: another one for everything that a selection can depend on."""

from __future__ import annotations

from fimscan.grouping import group
from fimscan.model import Diff, Finding, Verdict
from fimscan.pipeline.history.shown import report_name
from tests.report.conftest import Make

MAKE = Make()


def name(*findings: Finding, **other: object) -> str | None:
    """The name of a report with these rows."""
    diff: Diff = MAKE.diff(*findings, **{"accepted": 1} | other)
    return report_name(diff, group(diff.findings))


def test_a_revised_answer_is_another_report() -> None:
    """Late records revise answers without a scan: the reviewer saw another user, program or verdict."""
    answers = (
        MAKE.attribution(),
        MAKE.attribution(Verdict.LIKELY),
        MAKE.attribution(Verdict.UNATTRIBUTED),
        MAKE.attribution(actors=(MAKE.actor(exe=b"/usr/bin/dpkg"),)),
        MAKE.attribution(actors=(MAKE.actor(session=4),)),
        MAKE.attribution(actors=(MAKE.actor(login_user="bob"),)),
        MAKE.attribution(actors=(MAKE.actor(), MAKE.actor(pid=5))),
    )
    rows = [MAKE.finding(attribution=answer) for answer in answers]
    steps = [MAKE.finding(steps=(MAKE.finding(), row)) for row in rows]
    names = [name(row) for row in (*rows, *steps)]
    assert None not in names and len(set(names)) == len(names)


def test_the_same_report_has_the_same_name() -> None:
    """Of other acceptances or another host, it is another one."""
    row = MAKE.finding()
    assert name(row) == name(row)
    assert len({name(row), name(), name(row, accepted=2), name(row, host="other")}) == 4


def test_only_a_whole_diff_from_the_baseline_has_a_name() -> None:
    """A filter leaves rows out, and the difference of two scans has others."""
    assert name(MAKE.finding(), accepted=None) is None
    assert name(MAKE.finding(), unfiltered=3) is None
