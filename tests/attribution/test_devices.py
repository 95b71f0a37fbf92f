"""Identify the file of a record where stat(2) and audit use different device numbers."""

from __future__ import annotations

import pytest

from fimscan.attribution import DeviceNumbers, KnownDirectories, translate_devices, unauditable_paths
from fimscan.linux.filesystems import Devices, Root
from fimscan.model import Action, Change, FileAccess, FileState, GapReason, Name
from tests.support import access, actor, change, changed_state, state

SB, TOP, HOME, SNAP = 0x27, 0x28, 0x29, 0x2B  # a btrfs: the superblock, and three subvolumes
OVERLAY, UPPER, LOWER = 0x2A, 0x2B, 0x2C


def root(path: str, dev: int, superblock: int = SB, kind: str = "btrfs", **values: object) -> Root:
    made = {"inode": 256, "raw": dev, "uuid": f"uuid {dev}", **values}
    return Root(path=path.encode(), dev=dev, superblock=superblock, kind=kind, **made)  # type: ignore[arg-type]


BTRFS = Devices(roots=(root("/w", TOP), root("/w/home", HOME), root("/w/snap", SNAP)))
DIRECTORIES = KnownDirectories.of([(b"/w", (TOP, 256)), (b"/w/home", (HOME, 256)), (b"/w/snap", (SNAP, 256))])
LAYERED = Devices(roots=(root("/w", OVERLAY, OVERLAY, "overlay", layers=((UPPER, UPPER), (LOWER, LOWER))),))
SAME = Devices(roots=(root("/w", OVERLAY, OVERLAY, "overlay"),))


def modified(path: bytes, dev: int, inode: int = 257) -> Change:
    return change(state(path, dev=dev, inode=inode), changed_state(path=path, dev=dev, inode=inode))


def named(path: str | None, parent: tuple[int, int] | None = None) -> Name:
    return Name(
        text=None if path is None else path.encode(), path=None if path is None else path.encode(), parent=parent
    )


def opened(name: Name, *, inode: int = 257, dev: int = SB, action: Action = Action.OPEN_WRITE) -> FileAccess:
    return access(action, 1500, actor(key="fimscan"), name=name, dev=dev, inode=inode)


def translated(
    accesses: list[FileAccess], changes: list[Change], look: Devices = BTRFS, known: KnownDirectories = DIRECTORIES
) -> tuple[list[tuple[int | None, int | None]], bool]:
    """Return (the (device, inode) that each access is translated to, whether no event is doubtful)."""
    found = translate_devices(accesses, changes, known, DeviceNumbers([look, look]), keys=frozenset({"fimscan"}))
    return [(one.dev, one.inode) for one in found.accesses], not found.doubtful


BOTH = [modified(b"/w/home/f", HOME), modified(b"/w/snap/f", SNAP)]


@pytest.mark.parametrize(
    ("name", "dev"),
    [
        (named("/w/home/f"), HOME),
        (named("/w/snap/f"), SNAP),
        (named("/w/f"), TOP),
        (named("/w/home/f", (SB, 256)), HOME),
    ],
)
def test_the_directory_identifies_the_subvolume(name: Name, dev: int) -> None:
    """An inode number recurs in each subvolume; the known directory of a path does not."""
    assert translated([opened(name)], BOTH) == ([(dev, 257)], True)


def test_a_name_in_a_directory_that_only_one_subvolume_has() -> None:
    """The record has the inode of the directory and no path."""
    known = KnownDirectories.of([(b"/w", (TOP, 256)), (b"/w/home/d", (HOME, 300))])
    assert translated([opened(Name(text=b"f", parent=(SB, 300)))], BOTH, known=known) == ([(HOME, 257)], True)
    # If two subvolumes have such a file, both are possible, and no name is added or removed.
    twice = KnownDirectories.of([(b"/w/home/d", (HOME, 300)), (b"/w/snap/d", (SNAP, 300))])
    unsure = Name(text=b"f", parent=(SB, 300))
    assert translated([opened(unsure)], BOTH, known=twice) == ([(HOME, 257), (SNAP, 257)], False)


