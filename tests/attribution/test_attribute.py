"""Who did it: the verdicts and roles, each with the evidence that makes it and the evidence that would unmake it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, attribute
from fimscan.model import (
    Action,
    Actor,
    Attribution,
    AuditNotice,
    AuditObservation,
    Change,
    ChangeKind,
    EventId,
    FileAccess,
    FileKind,
    FileState,
    GapReason,
    Holders,
    Name,
    NoticeKind,
    Reason,
    Role,
    Verdict,
    Xattr,
)
from tests.support import (
    DEV,
    DIRECTORY_ID,
    SECOND,
    access,
    actor,
    change,
    changed_state,
    name,
    observation,
    rule,
    state,
)

A = actor(pid=1, exe=b"/bin/a")
B = actor(pid=2, exe=b"/bin/b")
HEALTHY = (observation(900), observation(2100))
WHOLE = (Extent(start_ns=0, end_ns=3000 * SECOND),)


def ask(
    found: Change,
    accesses: Iterable[FileAccess],
    *,
    observations: Iterable[AuditObservation] = HEALTHY,
    extents: tuple[Extent, ...] = WHOLE,
    prior: Iterable[FileState] = (),
    holders: dict[tuple[int, int], list[Actor]] | None = None,
) -> Attribution:
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID), (b"/w/d", (DEV, 3))])
    evidence = Evidence(index=AccessIndex(accesses, known), prior={s.identity: s for s in prior})
    if holders is not None:
        found = replace(found, holders=Holders(as_of_ns=0, actors=tuple(holders.get(found.state.identity, ()))))
    return attribute(found, evidence, CoverageMap(observations, (), (extents,)))


def who(answer: Attribution) -> list[tuple[int, Role | None]]:
    return [(a.pid, a.role) for a in answer.actors]


# --- one process ----------------------------------------------------------------------------------------------------


def test_the_only_writer_is_confirmed() -> None:
    """One process opened the file for writing in its window, and audit has no gap: confirmed."""
    answer = ask(change(state(), changed_state()), [access(Action.OPEN_WRITE, 1500, A)])
    assert (answer.verdict, answer.reason, who(answer)) == (Verdict.CONFIRMED, None, [(1, Role.WRITER)])


def test_creation_names_the_creator() -> None:
    """The creator of a new file is its writer."""
    answer = ask(change(None, changed_state()), [access(Action.CREATE, 1500, A)])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.WRITER)])


def test_removal_names_the_remover_not_an_earlier_writer() -> None:
    """A process that wrote to the file is not named for its removal."""
    found = change(state(), None)
    answer = ask(found, [access(Action.OPEN_WRITE, 1400, A), access(Action.UNLINK, 1500, B)])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(2, Role.REMOVER)])


def test_rename_into_place_names_writer_and_placer() -> None:
    """A wrote x.tmp, B renamed it over the file: A is the writer, B the placer."""
    log = [
        access(Action.CREATE, 1400, A, name=name("x.tmp"), inode=11),
        access(Action.RENAME, 1500, B, old=name("x.tmp"), inode=11, replaced=(DEV, 10)),
    ]
    answer = ask(change(state(), changed_state(inode=11)), log)
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.WRITER), (2, Role.PLACER)])


def test_rename_relative_to_a_descriptor_is_placed_by_the_parents_identity() -> None:
    """The record of renameat(dirfd) has no path; the directory's inode gives the place."""
    relative = name("f")._replace(path=None)
    log = [
        access(Action.CREATE, 1400, A, name=name("t")._replace(path=None), inode=11),
        access(Action.RENAME, 1500, A, name=relative, old=name("t")._replace(path=None), inode=11),
    ]
    answer = ask(change(state(), changed_state(inode=11)), log)
    assert (answer.verdict, {pid for pid, _ in who(answer)}) == (Verdict.CONFIRMED, {1})


