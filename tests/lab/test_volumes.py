"""Run the scenarios on the file systems of servers, which differ in what audit and stat(2) report."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lab.conftest import unavailable
from tests.lab.ground import Unavailable
from tests.lab.judge import Grade
from tests.lab.runner import Ground, Result, play_together
from tests.lab.scenario import all_scenarios
from tests.lab.volume import FILE_SYSTEMS, kind_of, volume

pytestmark = [pytest.mark.audit, pytest.mark.timeout(400)]

# test_scenarios.py runs on the file system of the temporary directory, usually ext4.
OTHERS = [name for name in FILE_SYSTEMS if name != "ext4"]


@pytest.mark.parametrize("name", OTHERS)
def test_the_right_process_is_named_on_every_file_system(name: str, ground: Ground) -> None:
    """All scenarios that share two scans: nothing missed, nobody accused falsely, nobody cleared wrongly."""
    result = _played(name, ground)
    wrong = {j.scenario: j.problems for j in result.judgements if j.grade in (Grade.MISSED, Grade.FALSE)}
    assert wrong == {}
    assert sum(j.wrongly_cleared for j in result.judgements) == 0


@pytest.mark.parametrize("name", ["ext4-128", "btrfs-subvolume", "bind"])
def test_variants_that_the_join_depends_on(name: str, ground: Ground) -> None:
    """Times of whole seconds, a nested subvolume, a bind mount: with every eighth scenario."""
    result = _played(name, ground, every=8)
    assert {j.scenario: j.problems for j in result.judgements if j.grade in (Grade.MISSED, Grade.FALSE)} == {}


@pytest.mark.parametrize("name", ["overlay-noindex", "overlay-metacopy"])
def test_hard_links_on_overlays(name: str, ground: Ground) -> None:
    """Hard links that become separate files at copy-up, and copy-up of metadata only."""
    result = _played(name, ground, group="i_links")
    assert {j.scenario: j.problems for j in result.judgements if j.grade in (Grade.MISSED, Grade.FALSE)} == {}
    assert sum(j.wrongly_cleared for j in result.judgements) == 0


def _played(name: str, ground: Ground, *, every: int = 1, group: str | None = None) -> Result:
    scenarios = [s for s in all_scenarios(kind_of(name)) if not s.alone and group in (None, s.group)][::every]
    try:
        with TemporaryDirectory(prefix="fimscan-volume-") as directory, volume(name, Path(directory)) as place:
            os.chmod(directory, 0o755)  # some scenarios run as other users
            result = play_together(scenarios, ground.on(place))
    except Unavailable as reason:
        unavailable(str(reason))
        raise
    skipped = [j.got for j in result.judgements if j.grade is Grade.SKIPPED]
    if skipped:
        unavailable(skipped[0])
    return result
