"""What is as planned: in its paths or packages, confirmed, by whom the plan says, in its time."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.grouping import group
from fimscan.grouping.plans import extra_rows, is_changed_otherwise, is_planned, missing_items
from fimscan.grouping.review_items import review_items
from fimscan.model import (
    Actor,
    ChangeKind,
    ChangePlan,
    Finding,
    PackageAnswer,
    PackageClass,
    PackageFact,
    PackageOwner,
    PlanProgress,
    PlanState,
    Reviewer,
    Verdict,
)
from fimscan.report.plans import end_text
from tests.report.conftest import Make

MAKE = Make()
ADMIN = MAKE.actor(login_user="admin", exe=b"/usr/bin/ansible")


def plan(**other: Any) -> ChangePlan:
    """A plan of admin's for /etc/nginx, open for an hour around the time of the changes."""
    assert ADMIN.time_ns is not None
    values: dict[str, Any] = {
        "id": 1,
        "opened_ns": ADMIN.time_ns - 10**12,
        "until_ns": ADMIN.time_ns + 10**12,
        "opened_by": Reviewer("boss", 7),
        "ticket": "CHG-17",
        "paths": (b"/etc/nginx",),
        "user": "admin",
    }
    return ChangePlan(**values | other)


def changed(path: bytes, *actors: Actor, verdict: Verdict = Verdict.CONFIRMED, **other: Any) -> Finding:
    """A change of a path by some processes."""
    return MAKE.finding(MAKE.change(path=path), MAKE.attribution(verdict, actors=actors or (ADMIN,)), **other)


def test_what_matches() -> None:
    """A path stands for all below it; a pattern matches as in accept."""
    assert is_planned(changed(b"/etc/nginx/nginx.conf"), plan())
    assert is_planned(changed(b"/etc/nginx"), plan())
    assert not is_planned(changed(b"/etc/nginx2"), plan())
    assert is_planned(changed(b"/etc/a.conf"), plan(paths=(b"/etc/*.conf",)))
    assert is_planned(changed(b"/etc/nginx/x"), plan(user=None, exe=b"/usr/bin/ansible*"))
    assert not is_planned(changed(b"/etc/nginx/x"), plan(exe=b"/usr/bin/vim"))


@pytest.mark.parametrize("verdict", [Verdict.LIKELY, Verdict.CONTESTED, Verdict.UNATTRIBUTED])
def test_only_what_is_confirmed(verdict: Verdict) -> None:
    """A burglar who waits for a maintenance window is not helped by it."""
    assert not is_planned(changed(b"/etc/nginx/x", verdict=verdict), plan())


def test_only_by_whom_it_says() -> None:
    """By each process of each step."""
    eve = ADMIN._replace(login_user="eve", auid=1666, pid=9)
    assert not is_planned(changed(b"/etc/nginx/x", eve), plan())
    assert not is_planned(changed(b"/etc/nginx/x", ADMIN, eve), plan())
    steps = (changed(b"/etc/nginx/x", eve), changed(b"/etc/nginx/x"))
    assert not is_planned(changed(b"/etc/nginx/x", steps=steps), plan())
    assert not is_planned(MAKE.finding(MAKE.change(path=b"/etc/nginx/x"), MAKE.attribution(actors=())), plan())


def test_only_in_its_time() -> None:
    """Not before it was opened, after it ended, or after it was closed."""
    moment = ADMIN.time_ns
    assert moment is not None
    row = changed(b"/etc/nginx/x")
    assert is_planned(row, plan(opened_ns=moment, until_ns=moment))
    assert not is_planned(row, plan(opened_ns=moment + 1))
    assert not is_planned(row, plan(until_ns=moment - 1))
    assert not is_planned(row, plan(closed_ns=moment - 1))
    assert is_planned(row, plan(closed_ns=moment + 1))


def test_when_a_plan_ends_is_told_to_the_second_where_that_matters() -> None:
    """A change at 18:44:45 is late for a plan until 18:44:30."""
    assert end_text(plan(until_ns=1_795_408_500 * 10**9)) == "2026-11-23 04:35 UTC"
    assert end_text(plan(until_ns=1_795_408_530 * 10**9)) == "2026-11-23 04:35:30 UTC"


