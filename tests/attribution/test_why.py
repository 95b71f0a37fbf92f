"""Check that each judgement has an argument in the documentation and a test that fails without it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, KnownDirectories, attribute
from fimscan.model import Action, GapReason, Verdict, Why
from tests.attribution.test_attribute import HEALTHY, WHOLE, A, B, ask
from tests.attribution.test_history import cleared
from tests.attribution.test_reasoning import whys
from tests.support import DEV, access, change, changed_state, name, state

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/why-named-or-cleared.md"
_ROW = re.compile(r"^\| `([a-z-]+)` \| (.{30,}) \| `(test_\w+)` \|$", re.MULTILINE)


def sections() -> dict[str, str]:
    """The text below each heading of the page."""
    _, *parts = re.split(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Named", {why for why in Why if why.names}),
        ("Noted", {why for why in Why if not why.names and not why.clears}),
        ("Cleared", {why for why in Why if why.clears}),
    ],
)
def test_every_judgement_is_explained_where_it_belongs(heading: str, expected: set[Why]) -> None:
    """Each judgement is in its section once, with an argument and an existing test."""
    rows = _ROW.findall(sections()[heading])
    assert sorted(why for why, _, _ in rows) == sorted(expected)
    tests = "".join(path.read_text() for path in ROOT.glob("tests/attribution/test_*.py"))
    assert [test for _, _, test in rows if f"def {test}(" not in tests] == []


def test_every_gap_is_named_where_the_premises_of_confirmed_are() -> None:
    """Every gap reason is a failed premise of confirmed, and the page names it."""
    page = (ROOT / "docs/explanation/confirmed.md").read_text()
    assert [reason.value for reason in GapReason if f"`{reason}`" not in page] == []


def test_an_earlier_part_is_noted_where_nobody_is_named() -> None:
    """B placed a known file with content of unknown origin; A, who wrote to the old file, is noted."""
    log = [
        access(Action.OPEN_WRITE, 1300, A),
        access(Action.RENAME, 1400, B, old=name("g"), inode=11, replaced=(DEV, 10)),
    ]
    answer = ask(change(state(), changed_state(inode=11)), log, prior=[state(b"/w/g", b"before", inode=11)])
    assert answer.verdict is Verdict.UNATTRIBUTED
    assert whys(answer) == {1: [Why.EARLIER_PART], 2: [Why.ONLY_PLACED]}
    assert cleared(answer) == set()


def test_an_access_that_may_mean_any_subvolume_clears_nobody() -> None:
    """A record has this path with another inode and no subvolume: it does not clear its process."""
    log = [access(Action.CHMOD, 1300, A, inode=77), access(Action.OPEN_WRITE, 1400, B)]
    known = KnownDirectories.of([(b"/w", (DEV, 2))])
    found = change(state(), changed_state())
    for doubtful, why in ((frozenset({log[0].event}), Why.NOT_MATCHED), (frozenset(), Why.OTHER_FILE)):
        evidence = Evidence(index=AccessIndex(log, known), prior={}, doubtful=doubtful)
        answer = attribute(found, evidence, CoverageMap(HEALTHY, (), (WHOLE,)))
        assert whys(answer)[1] == [why]
        assert why.clears is not bool(doubtful)


def test_an_overruled_call_clears_nobody() -> None:
    """A set a mode, then B set the present one."""
    log = [access(Action.CHMOD, 1200, A, argument=0o666), access(Action.CHMOD, 1400, B, argument=0o600)]
    answer = ask(change(state(), changed_state(b"old", mode=0o600)), log)
    assert [actor.pid for actor in answer.actors] == [2]
    assert whys(answer)[1] == [Why.OVERRULED]
    assert cleared(answer) == set()


def test_moving_a_file_away_and_back_clears_nobody() -> None:
    """A moved the file away and back, then B removed it."""
    log = [
        access(Action.RENAME, 1200, A, name=name("g"), old=name("f")),
        access(Action.RENAME, 1250, A, name=name("f"), old=name("g")),
        access(Action.UNLINK, 1400, B),
    ]
    answer = ask(change(state(), None), log)
    assert (answer.verdict, [actor.pid for actor in answer.actors]) == (Verdict.CONFIRMED, [2])
    assert set(whys(answer)[1]) == {Why.UNDONE}
    assert cleared(answer) == set()


def test_a_chmod_before_the_window_is_cleared() -> None:
    """The old state has the mode that A set; B set the new one."""
    log = [access(Action.CHMOD, 900, A, argument=0o600), access(Action.CHMOD, 1400, B, argument=0o600)]
    answer = ask(change(state(), changed_state(b"old", mode=0o600)), log)
    assert [actor.pid for actor in answer.actors] == [2]
    assert whys(answer)[1] == [Why.BEFORE_WINDOW]


def test_an_open_before_the_window_is_not_cleared_without_a_list_of_holders() -> None:
    """A opened the file long before B replaced it; whether A had closed it is not known."""
    log = [
        access(Action.OPEN_WRITE, 900, A),
        access(Action.CREATE, 1400, B, name=name("t"), inode=11),
        access(Action.RENAME, 1401, B, name=name("f"), old=name("t"), inode=11),
    ]
    answer = ask(change(state(), changed_state(inode=11)), log)
    assert {actor.pid for actor in answer.actors} == {1, 2}
