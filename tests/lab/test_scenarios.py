"""Real processes, real audit: every change is attributed to the process that the lab started."""

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
# These need a machine on which audit was not enabled before; skipping them is fine.
_MAY_BE_SKIPPED = {"process_older_than_audit"}


@pytest.fixture(scope="module")
def played(ground: Ground) -> Result:
    """Run every scenario that does not disturb others, between the same two scans."""
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
    """Verdict, reason, roles, pid and program are those that the lab expects, and nothing else changed."""
    check(next(judgement for judgement in played.judgements if judgement.scenario == name))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", ALONE, ids=lambda scenario: scenario.name)
def test_without_coverage_the_reason_says_so(scenario: Scenario, ground: Ground) -> None:
    """No process is named for an unrecorded change."""
    check(play_alone(scenario, ground))


@pytest.mark.timeout(600)
def test_noise_changes_no_answer(ground: Ground) -> None:
    """While two noise processes write hundreds of times a second, the same processes are named, and no others.

    The rate is one that a slow machine can read; 'make lab' uses a rate several times as high.
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
    """Each actor from the log has program, command line, directory and audit event, as assessors require."""
    answers = [row["attribution"] for row in played.document["changes"]]
    # The record of a crash has neither a system call nor a directory.
    by_calls = [answer for answer in answers if answer["reason"] != "core-dump"]
    seen = [actor for answer in by_calls for actor in answer["actors"] if actor["event"] is not None]
    assert len(seen) > len(TOGETHER)
    for actor in seen:
        assert actor["cwd"] and actor["exe"] and actor["comm"]
        assert actor["time"] and actor["syscall"] and actor["uid"] is not None
    # After an execve, the title may be missing: the kernel caches the earlier one (AUDIT_PROCTITLE).
    titles = [actor["cmdline"] for actor in seen if actor["comm"] == "cp"]
    assert ["cp", "/etc/hostname", "f"] in [[os.path.basename(title[0]), *title[1:]] for title in titles]