def test_a_move_names_the_mover() -> None:
    """The content is unchanged; the process that renamed the file is the placer."""
    moved = change(state(b"/w/f"), None)
    found = replace(
        moved,
        kind=ChangeKind.MOVED,
        after=changed_state(b"old", path=b"/w/g", mtime_ns=100 * SECOND),
        changed=("ctime",),
    )
    answer = ask(found, [access(Action.RENAME, 1500, A, name=name("g"), old=name("f"))])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.PLACER)])


def test_a_renamed_directory_moves_the_files_below_it() -> None:
    """mv of a directory leaves one record; it is the move of every file below."""
    found = replace(
        change(state(b"/w/old/f"), None),
        kind=ChangeKind.MOVED,
        after=changed_state(b"old", path=b"/w/d/f", mtime_ns=100 * SECOND, ctime_ns=100 * SECOND),
    )
    log = [access(Action.RENAME, 1500, A, name=name("d"), old=name("old"), inode=3, mode=0o040755)]
    answer = ask(found, log)
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.PLACER)])


def test_chmod_names_the_process_that_set_the_present_mode() -> None:
    """Of two chmods, the one that set the present mode is the answer."""
    log = [
        access(Action.CHMOD, 1400, A, argument=0o777),
        access(Action.CHMOD, 1500, B, argument=0o600),
    ]
    answer = ask(change(state(), changed_state(b"old", mode=0o600, mtime_ns=100 * SECOND)), log)
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(2, Role.CHANGER)])


def test_content_and_mode_by_two_processes_name_both() -> None:
    """Each side of a change has its own actor."""
    log = [access(Action.OPEN_WRITE, 1400, A), access(Action.CHMOD, 1500, B, argument=0o600)]
    answer = ask(change(state(), changed_state(mode=0o600)), log)
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.WRITER), (2, Role.CHANGER)])


def test_creating_a_hard_link_makes_no_writer() -> None:
    """ln gives a known file another name: the linker is the placer, and there is no writer."""
    log = [access(Action.LINK, 1500, A, name=name("l"), old=name("f"))]
    answer = ask(change(None, changed_state(b"old", path=b"/w/l", mtime_ns=100 * SECOND)), log, prior=[state()])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.PLACER)])


# --- several processes ----------------------------------------------------------------------------------------------


def test_two_writers_are_contested_latest_first() -> None:
    """Two processes had the file open for writing: no record decides between them."""
    log = [access(Action.OPEN_WRITE, 1400, A), access(Action.OPEN_WRITE, 1490, B)]
    answer = ask(change(state(), changed_state()), log)
    assert (answer.verdict, who(answer)) == (Verdict.CONTESTED, [(2, Role.WRITER), (1, Role.WRITER)])


def test_an_opener_after_the_last_change_is_cleared() -> None:
    """A write sets ctime, so a process that opened the file later wrote nothing."""
    log = [access(Action.OPEN_WRITE, 1500, A), access(Action.OPEN_WRITE, 1501, B)]
    answer = ask(change(state(), changed_state(at=1500.001)), log)
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.WRITER)])


def test_a_forged_mtime_clears_nobody() -> None:
    """touch -d sets mtime, never ctime."""
    log = [access(Action.OPEN_WRITE, 1500, A)]
    answer = ask(change(state(), changed_state(mtime_ns=50 * SECOND, ctime_ns=1500 * SECOND)), log)
    assert who(answer) == [(1, Role.WRITER)]


def test_one_process_that_opens_twice_is_one_process() -> None:
    """Two opens by the same process are not contested."""
    log = [access(Action.OPEN_WRITE, 1400, A), access(Action.OPEN_WRITE, 1500, A)]
    assert ask(change(state(), changed_state()), log).verdict is Verdict.CONFIRMED


# --- descriptors that are older than the window ---------------------------------------------------------------------


def test_a_descriptor_opened_before_the_window_is_only_likely() -> None:
    """The only open is before the window: likely, never confirmed."""
    answer = ask(change(state(), changed_state()), [access(Action.OPEN_WRITE, 990, A)])
    assert (answer.verdict, answer.reason, who(answer)) == (
        Verdict.LIKELY,
        Reason.HELD_DESCRIPTOR,
        [(1, Role.WRITER)],
    )


