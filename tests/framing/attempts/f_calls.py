"""The file is changed in the window by calls that are rare, of another ABI, or made by a descriptor."""

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
    """futimens(3) sets the times of a file that is open for reading: its record has no name and no inode."""
    return _called(bench, "times")


@attempt
def times_set_by_a_descriptor_of_32_bits(bench: Bench) -> Steps:
    """As before, by a call of i386."""
    return _called(bench, "times-32")


@attempt
def flags_set_and_taken_back(bench: Bench) -> Steps:
    """chattr's older call, an ioctl, sets a flag and takes it back: nothing but the ctime differs."""
    return _called(bench, "toggle")


@attempt
def appended_by_a_call_of_32_bits(bench: Bench) -> Steps:
    """open(2) of i386, by a 64-bit program (int 0x80)."""
    return _called(bench, "append-32")


@attempt
def truncated_by_a_call_of_32_bits(bench: Bench) -> Steps:
    """truncate64(2) of i386."""
    return _called(bench, "truncate-32")


@attempt
def mode_set_by_a_call_of_32_bits(bench: Bench) -> Steps:
    """chmod(2) of i386; root sets the mode that the file has already."""
    return _called(bench, "mode-32", "chmod", "666")


@attempt
def mode_set_by_a_path_descriptor(bench: Bench) -> Steps:
    """fchmodat2(2) with an empty name and an O_PATH descriptor; root sets the mode that the file has already."""
    return _called(bench, "mode-at-descriptor", "chmod", "666")


@attempt
def attribute_set_by_a_descriptor(bench: Bench) -> Steps:
    """setxattrat(2) with an empty name; root sets another attribute to the value that it has already."""
    return _called(bench, "xattr-at-descriptor", "setfattr", "-n", "user.kept", "-v", "same")


@attempt
def attribute_set_by_setxattrat(bench: Bench) -> Steps:
    """setxattrat(2) by path."""
    return _called(bench, "xattr-at", "setfattr", "-n", "user.kept", "-v", "same")


@attempt
def attribute_removed_by_removexattrat(bench: Bench) -> Steps:
    """removexattrat(2) by path."""
    return _called(bench, "xattr-removed-at", "setfattr", "-n", "user.kept", "-v", "same")


@attempt_alone
def appended_by_a_kernel_thread(bench: Bench) -> Steps:
    """An io_uring with a thread of the kernel's own (IORING_SETUP_SQPOLL) opens and writes."""
    return _called(bench, "kernel-thread")


@attempt_alone
def appended_by_a_direct_descriptor(bench: Bench) -> Steps:
    """Opened by an io_uring into its own table of files."""
    return _called(bench, "direct-descriptor")


@attempt
def appended_by_a_thread(bench: Bench) -> Steps:
    """A thread with its own table of descriptors, called "innocent"."""
    return _called(bench, "thread")


@attempt
def directories_exchanged(bench: Bench) -> Steps:
    """The directory is exchanged with one from elsewhere that has a file of the same name; then root opens that."""
    target = bench.target("sub/target", own=True)
    yield
    other = bench.elsewhere / "sub"
    bench.shell(f"mkdir {other}; echo EVIL > {other}/target; chmod 666 {other}/target")
    bench.program("calls", "exchange", target.parent, other)
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def directory_above_exchanged(bench: Bench) -> Steps:
    """As before, and it is the directory above that."""
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
    """The file's subvolume is replaced by a snapshot, in which it has the same number; it was changed elsewhere."""
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
def program_with_a_path_of_four_thousand_bytes(bench: Bench) -> Steps:
    """The path of the program that acts has 4,000 bytes, which the log writes in hexadecimal."""
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
    """Root sets a mode and takes it back; the user sets the same one by an ACL that is nothing but a mode."""
    target = bench.target(own=True)
    bench.root("chmod", "644", str(target))
    yield
    bench.root("chmod", "664", str(target))
    bench.root("chmod", "644", str(target))
    bench.user("setfacl", "-m", "g::rw", str(target))


@attempt
def removed_after_root_made_it_anew(bench: Bench) -> Steps:
    """Root removes the file and makes it anew, and the user removes that one."""
    target = bench.target(own=True)
    yield
    bench.root("rm", str(target))
    bench.root("sh", "-c", f"echo one > {target}")
    bench.user("rm", "-f", str(target))


@attempt
def removed_after_root_replaced_it(bench: Bench) -> Steps:
    """Root's editor replaces the file by a rename, and the user removes the new one."""
    target = bench.target(own=True)
    yield
    bench.root("sed", "-i", "s/one/two/", str(target))
    bench.user("rm", "-f", str(target))
