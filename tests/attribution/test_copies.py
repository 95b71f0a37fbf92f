"""Hard links on an overlay: identify the file of a record that has another inode number, or no name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fimscan.attribution import DeviceNumbers, KnownDirectories, translate_devices
from fimscan.linux.filesystems import Devices, Root
from fimscan.model import Action, Change, ChangeKind, FileAccess, Name
from tests.support import access, change, changed_state, state

OVERLAY, UPPER = 0x2A, 0x702
LOOK = Devices(
    roots=(Root(path=b"/w", dev=OVERLAY, raw=OVERLAY, superblock=OVERLAY, inode=256, kind="overlay", uuid="uuid"),)
)
# Directories that were renamed have a path at either scan.
_DIRECTORIES = [(b"/w", 2), (b"/w/d", 3), (b"/w/e", 3), (b"/w/o", 4), (b"/w/d", 4), (b"/w/o", 3)]
KNOWN = KnownDirectories.of([(path, (OVERLAY, inode)) for path, inode in _DIRECTORIES])
PARENTS = {b"/w": 2, b"/w/d": 3, b"/w/e": 3, b"/w/o": 4}
OLD, NEW = (OVERLAY, 13), (OVERLAY, 20)


def named(path: bytes) -> Name:
    return Name(text=path, path=path, parent=(OVERLAY, PARENTS[path.rpartition(b"/")[0]]))


def act(action: Action, at: float, path: bytes, inode: int | None, old: bytes | None = None) -> FileAccess:
    one = access(action, at, name=named(path), dev=None if inode is None else OVERLAY, inode=inode)
    return one if old is None else one._replace(old=named(old))


def move(at: float, old: bytes, new: bytes, inode: int, *, directory: bool = False) -> FileAccess:
    return act(Action.RENAME, at, new, inode, old)._replace(mode=0o040755 if directory else 0o100644)


def translated(accesses: list[FileAccess], *changes: Change) -> Sequence[FileAccess]:
    return translate_devices(accesses, changes, KNOWN, DeviceNumbers([LOOK, LOOK])).accesses


def gone(path: bytes, inode: int = 13) -> Change:
    return change(state(path, dev=OVERLAY, inode=inode, nlink=2), None)


def test_a_replaced_file_is_known_by_its_name() -> None:
    """The record of a rename has the upper layer's identity of the replaced file."""
    f = change(state(b"/w/f", dev=OVERLAY, inode=13, nlink=2), changed_state(path=b"/w/f", dev=OVERLAY, inode=30))
    first = move(1500, b"/w/tmp", b"/w/f", 29)._replace(replaced=(UPPER, 40))
    second = move(1510, b"/w/tmp", b"/w/f", 30)._replace(replaced=(UPPER, 41))
    found = translated([first, second], f)
    assert [one.replaced for one in found] == [OLD, (OVERLAY, 29)]
    # No file was replaced: the record keeps none.
    assert translated([first._replace(replaced=None)], f)[0].replaced is None


def test_a_name_goes_with_its_directory() -> None:
    """A file removed below a renamed directory is the one that its old path named."""
    moved = move(1400, b"/w/d", b"/w/e", 3, directory=True)
    assert translated([moved, act(Action.UNLINK, 1500, b"/w/e/f", None)], gone(b"/w/d/f"))[1].identity == OLD
    # Also where neither scan knows the path.
    away, back = (
        move(1400, b"/w/d", b"/w/between", 3, directory=True),
        move(1600, b"/w/between", b"/w/e", 3, directory=True),
    )
    removal = act(Action.UNLINK, 1500, b"/w/e/f", None)._replace(name=Name(b"f", b"/w/between/f", (OVERLAY, 3)))
    assert translated([away, removal, back], gone(b"/w/d/f"))[1].identity == OLD
    # With another directory in its place, the old path names another file, or an unknown one.
    other = move(1410, b"/w/o", b"/w/d", 4, directory=True)
    removal = act(Action.UNLINK, 1500, b"/w/d/f", None)._replace(name=Name(b"f", b"/w/d/f", (OVERLAY, 4)))
    assert translated([moved, other, removal], gone(b"/w/d/f"))[2].identity is None
    assert translated([moved, other, removal], gone(b"/w/d/f"), gone(b"/w/o/f", 14))[2].identity == (OVERLAY, 14)


@pytest.mark.parametrize("directory", [False, True])
def test_an_exchange_swaps_names(directory: bool) -> None:
    """Its two accesses belong to one event: neither removes the name that the other gave."""
    one, other, below = (b"/w/d", b"/w/o", b"/f") if directory else (b"/w/f", b"/w/g", b"")
    there = move(1400, one, other, 3, directory=directory)
    back = move(1400, other, one, 4, directory=directory)._replace(event=there.event, item=1)
    if not directory:
        there, back = there._replace(inode=13), back._replace(inode=14)
    changes = gone(one + below), gone(other + below, 14)
    for path, inode in ((one, 14), (other, 13)):
        removal = act(Action.UNLINK, 1500, path + below, None)
        if directory:  # the present directory
            parent = OVERLAY, 3 if path == other else 4
            removal = removal._replace(name=removal.name._replace(parent=parent))
        assert translated([there, back, removal], *changes)[2].identity == (OVERLAY, inode)


