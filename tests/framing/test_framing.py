"""A user without privileges cannot get somebody else named: each attempt of the library, with real audit.

A user without any capability runs the attempts, under the rules that ``fimscan audit rules`` prints. No answer may
confirm an innocent process. A ``likely`` answer that names one must say what could not be excluded. The attempts are in
``tests/framing/attempts``, each with a docstring:

- ``a_holders``: the user opens the file before the window, and keeps it open where /proc might not show it.
- ``b_unseen``: the user changes the file in the window, in a way that the rules might not report.
- ``c_names``: the user changes the file by another name, or makes it look like another file.
- ``d_identity``: the user's process has the pid, login user or program of another.
- ``e_aliases``: the user reaches the file by a name outside the watched directory, or without any name.
- ``f_calls``: the user changes the file by a call that is rare, of another ABI, or made by a descriptor.
- ``g_late``: the user's call begins before the window and acts within it.

``FIMSCAN_TEST_FRAMING=all`` plays all. Otherwise, of the 27 attempts that need a machine of their own, only every third
is played.

``tests/lab/test_evade.py`` tests files that their owner keeps from being read (by a lease, or by setting the times).
"""

from __future__ import annotations

import os

import pytest

from tests.framing.attempt import Attempt, all_attempts
from tests.framing.runner import Outcome, play
from tests.lab.conftest import unavailable
from tests.lab.ground import Unavailable
from tests.lab.runner import Ground

pytestmark = [pytest.mark.audit, pytest.mark.timeout(400)]

# An attempt that runs alone takes five seconds.
_PLAYS_ALL = os.environ.get("FIMSCAN_TEST_FRAMING") == "all"
_ALONE = [attempt for attempt in all_attempts() if attempt.is_alone]
ATTEMPTS = [a for a in all_attempts() if not a.is_alone or _PLAYS_ALL or _ALONE.index(a) % 3 == 0]


@pytest.fixture(scope="module")
def outcomes(ground: Ground) -> dict[str, Outcome]:
    """Run every attempt once."""
    try:
        return {outcome.name: outcome for outcome in play(ATTEMPTS, ground)}
    except Unavailable as reason:
        unavailable(str(reason))
        raise


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_no_innocent_process_is_named_with_certainty(attempt: Attempt, outcomes: dict[str, Outcome]) -> None:
    """Each attempt has a docstring."""
    outcome = outcomes[attempt.name]
    if outcome.skipped is not None:
        pytest.skip(outcome.skipped)
    assert outcome.problems == [], "\n".join((attempt.words, *outcome.answers))
