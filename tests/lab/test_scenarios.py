"""Real processes under the real kernel's audit: every change is given to the process that the lab itself started."""

from __future__ import annotations

import os

import pytest

from tests.lab.conftest import unavailable
from tests.lab.judge import Grade, Judgement
from tests.lab.runner import Ground, Result, play_alone, play_together
from tests.lab.scenario import Scenario, all_scenarios
from tests.lab.volume import kind_here

pytestmark = pytest.mark.audit

TOGETHER = [scenario for scenario in all_scenarios(kind_here()) if not scenario.alone]
ALONE = [scenario for scenario in all_scenarios(kind_here()) if scenario.alone]
# Cannot be played where audit was enabled before: no fault of this machine's.
_MAY_BE_SKIPPED = {"process_older_than_audit"}


@pytest.fixture(scope="module")
def played(ground: Ground) -> Result:
    """Every scenario that disturbs nobody, between the same two scans."""
    return play_together(TOGETHER, ground)


def check(judgement: Judgement) -> None:
    if judgement.grade is Grade.SKIPPED:
        if judgement.scenario in _MAY_BE_SKIPPED:
            pytest.skip(judgement.got)
        unavailable(judgement.got)
    assert judgement.grade is Grade.RIGHT, "\n".join(judgement.problems)
    assert judgement.wrongly_cleared == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [scenario.name for scenario in TOGETHER])
def test_the_right_process_is_named(name: str, played: Result) -> None:
    """Verdict, reason, roles, pid and program are those that the lab knows, and nothing else changed."""
    check(next(judgement for judgement in played.judgements if judgement.scenario == name))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", ALONE, ids=lambda scenario: scenario.name)
def test_without_coverage_the_reason_says_so(scenario: Scenario, ground: Ground) -> None:
    """No process is named for an unrecorded change."""
    check(play_alone(scenario, ground))


@pytest.mark.timeout(600)
def test_noise_changes_no_answer(ground: Ground) -> None:
    """While two others write hundreds of times a second beside them, the same processes are named, and no others.

    As much as leaves a slow machine the time to read of it; 'make lab' has several times as many.
    """
    result = play_together(TOGETHER[::4], ground, noisy=True, noise_rate=400)
    wrong = [j for j in result.judgements if j.grade in (Grade.MISSED, Grade.FALSE)]
    assert [(j.scenario, j.problems) for j in wrong] == []
    assert result.noise_rows > 0 and result.noise_wrong == []


@pytest.mark.timeout(300)
def test_the_document_follows_its_schema(played: Result) -> None:
    """What 'diff --format json' prints is what 'diff --schema' promises."""
    import jsonschema

    jsonschema.Draft202012Validator(played.schema).validate(played.document)


@pytest.mark.timeout(300)
def test_actors_are_complete(played: Result) -> None:
    """Each actor that the log names has what an assessor asks for: program, command line, directory, audit event."""
    answers = [row["attribution"] for row in played.document["changes"]]
    # A crash is no system call: its record has neither that nor a directory.
    by_calls = [answer for answer in answers if answer["reason"] != "core-dump"]
    seen = [actor for answer in by_calls for actor in answer["actors"] if actor["event"] is not None]
    assert len(seen) > len(TOGETHER)
    for actor in seen:
        assert actor["cwd"] and actor["exe"] and actor["comm"]
        assert actor["time"] and actor["syscall"] and actor["uid"] is not None
    # One that has become another program is without: the kernel keeps the title that it had before (AUDIT_PROCTITLE).
    titles = [actor["cmdline"] for actor in seen if actor["comm"] == "cp"]
    assert ["cp", "/etc/hostname", "f"] in [[os.path.basename(title[0]), *title[1:]] for title in titles]
