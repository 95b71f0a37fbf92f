"""Writers of earlier files of the path in the window are named, and never cleared."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.model import (
    Action,
    Actor,
    Attribution,
    Change,
    ChangeKind,
    FileAccess,
    FileKind,
    Holders,
    Reason,
    Role,
    Verdict,
    Why,
)
from tests.attribution.test_attribute import A, B, ask
from tests.support import DEV, SECOND, access, actor, change, changed_state, name, state

C = actor(pid=3, exe=b"/bin/c")
ELSEWHERE = name("x", b"/elsewhere", (DEV, 99))


def save(at: float, by: Actor, inode: int = 11, temporary: str = "t", target: str = "f") -> list[FileAccess]:
    """The accesses of an editor's save: it creates a new file and renames it over the old one."""
    return [
        access(Action.CREATE, at, by, name=name(temporary), inode=inode),
        access(Action.RENAME, at + 1, by, name=name(target), old=name(temporary), inode=inode),
    ]


def named(answer: Attribution) -> list[tuple[int, bool]]:
    """The actors as (process id, whether it is named for an earlier file), in order."""
    return [(one.pid, one.earlier) for one in answer.actors if one.role is not Role.PLACER or one.earlier]


def is_several(answer: Attribution) -> bool:
    return (answer.verdict, answer.reason) == (Verdict.CONTESTED, Reason.SEVERAL_WRITERS)


def cleared(answer: Attribution) -> set[int]:
    """The process ids that ``explain`` reports as cleared."""
    assert answer.reasoning is not None
    kept = {ruling.actor.pid for ruling in answer.reasoning.rulings if not ruling.why.clears}
    return {ruling.actor.pid for ruling in answer.reasoning.rulings} - kept


REPLACED = change(state(), changed_state(inode=11))


def test_a_line_that_was_appended_before_an_editor_saved_may_be_in_the_file() -> None:
    """A appends; B's editor reads that and renames its own file over it: both are named, latest first."""
    answer = ask(REPLACED, [access(Action.OPEN_WRITE, 1300, A), *save(1400, B)])
    assert is_several(answer)
    assert named(answer) == [(2, False), (1, True)]
    assert cleared(answer) == set()


def test_one_process_that_appends_and_saves_is_confirmed() -> None:
    """Only one process wrote to any file of the path: not contested."""
    answer = ask(REPLACED, [access(Action.OPEN_WRITE, 1300, B), *save(1400, B)])
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False)])


def test_three_editors_one_after_the_other_are_all_named() -> None:
    """Writers of files that existed only within the window are named, too."""
    answer = ask(change(state(), changed_state(inode=13)), [*save(1100, A), *save(1200, B, 12), *save(1300, C, 13)])
    assert is_several(answer)
    assert named(answer)[0] == (3, False)
    assert {pid for pid, earlier in named(answer) if earlier} == {1, 2}


@pytest.mark.parametrize("inode", [10, 11], ids=["same number", "another number"])
def test_a_removal_and_re_creation_undoes_nothing(inode: int) -> None:
    """A writes, the file is removed, and B creates it again from what it read."""
    log = [access(Action.OPEN_WRITE, 1300, A), access(Action.UNLINK, 1400, B)]
    answer = ask(change(state(), changed_state(inode=inode)), [*log, access(Action.CREATE, 1500, B, inode=inode)])
    assert is_several(answer)
    assert named(answer) == [(2, False), (1, True)]


@pytest.mark.parametrize("inode", [10, 11], ids=["same number", "another number"])
def test_the_remover_of_the_old_file_is_not_cleared(inode: int) -> None:
    """A removed the file and B created it again: without A, the old content would still be there."""
    log = [access(Action.UNLINK, 1400, A), access(Action.CREATE, 1500, B, inode=inode)]
    answer = ask(change(state(), changed_state(inode=inode)), log)
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False)])
    assert answer.reasoning is not None
    assert [r.why for r in answer.reasoning.rulings if r.actor.pid == 1] == [Why.TOOK_ANOTHER]
    assert cleared(answer) == set()


def test_an_added_file_has_a_history_too() -> None:
    """A creates the file, B's editor saves it again: the first content may be in the second."""
    answer = ask(change(None, changed_state(inode=12)), [access(Action.CREATE, 1200, A), *save(1400, B, 12)])
    assert is_several(answer)
    assert named(answer) == [(2, False), (1, True)]


