"""The table of mounted file systems."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fimscan.linux.mounts import is_below_mount_that_may_hang, mount_of, parse_mounts, without_repeats


def test_mounts_are_found_by_the_longest_and_latest_name() -> None:
    """Names are unescaped; what is mounted on top hides what lies below; a name that only starts alike is no parent."""
    mounts = parse_mounts(
        b"27 1 254:0 / / rw - ext4 /dev/vda rw\n40 27 0:40 / /srv/a\\040b rw shared:1 - xfs /dev/vdb rw\n"
        b"41 40 0:41 / /srv/a\\040b rw - overlay o rw\nshort line\n"
    )
    kinds = [getattr(mount_of(mounts, path), "kind", None) for path in (b"/srv/a b/c", b"/srv/a bc", b"/")]
    assert kinds == ["overlay", "ext4", "ext4"]


def test_white_space_in_the_name_of_a_mount() -> None:
    """The kernel leaves most of it as it is; whoever may mount something gives it its name."""
    (mount,) = parse_mounts(b"41 27 0:41 /\x0b /home/eve/a\r\x0b\x0cb rw - fuse.sshfs s rw\n")
    assert (mount.point, mount.may_hang) == (b"/home/eve/a\r\x0b\x0cb", True)


def test_what_is_not_known_to_be_local_may_hang() -> None:
    """A network file system that nobody thought of is not asked, either."""
    table = b"1 1 0:5 / / rw - %b s rw\n"
    hanging = [
        kind
        for kind in (b"ext4", b"tmpfs", b"nfs4", b"fuse.sshfs", b"beegfs")
        if parse_mounts(table % kind)[0].may_hang
    ]
    assert hanging == [b"nfs4", b"fuse.sshfs", b"beegfs"]


def test_what_lies_behind_a_file_system_that_may_hang() -> None:
    """A local one that is mounted below it, too: the way there leads through it."""
    mounts = parse_mounts(
        b"27 1 254:0 / / rw - ext4 d rw\n40 27 0:40 / /n rw - nfs4 s rw\n41 40 0:41 / /n/t rw - tmpfs t rw\n"
        b"42 27 0:42 /sub /b rw - btrfs /dev/vdb rw,subvol=/sub\n"
    )
    behind = [is_below_mount_that_may_hang(mounts, path) for path in (b"/n/t/f", b"/n", b"/nt", b"/")]
    assert behind == [True, True, False, False]
    assert (mounts[3].root, mounts[3].options) == (b"/sub", b"rw,subvol=/sub")


def test_a_directory_that_is_mounted_on_itself_is_no_mount() -> None:
    """As systemd does for ReadWritePaths=. Another part of the same file system is one, and one on another device."""
    mounts = parse_mounts(
        b"27 1 254:0 / / rw - ext4 d rw\n40 27 254:0 /etc/own /etc/own rw - ext4 d rw\n"
        b"41 27 254:0 /srv/x /etc/x rw - ext4 d rw\n42 41 254:0 /srv/x/y /etc/x/y rw - ext4 d rw\n"
        b"43 27 254:1 /etc/z /etc/z rw - ext4 e rw\n44 27 254:0 / / ro - ext4 d rw\n"
        b"45 27 254:0 /etc/x /etc/x rw - ext4 d rw\n"
    )
    # The last one shows what was there before another part was mounted: it hides that one.
    assert [mount.id for mount in without_repeats(mounts)] == [27, 41, 43, 45]


@given(st.binary(max_size=200))
def test_no_mount_table_can_raise(text: bytes) -> None:
    """Lines of another form are left out."""
    parse_mounts(text)
    parse_mounts(b"27 1 254:0 / " + text + b" rw - ext4 d rw\n")
    parse_mounts(text + b" 1 x:y / / rw - ext4 d rw\n")