def test_a_holder_contests_a_later_opener() -> None:
    """A daemon that holds the file open may also have written to it."""
    answer = ask(change(state(), changed_state()), [access(Action.OPEN_WRITE, 1500, A)], holders={(DEV, 10): [B]})
    assert (answer.verdict, who(answer)) == (Verdict.CONTESTED, [(1, Role.WRITER), (2, Role.WRITER)])


def test_a_file_from_elsewhere_that_changed_after_it_was_placed_is_not_confirmed() -> None:
    """mv from outside the watch, then a write through an earlier descriptor: the mover is likely at most."""
    log = [access(Action.RENAME, 1400, A, old=name("x")._replace(path=b"/tmp/x", parent=(DEV, 99)), inode=11)]
    found = change(state(), changed_state(inode=11, at=1500))
    answer = ask(found, log)
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR)
    quiet = change(state(), changed_state(inode=11, mtime_ns=50 * SECOND, ctime_ns=1400 * SECOND))
    assert ask(quiet, log).verdict is Verdict.CONFIRMED


# --- nobody ---------------------------------------------------------------------------------------------------------


def test_no_actor_under_full_coverage_is_no_event() -> None:
    """Audit has no gap, and no process was recorded: the reason is no-event, the alarming one."""
    answer = ask(change(state(), changed_state()), [])
    assert (answer.verdict, answer.reason, answer.coverage.complete) == (Verdict.UNATTRIBUTED, Reason.NO_EVENT, True)


def test_no_actor_on_a_later_mount_is_not_covered() -> None:
    """A file system mounted below a watched directory after its rules were loaded is not covered."""
    elsewhere = tuple(replace(o, rules=(rule(target=(DEV + 1, 2)),)) for o in HEALTHY)
    answer = ask(change(state(), changed_state()), [], observations=elsewhere)
    assert (answer.verdict, answer.reason, answer.coverage.complete) == (
        Verdict.UNATTRIBUTED,
        Reason.NOT_COVERED,
        False,
    )
    here = tuple(replace(o, rules=(rule(target=(DEV, 2)),)) for o in HEALTHY)
    answer = ask(change(state(), changed_state()), [], observations=here)
    assert answer.reason is Reason.NO_EVENT


def test_no_actor_without_a_rule_is_not_covered() -> None:
    """No rule covers the path: the reason is not-covered, no alarm."""
    elsewhere = [replace(o, rules=()) for o in HEALTHY]
    answer = ask(change(state(), changed_state()), [], observations=elsewhere)
    assert (answer.verdict, answer.reason) == (Verdict.UNATTRIBUTED, Reason.NOT_COVERED)


@pytest.mark.parametrize(
    "last",
    [
        observation(2100, lost=5),
        observation(2100, daemon_pid=0),
        observation(2100, enabled=0),
        observation(2100, boot_id="boot-2"),
        observation(2100, error="auditctl is not there"),
    ],
    ids=["lost", "daemon", "disabled", "boot", "not-observed"],
)
def test_a_gap_makes_confirmed_likely_and_no_event_a_coverage_gap(last: AuditObservation) -> None:
    """With a gap, one writer is likely, and no writer is a coverage gap."""
    found = change(state(), changed_state())
    seen = (observation(900), last)
    answer = ask(found, [access(Action.OPEN_WRITE, 1500, A)], observations=seen)
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.COVERAGE_GAP)
    assert ask(found, [], observations=seen).reason is Reason.COVERAGE_GAP


def test_a_log_that_was_not_read_over_the_window_is_a_gap() -> None:
    """A log that was rotated away unread may have named another process."""
    answer = ask(
        change(state(), changed_state()),
        [access(Action.OPEN_WRITE, 1500, A)],
        extents=(Extent(start_ns=1200 * SECOND, end_ns=3000 * SECOND),),
    )
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.COVERAGE_GAP)


def test_a_record_without_an_inode_is_a_lead_and_no_proof() -> None:
    """A match by path alone is likely, reason path-only."""
    log = [access(Action.OPEN_WRITE, 1500, A, dev=None, inode=None)]
    answer = ask(change(None, changed_state()), log)
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.PATH_ONLY)