def test_a_call_on_a_descriptor_may_be_of_any_subvolume() -> None:
    """It is kept for each possible file and proves nothing, except after an open by the same process."""
    by_descriptor = opened(Name(), action=Action.CHMOD)
    assert translated([by_descriptor], BOTH) == ([(HOME, 257), (SNAP, 257)], False)
    before = opened(named("/w/snap/f"))._replace(event=by_descriptor.event._replace(serial=0))
    assert translated([before, by_descriptor], BOTH) == ([(SNAP, 257), (SNAP, 257)], True)


def test_a_unique_inode_number_identifies_the_file() -> None:
    """For a call on a descriptor, if everything watched is monitored and a rule of fimscan caused the event."""
    by_descriptor = opened(Name(), action=Action.CHMOD)
    one = [modified(b"/w/home/f", HOME)]

    def sure(accesses: list[FileAccess], *, states: list[FileState] | None = None, is_whole: bool = True) -> bool:
        numbering, keys = DeviceNumbers([BTRFS, BTRFS]), frozenset({"fimscan"})
        found = translate_devices(
            accesses, one, DIRECTORIES, numbering, keys=keys, states=states or [], is_whole=is_whole
        )
        return by_descriptor.event not in found.doubtful

    assert sure([by_descriptor])
    assert not sure([by_descriptor], is_whole=False), "something may be excluded"
    assert not sure([by_descriptor], states=[state(b"/w/snap/g", dev=SNAP, inode=257)]), "another file has it"
    made = opened(named("/w/snap/g"), action=Action.CREATE)
    assert not sure([made, by_descriptor]), "another file got it in between"
    foreign = by_descriptor._replace(actor=by_descriptor.actor._replace(key="delete"))
    assert not sure([foreign]), "another rule may watch a directory that nobody monitors"


def test_a_single_subvolume_is_unambiguous() -> None:
    """No other subvolume is known, and a rule of fimscan caused the event."""
    alone = Devices(roots=(root("/w", TOP),))
    assert translated([opened(Name(), action=Action.CHMOD)], [modified(b"/w/f", TOP)], alone) == ([(TOP, 257)], True)
    foreign = opened(Name(), action=Action.CHMOD)
    foreign = foreign._replace(actor=foreign.actor._replace(key="delete"))
    assert translated([foreign], [modified(b"/w/f", TOP)], alone) == ([(TOP, 257)], False)


def test_a_path_of_another_root_proves_nothing() -> None:
    """In a chroot into a snapshot, ``/w/home/f`` is another file, perhaps with the same inode number."""
    known = KnownDirectories.of([(b"/w/home", (HOME, 256)), (b"/w/snap/w/home", (SNAP, 300))])
    both = [modified(b"/w/home/f", HOME), modified(b"/w/snap/w/home/f", SNAP)]
    assert translated([opened(named("/w/home/f"))], both, known=known) == ([(HOME, 257), (SNAP, 257)], False)


def test_a_removal_that_cannot_be_placed_ends_nothing() -> None:
    """An unlink in an unknown directory is not taken for one of a known file with that inode number."""
    somewhere = opened(named("/elsewhere/f"), action=Action.UNLINK)
    assert translated([somewhere], BOTH) == ([(SB, 257)], False)


@pytest.mark.parametrize(("path", "dev"), [("/w/f", LOWER), ("/w/g", UPPER)])
def test_files_of_several_layers(path: str, dev: int) -> None:
    """Files of two layers with one inode number are distinguished by their paths."""
    both = [modified(b"/w/f", LOWER), modified(b"/w/g", UPPER)]
    known = KnownDirectories.of([(b"/w", (OVERLAY, 2))])
    assert translated([opened(named(path), dev=OVERLAY)], both, LAYERED, known) == ([(dev, 257)], True)
    assert translated([opened(named("/w/h"), dev=OVERLAY)], both, LAYERED, known) == ([(OVERLAY, 257)], True)


