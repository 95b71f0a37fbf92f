"""Which changes a selection takes, and which it must leave."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.errors import UsageError
from fimscan.grouping import Grouping, group
from fimscan.grouping.selection import ByNumber, ByPath, Selection, select
from fimscan.model import (
    Actor,
    Attribution,
    ExeOrigin,
    Finding,
    LoginOrigin,
    LoginSource,
    PackageAnswer,
    PackageClass,
    ProcessView,
    Verdict,
)
from tests.report.conftest import Make

MAKE = Make()
DPKG, VIM = b"/usr/bin/dpkg", b"/usr/bin/vim"


def row(number: int, *actors: Actor, verdict: Verdict | None = None, **other: Any) -> Finding:
    """A change of ``/etc/NUMBER`` by some processes."""
    own = Verdict.CONFIRMED if len(actors) == 1 else Verdict.CONTESTED if actors else Verdict.UNATTRIBUTED
    answer = MAKE.attribution(verdict or own, actors=actors)
    return MAKE.finding(MAKE.change(path=b"/etc/%d" % number, id=number), answer, **other)


def taken(*findings: Finding, **selection: Any) -> list[int]:
    """The numbers of the changes that a selection takes."""
    found, _ = select(group(findings), Selection(**selection))
    return [item.finding.change.id for item in found]


def test_a_program_must_be_the_only_one_named() -> None:
    """Of two candidates, one may be a burglar; where nobody is named, anybody may be."""
    dpkg, vim = MAKE.actor(exe=DPKG), MAKE.actor(exe=VIM, pid=5)
    rows = (row(1, dpkg), row(2, dpkg, vim), row(3), row(4, vim))
    assert taken(*rows, exe=DPKG) == [1]
    assert taken(*rows, exe=b"/usr/bin/*") == [1, 2, 4]


def test_a_step_without_a_process_is_not_taken_for_that_of_another_step() -> None:
    """The row has the processes of all steps; that one step has none shows in the steps only."""
    dpkg = MAKE.actor(exe=DPKG)
    steps = (row(1, dpkg), row(2, verdict=Verdict.UNATTRIBUTED))
    whole = row(2, dpkg, verdict=Verdict.UNATTRIBUTED, steps=steps)
    assert taken(whole, exe=DPKG) == []
    assert taken(whole, user="alice") == []
    assert taken(whole, names=(ByNumber(1, 1),), exe=DPKG) == [1]


@pytest.mark.parametrize(
    "view", [ProcessView(exe_origin=ExeOrigin.OTHER_ROOT), ProcessView(container="docker:0f3c")], ids=["root", "docker"]
)
def test_a_program_of_that_name_elsewhere_is_another_program(view: ProcessView) -> None:
    """A container brings its own /usr/bin/dpkg."""
    assert taken(row(1, MAKE.actor(exe=DPKG, view=view)), exe=DPKG) == []


def test_a_user_is_who_logged_in() -> None:
    """Not whom sudo made of him; without a login, the user that it ran as; never by its own claim."""
    claimed = LoginOrigin(LoginSource.USER, claimed="alice")
    rows = (
        row(1, MAKE.actor()),  # alice, as root
        row(2, MAKE.actor(auid=None, login_user=None, session=None)),  # root, by cron
        row(3, MAKE.actor(login_user=None, login=claimed)),
        row(4, MAKE.actor(auid=1007, login_user=None)),  # an account that has no name
    )
    assert taken(*rows, user="alice") == [1]
    assert taken(*rows, user="root") == [2]
    assert taken(*rows, user="1007") == [4]
    assert taken(*rows, user="1000") == []


def test_a_session_number_of_two_users_is_no_answer() -> None:
    """They were given by two boots."""
    rows = (row(1, MAKE.actor()), row(2, MAKE.actor(auid=1001, login_user="bob")))
    with pytest.raises(UsageError, match="session 3 is that of 2 users"):
        taken(*rows, session=3)
    assert taken(*rows, session=3, user="bob") == [2]


def test_a_range_ends_with_a_change_that_waits() -> None:
    """So it cannot reach changes that were found after the report."""
    rows = [row(number) for number in (3, 5, 9)]
    assert taken(*rows, names=(ByNumber(1, 5),)) == [3, 5]
    for last in (6, 10):
        with pytest.raises(UsageError, match=f"changes 1 to {last}"):
            taken(*rows, names=(ByNumber(1, last),))


def test_a_pattern_is_a_path_first() -> None:
    """A name may contain the characters of a pattern."""
    odd = MAKE.finding(MAKE.change(path=b"/etc/[1]", id=7), MAKE.attribution(Verdict.UNATTRIBUTED))
    name = ByPath(b"/etc/[1]", (b"/etc/[1]",))
    assert taken(odd, row(1), names=(name,)) == [7]
    assert taken(row(1), names=(name,)) == [1]
    assert select(group([row(1)]), Selection(names=(name,)))[1]
    assert not select(group([odd]), Selection(names=(name,)))[1]


ACTORS = (
    MAKE.actor(exe=DPKG, login_user="admin", auid=1001, session=7, pid=1),
    MAKE.actor(exe=VIM, pid=2),
    MAKE.actor(exe=VIM, auid=None, login_user=None, session=None, pid=3),
)
SELECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "exe": st.sampled_from([DPKG, VIM, b"*"]),
        "user": st.sampled_from(["alice", "admin", "root"]),
        "session": st.sampled_from([3, 7]),
        "verdicts": st.frozensets(st.sampled_from(Verdict), min_size=1),
        "names": st.lists(st.integers(0, 7).map(lambda n: ByPath(b"/etc/%d" % n)), min_size=1).map(tuple),
    },
)


def holds(finding: Finding, selection: dict[str, Any]) -> bool:
    """Whether a row is what every option says, in so many words."""
    answer: Attribution = finding.attribution
    exe = selection.get("exe")
    wanted = {
        "exe": bool(answer.actors) and all(exe in (b"*", actor.exe) for actor in answer.actors),
        "user": bool(answer.actors)
        and all((actor.login_user or actor.user) == selection.get("user") for actor in answer.actors),
        "session": bool(answer.actors) and all(actor.session == selection.get("session") for actor in answer.actors),
        "verdicts": answer.verdict in selection.get("verdicts", ()),
        "names": finding.change.path in {name.path for name in selection.get("names", ())},
    }
    return all(wanted[key] for key in selection)


@given(st.lists(st.lists(st.sampled_from(ACTORS), unique=True, max_size=2), min_size=8, max_size=8), SELECTIONS)
def test_all_options_must_hold(actors: list[list[Actor]], selection: dict[str, Any]) -> None:
    """Exactly the rows for which they do are taken."""
    rows = [row(number, *some) for number, some in enumerate(actors)]
    grouping: Grouping = group(rows)
    found, _ = select(grouping, Selection(**selection))
    assert [item.finding for item in found] == [finding for finding in rows if holds(finding, selection)]
    for number in {item.number for item in grouping.sets}:
        of_set, _ = select(grouping, Selection(**selection, number=number))
        assert of_set == [item for item in found if item.row.number == number]


def test_an_earlier_state_is_not_what_was_compared_with_the_package() -> None:
    """A trojan that was replaced by the package's file again: its own change is not as shipped."""
    answer = PackageAnswer(path=b"/etc/2", kind=PackageClass.AS_SHIPPED)
    whole = row(2, MAKE.actor(), steps=(row(1, MAKE.actor()), row(2, MAKE.actor())), package=answer)
    assert taken(whole, as_shipped=True) == [2]
    assert taken(whole, names=(ByNumber(1, 1),), as_shipped=True) == []
    assert taken(whole, names=(ByNumber(2, 2),), as_shipped=True) == [2]
    assert taken(row(3, MAKE.actor()), as_shipped=True) == []
