"""The user changes the file in the window by a call that is rare, of another ABI, or made by a descriptor.

Root's program opens the file, or sets what it has already. If audit does not report the user's call, or fimscan does
not understand its record, root's process seems to be the only one.
"""

from __future__ import annotations

from tests.framing.attempt import attempt, attempt_alone
from tests.framing.bench import Bench, Steps


def _called(bench: Bench, deed: str, *before: str) -> Steps:
    target = bench.target(own=True)
    if before:
        bench.root(*before[:1], *before[1:], str(target))
    yield
    if before:
        bench.root(*before[:1], *before[1:], str(target))
    else:
        bench.innocent(target)
    bench.program("odd", deed, target)


@attempt
def times_set_by_a_descriptor(bench: Bench) -> Steps:
    """The user sets the file's times by a descriptor for reading (futimens(3)).

    The record of the call has neither a name nor an inode. Root's open for writing is on record.
    """
    return _called(bench, "times")


@attempt
def times_set_by_a_descriptor_of_32_bits(bench: Bench) -> Steps:
    """The user sets the file's times by a descriptor for reading, by a call of i386.

    The record of the call has neither a name nor an inode. Root's open for writing is on record.
    """
    return _called(bench, "times-32")


@attempt
def flags_set_and_taken_back(bench: Bench) -> Steps:
    """The user sets a flag of chattr(1) by an ioctl and takes it back. Only the ctime differs.

    The ioctl names no path. Root's open for writing is on record.
    """
    return _called(bench, "toggle")


@attempt
def appended_by_a_call_of_32_bits(bench: Bench) -> Steps:
    """The user's 64-bit program opens the file by open(2) of i386 (int 0x80).

    A rule for calls of 64-bit programs does not report it. Root's open is on record.
    """
    return _called(bench, "append-32")


@attempt
def truncated_by_a_call_of_32_bits(bench: Bench) -> Steps:
    """The user's 64-bit program empties the file by truncate64(2) of i386 (int 0x80).

    A rule for calls of 64-bit programs does not report it. Root's open is on record.
    """
    return _called(bench, "truncate-32")


@attempt
def mode_set_by_a_call_of_32_bits(bench: Bench) -> Steps:
    """The user's 64-bit program sets the mode by chmod(2) of i386 (int 0x80).

    A rule for calls of 64-bit programs does not report it. Root sets the mode that the file has already.
    """
    return _called(bench, "mode-32", "chmod", "666")


@attempt
def mode_set_by_a_path_descriptor(bench: Bench) -> Steps:
    """The user sets the mode by fchmodat2(2) with an empty name and an O_PATH descriptor.

    The call is new, and its record has no name of the file. Root sets the mode that the file has already.
    """
    return _called(bench, "mode-at-descriptor", "chmod", "666")


@attempt
def attribute_set_by_a_descriptor(bench: Bench) -> Steps:
    """The user sets an extended attribute by setxattrat(2) with an empty name and a descriptor.

    The call is new, and its record has no name of the file. Root sets another attribute to the value that it has
    already.
    """
    return _called(bench, "xattr-at-descriptor", "setfattr", "-n", "user.kept", "-v", "same")


@attempt
def attribute_set_by_setxattrat(bench: Bench) -> Steps:
    """The user sets an extended attribute by path with setxattrat(2), which is new.

    Root sets another attribute to the value that it has already.
    """
    return _called(bench, "xattr-at", "setfattr", "-n", "user.kept", "-v", "same")


@attempt
def attribute_removed_by_removexattrat(bench: Bench) -> Steps:
    """The user removes an extended attribute by path with removexattrat(2), which is new.

    Root sets the same attribute to the value that it has already.
    """
    return _called(bench, "xattr-removed-at", "setfattr", "-n", "user.kept", "-v", "same")


@attempt_alone
def appended_by_a_kernel_thread(bench: Bench) -> Steps:
    """The user opens and writes the file through an io_uring that has a kernel thread (IORING_SETUP_SQPOLL).

    No process of the user makes a system call for it.
    """
    return _called(bench, "kernel-thread")


@attempt_alone
def appended_by_a_direct_descriptor(bench: Bench) -> Steps:
    """The user opens the file into the table of an io_uring, and writes by that.

    The open makes no descriptor of the process, and no system call.
    """
    return _called(bench, "direct-descriptor")


@attempt
def appended_by_a_thread(bench: Bench) -> Steps:
    """A thread of the user's process, with its own descriptor table and the name "innocent", opens and writes the file.

    Root's program has the same name. The two must not be taken for one.
    """
    return _called(bench, "thread")