def test_an_exchange_is_a_replacement() -> None:
    """C exchanges f with g, which B wrote; A wrote to f before."""
    there = access(Action.RENAME, 1500, C, name=name("f"), old=name("g"), inode=11)
    back = there._replace(name=name("g"), old=name("f"), inode=10, item=1)
    log = [access(Action.OPEN_WRITE, 1300, A), access(Action.CREATE, 1400, B, name=name("g"), inode=11)]
    answer = ask(REPLACED, [*log, there, back])
    assert is_several(answer)
    assert {one.pid for one in answer.actors if one.role is Role.WRITER} == {1, 2}


def test_a_write_through_another_hard_link_counts() -> None:
    """A wrote to the file under the name g; the file that replaced f may have that content."""
    answer = ask(REPLACED, [access(Action.OPEN_WRITE, 1300, A, name=name("g")), *save(1400, B)])
    assert named(answer) == [(2, False), (1, True)]


def test_the_placer_of_a_file_that_was_then_edited_is_named() -> None:
    """A moves a file in from outside, B's editor saves it: the content came with A's file."""
    moved = access(Action.RENAME, 1300, A, old=ELSEWHERE, inode=77, replaced=(DEV, 10))
    answer = ask(REPLACED, [moved, *save(1400, B)])
    assert is_several(answer)
    assert [(one.pid, one.role) for one in answer.actors if one.earlier] == [(1, Role.PLACER)]


@pytest.mark.parametrize("went_out", [False, True])
def test_a_number_that_came_in_from_outside_is_another_file(*, went_out: bool) -> None:
    """C's file is gone, and A moves a file with its number in from outside, unless C's file had gone there."""
    old = [access(Action.OPEN_WRITE, 1100, C, name=name("g"), inode=77)]
    if went_out:
        old.append(access(Action.RENAME, 1150, C, name=ELSEWHERE, old=name("g"), inode=77))
    else:
        old.append(access(Action.UNLINK, 1150, C, name=name("g"), inode=77))
    moved = access(Action.RENAME, 1300, A, old=ELSEWHERE, inode=77, replaced=(DEV, 10))
    made, renamed = save(1400, B)
    answer = ask(REPLACED, [*old, moved, made, renamed._replace(replaced=(DEV, 77))])
    assert ({one.pid for one in answer.actors} == {1, 2}) is not went_out


def test_the_names_that_a_file_came_from_have_a_history_as_well() -> None:
    """cp to a temporary name, sed -i on it, mv over the file: the content of cp is in it."""
    copied = access(Action.CREATE, 1200, A, name=name("f.new"), inode=20)
    edited = save(1300, B, 11, temporary="sedX", target="f.new")
    placed = access(Action.RENAME, 1400, C, name=name("f"), old=name("f.new"), inode=11)
    answer = ask(REPLACED, [copied, *edited, placed])
    assert is_several(answer)
    assert {one.pid for one in answer.actors if one.role is Role.WRITER} == {1, 2}


def test_many_renames_do_not_hide_the_writer_of_the_first_name() -> None:
    """A file is created under the first of many names, an editor saves it there, and it is renamed on."""
    log = [access(Action.CREATE, 1100, A, name=name("n0"), inode=12), *save(1200, B, target="n0")]
    for step in range(40):
        names = {"old": name(f"n{step}"), "name": name("f" if step == 39 else f"n{step + 1}")}
        log.append(access(Action.RENAME, 1300 + step, B, inode=11, **names))
    assert (1, True) in named(ask(REPLACED, log))