def test_the_right_inode_on_another_device_number_is_a_lead_and_no_proof() -> None:
    """On btrfs, stat has the subvolume's device and audit the file system's: a lead, not unattributed."""
    log = [access(Action.OPEN_WRITE, 1500, A, dev=DEV + 1)]
    answer = ask(change(state(), changed_state()), log)
    assert (answer.verdict, answer.reason, who(answer)) == (Verdict.LIKELY, Reason.PATH_ONLY, [(1, Role.WRITER)])


# --- never ----------------------------------------------------------------------------------------------------------


def test_the_same_path_in_a_container_is_another_file() -> None:
    """/w/f under another root has another parent inode: its writer is not named."""
    log = [access(Action.CREATE, 1500, A, name=name("f", parent=(DEV, 999)), inode=500)]
    answer = ask(change(None, changed_state()), log)
    assert answer.actors == ()


def test_a_removal_of_the_same_path_in_a_container_is_of_another_file() -> None:
    """A process removed this path under another root; no record shows the removal here."""
    log = [access(Action.UNLINK, 1500, A, name=name("f", parent=(DEV, 999)), inode=500)]
    assert ask(change(state(), None), log).actors == ()


@pytest.mark.parametrize("renamed", [None, name("swap~"), Name(text=b"swap~")])
@pytest.mark.parametrize("deleted_at", [1300.2, 1310])
def test_the_maker_of_a_deleted_file_did_not_write_the_next_one_with_its_number(
    deleted_at: float, renamed: Name | None
) -> None:
    """A's swap file was deleted and its inode number given to a file elsewhere, which B moved here."""
    log = [access(Action.CREATE, 1300, A, name=name("swap"), inode=11)]
    if renamed is not None:
        log.append(access(Action.RENAME, 1300.1, A, name=renamed, old=name("swap"), inode=11))
    log += [
        access(Action.UNLINK, deleted_at, A, name=name("swap~" if renamed else "swap"), inode=11),
        access(Action.RENAME, 1500, B, old=name("x")._replace(path=b"/tmp/x", parent=(DEV, 99)), inode=11),
    ]
    answer = ask(change(state(), changed_state(inode=11)), log)
    assert who(answer) == [(2, Role.PLACER)]


@pytest.mark.parametrize("by_rename", [False, True])
def test_the_removal_that_freed_the_number_may_come_after_the_creation_that_got_it(*, by_rename: bool) -> None:
    """The order of events is no proof: B created f with the number that A freed, though A's call ended later."""
    creation = access(Action.CREATE, 1500, B)
    if by_rename:
        removal = access(Action.RENAME, 1500, A, name=name("g"), old=name("x"), inode=12, replaced=(DEV, 10))
    else:
        removal = access(Action.UNLINK, 1500, A, name=name("g"))
    answer = ask(change(None, changed_state(at=1500)), [creation, removal])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(2, Role.WRITER)])


def test_an_open_during_the_creation_counts() -> None:
    """A's open precedes B's creation in the order of events, but the file did not exist before it."""
    answer = ask(change(None, changed_state()), [access(Action.OPEN_WRITE, 1499.9, A), access(Action.CREATE, 1500, B)])
    assert (answer.verdict, {pid for pid, _ in who(answer)}) == (Verdict.CONTESTED, {1, 2})
    for other in (access(Action.OPEN_WRITE, 1490, A), access(Action.OPEN_WRITE, 1499.9, A, name=name("g"))):
        answer = ask(change(None, changed_state()), [other, access(Action.CREATE, 1500, B)])
        assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(2, Role.WRITER)])


@pytest.mark.parametrize("why", ["its own name", "another of its names", "a name that may be any", "much later"])
def test_a_removal_that_may_be_of_this_file_is_taken_for_it(why: str) -> None:
    """A later call was missed then: the creator is likely at most, and nobody is confirmed."""
    log = [access(Action.CREATE, 1500, B)]
    at, taken = 1500.0, name("g")
    if why == "its own name":
        taken = name("f")
    elif why == "another of its names":
        log.append(access(Action.LINK, 1500, B, name=name("g"), old=name("f")))
        log.append(access(Action.UNLINK, 1500, A, name=name("f")))
    elif why == "a name that may be any":
        taken = Name(text=b"g")
    else:
        at = 1502
    log.append(access(Action.UNLINK, at, A, name=taken))
    answer = ask(change(None, changed_state(at=1999)), log)
    assert (answer.verdict, who(answer)) == (Verdict.LIKELY, [(2, Role.WRITER)])


