"""A user without privileges cannot get somebody else named: each attempt of the library, with real audit.

The attempts are played by a user without any capability, under exactly the rules that ``fimscan audit rules`` prints.
None may end ``confirmed`` against whoever did nothing; a ``likely`` that names somebody innocent says what could not be
excluded. What each attempt does is in its docstring, in ``tests/framing/attempts``:

- ``a_holders``: the file was opened before the window, and is held where a look at /proc might not find it.
- ``b_unseen``: the change is made in the window, by a call that the rules might not see.
- ``c_names``: the change is made under another name, or the file is taken for another one.
- ``d_identity``: the process has another's number, login user, or program.

A file that its owner keeps from being read (a lease, times that are set all the while) has its tests in
``tests/lab/test_evade.py``.
"""

from __future__ import annotations

import pytest

from tests.framing.attempt import Attempt, all_attempts
from tests.framing.runner import Outcome, play
from tests.lab.conftest import unavailable
from tests.lab.ground import Unavailable
from tests.lab.runner import Ground

pytestmark = [pytest.mark.audit, pytest.mark.timeout(400)]

ATTEMPTS = all_attempts()


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