def test_a_temporary_file_becomes_the_real_one() -> None:
    """A file that is created, written and renamed over another is one file, under either name."""
    now = change(state(b"/w/f", dev=LOWER, inode=9), changed_state(path=b"/w/f", dev=UPPER, inode=257))
    known = KnownDirectories.of([(b"/w", (OVERLAY, 2))])
    parent = (OVERLAY, 2)
    made = opened(named("/w/tmp", parent), dev=OVERLAY, action=Action.CREATE)
    moved = access(
        Action.RENAME, 1501, name=named("/w/f", parent), old=named("/w/tmp", parent), dev=OVERLAY, inode=257,
        replaced=(OVERLAY, 9),
    )  # fmt: skip
    found = translate_devices([made, moved], [now], known, DeviceNumbers([LAYERED, LAYERED])).accesses
    assert [one.identity for one in found] == [(UPPER, 257)] * 2
    assert found[1].replaced == (LOWER, 9)


@pytest.mark.parametrize("recorded", [(0x702, 20), (None, None)])
def test_a_removal_on_an_overlay_is_identified_by_its_name(recorded: tuple[int | None, int | None]) -> None:
    """The kernel may record a removal with the upper layer's identity of the file."""
    known = KnownDirectories.of([(b"/w", (OVERLAY, 2))])
    gone = change(state(b"/w/f", dev=OVERLAY, inode=13), None)
    dev, inode = recorded
    removal = access(
        Action.UNLINK, 1500, name=named("/w/f", (OVERLAY, 2)), dev=dev, inode=inode
    )  # fmt: skip
    assert translated([removal], [gone], SAME, known) == ([(OVERLAY, 13)], True)
    # A second removal is of the file that came since; one before the window is of the file before.
    again = removal._replace(event=removal.event._replace(serial=10**9 + 1))
    assert translated([removal, again], [gone], SAME, known)[0] == [(OVERLAY, 13), (None, None)]
    early = removal._replace(event=removal.event._replace(time_ns=500 * 10**9))
    assert translated([early], [gone], SAME, known)[0] == [(None, None)]


def test_a_file_that_was_copied_up_is_the_same_file() -> None:
    """Its path has another inode number now; the writer of the other hard link wrote to another file."""
    known = KnownDirectories.of([(b"/w", (OVERLAY, 2))])
    before, after = state(b"/w/f", dev=OVERLAY, inode=13, nlink=2), changed_state(path=b"/w/f", dev=OVERLAY, inode=20)
    copied = change(before, after)
    mine, other = opened(named("/w/f"), dev=OVERLAY, inode=13), opened(named("/w/g"), dev=OVERLAY, inode=13)
    found = translate_devices([mine, other], [copied], known, DeviceNumbers([SAME, SAME]))
    assert [one.identity for one in found.accesses] == [(OVERLAY, 20), (OVERLAY, 13)]
    assert found.changes[0].before is not None and found.changes[0].before.inode == 20
    assert "inode" in copied.changed and "inode" not in found.changes[0].changed
    # With another file put there in between, it is another file.
    put = access(Action.RENAME, 1400, name=named("/w/f", (OVERLAY, 2)), old=named("/w/x"), dev=OVERLAY, inode=20)
    assert translate_devices([mine, put], [copied], known, DeviceNumbers([SAME, SAME])).changes == (copied,)


def test_directories_with_new_numbers_are_identified_by_their_paths() -> None:
    """The old number of a directory on such an overlay may be another directory's now."""
    known = KnownDirectories.of([(b"/w", (OVERLAY, 2)), (b"/w/d", (OVERLAY, 5))])
    born = opened(Name(text=b"f", path=b"/w/d/f", parent=(OVERLAY, 3)), dev=OVERLAY, action=Action.CREATE)
    new = change(None, changed_state(path=b"/w/d/f", dev=UPPER, inode=257))
    (found,) = translate_devices([born], [new], known, DeviceNumbers([LAYERED, LAYERED])).accesses
    assert (found.identity, known.places(found.name)) == ((UPPER, 257), frozenset({b"/w/d/f"}))