def _calls_to_answer(saves: int, numbers: int) -> int:
    """How many function calls it takes to answer for a file that was saved that often, with so many inode numbers."""
    count = 0

    def calls(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    saved = [one for i in range(saves) for one in save(1100 + i / 10, (A, B)[i % 2], 20 + i % numbers)]
    asked = change(state(), changed_state(inode=20 + (saves - 1) % numbers))
    sys.setprofile(calls)
    try:
        ask(asked, saved)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("numbers", [1, 2, 1000])
def test_twice_as_many_saves_take_twice_as_long(numbers: int) -> None:
    """File systems give the same inode numbers again and again, or one file may come and go."""
    assert _calls_to_answer(400, numbers) < 2.5 * _calls_to_answer(200, numbers)


def test_a_descriptor_of_the_replaced_file_may_have_written_to_it() -> None:
    """A held the old file open when the window began: audit does not record its writes before B replaced it."""
    held = Holders(as_of_ns=990 * SECOND, earlier_ns=990 * SECOND, earlier=(A,))
    answer = ask(replace(REPLACED, holders=held), save(1400, B))
    assert is_several(answer)
    assert answer.reasoning is not None
    assert {r.why for r in answer.reasoning.rulings if r.actor.pid == 1} == {Why.EARLIER_HOLDER}
    unexamined = ask(replace(REPLACED, holders=Holders(as_of_ns=990 * SECOND, complete=False)), save(1400, B))
    assert (unexamined.verdict, unexamined.reason) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR)


def test_a_file_with_unchanged_content_includes_no_earlier_writes() -> None:
    """B moves a file here with the content that it had before the window: A's line is not in it. A is listed."""
    prior = state(b"/w/g", b"new", inode=11)
    moved = access(Action.RENAME, 1400, B, old=name("g"), inode=11)
    answer = ask(REPLACED, [access(Action.OPEN_WRITE, 1300, A), moved], prior=[prior])
    assert (answer.verdict, answer.reason) == (Verdict.CONFIRMED, None)
    assert [(one.pid, one.role, one.earlier) for one in answer.actors] == [
        (2, Role.PLACER, False),
        (1, Role.WRITER, True),
    ]


def test_equal_content_includes_no_earlier_writes() -> None:
    """The file was replaced and has the same content as before: nothing that A wrote is in it."""
    found = change(state(), changed_state(b"old", inode=11))
    answer = ask(found, [access(Action.OPEN_WRITE, 1300, A), *save(1400, B)])
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False), (1, True)])


def test_the_target_of_a_link_comes_from_its_creator() -> None:
    """Of two links created one after the other, the target is the second's; the first creator is listed."""
    to: dict[str, Any] = {"kind": FileKind.SYMLINK, "digests": (), "size": 1}
    found = change(state(link_target=b"a", **to), changed_state(link_target=b"c", inode=12, **to))
    made = [access(Action.SYMLINK, at, by, inode=number) for at, by, number in ((1200, A, 11), (1400, B, 12))]
    answer = ask(found, [access(Action.UNLINK, 1100, A), made[0], access(Action.UNLINK, 1300, B, inode=11), made[1]])
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False), (1, True)])


def test_a_mode_that_an_editor_copied_was_set_by_somebody_else() -> None:
    """A sets the mode; B's editor copies it to the new file, and the mode is what differs."""
    opened = access(Action.CHMOD, 1300, A, argument=0o666)
    copied = access(Action.CHMOD, 1400.5, B, name=name("t"), inode=11, argument=0o666)
    found = change(state(), changed_state(inode=11, mode=0o666))
    answer = ask(found, [opened, *save(1400, B), copied])
    assert is_several(answer)
    assert [(one.pid, one.role) for one in answer.actors if one.earlier] == [(1, Role.CHANGER)]
    other = opened._replace(argument=0o600)
    assert ask(found, [other, *save(1400, B), copied]).verdict is Verdict.CONFIRMED


def test_what_was_written_before_the_window_is_in_the_old_content() -> None:
    """A wrote before the old content was read, and closed the file: it did not contribute."""
    found = replace(REPLACED, holders=Holders(as_of_ns=990 * SECOND))
    answer = ask(found, [access(Action.OPEN_WRITE, 900, A), *save(1400, B)])
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False)])


def test_a_look_in_between_separates_two_writers() -> None:
    """A appended, then the file was read by itself, which gives the old content; then B's editor saved it."""
    looked = Holders(as_of_ns=990 * SECOND, earlier_ns=1350 * SECOND)
    log = [access(Action.OPEN_WRITE, 1300, A), *save(1400, B)]
    answer = ask(replace(REPLACED, holders=looked), log)
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False)])
    holding = replace(looked, earlier=(A,))
    assert is_several(ask(replace(REPLACED, holders=holding), log)), "A had it open still, and could write on"