def test_a_later_removal_of_a_file_with_the_same_name_and_number_does_not_count() -> None:
    """rm f by A, a new f gets the same inode number, rm f by B: A removed the known file."""
    log = [access(Action.UNLINK, 1400, A), access(Action.CREATE, 1450, B), access(Action.UNLINK, 1500, B)]
    assert who(ask(change(state(), None), log)) == [(1, Role.REMOVER)]


def test_a_later_move_of_the_directory_does_not_count_as_removal() -> None:
    """rm d/f by A, then mv d e by B: A removed it."""
    gone = change(state(b"/w/d/f"), None)
    log = [
        access(Action.UNLINK, 1400, A, name=name("f", b"/w/d", (DEV, 3))),
        access(Action.RENAME, 1500, B, name=name("e"), old=name("d"), inode=3, mode=0o040755),
    ]
    answer = ask(gone, log)
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.REMOVER)])


def test_a_ctime_of_whole_seconds_clears_nobody_within_that_second() -> None:
    """ext4 with small inodes keeps whole seconds: a process that opened later in that second may have written."""
    log = [access(Action.OPEN_WRITE, 1498, A), access(Action.OPEN_WRITE, 1500.5, B)]
    answer = ask(change(state(), changed_state(mtime_ns=1500 * SECOND, ctime_ns=1500 * SECOND)), log)
    assert (answer.verdict, {pid for pid, _ in who(answer)}) == (Verdict.CONTESTED, {1, 2})


def test_a_failed_call_accuses_nobody() -> None:
    """An open that was refused wrote nothing."""
    assert ask(change(state(), changed_state()), [access(Action.OPEN_WRITE, 1500, A, success=False)]).actors == ()


def test_an_unseen_replacement_does_not_accuse_the_last_known_writer() -> None:
    """No record shows who created or placed the present inode: unattributed."""
    log = [access(Action.OPEN_WRITE, 1500, A)]
    answer = ask(change(state(), changed_state(inode=99)), log)
    assert (answer.verdict, answer.actors) == (Verdict.UNATTRIBUTED, ())


def test_the_mover_of_a_known_file_is_not_blamed_for_other_content() -> None:
    """The moved file had other content when it was last read, and no write was recorded: unattributed."""
    log = [access(Action.RENAME, 1500, A, old=name("g"))]
    answer = ask(change(None, changed_state(b"new")), log, prior=[state(b"/w/g", b"old")])
    assert (answer.verdict, answer.actors) == (Verdict.UNATTRIBUTED, ())


@pytest.mark.parametrize("removed_at", [900, 1100])
def test_a_file_that_lost_one_of_more_names_than_were_known_is_still_the_same(removed_at: float) -> None:
    """B opened it, C removed a name of it that no scan counted, A opened it: A is not the only candidate."""
    log = [
        access(Action.OPEN_WRITE, removed_at - 1, B),
        access(Action.UNLINK, removed_at, actor(pid=3), name=name("g")),
        access(Action.OPEN_WRITE, 1200, A),
    ]
    answer = ask(change(state(), changed_state()), log, prior=[state()])
    assert (answer.verdict, {pid for pid, _ in who(answer)}) == (Verdict.CONTESTED, {1, 2})


