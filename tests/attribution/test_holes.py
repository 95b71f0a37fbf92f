"""Holes, ways to change a file that no audit rule reports: each is a gap while it is open, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, Need, attribute
from fimscan.attribution.holes import HOLES, without_irrelevant
from fimscan.audit import parse_all, rules_for
from fimscan.audit.guards import guards_of, wanted_guards
from fimscan.model import (
    Action,
    Actor,
    AuditNotice,
    AuditObservation,
    Change,
    ChangeKind,
    EventId,
    Gap,
    GapReason,
    Holders,
    NoticeKind,
    Verdict,
)
from fimscan.report.words import GAP_WORDS, gap_text
from fimscan.store import codec
from tests.support import DIRECTORY_ID, SECOND, WINDOW, access, changed_state, observation, rule, state

ROOT = Path(__file__).parents[2]
WHOLE = [[Extent(start_ns=0, end_ns=3000 * SECOND)]]
CONTENT, ATTRIBUTES = Need(), Need(writes=False, attributes=True)
X86 = wanted_guards("x86_64")
EVE = Actor(pid=7, exe=b"/usr/sbin/auditctl", uid=0, user="root", auid=1001, login_user="eve")


def seen(at: float, *, guards: tuple[str, ...] = X86, **values: Any) -> AuditObservation:
    """An observation of a host that needs all guards of x86_64, and whose rules have these."""
    default = {"rules": (rule(guards=frozenset(guards)),), "guards": X86, "uring": (b"/w",)}
    return observation(at, **{**default, **values})


def gaps(
    first: AuditObservation, second: AuditObservation, *notices: AuditNotice, need: Need = CONTENT
) -> tuple[Gap, ...]:
    return CoverageMap((first, second), notices, WHOLE).over(b"/w/f", WINDOW, need).gaps


def reasons(found: tuple[Gap, ...]) -> list[GapReason]:
    return [gap.reason for gap in found]


def notice(kind: NoticeKind, at: float, key: str | None = "fimscan", actor: Actor | None = None) -> AuditNotice:
    return AuditNotice(event=EventId(int(at * SECOND), int(at)), kind=kind, key=key, actor=actor)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_printed_rules_close_every_hole_that_rules_can_close(machine: str) -> None:
    """Under these rules, ordinary changes stay confirmed."""
    printed = parse_all(rules_for([(b"/w", True)], "k", machine=machine).encode(), lambda _: True)
    had = frozenset().union(*map(guards_of, printed))
    assert had >= set(wanted_guards(machine))
    assert {guard.partition(":")[2] for guard in X86} == {name for hole in HOLES for name in hole.guards}
    assert gaps(seen(900, guards=tuple(had)), seen(2100, guards=tuple(had))) == () or machine != "x86_64"


def test_the_page_about_holes_lists_each_of_them() -> None:
    """Administrators look up a gap of an answer there."""
    page = (ROOT / "docs/explanation/audit-holes.md").read_text()
    assert [hole.reason.value for hole in HOLES if f"| `{hole.reason.value}` |" not in page] == []


@pytest.mark.parametrize(
    ("lost", "need", "reason"),
    [
        ("b64:openat2", CONTENT, GapReason.READ_ONLY_OPEN),
        ("b32:open", CONTENT, GapReason.READ_ONLY_OPEN),
        ("b64:openat", CONTENT, GapReason.READ_ONLY_OPEN),
        ("b32:open_by_handle_at", CONTENT, GapReason.HANDLE_OPEN),
        ("b64:times", ATTRIBUTES, GapReason.ATTRIBUTE_CALL),
        ("b32:attributes", ATTRIBUTES, GapReason.ATTRIBUTE_CALL),
    ],
)
def test_a_rule_that_is_missing_opens_its_hole(lost: str, need: Need, reason: GapReason) -> None:
    """At either end of the window, and only for changes that the hole allows."""
    fewer = tuple(guard for guard in X86 if guard != lost)
    assert reasons(gaps(seen(900, guards=fewer), seen(2100), need=need)) == [reason]
    assert reasons(gaps(seen(900), seen(2100, guards=fewer), need=need)) == [reason]
    other = ATTRIBUTES if need is CONTENT else CONTENT
    assert gaps(seen(900, guards=fewer), seen(2100, guards=fewer), need=other) == ()


def test_io_uring_is_a_gap_without_a_rule() -> None:
    """Per directory; a rule for a directory above suffices, and a kernel without io_uring needs none."""
    assert gaps(seen(900), seen(2100)) == ()
    assert reasons(gaps(seen(900, uring=()), seen(2100))) == [GapReason.IO_URING]
    assert reasons(gaps(seen(900, uring=(b"/w2",)), seen(2100, uring=(b"/w2",)))) == [GapReason.IO_URING]
    assert gaps(seen(900, uring=(b"/",)), seen(2100, uring=(b"/",))) == ()


def test_observations_without_holes_cause_no_gap() -> None:
    """Observations by versions that did not check for holes have none."""
    old = observation(900)
    assert gaps(old, observation(2100)) == ()
    assert codec.load_observation(old.time_ns, codec.dump_observation(old)) == old
    new = seen(900, uring=(b"/w", b"/x\xff"), holes=(GapReason.X32_CALL,))
    assert codec.load_observation(new.time_ns, codec.dump_observation(new)) == new
    empty = seen(900, uring=(), guards=())
    assert codec.load_observation(empty.time_ns, codec.dump_observation(empty)) == empty


def test_a_hole_of_the_whole_host_is_a_gap_everywhere() -> None:
    """No rule closes it."""
    assert reasons(gaps(seen(900, holes=(GapReason.X32_CALL,)), seen(2100))) == [GapReason.X32_CALL]


def test_a_file_that_a_record_does_not_name_may_be_any() -> None:
    """It is a gap from then on, with the process as its actor, and none in an earlier window."""
    opened = notice(NoticeKind.UNNAMED_FILE, 1400, actor=EVE)
    (gap,) = gaps(seen(900), seen(2100), opened)
    assert (gap.reason, gap.actor, round(gap.start_ns / SECOND), gap.end_ns) == (
        GapReason.UNNAMED_FILE,
        EVE,
        1400,
        WINDOW.before_ns,
    )
    assert gaps(seen(900), seen(2100), notice(NoticeKind.UNNAMED_FILE, 2050)) == ()


def test_a_users_mount_puts_in_doubt_what_that_user_could_write() -> None:
    """An overlay may have had the directory as its upper layer for a long time; other files are not in doubt."""
    mount = notice(NoticeKind.USER_MOUNT, 950, actor=EVE._replace(uid=1001))
    found = CoverageMap((seen(900), seen(2100)), [mount], WHOLE).over(b"/w/f", WINDOW, CONTENT)
    assert reasons(found.gaps) == [GapReason.OVERLAY]
    window: dict[str, Any] = {"window": WINDOW}
    of_root, of_eve, open_to_all = (state(uid=uid, mode=mode) for uid, mode in ((0, 0o644), (1001, 0o644), (0, 0o666)))
    for side, concerned in ((of_root, False), (of_eve, True), (open_to_all, True), (state(uid=5, mode=0o644), False)):
        change = Change(kind=ChangeKind.MODIFIED, before=side, after=side, **window)
        assert without_irrelevant(found, change).complete is not concerned
    gone = Change(kind=ChangeKind.REMOVED, before=of_root, after=None, **window)
    assert not without_irrelevant(found, gone).complete, "who may write to the directory is not known"
    for directory, concerned in ((of_root, False), (of_eve, True), (open_to_all, True)):
        assert without_irrelevant(found, gone, [directory]).complete is not concerned
    unseen = seen(900, guards=tuple(guard for guard in X86 if guard != "b64:mounts"))
    anybody = CoverageMap((unseen, seen(2100)), (), WHOLE).over(b"/w/f", WINDOW, CONTENT)
    assert reasons(anybody.gaps) == [GapReason.OVERLAY]
    assert without_irrelevant(
        anybody, Change(kind=ChangeKind.MODIFIED, before=of_root, after=of_root, **window)
    ).complete


def test_rights_that_were_other_ones_in_between_keep_a_users_gap() -> None:
    """The file is root's at both scans. In the window, a chmod let everybody write to it for a while."""
    mount = notice(NoticeKind.USER_MOUNT, 950, actor=EVE._replace(uid=1001))
    coverage = CoverageMap((seen(900), seen(2100)), [mount], WHOLE)
    found = Change(kind=ChangeKind.MODIFIED, before=state(), after=changed_state(), changed=("content",), window=WINDOW)
    found = replace(found, holders=Holders(as_of_ns=990 * SECOND))
    opened = access(Action.OPEN_WRITE, 1500)
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID)])
    for log, verdict in (
        ([opened], Verdict.CONFIRMED),
        ([access(Action.CHMOD, 1300, argument=0o666), opened], Verdict.LIKELY),
        ([access(Action.CHMOD, 500, argument=0o666), opened], Verdict.CONFIRMED),
    ):
        evidence = Evidence(index=AccessIndex(log, known), prior={(found.state.dev, found.state.inode): state()})
        assert attribute(found, evidence, coverage).verdict is verdict