def test_what_was_done_to_the_old_file_after_it_was_replaced_is_not_in_the_new_one() -> None:
    """B moved the old file aside and created a new one; then A wrote to the old one under its new name."""
    aside = access(Action.RENAME, 1300, B, name=name("f~"), old=name("f"))
    later = access(Action.OPEN_WRITE, 1500, A, name=name("f~"))
    answer = ask(REPLACED, [aside, access(Action.CREATE, 1400, B, inode=11), later])
    assert (answer.verdict, named(answer)) == (Verdict.CONFIRMED, [(2, False)])


def test_a_wrong_count_of_names_does_not_clear_a_writer() -> None:
    """The file had one more name than was known. A wrote, removed a name and linked it again; B only opened it.

    A count of no remaining names does not prove that another file got the inode number: A must be named.
    """
    log = [
        access(Action.OPEN_WRITE, 1300, A),
        access(Action.UNLINK, 1350, A, name=name("h1")),
        access(Action.LINK, 1400, A, name=name("h2"), old=name("f")),
        access(Action.OPEN_WRITE, 1500, B),
    ]
    answer = ask(change(state(), changed_state(at=1600, nlink=2)), log)
    assert answer.verdict is Verdict.CONTESTED
    assert {one.pid for one in answer.actors} >= {1, 2}


def test_a_wrong_count_of_names_does_not_clear_a_changer() -> None:
    """A set an attribute, then removed names until none was known; B set one as well."""
    log = [
        access(Action.SETXATTR, 1300, A),
        access(Action.UNLINK, 1350, A, name=name("h1")),
        access(Action.LINK, 1400, A, name=name("h2"), old=name("f")),
        access(Action.SETXATTR, 1500, B),
    ]
    answer = ask(change(state(), changed_state(b"old", at=1600, xattr_digest=b"x")), log)
    assert (answer.verdict, {one.pid for one in answer.actors}) == (Verdict.CONTESTED, {1, 2})


def test_two_removals_without_a_return_name_both() -> None:
    """A removed the file, an unseen call created it again with its number, and B removed that: both are named."""
    log = [access(Action.UNLINK, 1300, A), access(Action.UNLINK, 1500, B)]
    answer = ask(change(state(), None), log)
    assert (answer.verdict, {one.pid for one in answer.actors}) == (Verdict.CONTESTED, {1, 2})
    assert ask(change(state(), None), log[1:]).verdict is Verdict.CONFIRMED


# --- the general rule ----------------------------------------------------------------------------------------------

_PEOPLE = (A, B, C, actor(pid=4, exe=b"/bin/d"))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Change, list[FileAccess], dict[int, int]]:
    """Draw up to six writes to one path: in place, by a new file of the same name, or by a rename over it.

    Return the change, the log, and for each process the time of its last write to the path.
    """
    inode, wrote = 10, {}
    log: list[FileAccess] = []
    for number in range(draw(st.integers(1, 6))):
        at, by = 1100 + 100 * number, draw(st.sampled_from(_PEOPLE))
        wrote[by.pid] = number
        how = draw(st.sampled_from(["in place", "anew", "same number", "rename"]))
        if how == "in place":
            log.append(access(Action.OPEN_WRITE, at, by, inode=inode))
        elif how == "rename":
            inode = 20 + number
            log += save(at, by, inode, f"t{number}")
        else:
            log.append(access(Action.UNLINK, at, by, inode=inode))
            inode = inode if how == "same number" else 20 + number
            log.append(access(Action.CREATE, at + 1, by, inode=inode))
    return change(state(), changed_state(inode=inode, at=1900)), log, wrote


@given(histories())
def test_everybody_who_wrote_is_named_and_nobody_is_cleared(
    history: tuple[Change, list[FileAccess], dict[int, int]],
) -> None:
    """The content may come from all writers to the files of its path since the old content was read."""
    found, log, wrote = history
    assert found.kind is ChangeKind.MODIFIED
    answer = ask(found, log)
    assert {one.pid for one in answer.actors} == set(wrote)
    assert cleared(answer) == set()
    assert answer.verdict is (Verdict.CONFIRMED if len(wrote) == 1 else Verdict.CONTESTED)
    last = max(wrote, key=lambda pid: wrote[pid])
    assert answer.actors[0].pid == last or len(wrote) == 1
