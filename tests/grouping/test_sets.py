"""Which changes belong together, and what holds for every grouping."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.grouping import (
    STRETCH_NS,
    Facts,
    Grouping,
    Level,
    Nature,
    Provenance,
    SetKind,
    group,
    process_key,
    set_members,
)
from fimscan.model import (
    Actor,
    ChangeKind,
    Finding,
    Lineage,
    LoginOrigin,
    LoginSource,
    PackageClass,
    Reason,
    Role,
    Verdict,
)
from tests.grouping.conftest import DPKG, HOUR, apt_lineage, confirmed, dpkg, facts, machine
from tests.report.conftest import Make

MAKE = Make()
SHELL = 4200


def by(make: Make, path: bytes, *actors: Actor, **other: Any) -> Finding:
    """A change of a path by some processes, of which one is proven."""
    return confirmed(make, make.change(path=path, id=0), *actors, **other)


def paths(grouping: Grouping) -> set[frozenset[bytes]]:
    """The paths of each set."""
    return {frozenset(row.finding.change.path for row in item.rows) for item in grouping.sets}


def sets_of(*names: str) -> set[frozenset[bytes]]:
    """``sets_of("ab", "c")``: /a and /b are in one set, /c is in another one."""
    return {frozenset(b"/" + letter.encode() for letter in name) for name in names}


def child(make: Make, pid: int, ppid: int, exe: bytes = b"/usr/bin/vim", **other: Any) -> Actor:
    return make.actor(pid=pid, ppid=ppid, exe=exe, **{"cmdline": (exe,)} | other)


def known(*lineages: tuple[Actor, Sequence[Actor]]) -> Facts:
    """The ancestors of processes, the parent first."""
    return Facts(
        lineages={process_key(actor): Lineage(actor=actor, ancestors=tuple(above)) for actor, above in lineages}
    )


# --------------------------------------------------------------------------------------------------------------------
# Trees


@pytest.mark.parametrize(
    ("session", "after_s", "expected"),
    [(7, 20, sets_of("abc")), (8, 20, sets_of("ab", "c")), (7, 9000, sets_of("ab", "c"))],
)
def test_what_a_trigger_made_belongs_to_the_package_manager(
    make: Make, session: int, after_s: int, expected: set[frozenset[bytes]]
) -> None:
    """Of the same login, at about the same time. The set is named after the manager, whatever order the rows have."""
    ldconfig = child(make, 4321, 4320, b"/usr/sbin/ldconfig", session=session, after_s=HOUR + after_s)
    rows = [by(make, b"/a", dpkg(make, 1)), by(make, b"/b", dpkg(make, 2)), by(make, b"/c", ldconfig)]
    known = Facts(provenance={b"/c": Provenance(shipped=PackageClass.UNOWNED, is_by_trigger=True)})
    for ordered in (rows, rows[::-1]):
        grouping = group(ordered, known)
        assert paths(grouping) == expected
        assert [root.exe for root in grouping.sets[0].roots] == [b"/usr/bin/dpkg"]
    (made,) = [row for row in grouping.rows if row.finding.change.path == b"/c"]
    assert "package-trigger" in made.rank.reasons


@pytest.mark.parametrize(
    ("ppid", "session", "after_s", "expected"),
    [(4321, 7, 0, 1), (4321, 8, 0, None), (4321, 7, 60, None), (1, 7, 0, None), (4310, 7, 0, None)],
)
def test_a_set_that_may_be_of_a_script_of_the_package_manager_says_so(
    make: Make, ppid: int, session: int, after_s: int, expected: int | None
) -> None:
    """Its parent is in no record, and a package manager of its login was at work. Nothing is said of known parents."""
    chown = child(make, 4322, ppid, b"/usr/bin/chown", session=session, after_s=HOUR + after_s)
    shell = child(make, 4310, 4200, b"/usr/bin/bash", cmdline=(b"-bash",), session=7, after_s=HOUR)
    rows = [by(make, b"/a", dpkg(make, 1)), by(make, b"/b", dpkg(make, 2)), by(make, b"/c", chown)]
    grouping = group([*rows, by(make, b"/d", shell)])
    (of_chown,) = [item for item in grouping.sets if item.rows[0].finding.change.path == b"/c"]
    (of_dpkg,) = [item for item in grouping.sets if item.rows[0].finding.change.path == b"/a"]
    assert of_chown.during == (None if expected is None else of_dpkg.number)
    assert of_dpkg.during is None


def test_children_of_one_unknown_parent_belong_together(make: Make) -> None:
    """In the same session; what another session, or another parent, did is no part of it."""
    grouping = group(
        [
            by(make, b"/a", child(make, 10, 9)),
            by(make, b"/b", child(make, 11, 9, b"/usr/bin/cp")),
            by(make, b"/c", child(make, 12, 8)),
            by(make, b"/d", child(make, 13, 9, session=4)),
            by(make, b"/e", child(make, 14, 9, auid=1001)),
        ]
    )
    assert paths(grouping) == sets_of("ab", "c", "d", "e")


def test_a_grandchild_belongs_to_its_tree(make: Make) -> None:
    """dpkg runs a script, which runs useradd; apt-get is known by its number only."""
    dpkg, script = child(make, 20, 10, b"/usr/bin/dpkg"), child(make, 30, 20, b"/usr/bin/dash", cmdline=(b"sh", b"/x"))
    grouping = group(
        [
            by(make, b"/a", dpkg),
            by(make, b"/b", script),
            by(make, b"/c", child(make, 40, 30, b"/usr/sbin/useradd")),
            by(make, b"/d", child(make, 21, 10, b"/usr/bin/dpkg")),
        ]
    )
    assert paths(grouping) == sets_of("abcd")


@pytest.mark.parametrize(
    ("comm", "expected"),
    [(b"tool.postinst", ("abc",)), (b"dash", ("ab", "c")), (b"-dash", ("ab", "c")), (None, ("ab", "c"))],
)
def test_a_script_is_known_by_its_name_where_its_command_line_is_not(
    make: Make, comm: bytes | None, expected: tuple[str, ...]
) -> None:
    """The records of a maintainer script often lack the command line; what it started belongs to its tree."""
    dpkg = child(make, 20, 10, b"/usr/bin/dpkg")
    script = child(make, 30, 20, b"/usr/bin/dash", cmdline=None, comm=comm)
    rows = [by(make, b"/a", dpkg), by(make, b"/b", script), by(make, b"/c", child(make, 40, 30, b"/usr/bin/chown"))]
    assert paths(group(rows)) == sets_of(*expected)


def test_commands_of_a_known_shell_are_sets_of_their_own(make: Make) -> None:
    """The shell at the prompt is not part of a tree; a script is. The same command typed again is the same set."""
    shell = make.actor(None, pid=SHELL, ppid=4100, exe=b"/usr/bin/bash", cmdline=(b"-bash",))
    script = make.actor(None, pid=5000, ppid=SHELL, exe=b"/usr/bin/bash", cmdline=(b"bash", b"deploy.sh"))
    vim, cp = child(make, 10, SHELL), child(make, 11, SHELL, b"/usr/bin/cp")
    again, inner, other = child(make, 12, SHELL), child(make, 13, 5000), child(make, 14, 5000, b"/usr/bin/cp")
    lineages = [(actor, (shell,)) for actor in (vim, cp, again)] + [
        (actor, (script, shell)) for actor in (inner, other)
    ]
    names = (b"/a", b"/b", b"/c", b"/d", b"/e")
    findings = [by(make, name, actor) for name, actor in zip(names, (vim, cp, again, inner, other), strict=True)]
    grouping = group(findings, known(*lineages))
    assert paths(grouping) == sets_of("ac", "b", "de")
    assert [root.pid for item in grouping.sets if len(item.rows) == 2 for root in item.roots].count(5000) == 1


def test_the_root_is_the_command_that_sudo_ran(make: Make) -> None:
    """Not sudo, not the shell, not sshd; but that it was sudo is known."""
    grouping = group(machine(make, 30).findings, facts(make))
    (item,) = [item for item in grouping.sets if any(root.exe == b"/usr/bin/apt-get" for root in item.roots)]
    assert (item.kind, len(item.rows), item.via) == (SetKind.TREE, 30, (b"sudo",))
    assert [root.cmdline for root in item.roots] == [(b"apt-get", b"upgrade")]


def test_members_are_those_of_the_sets(make: Make) -> None:
    """Evidence needs no more than which changes belong together."""
    findings, known_facts = machine(make, 30).findings, facts(make)
    sets = {frozenset(row.finding.change.path for row in item.rows) for item in group(findings, known_facts).sets}
    members = set_members(findings, known_facts)
    assert {frozenset(finding.change.path for finding in some) for some in members} == sets and len(sets) == 3


def test_a_program_that_is_only_called_sudo_is_no_wrapper(make: Make) -> None:
    """It is named as what it is."""
    evil = make.actor(None, pid=9, ppid=1, exe=b"/tmp/sudo", cmdline=(b"sudo",))
    vim = child(make, 10, 9)
    (item,) = group([by(make, b"/a", vim)], known((vim, (evil,)))).sets
    assert ([root.exe for root in item.roots], item.via) == ([b"/tmp/sudo"], ())


def test_an_ancestor_of_another_login_is_not_part_of_the_tree(make: Make) -> None:
    """cron runs jobs of several users."""
    cron = make.actor(None, pid=9, ppid=1, exe=b"/opt/own-cron", auid=None, session=None)
    jobs = [child(make, 10, 9, session=5), child(make, 11, 9, session=6)]
    findings = [by(make, name, job) for name, job in zip((b"/a", b"/b"), jobs, strict=True)]
    grouping = group(findings, known(*((job, (cron,)) for job in jobs)))
    assert paths(grouping) == sets_of("a", "b")
    assert all(root.exe == b"/usr/bin/vim" for item in grouping.sets for root in item.roots)


def test_a_login_that_proves_nothing_is_not_shown_as_one(make: Make) -> None:
    """What is known of the login of the process that made the change holds for the command above it as well."""
    origin = LoginOrigin(LoginSource.USER, uid=1003, claimed="alice")
    parent = make.actor(None, pid=9, ppid=1, exe=b"/usr/bin/make")
    actor = child(make, 10, 9, login=origin, login_user=None)
    (item,) = group([by(make, b"/a", actor)], known((actor, (parent,)))).sets
    assert [(root.exe, root.login, root.login_user) for root in item.roots] == [(b"/usr/bin/make", origin, None)]


def test_daemons_are_told_apart_by_program_and_user(make: Make) -> None:
    """All of them are children of process 1, and none has a session."""
    service: dict[str, Any] = {"auid": None, "session": None, "login_user": None}
    grouping = group(
        [
            by(make, b"/a", child(make, 10, 1, b"/usr/sbin/x", **service)),
            by(make, b"/b", child(make, 11, 1, b"/usr/sbin/x", **service)),
            by(make, b"/c", child(make, 12, 1, b"/usr/sbin/y", **service)),
            by(make, b"/d", child(make, 13, 1, b"/usr/sbin/y", uid=5, **service)),
        ]
    )
    assert paths(grouping) == sets_of("ab", "c", "d")


def test_a_pause_ends_a_set(make: Make) -> None:
    """A daemon that works all day has one set for each time that it worked."""
    pause = STRETCH_NS // make.second
    times = {b"/a": 0, b"/b": pause, b"/c": 2 * pause + 1}
    findings = [by(make, name, child(make, 10, 9, after_s=after)) for name, after in times.items()]
    assert paths(group(findings)) == sets_of("ab", "c")


def test_candidates_of_one_tree_are_in_its_set(make: Make) -> None:
    """Two children of apt-get: whichever it was, it was apt-get's doing. Two users: that is a set of its own."""
    one, two, other = child(make, 10, 9), child(make, 11, 9, b"/usr/bin/cp"), child(make, 12, 8, auid=1001)
    contested = make.attribution(Verdict.CONTESTED, actors=(one, two))
    grouping = group(
        [
            by(make, b"/a", one),
            make.finding(make.change(path=b"/b"), contested),
            make.finding(make.change(path=b"/c"), contested._replace(actors=(one, other))),
            by(make, b"/d", other),
        ]
    )
    assert paths(grouping) == sets_of("ab", "c", "d")
    kinds = {item.kind: item for item in grouping.sets}
    assert {root.pid for root in kinds[SetKind.SEVERAL].roots} == {10, 12}


