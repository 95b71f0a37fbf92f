"""The reasoning that is kept with an answer: why each process was named or not."""

from __future__ import annotations

from msgspec.structs import replace

from fimscan.model import (
    Action,
    Attribution,
    AuditObservation,
    Change,
    EventId,
    FileAccess,
    GapReason,
    Holders,
    Reason,
    Verdict,
    Why,
    Window,
    Xattr,
)
from tests.attribution.test_attribute import A, B, ask
from tests.support import DEV, SECOND, access, actor, change, changed_state, name, observation, state

IN_MEMORY = 0x2A  # major number 0: no block device


def whys(answer: Attribution) -> dict[int, list[Why]]:
    """The judgements by process id."""
    found: dict[int, list[Why]] = {}
    assert answer.reasoning is not None
    for ruling in answer.reasoning.rulings:
        found.setdefault(ruling.actor.pid, []).append(ruling.why)
    return {pid: sorted(some) for pid, some in found.items()}


def test_each_process_has_its_reason() -> None:
    """One file, eight processes: one wrote; seven did something else, on another file or too late."""
    log = [
        access(Action.OPEN_WRITE, 500, actor(pid=10)),
        access(Action.OPEN_WRITE, 1400, actor(pid=11)),
        access(Action.OPEN_WRITE, 1600, actor(pid=12)),
        access(Action.CHMOD, 1300, actor(pid=13), argument=0o644),
        access(Action.OPEN_WRITE, 1300, actor(pid=14), success=False),
        access(Action.OPEN_WRITE, 1300, actor(pid=15), inode=77),
        access(Action.OPEN_WRITE, 2500, actor(pid=16)),
        access(Action.OPEN_WRITE, 1300, actor(pid=17), inode=78, name=name("other")),
    ]
    found = replace(change(state(), changed_state(at=1500.001)), holders=Holders(as_of_ns=990 * SECOND))
    answer = ask(found, log)
    assert (answer.verdict, [a.pid for a in answer.actors]) == (Verdict.CONFIRMED, [11])
    assert whys(answer) == {
        10: [Why.CLOSED_BEFORE],
        11: [Why.WRITE_ACCESS],
        12: [Why.AFTER_LAST_CHANGE],
        13: [Why.NO_WRITE],
        14: [Why.FAILED],
        15: [Why.OTHER_FILE],
        16: [Why.AFTER_WINDOW],
    }


def test_an_earlier_file_of_the_inode_number_is_separate() -> None:
    """The inode number was another file's before: the writer of that file is cleared, and listed."""
    other = {"name": name("g")}
    log = [
        access(Action.CREATE, 1250, A, **other),
        access(Action.OPEN_WRITE, 1300, A, **other),
        access(Action.UNLINK, 1400, A, **other),
        access(Action.CREATE, 1500, B),
    ]
    answer = ask(change(state(inode=12), changed_state()), log)
    assert whys(answer) == {1: [Why.EARLIER_FILE] * 3, 2: [Why.WRITE_ACCESS]}


def test_a_later_file_of_the_inode_number_is_separate() -> None:
    """The creator of another file that got the number of the replaced one had no part."""
    before, after = state(), changed_state(inode=900)
    log = [
        access(Action.CREATE, 1400, A, inode=900, name=name("tmp")),
        access(Action.RENAME, 1500, A, inode=900, old=name("tmp"), replaced=before.identity),
        access(Action.CREATE, 1600, B, inode=before.inode, name=name("other")),
    ]
    assert whys(ask(change(before, after), log))[2] == [Why.LATER_FILE]


def test_two_processes_of_one_pid_stay_two() -> None:
    """The pid was reused: same program, another parent. Both calls are listed."""
    log = [access(Action.OPEN_WRITE, 1400, A._replace(ppid=5)), access(Action.OPEN_WRITE, 1450, A._replace(ppid=6))]
    answer = ask(change(state(), changed_state()), log)
    assert answer.reasoning is not None
    assert [len(r.events) for r in answer.reasoning.rulings] == [1, 1]