@attempt
def directories_exchanged(bench: Bench) -> Steps:
    """The user exchanges the file's directory with one from outside, with another file of that name. Root opens it.

    The content came with the directory. No rename has the name of the file.
    """
    target = bench.target("sub/target", own=True)
    yield
    other = bench.elsewhere / "sub"
    bench.shell(f"mkdir {other}; echo EVIL > {other}/target; chmod 666 {other}/target")
    bench.program("calls", "exchange", target.parent, other)
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def directory_above_exchanged(bench: Bench) -> Steps:
    """The user replaces a directory two levels above the file's name by one from outside. Root opens the new file.

    The content came with the directory. No rename has the name of the file.
    """
    bench.shell(f"mkdir {bench.here}/a")
    target = bench.target("a/sub/target", own=True)
    yield
    other = bench.elsewhere / "a"
    bench.shell(f"mkdir -p {other}/sub; echo EVIL > {other}/sub/target; chmod 666 {other}/sub/target")
    bench.shell(f"mv {bench.here}/a/sub {bench.here}/old; mv {other}/sub {bench.here}/a/sub")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def snapshot_in_its_place(bench: Bench) -> Steps:
    """The user changes the file in a btrfs snapshot outside, and puts the snapshot in place of the subvolume.

    The file has the same inode number in both. Root's program opens the new file. (On btrfs only.)
    """
    target = bench.here / "sub" / "target"
    bench.shell(f"btrfs -q subvolume create {target.parent} || exit 77")
    bench.target("sub/target", own=True)
    yield
    other = bench.elsewhere / "snapshot"
    bench.shell(f"btrfs -q subvolume snapshot {target.parent} {other}; echo EVIL >> {other}/target")
    bench.shell(f"mv {target.parent} {bench.elsewhere}/old; mv {other} {target.parent}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def snapshot_at_a_new_place(bench: Bench) -> Steps:
    """The user changes the file in a subvolume outside, and makes a snapshot of it in the watched directory.

    The ioctl(2) that makes a snapshot needs no privilege. Root's program opens the new file. (On btrfs only.)
    """
    target = bench.here / "copy" / "target"
    bench.judged.append(target)
    bench.shell(f"umask 0; btrfs -q subvolume create {bench.elsewhere}/source || exit 77")
    bench.shell(f"umask 0; echo one > {bench.elsewhere}/source/target")
    yield
    bench.shell(f"echo EVIL >> {bench.elsewhere}/source/target")
    bench.shell(f"btrfs -q subvolume snapshot {bench.elsewhere}/source {target.parent}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def snapshot_where_a_directory_was(bench: Bench) -> Steps:
    """The user moves a directory away, and makes a snapshot of a subvolume outside in its place.

    A removal and a creation are on record, both of other files. Root's program opens the new file. (On btrfs only.)
    """
    bench.shell(f"umask 0; btrfs -q subvolume create {bench.elsewhere}/source || exit 77")
    bench.shell(f"umask 0; mkdir {bench.here}/sub")
    target = bench.target("sub/target", own=True)
    yield
    bench.shell(f"umask 0; echo EVIL > {bench.elsewhere}/source/target")
    bench.shell(f"mv {target.parent} {bench.elsewhere}/old")
    bench.shell(f"btrfs -q subvolume snapshot {bench.elsewhere}/source {target.parent}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def snapshot_with_the_number_of_a_file_that_root_made(bench: Bench) -> Steps:
    """Root creates a file in the user's new subvolume. The user puts another subvolume with such a file in its place.

    Both files have the same path, and the first inode number of a subvolume. (On btrfs only.)
    """
    target = bench.here / "sub" / "target"
    bench.judged.append(target)
    bench.shell(f"umask 0; btrfs -q subvolume create {bench.elsewhere}/source || exit 77")
    bench.shell(f"umask 0; echo EVIL > {bench.elsewhere}/source/target")
    yield
    bench.shell(f"umask 0; btrfs -q subvolume create {target.parent}")
    bench.root("cp", "/etc/hostname", str(target))
    bench.shell(f"mv {target.parent} {bench.elsewhere}/old")
    bench.shell(f"btrfs -q subvolume snapshot {bench.elsewhere}/source {target.parent}")


@attempt
def program_with_a_path_of_four_thousand_bytes(bench: Bench) -> Steps:
    """The path of the user's program has 4,000 bytes, which the log writes in hexadecimal.

    The record may be cut or rejected, and root's open is on record.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    part = "\x01" * 200
    bench.shell(
        f"cd {bench.elsewhere}; for i in {{1..19}}; do mkdir '{part}'; cd '{part}'; done;"
        f"cp $P/odd ./'{part[:100]}'; ./'{part[:100]}' append {target}"
    )


@attempt
def mode_set_by_an_acl_after_root_took_it_back(bench: Bench) -> Steps:
    """Root sets a mode and takes it back. The user sets the same mode by an ACL.

    An ACL can consist of a mode alone. Root's chmod is the only one that set the new mode.
    """
    target = bench.target(own=True)
    bench.root("chmod", "644", str(target))
    yield
    bench.root("chmod", "664", str(target))
    bench.root("chmod", "644", str(target))
    bench.user("setfacl", "-m", "g::rw", str(target))


@attempt
def removed_after_root_created_it_anew(bench: Bench) -> Steps:
    """Root removes the file and creates it anew. The user removes the new one.

    Root removed the file that the scan knew. The user's removal left the path empty.
    """
    target = bench.target(own=True)
    yield
    bench.root("rm", str(target))
    bench.root("sh", "-c", f"echo one > {target}")
    bench.user("rm", "-f", str(target))


@attempt
def removed_after_root_replaced_it(bench: Bench) -> Steps:
    """Root's editor replaces the file by a rename. The user removes the new one.

    Root's rename ended the file that the scan knew. The user's removal left the path empty.
    """
    target = bench.target(own=True)
    yield
    bench.root("sed", "-i", "s/one/two/", str(target))
    bench.user("rm", "-f", str(target))