def test_the_process_that_removed_a_rule_is_named_in_the_gap() -> None:
    """Also in the text of the gap, and after it was stored."""
    removed = [notice(NoticeKind.RULE_REMOVED, 1400, actor=EVE), notice(NoticeKind.RULE_ADDED, 1500)]
    (gap,) = gaps(seen(900), seen(2100), *removed)
    assert (gap.reason, gap.actor) == (GapReason.RULE_REMOVED, EVE)
    assert gap_text(gap, WINDOW).endswith(", by /usr/sbin/auditctl (pid 7), as root, logged in as eve")
    gone = gaps(seen(900), seen(2100, rules=()), removed[0])
    assert [(g.reason, g.actor) for g in gone] == [(GapReason.RULE_REMOVED, EVE)]
    uring = gaps(seen(900), seen(2100), notice(NoticeKind.URING_RULE_REMOVED, 1400, actor=EVE))
    assert [(g.reason, g.actor) for g in uring] == [(GapReason.IO_URING, EVE)]
    elsewhere = rule(scope=b"/other", key="others", text="3")
    both: dict[str, Any] = {"rules": (rule(guards=frozenset(X86)), elsewhere)}
    theirs = notice(NoticeKind.URING_RULE_REMOVED, 1400, key="others", actor=EVE)
    assert gaps(seen(900, **both), seen(2100, **both), theirs) == ()


