"""Who left a path empty, where other files had it after the known one."""

from __future__ import annotations

import pytest

from fimscan.model import Action, FileAccess, Reason, Role, Verdict, Why
from tests.attribution.test_attribute import A, B, ask
from tests.attribution.test_history import cleared
from tests.attribution.test_reasoning import whys
from tests.support import DEV, access, actor, change, name, state

GONE = change(state(), None)
KNOWN, NEW = 10, 11
USER = actor(pid=2, uid=1000, euid=1000)
REMOVED = access(Action.UNLINK, 1300, A)
MADE = access(Action.CREATE, 1350, A, inode=NEW)
REPLACED = access(Action.RENAME, 1300, A, inode=NEW, old=name("f.new"), replaced=(DEV, KNOWN))


@pytest.mark.parametrize("before", [(REMOVED, MADE), (REPLACED,), (REMOVED,)], ids=("anew", "renamed", "unseen"))
def test_the_last_removal_left_the_path_empty(before: tuple[FileAccess, ...]) -> None:
    """A replaced the file, or removed it and made it anew; B removed the new one: without B, there would be a file."""
    answer = ask(GONE, [*before, access(Action.UNLINK, 1400, USER, inode=NEW)])
    assert (answer.verdict, [(a.pid, a.role) for a in answer.actors]) == (
        Verdict.CONTESTED,
        [(2, Role.REMOVER), (1, Role.REMOVER)],
    )
    assert cleared(answer) == set()
    assert answer.notes


def test_one_process_that_replaces_and_removes_is_confirmed() -> None:
    """A replaced the file, and removed the new one."""
    answer = ask(GONE, [REPLACED, access(Action.UNLINK, 1400, A, inode=NEW)])
    assert (answer.verdict, [a.pid for a in answer.actors]) == (Verdict.CONFIRMED, [1])


def test_processes_of_one_session_are_both_named_and_confirmed() -> None:
    """sed replaced the file, and rm removed the new one, both of one session: each has done its part."""
    answer = ask(GONE, [REPLACED, access(Action.UNLINK, 1400, B, inode=NEW)])
    assert (answer.verdict, [(a.pid, a.earlier) for a in answer.actors]) == (Verdict.CONFIRMED, [(2, False), (1, True)])


def test_below_a_directory_that_was_moved_the_first_removal_counts() -> None:
    """A moved the directory; a file that was made in it later has another path now."""
    below = name("f", b"/w/d", (DEV, 3))
    log = [
        access(Action.RENAME, 1300, A, name=name("e"), old=name("d"), inode=3, mode=0o040755),
        access(Action.CREATE, 1400, B, inode=NEW, name=below),
    ]
    answer = ask(change(state(b"/w/d/f"), None), log)
    assert (answer.verdict, [a.pid for a in answer.actors]) == (Verdict.CONFIRMED, [1])


def test_who_takes_away_its_own_file_has_not_removed_the_known_one() -> None:
    """A removed the known file; B made another one there, and removed it again."""
    log = [REMOVED, access(Action.CREATE, 1350, B, inode=NEW), access(Action.UNLINK, 1400, B, inode=NEW)]
    answer = ask(GONE, log)
    assert (answer.verdict, [a.pid for a in answer.actors]) == (Verdict.CONFIRMED, [1])
    assert whys(answer)[2] == sorted([Why.LATER_FILE, Why.TOOK_ANOTHER])


@pytest.mark.parametrize("log", [(REMOVED, MADE), (REPLACED,)], ids=("anew", "renamed"))
def test_a_file_that_went_unseen_was_not_removed_by_who_put_it_there(log: tuple[FileAccess, ...]) -> None:
    """A left a file at the path, and the path is empty: a later removal was not seen, so A is not proven."""
    answer = ask(GONE, list(log))
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.PATH_ONLY)
    assert "no record shows how it went" in answer.notes[-1]