def test_changes_without_a_process_are_grouped_by_reason_and_scan(make: Make) -> None:
    """Each set says why nobody is named."""
    gap = make.attribution(Verdict.UNATTRIBUTED, Reason.COVERAGE_GAP)
    uncovered = make.attribution(Verdict.UNATTRIBUTED, Reason.NOT_COVERED)
    grouping = group(
        [
            make.finding(make.change(path=b"/a"), gap),
            make.finding(make.change(path=b"/b"), gap),
            make.finding(make.change(path=b"/c"), gap, scan=3),
            make.finding(make.change(path=b"/d"), uncovered),
        ]
    )
    assert paths(grouping) == sets_of("ab", "c", "d")
    assert {(item.reason, item.scan) for item in grouping.sets} == {
        (Reason.COVERAGE_GAP, 2),
        (Reason.COVERAGE_GAP, 3),
        (Reason.NOT_COVERED, 2),
    }


def test_endless_ancestry_ends(make: Make) -> None:
    """Numbers of processes are reused: a record may name a process as its own grandparent."""
    one, two = child(make, 10, 11), child(make, 11, 10)
    assert paths(group([by(make, b"/a", one), by(make, b"/b", two)])) == sets_of("ab")


# --------------------------------------------------------------------------------------------------------------------
# Order and counts