# --------------------------------------------------------------------------------------------------------------------
# Links that part when they are copied up (index=off)


def came(path: bytes = b"/w/i") -> Change:
    return change(None, changed_state(path=path, dev=OVERLAY, inode=20))


def test_a_link_that_was_renamed_is_followed() -> None:
    """The rename has the lower layer's number; the file at the new name has that of its copy."""
    writes = [act(Action.OPEN_WRITE, 1300, b"/w/f", 13), act(Action.OPEN_WRITE, 1600, b"/w/i", 13)]
    other = act(Action.OPEN_WRITE, 1600, b"/w/g", 13)
    moves = [move(1400, b"/w/f", b"/w/h", 13), move(1500, b"/w/h", b"/w/i", 20)]
    found = translate_devices([*writes, *moves, other], [gone(b"/w/f"), came()], KNOWN, DeviceNumbers([LOOK, LOOK]))
    assert sorted(one.identity or (0, 0) for one in found.accesses) == [OLD, *[NEW] * 4]
    assert next(one for one in found.accesses if one.name == other.name).identity == OLD
    before = found.changes[0].before
    assert before is not None and before.identity == NEW and found.changes[0].kind is ChangeKind.REMOVED


def test_a_link_to_a_copied_file_is_followed() -> None:
    """The source of ln(1) is copied up, and the new name is one of the copy's."""
    f = change(state(b"/w/f", dev=OVERLAY, inode=13, nlink=2), changed_state(path=b"/w/f", dev=OVERLAY, inode=20))
    linked = act(Action.LINK, 1500, b"/w/i", 13, b"/w/f")
    assert translated([linked], f, came())[0].identity == NEW


def test_an_incomplete_chain_proves_nothing() -> None:
    """If another file had one of the names, or a directory above was renamed, no number is changed."""
    moved = move(1500, b"/w/f", b"/w/i", 13)
    assert translated([moved], gone(b"/w/f"), came())[0].identity == NEW
    again = move(1400, b"/w/g", b"/w/f", 13)
    assert translated([again, moved], gone(b"/w/f"), came())[1].identity == OLD
    later = act(Action.CREATE, 1600, b"/w/i", 99)
    assert translated([moved, later], gone(b"/w/f"), came())[0].identity == OLD
    unplaced = move(1600, b"/w/x", b"/w/i", 20)._replace(name=Name(text=b"i"), old=None)
    assert translated([moved, unplaced], gone(b"/w/f"), came())[0].identity == OLD
    single = change(state(b"/w/f", dev=OVERLAY, inode=13), None)
    assert translated([moved], single, came())[0].identity == OLD


def test_a_call_on_a_descriptor_may_be_of_any_link() -> None:
    """Its record has the common number of all links, and no name: a lead for the copy, no proof."""
    f = change(state(b"/w/f", dev=OVERLAY, inode=13, nlink=2), changed_state(path=b"/w/f", dev=OVERLAY, inode=20))
    by_descriptor = access(Action.CHMOD, 1500, name=Name(), dev=OVERLAY, inode=13)
    found = translate_devices([by_descriptor], [f], KNOWN, DeviceNumbers([LOOK, LOOK]))
    assert [one.identity for one in found.accesses] == [OLD, NEW]
    assert found.doubtful == {by_descriptor.event}


def test_a_file_that_came_from_elsewhere_is_no_copy() -> None:
    """The record of a rename relative to two descriptors does not name the directory."""
    f = change(state(b"/w/f", dev=OVERLAY, inode=13), changed_state(path=b"/w/f", dev=OVERLAY, inode=20))
    moved = move(1500, b"/w/x", b"/w/f", 20)._replace(name=Name(text=b"f"), old=Name(text=b"f"))
    assert translate_devices([moved], [f], KNOWN, DeviceNumbers([LOOK, LOOK])).changes == (f,)


def test_another_name_of_a_changed_file_is_known_by_that_name() -> None:
    """A link was removed while the scan ran, after it was listed: it is no change, and its record has no identity."""
    fewer = change(
        state(b"/w/f", dev=OVERLAY, inode=13, nlink=2), changed_state(b"old", path=b"/w/f", dev=OVERLAY, inode=13)
    )
    removal, look = act(Action.UNLINK, 1500, b"/w/a", None), DeviceNumbers([LOOK, LOOK])
    other = state(b"/w/a", dev=OVERLAY, inode=13, nlink=2)
    assert translate_devices([removal], [fewer], KNOWN, look, states=[other]).accesses[0].identity == OLD
    assert translate_devices([removal], [fewer], KNOWN, look).accesses[0].identity is None
