"""Nobody without privileges has somebody else named: each attempt of the library, under the kernel's real audit.

The attempts are played by a user without any capability, under exactly the rules that ``fimscan audit rules`` prints.
None may end ``confirmed`` against whoever did nothing; a ``likely`` that names somebody innocent says what could not be
excluded. What each attempt does is in its docstring, in ``tests/framing/attempts``:

- ``a_holders``: the file was opened before the window, and is held where a look at /proc might not find it.
- ``b_unseen``: the change is made in the window, by a call that the rules might not see.
- ``c_names``: the change is made under another name, or the file is taken for another one.
- ``d_identity``: the process has another's number, login user, or program.

Here, besides: a file that its owner keeps from being read.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.framing.attempt import Attempt, all_attempts
from tests.framing.bench import Bench, compiled
from tests.framing.runner import Outcome, play
from tests.lab.conftest import unavailable
from tests.lab.ground import Installation, Unavailable, installed
from tests.lab.runner import Ground

pytestmark = [pytest.mark.audit, pytest.mark.timeout(180)]

ATTEMPTS = all_attempts()


@pytest.fixture(scope="module")
def outcomes(ground: Ground) -> dict[str, Outcome]:
    """Every attempt, all between the same scans."""
    ground.forget_log()
    try:
        return {outcome.name: outcome for outcome in play(ATTEMPTS, ground.daemon.log)}
    except Unavailable as reason:
        unavailable(str(reason))
        raise


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_nobody_innocent_is_named_for_sure(attempt: Attempt, outcomes: dict[str, Outcome]) -> None:
    """What the attempt does, its docstring says."""
    outcome = outcomes[attempt.name]
    if outcome.skipped is not None:
        pytest.skip(outcome.skipped)
    assert outcome.problems == [], "\n".join((attempt.words, *outcome.answers))


@pytest.fixture
def fresh(ground: Ground) -> Iterator[tuple[Installation, Bench]]:
    """An installation for one test, with the user's directory in it."""
    ground.forget_log()
    with installed(ground.daemon.log) as (installation, _rules):
        bench = Bench("evade", installation.watched, installation.elsewhere, compiled(installation.root))
        try:
            yield installation, bench
        finally:
            bench.clean_up()


@pytest.mark.parametrize("way", ["lease", "flicker"])
def test_a_file_that_is_kept_from_being_read_is_never_the_same(way: str, fresh: tuple[Installation, Bench]) -> None:
    """The owner holds a lease on it, or sets its times all the while: each scan says that it could not be compared.

    It was changed in the meantime, so that "opened, and the content is the same" and exit code 0 without a word are
    wrong, at the first such scan and at every later one.
    """
    installation, bench = fresh
    target = bench.target(own=True)
    installation.run("scan")
    for turn in range(3):
        holder = bench.holding("calls", way, target)
        said = installation.run("scan", codes=tuple(range(16)))
        _kill(bench)
        words = (said.stdout + said.stderr).decode()
        if said.returncode & 4 and str(target) in words:
            return  # it was read all the same, and the change found
        assert said.returncode != 0 or str(target) in words, f"scan {turn + 2} has no word of it: {words}"
        assert "the same" not in words
        bench.shell(f"echo EVIL >> {target}")
        del holder
    assert installation.run("scan", codes=(4,)).returncode == 4


def _kill(bench: Bench) -> None:
    for process in bench.alive:
        process.kill()
        process.wait()