def test_what_stands_out_comes_first(make: Make) -> None:
    """Its set too; then the larger sets."""
    grouping = group(machine(make, 100).findings, facts(make))
    assert [row.finding.change.path for row in grouping.standing_out] == [
        *(b"/usr/bin/find", b"/usr/bin/who", b"/etc/passwd")
    ]
    assert [(item.standing_out, len(item.rows)) for item in grouping.sets] == [(3, 4), (0, 100), (0, 1)]
    assert [item.number for item in grouping.sets] == [1, 2, 3]
    assert grouping.sets[1].same_content == 25


def test_backups_of_account_files_follow_their_originals(make: Make) -> None:
    """Where both are listed, also if more of the backup differs."""
    names = (b"/etc/passwd-", b"/etc/shadow", b"/etc/group-", b"/etc/passwd", b"/etc/motd", b"/etc/shadow-")
    hidden = make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT)
    findings = [make.finding(make.change(path=name), hidden) for name in (*names, b"/etc/subuid-")]
    findings.append(make.finding(make.change(ChangeKind.ATTRIBUTES, b"/etc/group", changed=("mode",)), hidden))
    grouping = group(findings)
    for rows in (grouping.standing_out, grouping.sets[0].rows):
        assert [row.finding.change.path for row in rows] == [
            *(b"/etc/motd", b"/etc/passwd", b"/etc/passwd-", b"/etc/shadow", b"/etc/shadow-", b"/etc/subuid-"),
            *(b"/etc/group", b"/etc/group-"),
        ]