def test_a_hot_file_stays_small() -> None:
    """Ten thousand appends by one process are one counted entry; by a thousand processes, 200 entries."""
    one = [access(Action.OPEN_WRITE, 1100 + i / 100, A) for i in range(10_000)]
    answer = ask(change(state(), changed_state()), one)
    assert answer.reasoning is not None
    assert [(r.calls, len(r.events)) for r in answer.reasoning.rulings] == [(10_000, 4)]
    many = [access(Action.OPEN_WRITE, 1100 + i / 100, actor(pid=i)) for i in range(1000)]
    crowded = ask(change(state(), changed_state()), many).reasoning
    assert crowded is not None
    assert len(crowded.rulings) + crowded.omitted == 1000
    assert len(crowded.rulings) <= 300


def test_an_uninspected_process_may_have_held_the_file() -> None:
    """Without root, not every process can be inspected: a single opener in the window is only likely."""
    found = replace(change(state(), changed_state()), holders=Holders(as_of_ns=990 * SECOND, complete=False))
    answer = ask(found, [access(Action.OPEN_WRITE, 1500, A)])
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR)
    assert answer.notes


def test_a_descriptor_that_was_handed_on_makes_two_candidates() -> None:
    """A opened the file; B, which never opened it, holds it when the next scan begins."""
    held = Holders(as_of_ns=990 * SECOND, later_ns=1900 * SECOND, later=(B,))
    answer = ask(replace(change(state(), changed_state()), holders=held), [access(Action.OPEN_WRITE, 1500, A)])
    assert answer.verdict is Verdict.CONTESTED
    assert whys(answer) == {1: [Why.WRITE_ACCESS], 2: [Why.HELD_OPEN]}


def test_an_opener_that_became_another_program_is_one_process() -> None:
    """bash opens the file for a redirection and execs the command; the next scan finds the pid as that command."""
    shell, tool = actor(pid=5, exe=b"/bin/bash"), actor(pid=5, exe=b"/bin/tool")
    held = Holders(as_of_ns=990 * SECOND, later_ns=1900 * SECOND, later=(tool,))
    answer = ask(replace(change(state(), changed_state()), holders=held), [access(Action.OPEN_WRITE, 1500, shell)])
    assert answer.verdict is Verdict.CONFIRMED


def test_a_holder_whose_pid_was_reused_still_counts() -> None:
    """Pid 5 held the file and ended; another program got the pid and opened it: either may have written."""
    first, second = actor(pid=5, exe=b"/bin/first"), actor(pid=5, exe=b"/bin/second")
    held = Holders(as_of_ns=990 * SECOND, actors=(first,))
    answer = ask(replace(change(state(), changed_state()), holders=held), [access(Action.OPEN_WRITE, 1500, second)])
    assert answer.verdict is Verdict.CONTESTED


def mapped(dev: int) -> tuple[Change, list[FileAccess]]:
    """A wrote; B opened the file after its ctime, and may have stored to a mapping of it."""
    log = [
        access(Action.OPEN_WRITE, 1500, A._replace(flags=("O_WRONLY",)), dev=dev),
        access(Action.OPEN_WRITE, 1600, B._replace(flags=("O_RDWR",)), dev=dev),
    ]
    return change(state(dev=dev), changed_state(at=1500.001, dev=dev)), log


def test_a_store_to_a_mapping_leaves_the_ctime_on_tmpfs() -> None:
    """Without a block device the ctime clears nobody (seen on 6.18); on ext4 it does."""
    assert ask(*mapped(IN_MEMORY)).verdict is Verdict.CONTESTED
    on_disk = ask(*mapped(DEV))
    assert (on_disk.verdict, [a.pid for a in on_disk.actors]) == (Verdict.CONFIRMED, [1])


def stepped(*, by: int) -> tuple[AuditObservation, AuditObservation]:
    return observation(900, boottime_ns=0), observation(2100, boottime_ns=(1200 + by) * SECOND)


