"""A directory's inode number goes to a new directory elsewhere: names relative to it no longer mean the old path."""

from __future__ import annotations

from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, KnownDirectories, attribute
from fimscan.model import Action, Attribution, Change, FileAccess, Holders, Name, Verdict
from tests.attribution.test_attribute import HEALTHY, WHOLE, A, B
from tests.support import DEV, DIRECTORY_ID, access, change, changed_state, name, state

OLD, NEW, REUSED = b"/w/old", b"/w/new", (DEV, 50)
# Both scans know the number: the first one at the old path, the last one at the new path.
KNOWN = KnownDirectories.of([(b"/w", DIRECTORY_ID), (OLD, REUSED), (NEW, REUSED)])
DIRECTORY = {"inode": 50, "mode": 0o040755}
IN_REUSED = Name(text=b"f", path=None, parent=REUSED)

REMOVED = [
    access(Action.UNLINK, 1100, A, name=IN_REUSED),
    access(Action.RMDIR, 1101, A, name=name("old"), **DIRECTORY),
]
MADE = [
    access(Action.MKDIR, 1200, B, name=name("new"), **DIRECTORY),
    access(Action.CREATE, 1201, B, name=IN_REUSED, inode=11),
]
OLD_FILE = state(b"/w/old/f")


def ask(found: Change, log: list[FileAccess]) -> Attribution:
    before = {} if found.before is None else {found.before.identity: found.before}
    evidence = Evidence(index=AccessIndex(log, KNOWN), prior=before)
    found = replace(found, holders=Holders(as_of_ns=found.window.after_ns))
    return attribute(found, evidence, CoverageMap(HEALTHY, (), (WHOLE,)))


def pids(answer: Attribution) -> set[int]:
    return {actor.pid for actor in answer.actors}


def test_a_file_in_the_new_directory_is_not_at_the_old_path() -> None:
    """Who removed the old file is confirmed: nothing was put there again."""
    answer = ask(change(OLD_FILE, None), [*REMOVED, *MADE])
    assert (answer.verdict, pids(answer), answer.notes) == (Verdict.CONFIRMED, {A.pid}, ())


def test_the_new_file_is_attributed_to_its_creator() -> None:
    """The directory is still found at its present path by its number."""
    answer = ask(change(None, changed_state(path=b"/w/new/f", inode=11)), [*REMOVED, *MADE])
    assert (answer.verdict, pids(answer)) == (Verdict.CONFIRMED, {B.pid})


def test_a_directory_that_came_back_to_the_path_still_means_it() -> None:
    """B made a file in the new directory, and moved that to the old path: the file there is B's."""
    back = access(Action.RENAME, 1300, B, name=name("old"), old=name("new"), **DIRECTORY)
    answer = ask(change(OLD_FILE, changed_state(path=b"/w/old/f", inode=11)), [*REMOVED, *MADE, back])
    assert B.pid in pids(answer) and answer.verdict in (Verdict.CONFIRMED, Verdict.CONTESTED)


def test_a_directory_above_that_came_back_still_means_it() -> None:
    """A directory that has the new one in it was moved to a place above the old path."""
    above = [(b"/w", DIRECTORY_ID), (b"/w/a", (DEV, 61)), (b"/w/b", (DEV, 60)), (b"/w/a", (DEV, 60))]
    known = KnownDirectories.of([*above, (b"/w/a/old", REUSED), (b"/w/b/old", REUSED)])
    removed = access(Action.RMDIR, 1101, A, name=name("old", b"/w/a", (DEV, 61)), **DIRECTORY)
    made = access(Action.MKDIR, 1200, B, name=name("old", b"/w/b", None), **DIRECTORY)
    created = access(Action.CREATE, 1201, B, name=IN_REUSED, inode=11)
    moved = access(Action.RENAME, 1300, B, name=name("a"), old=name("b"), inode=60, mode=0o040755)
    assert AccessIndex([removed, made, created], known).binds(b"/w/a/old/f") == []
    assert AccessIndex([removed, made, created, moved], known).binds(b"/w/a/old/f") == [created]


def test_what_may_have_happened_before_the_removal_still_means_the_old_path() -> None:
    """By its serial, a call that began after the creation ended before: its file may be that of the old directory."""
    created = MADE[1]._replace(event=MADE[1].event._replace(serial=0))
    index = AccessIndex([*REMOVED, MADE[0], created], KNOWN)
    assert index.binds(b"/w/old/f") == [created] == index.binds(b"/w/new/f")