def test_severity_and_nature_order_what_has_the_same_reason(make: Make) -> None:
    """Critical before high; content before attributes."""
    hidden = make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT)
    mode = make.change(ChangeKind.ATTRIBUTES, b"/1", changed=("mode",))
    findings = [
        make.finding(mode, hidden, severity="high"),
        make.finding(make.change(path=b"/2"), hidden, severity="high"),
        make.finding(make.change(path=b"/3"), hidden, severity="critical"),
    ]
    assert [row.finding.change.path for row in group(findings).standing_out] == [b"/3", b"/2", b"/1"]


def test_packages_are_counted(make: Make) -> None:
    """As far as the caller knows them."""
    names = (b"/a", b"/b", b"/c")
    provenance = {
        b"/a": Provenance(shipped=PackageClass.AS_SHIPPED, package="x"),
        b"/b": Provenance(shipped=PackageClass.NOT_AS_SHIPPED, package="y"),
    }
    dpkg = child(make, 10, 9, b"/usr/bin/dpkg")
    (item,) = group([by(make, name, dpkg) for name in names], Facts(provenance=provenance)).sets
    assert item.packages == ("x", "y")
    assert (item.shipped[PackageClass.AS_SHIPPED], item.shipped[PackageClass.NOT_AS_SHIPPED]) == (1, 1)


def test_one_set_keeps_its_number(make: Make) -> None:
    """And the order of the rows."""
    grouping = group(machine(make, 30).findings, facts(make))
    one = grouping.only(2)
    assert one is not None and [item.number for item in one.sets] == [2] and len(one.rows) == 30
    assert grouping.only(9) is None