def test_a_clock_that_was_set_is_a_gap_and_its_ctime_clears_nobody() -> None:
    """A opened at 1600 by the old clock; it was set back, and A wrote at "1500". B opened at 1400 and wrote nothing."""
    log = [access(Action.OPEN_WRITE, 1600, A), access(Action.OPEN_WRITE, 1400, B)]
    found = change(state(), changed_state(at=1500.001))
    answer = ask(found, log, observations=stepped(by=500))
    assert (answer.verdict, {a.pid for a in answer.actors}) == (Verdict.CONTESTED, {1, 2})
    assert {g.reason for g in answer.coverage.gaps} == {GapReason.CLOCK_CHANGED}
    assert ask(found, log, observations=stepped(by=0)).verdict is Verdict.CONFIRMED


def test_a_window_that_runs_backwards_is_a_gap() -> None:
    """The old content was read at 2000, the clock was set back, and the new content was read at 1000."""
    found = replace(change(state(), changed_state()), window=Window(after_ns=2000 * SECOND, before_ns=1000 * SECOND))
    answer = ask(found, [access(Action.OPEN_WRITE, 1500, A)])
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.COVERAGE_GAP)
    assert GapReason.CLOCK_CHANGED in {g.reason for g in answer.coverage.gaps}


def test_a_directory_that_went_outside_and_came_back_is_not_forgotten() -> None:
    """mv d /tmp/d, mv /tmp/d d, mv d e, mv e d: the move outside of the watched directories counts."""
    inside, outside = name("e"), name("d")._replace(path=b"/tmp/d", parent=(DEV, 99))
    home = name("d")
    steps = [(outside, home), (home, outside), (inside, home), (home, inside)]
    log = [
        access(Action.RENAME, 1100 + 10 * i, A, name=new, old=old, inode=3, mode=0o040755)
        for i, (new, old) in enumerate(steps)
    ]
    log.append(access(Action.OPEN_WRITE, 1500, B, name=name("f", b"/w/d", (DEV, 3))))
    found = change(state(b"/w/d/f"), changed_state(path=b"/w/d/f"))
    answer = ask(found, log, prior=[state(b"/w/d/f")])
    assert GapReason.OTHER_NAME in {g.reason for g in answer.coverage.gaps}
    assert answer.verdict is not Verdict.CONFIRMED


def test_events_are_listed_newest_first() -> None:
    """Readers look at the last call first."""
    log = [access(Action.OPEN_WRITE, at, A) for at in (1100, 1300, 1200)]
    answer = ask(change(state(), changed_state()), log)
    assert answer.reasoning is not None
    events: tuple[EventId, ...] = answer.reasoning.rulings[0].events
    assert list(events) == sorted(events, reverse=True)


def test_a_process_judged_for_two_sides_is_one_entry() -> None:
    """chmod twice; owner and ACL differ too: the first chmod, overruled for the mode, may have changed the ACL."""
    log = [
        access(Action.CHMOD, 1300, B, argument=0o600),
        access(Action.CHMOD, 1400, A, argument=0o640),
        access(Action.OPEN_WRITE, 1300, actor(pid=3), success=False),
        access(Action.CHMOD, 1600, actor(pid=4), argument=0o640),
    ]
    acl = (Xattr(name=b"system.posix_acl_access", size=1, data=b"d"),)
    after = state(mode=0o640, uid=5, xattrs=acl, xattr_digest=b"d" * 32, ctime_ns=1500 * SECOND + 1)
    answer = ask(change(state(), after), log)
    assert answer.reasoning is not None
    judged = {ruling.actor.pid: (ruling.why, ruling.calls) for ruling in answer.reasoning.rulings}
    assert judged == {
        1: (Why.SET, 1),
        2: (Why.SET, 1),
        3: (Why.FAILED, 1),
        4: (Why.AFTER_LAST_CHANGE, 1),
    }