def test_a_reused_inode_number_separates_two_files() -> None:
    """B wrote to f and removed it; another file with its number was created, or moved in from outside."""
    gone = [access(Action.OPEN_WRITE, 1010, B), access(Action.UNLINK, 1050, B)]
    moved_in = access(Action.RENAME, 1300, A, old=name("x", b"/elsewhere", (DEV, 99)))
    answer = ask(change(state(), changed_state()), [*gone, moved_in])
    assert who(answer) == [(1, Role.PLACER), (2, Role.WRITER)]
    assert [actor.earlier for actor in answer.actors] == [False, True]
    made = [access(Action.CREATE, 1100, actor(pid=3), name=name("g"))]
    made += [access(Action.UNLINK, 1150, actor(pid=3), name=name("g")), access(Action.OPEN_WRITE, 1200, A)]
    assert who(ask(change(state(), changed_state()), [*gone, *made])) == [(1, Role.WRITER), (2, Role.WRITER)]


def test_a_name_relative_to_a_descriptor_places_a_file_by_its_number_alone() -> None:
    """renameat(fd, "t", fd, "f") without a recorded directory: the inode and the last component decide."""
    unplaced = access(Action.RENAME, 1400, A, name=Name(text=b"f"), old=Name(text=b"t"))
    answer = ask(change(state(inode=9), changed_state()), [access(Action.OPEN_WRITE, 1300, B), unplaced])
    assert set(who(answer)) == {(2, Role.WRITER), (1, Role.PLACER)}


def test_an_unknown_second_name_is_a_gap() -> None:
    """The file has two links at the newer observation, one of which no scan knows; directories are exempt."""
    log = [access(Action.OPEN_WRITE, 1400, A)]
    answer = ask(change(state(), changed_state(nlink=2)), log)
    assert [gap.reason for gap in answer.coverage.gaps] == [GapReason.OTHER_NAME]
    folder: dict[str, Any] = {"kind": FileKind.DIRECTORY, "nlink": 2, "digests": ()}
    set_mode = access(Action.CHMOD, 1400, A, argument=0o700, mode=0o040755)
    answer = ask(change(state(**folder), state(mode=0o700, ctime_ns=1400 * SECOND, **folder)), [set_mode])
    assert (answer.verdict, answer.coverage.gaps) == (Verdict.CONFIRMED, ())


def test_one_side_that_no_rule_can_see_does_not_excuse_the_other() -> None:
    """No rule reports chattr's flags; but a changed link count without an actor is an alarm."""
    answer = ask(change(state(flags=0), state(flags=0x10, nlink=2, ctime_ns=1500 * SECOND)), [])
    assert answer.reason is not Reason.NOT_COVERED
    alone = ask(change(state(flags=0), state(flags=0x10, ctime_ns=1500 * SECOND)), [])
    assert alone.reason is Reason.NOT_COVERED


def test_failed_observations_are_a_gap_not_a_missing_rule() -> None:
    """auditctl failed at both scans: a coverage gap, not not-covered."""
    unknown = (observation(900, error="no", rules=()), observation(2100, error="no", rules=()))
    assert ask(change(state(), changed_state()), [], observations=unknown).reason is Reason.COVERAGE_GAP
    assert ask(change(state(), changed_state()), [], observations=(observation(900, rules=()),)).reason is (
        Reason.NOT_COVERED
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Action.OPEN_WRITE, Action.CREATE, Action.UNLINK, Action.CHMOD, Action.RENAME]),
            st.floats(min_value=900, max_value=2100),
            st.sampled_from([10, 11, 12]),
            st.sampled_from([A, B]),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_confirmed_means_that_no_other_process_could_have_written(
    log: list[tuple[Action, float, int, Actor, bool]],
) -> None:
    """For any log: a confirmed writer is the only process that had this file open since its creation."""
    accesses = [
        access(action, at, by, inode=inode, success=ok, name=name("f") if inode != 12 else name("g"), old=name("t"))
        for action, at, inode, by, ok in log
    ]
    after = changed_state()
    answer = ask(change(state(), after), accesses)
    if answer.verdict is not Verdict.CONFIRMED:
        return
    accused = {a.process for a in answer.actors if a.role is Role.WRITER}
    births = [a for a in accesses if a.success and a.action is Action.CREATE and a.identity == after.identity]
    since = max((a.event.time_ns for a in births), default=0)
    possible = {
        a.actor.process
        for a in accesses
        if a.success
        and a.action in (Action.OPEN_WRITE, Action.CREATE)
        and a.identity == after.identity
        and since <= a.event.time_ns <= after.ctime_ns
    }
    assert possible <= accused or not accused