def test_what_was_changed_again_after_its_time_is_told() -> None:
    """It is not as planned, and did happen: without that, the plan would seem to have come to nothing."""
    assert ADMIN.time_ns is not None
    late = ADMIN._replace(time_ns=ADMIN.time_ns + 10**13)
    steps = (changed(b"/etc/nginx/x"), changed(b"/etc/nginx/x", late))
    again = changed(b"/etc/nginx/x", steps=steps)
    assert not is_planned(again, plan()) and is_changed_otherwise(again, plan())
    assert not is_changed_otherwise(changed(b"/etc/nginx/x"), plan())
    assert not is_changed_otherwise(changed(b"/etc/nginx/x", late), plan())
    assert missing_items(plan(paths=(b"/etc/nginx/x",)), steps) == ()


def test_a_moved_file_needs_both_names() -> None:
    """Otherwise a plan for one directory would take a file away from another one."""
    moved = MAKE.change(
        ChangeKind.MOVED, b"/etc/nginx/x", before=MAKE.state(b"/etc/shadow"), after=MAKE.state(b"/etc/nginx/x")
    )
    assert not is_planned(MAKE.finding(moved, MAKE.attribution(actors=(ADMIN,))), plan())


def test_a_package_as_it_was_shipped() -> None:
    """Not a file that the package owns and did not ship like this, and not with a suspicious fact."""

    def of(kind: PackageClass, *facts: PackageFact) -> Finding:
        owner = PackageOwner(manager="dpkg", name="nginx")
        answer = PackageAnswer(path=b"/usr/sbin/nginx", kind=kind, owners=(owner,), facts=facts)
        return changed(b"/usr/sbin/nginx", package=answer)

    expected = plan(paths=(), packages=("nginx",))
    assert is_planned(of(PackageClass.AS_SHIPPED), expected)
    assert not is_planned(of(PackageClass.NOT_AS_SHIPPED), expected)
    assert not is_planned(of(PackageClass.AS_SHIPPED, PackageFact.NOT_BEING_INSTALLED), expected)
    assert not is_planned(of(PackageClass.AS_SHIPPED), plan(paths=(), packages=("curl",)))
    assert missing_items(replace(expected, packages=("nginx", "curl")), [of(PackageClass.AS_SHIPPED)]) == (
        b"package curl",
    )


def test_what_is_extra_and_what_is_missing() -> None:
    """Extra is what the same command did beside it. A pattern cannot be missing, an exact path can."""
    rows = [changed(b"/etc/nginx/a"), changed(b"/etc/passwd"), changed(b"/opt/x", ADMIN._replace(pid=99, ppid=98))]
    grouping = group(rows)
    planned = frozenset({b"/etc/nginx/a"})
    assert b"/etc/passwd" in extra_rows(grouping, planned, planned)
    assert extra_rows(grouping, frozenset(), planned) == ()
    expected = plan(paths=(b"/etc/nginx/a", b"/etc/nginx/b", b"/etc/*.d"))
    assert missing_items(expected, rows) == (b"/etc/nginx/b",)


def test_a_review_has_each_row_once_and_what_stands_out_first() -> None:
    """Also what is planned and stands out: a plan excuses nothing."""
    setuid = MAKE.change(path=b"/etc/nginx/suid", before=MAKE.state(), after=MAKE.state(mode=0o4755), changed=("mode",))
    rows = [changed(b"/etc/nginx/a"), MAKE.finding(setuid, MAKE.attribution(actors=(ADMIN,))), changed(b"/etc/motd")]
    grouping = group(rows)
    planned = frozenset({b"/etc/nginx/a", setuid.path})
    progress = PlanProgress(plan=plan(), state=PlanState.OPEN, planned=planned)
    items = review_items(grouping, [progress])
    assert [(len(item.rows), item.plan is not None, item.of is not None) for item in items] == [
        (1, False, False),
        (1, True, False),
        (1, False, True),
    ]
    assert sum(len(item.rows) for item in items) == len(rows)