def test_a_plain_file_system_is_left_alone() -> None:
    """The accesses stay as they are; after a remount, accesses with either number are to the same file."""
    ext4 = Devices(roots=(root("/w", 0x701, 0x701, "ext4"),))
    again = Devices(roots=(root("/w", 0x701, 0x703, "ext4", raw=0x703),))
    one = modified(b"/w/f", 0x701)
    assert DeviceNumbers([ext4, ext4]).is_plain
    accesses = [opened(named("/w/f"), dev=dev) for dev in (0x701, 0x703)]
    found = translate_devices(accesses, [one], KnownDirectories.of(()), DeviceNumbers([ext4, again]))
    assert [access.dev for access in found.accesses] == [0x701, 0x701] and not found.doubtful
    assert list(DeviceNumbers([ext4, again]).audited((0x701, 7))) == [(0x701, 7), (0x701, 7), (0x703, 7)]


# --------------------------------------------------------------------------------------------------------------------

PLAIN = root("/w", 1, 1, "ext4", point=b"/")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (Devices(roots=(PLAIN,)), Devices(roots=(PLAIN,)), None),
        (Devices(roots=(PLAIN,)), Devices(roots=(PLAIN, root("/w/f", 2, 2, "ext4", point=b"/w/f"))), GapReason.MOUNT),
        (Devices(roots=(PLAIN, root("/w/f", 2, 2, "ext4", point=b"/w/f"))), Devices(roots=(PLAIN,)), GapReason.MOUNT),
        # The same place, and another part of the same file system, or another file system.
        (
            Devices(roots=(root("/w", 1, 1, "ext4", point=b"/w"),)),
            Devices(roots=(root("/w", 1, 1, "ext4", point=b"/w", part=b"/x"),)),
            GapReason.MOUNT,
        ),
        (
            Devices(roots=(root("/w", 1, 1, "ext4", point=b"/w"),)),
            Devices(roots=(root("/w", 1, 1, "ext4", point=b"/w", uuid="another"),)),
            GapReason.MOUNT,
        ),
        # Mounted again, with another device number.
        (
            Devices(roots=(root("/w", 1, 1, "ext4", point=b"/w"),)),
            Devices(roots=(root("/w", 1, 3, "ext4", point=b"/w", raw=3),)),
            None,
        ),
        # A subvolume that was created, deleted or replaced in between is no mount.
        (
            Devices(roots=(root("/w", TOP, point=b"/w"),)),
            Devices(roots=(root("/w", TOP, point=b"/w"), root("/w/f", HOME, point=b"/w"))),
            GapReason.SUBVOLUME,
        ),
        (
            Devices(roots=(root("/w", TOP, point=b"/w"), root("/w/f", HOME, point=b"/w"))),
            Devices(roots=(root("/w", TOP, point=b"/w"),)),
            GapReason.SUBVOLUME,
        ),
        (
            Devices(roots=(root("/w", TOP, point=b"/w"), root("/w/f", HOME, point=b"/w"))),
            Devices(roots=(root("/w", TOP, point=b"/w"), root("/w/f", SNAP, point=b"/w"))),
            GapReason.SUBVOLUME,
        ),
        (
            Devices(roots=(root("/w", TOP, point=b"/"),)),
            Devices(roots=(root("/w", SNAP, point=b"/"),)),
            GapReason.SUBVOLUME,
        ),
        # A watch was added below another one.
        (
            Devices(roots=(root("/w", TOP, point=b"/"),)),
            Devices(roots=(root("/w", TOP, point=b"/"), root("/w/f", TOP, point=b"/"))),
            None,
        ),
        (Devices(roots=(PLAIN,), images=(b"/w/f",)), Devices(roots=(PLAIN,)), GapReason.LOOP_IMAGE),
        (Devices(roots=(PLAIN,)), Devices(roots=(PLAIN,), layers=((b"/w", b"/m"),)), GapReason.OVERLAY_LAYER),
        (Devices(), Devices(roots=(root("/w", 5, 5, "nfs4"),)), GapReason.SERVED_ELSEWHERE),
    ],
)
def test_which_paths_escape_all_rules(before: Devices, after: Devices, reason: GapReason | None) -> None:
    """By the mount tables and loop devices as of the begin and the end of the window."""
    assert unauditable_paths([before, after])(b"/w/f") is reason