def test_a_kind_change_is_the_placers() -> None:
    """A file became a symlink: the process that created the link is named."""
    link = changed_state(kind=FileKind.SYMLINK, digests=(), link_target=b"/etc/passwd", inode=11)
    log = [
        access(Action.UNLINK, 1400, A),
        access(Action.SYMLINK, 1500, A, inode=11),
    ]
    assert who(ask(change(state(), link), log)) == [(1, Role.WRITER)]


def test_the_only_opener_is_not_named_for_a_write_in_a_later_gap() -> None:
    """It opened the file before audit was disabled, and the file changed after that: unattributed."""
    off = [
        AuditNotice(event=EventId(1600 * SECOND, 8), kind=NoticeKind.DISABLED),
        AuditNotice(event=EventId(1800 * SECOND, 9), kind=NoticeKind.ENABLED),
    ]

    def answer(last_change: int) -> Attribution:
        after = replace(changed_state(), ctime_ns=last_change * SECOND + 1)
        found = replace(change(state(), after), holders=Holders(as_of_ns=0))
        index = AccessIndex([access(Action.OPEN_WRITE, 1500, A)], KnownDirectories.of([(b"/w", DIRECTORY_ID)]))
        return attribute(found, Evidence(index=index, prior={}), CoverageMap(HEALTHY, off, (WHOLE,)))

    unseen = answer(1700)
    assert (unseen.verdict, unseen.reason, unseen.actors) == (Verdict.UNATTRIBUTED, Reason.COVERAGE_GAP, ())
    assert any("in a gap" in note for note in unseen.notes)
    seen = answer(1501)
    assert (seen.verdict, seen.reason, who(seen)) == (Verdict.LIKELY, Reason.COVERAGE_GAP, [(1, Role.WRITER)])


# --- attributes and flags -------------------------------------------------------------------------------------------


def _with(*names: bytes, at: float = 1500, **values: object) -> FileState:
    xattrs = tuple(Xattr(name=each, size=1, data=b"1") for each in names)
    return changed_state(b"old", at, xattr_digest=b"".join(names), xattrs=xattrs, mtime_ns=state().mtime_ns, **values)


@pytest.mark.parametrize("attribute_name", [b"security.capability", b"system.posix_acl_access", b"security.selinux"])
def test_a_process_that_set_an_attribute_is_the_changer(attribute_name: bytes) -> None:
    """A capability, an ACL and a label are set by the same call as any other extended attribute."""
    answer = ask(change(state(), _with(attribute_name)), [access(Action.SETXATTR, 1500, A)])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.CHANGER)])


def test_a_chmod_that_also_changed_the_access_list_is_named_once() -> None:
    """chmod sets the mask of an ACL: one call explains both differences."""
    after = _with(b"system.posix_acl_access", mode=0o600)
    answer = ask(change(state(), after), [access(Action.CHMOD, 1500, A, argument=0o600)])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(1, Role.CHANGER)])


@pytest.mark.parametrize("action", [Action.OPEN_WRITE, Action.CHMOD, Action.SETXATTR, Action.UTIME, Action.LINK])
def test_no_process_is_named_for_unreported_flags(action: Action) -> None:
    """chattr's ioctl leaves no event with a path, so a process with another call is not named for the flags.

    The reason is not the alarm no-event either.
    """
    after = changed_state(b"old", mtime_ns=state().mtime_ns, flags=0x10)
    answer = ask(change(state(flags=0), after), [access(action, 1500, A)])
    assert (answer.verdict, answer.reason, answer.actors) == (Verdict.UNATTRIBUTED, Reason.NOT_COVERED, ())
    assert [gap.reason for gap in answer.coverage.gaps] == [GapReason.UNSEEN_CALL]