def test_a_removed_rule_of_others_is_a_gap_only_if_it_was_needed() -> None:
    """fimscan's rules cover the path before and after. If coverage needs the other rule, its removal is a gap."""
    ours, other = rule(guards=frozenset(X86), text="1"), rule(key="identity", text="2")
    both: dict[str, Any] = {"rules": (ours, other)}
    removed = notice(NoticeKind.RULE_REMOVED, 1400, key="identity")
    back = notice(NoticeKind.RULE_ADDED, 1500, key="identity")
    assert gaps(seen(900, **both), seen(2100, **both), removed, back) == ()
    assert gaps(seen(900, **both), seen(2100, rules=(ours,)), removed) == ()
    alone: dict[str, Any] = {"rules": (replace(ours, writes=False), other)}
    assert reasons(gaps(seen(900, **alone), seen(2100, **alone), removed, back)) == [GapReason.RULE_REMOVED]
    nameless = notice(NoticeKind.RULE_REMOVED, 1400, key=None)
    assert gaps(seen(900, **both), seen(2100, **both), nameless) == ()


def test_every_hole_says_how_it_is_closed_and_how_that_is_checked() -> None:
    """The table is complete: one entry for each reason, each with texts."""
    assert len({hole.reason for hole in HOLES}) == len(HOLES)
    assert all(hole.way and hole.closed_by and hole.checked_by for hole in HOLES)
    assert set(GAP_WORDS) == set(GapReason)