@pytest.mark.parametrize("processes", [20, 50_000])
def test_fifty_thousand_changes_are_grouped_in_seconds(make: Make, processes: int) -> None:
    """About one; the limit is that of a slow and busy machine."""
    base = make.change()
    findings = [
        make.finding(
            base,
            make.attribution(actors=(make.actor(pid=1000 + number % processes, ppid=900, after_s=number // 1000),)),
            scan=number,
        )
        for number in range(50_000)
    ]
    begin = time.process_time()
    assert len(group(findings).sets) == 1
    assert time.process_time() - begin < 8


# --------------------------------------------------------------------------------------------------------------------
# Invariants

pids = st.sampled_from([0, 1, 2, 10, 11, 12, 13])
actors = st.builds(
    MAKE.actor,
    st.sampled_from(Role),
    after_s=st.sampled_from([-3000, -600, 0, 1, 600]),
    pid=pids,
    ppid=st.one_of(st.none(), pids),
    exe=st.sampled_from([None, b"/usr/bin/dpkg", b"/usr/bin/vim", b"/usr/bin/bash", b"/usr/bin/sudo (deleted)"]),
    cmdline=st.sampled_from([None, (), (b"-bash",), (b"bash", b"x.sh"), (b"dpkg", b"-i")]),
    auid=st.sampled_from([None, 1000]),
    session=st.sampled_from([None, 3]),
    uid=st.sampled_from([None, 0, 1000]),
)
attributions = st.builds(
    MAKE.attribution,
    st.sampled_from(Verdict),
    st.sampled_from([None, *Reason]),
    actors=st.lists(actors, max_size=3).map(tuple),
)
changed_fields = st.lists(st.sampled_from(["content", "mode", "inode", "mtime", "ctime"]), unique=True).map(tuple)


@st.composite
def findings_of_any_kind(draw: st.DrawFn) -> list[Finding]:
    """Some rows with different paths; some have steps."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        path = draw(st.sampled_from([b"/etc/passwd", b"/etc/passwd-", b"/etc/cron.d/x", b"/usr/bin/x", b"/srv/x"]))
        kind = draw(st.sampled_from(ChangeKind))
        before = None if kind is ChangeKind.ADDED else MAKE.state(path, mode=draw(st.sampled_from([0o644, 0o755])))
        after = None if kind is ChangeKind.REMOVED else MAKE.state(path, mode=draw(st.sampled_from([0o644, 0o4755])))
        change = MAKE.change(kind, path, before=before, after=after, changed=draw(changed_fields), id=number + 1)
        severity: Any = draw(st.sampled_from([None, "low", "high", "critical"]))
        row = MAKE.finding(change, draw(attributions), severity=severity, scan=draw(st.sampled_from([2, 3])))
        steps = tuple(MAKE.finding(change, draw(attributions)) for _ in range(draw(st.sampled_from([0, 0, 2]))))
        found.append(MAKE.finding(row.change, row.attribution, severity=row.severity, scan=row.scan, steps=steps))
    return found


varied = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@varied
@given(findings_of_any_kind())
def test_each_change_is_in_exactly_one_set(findings: list[Finding]) -> None:
    """Its own number says which; rows are in the order of the findings."""
    grouping = group(findings)
    assert [row.finding for row in grouping.rows] == findings
    assert sorted(id(row) for item in grouping.sets for row in item.rows) == sorted(map(id, grouping.rows))
    for number, item in enumerate(grouping.sets, 1):
        assert item.number == number and item.rows
        assert {row.number for row in item.rows} == {number}
        assert item.start_ns <= item.end_ns
        assert bool(item.roots) is (item.kind is not SetKind.NOBODY)
        named = [bool(row.finding.attribution.actors) for row in item.rows]
        assert set(named) == {item.kind is not SetKind.NOBODY}, "nobody is put among those of a process"


@varied
@given(findings_of_any_kind(), st.randoms(use_true_random=False))
def test_the_order_of_the_findings_does_not_matter(findings: list[Finding], chance: random.Random) -> None:
    """The same sets with the same numbers, ranks and titles come of any order."""
    mixed = list(findings)
    chance.shuffle(mixed)
    one, other = group(findings), group(mixed)
    assert one.sets == other.sets
    assert one.standing_out == other.standing_out
    assert {row.finding.change.id: row for row in one.rows} == {row.finding.change.id: row for row in other.rows}


@varied
@given(findings_of_any_kind())
def test_ranks_are_explained(findings: list[Finding]) -> None:
    """What stands out has a reason, and audit's silence always is one."""
    for row in group(findings).rows:
        rank, parts = row.rank, (row.finding, *row.finding.steps)
        assert (rank.level is Level.LOOK) is (rank.deciding > 0) and rank.deciding <= len(rank.reasons)
        assert len(set(rank.reasons)) == len(rank.reasons)
        if any(part.attribution.reason is Reason.NO_EVENT for part in parts):
            assert rank.stands_out
        if row.finding.severity == "critical" and rank.nature is Nature.CONTENT and not rank.stands_out:
            # Only a package manager, an account tool's backup or a package excuse that.
            assert row.finding.change.path.endswith(b"-") or all(
                actor.exe == b"/usr/bin/dpkg" for actor in row.finding.attribution.actors
            )


@varied
@given(findings_of_any_kind())
def test_the_names_of_a_set_are_those_of_its_rows(findings: list[Finding]) -> None:
    """A process that no row names, nor an ancestor of one, is never at the top of a set."""
    seen = {actor.process for finding in findings for actor in finding.attribution.actors}
    for item in group(findings).sets:
        assert {root.process for root in item.roots} <= seen


def test_lineages_name_only_ancestors(make: Make) -> None:
    """apt-get is at the top because dpkg's own lineage says so."""
    grouping = group(machine(make, 5).findings, facts(make))
    above = {actor.pid for actor in apt_lineage(make)} | {DPKG}
    apt = next(item for item in grouping.sets if len(item.rows) == 5)
    assert {root.pid for root in apt.roots} <= above