@pytest.mark.parametrize(
    ("mode", "uid", "is_proof"), [(0o644, 0, True), (0o666, 0, False), (0o664, 0, False), (0o644, 1000, False)]
)
@pytest.mark.parametrize("after_ns", [state().mtime_ns, state().mtime_ns + SECOND])
def test_times_that_a_user_may_set_unseen_are_no_proof(mode: int, uid: int, is_proof: bool, after_ns: int) -> None:
    """futimens(3) and chattr's ioctl name no file: an opener of the file need not have set its times."""
    before = state(mode=mode, uid=uid)
    found = change(before, replace(before, mtime_ns=after_ns, ctime_ns=int(1500.001 * SECOND)))
    answer = ask(found, [access(Action.OPEN_WRITE, 1500, A)])
    reasons = [gap.reason for gap in answer.coverage.gaps]
    expected = (Verdict.CONFIRMED, []) if is_proof else (Verdict.LIKELY, [GapReason.TIMES_CALL])
    assert (answer.verdict, reasons) == expected


def test_other_changes_beside_flags_are_still_attributed() -> None:
    """The mode has its changer, and the answer is as strong as its weakest side."""
    found = change(state(flags=0), changed_state(b"old", mode=0o600, mtime_ns=state().mtime_ns, flags=0x10))
    answer = ask(found, [access(Action.CHMOD, 1500, A, argument=0o600)])
    assert (answer.verdict, answer.reason, who(answer)) == (
        *(Verdict.UNATTRIBUTED, Reason.NOT_COVERED),
        [(1, Role.CHANGER)],
    )
    assert ask(found, []).reason is Reason.NO_EVENT


def test_flags_that_cannot_be_inherited_are_not_laid_to_the_writer() -> None:
    """A file put into place inherits flags of its directory, but never the immutable flag."""
    log = [
        access(Action.CREATE, 1400, A, inode=11, name=name("t")),
        access(Action.RENAME, 1500, A, inode=11, name=name("f"), old=name("t"), replaced=(DEV, 10)),
    ]
    inherited = ask(change(state(flags=0), changed_state(inode=11, flags=0x40)), log)
    assert inherited.verdict is Verdict.CONFIRMED
    immutable = ask(change(state(flags=0), changed_state(inode=11, flags=0x10)), log)
    assert (immutable.verdict, immutable.reason) == (Verdict.UNATTRIBUTED, Reason.NOT_COVERED)


def test_the_size_of_a_moved_directory_is_no_content() -> None:
    """Its size changes with its entries; no process writes to it."""
    folder: dict[str, Any] = {"kind": FileKind.DIRECTORY, "nlink": 2, "digests": ()}
    before = state(b"/w/d", size=40, **folder)
    moved = access(Action.RENAME, 1500, A, name=name("e"), old=name("d"), inode=10, mode=0o040755)
    answer = ask(change(None, changed_state(path=b"/w/e", size=20, **folder)), [moved], prior=[before])
    assert (answer.verdict, who(answer)) == (Verdict.CONFIRMED, [(A.pid, Role.PLACER)])


@pytest.mark.parametrize(
    ("later", "named"),
    [
        ([access(Action.SETXATTR, 1400, B)], [2]),
        ([], []),
    ],
    ids=("an ACL", "nothing"),
)
def test_a_mode_that_was_taken_back_was_set_by_somebody_else(later: list[FileAccess], named: list[int]) -> None:
    """A set the present mode and took it back; then an ACL that is nothing but a mode set it."""
    back = [access(Action.CHMOD, 1200, A, argument=0o664), access(Action.CHMOD, 1300, A, argument=0o644)]
    answer = ask(change(state(), changed_state(b"old", mode=0o664)), [*back, *later])
    assert [actor.pid for actor in answer.actors] == named


def test_setuid_that_was_set_and_cleared_by_a_write() -> None:
    """A set the present mode, then setuid as well; writing to the file cleared that."""
    log = [
        access(Action.CHMOD, 1200, A, argument=0o755),
        access(Action.CHMOD, 1300, A, argument=0o4755),
        access(Action.OPEN_WRITE, 1400, B),
    ]
    answer = ask(change(state(), changed_state(b"old", mode=0o755)), log)
    assert [actor.pid for actor in answer.actors] == [2]
