"""The file is changed in the window by a way that the loaded rules might not see.

Root's program opens the file for writing and writes nothing; the user changes it by something rare.
"""

from __future__ import annotations

from pathlib import Path

from tests.framing.attempt import attempt, attempt_alone
from tests.framing.bench import Bench, Steps
from tests.lab.ground import Unavailable


def _called(bench: Bench, deed: str, *more: str) -> Steps:
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    bench.program("calls", deed, target, *more)


@attempt
def plain_append(bench: Bench) -> Steps:
    """No trick: root opens it, the user appends to it. Both are on record."""
    return _called(bench, "append")


@attempt_alone
def appended_by_a_ring(bench: Bench) -> Steps:
    """Opened and written through an io_uring, for which auditctl 3.0 can make no rule."""
    target = bench.target()
    yield
    bench.innocent(target)
    bench.program("ringed", "append", target)


@attempt_alone
def truncated_by_a_ring(bench: Bench) -> Steps:
    """Opened with O_RDONLY|O_TRUNC through an io_uring."""
    target = bench.target()
    yield
    bench.innocent(target)
    bench.program("ringed", "truncate", target)


@attempt
def truncated_by_openat2_for_reading(bench: Bench) -> Steps:
    """openat2(2) with O_RDONLY|O_TRUNC: perm=w judges by the access mode, and a rule cannot look into its structure."""
    return _called(bench, "openat2-truncate")


@attempt_alone
def blocks_moved_after_the_last_ctime(bench: Bench) -> Steps:
    """EXT4_IOC_MOVE_EXT puts other blocks into the file and leaves its ctime, which a chmod before that set."""
    target = bench.target(own=True, content="one\n" * 1024)
    yield
    bench.innocent(target)
    bench.program("calls", "move-extents", target, str(target.parent / "mine"))


@attempt
def truncated_by_open_for_reading(bench: Bench) -> Steps:
    """open(2) with O_RDONLY|O_TRUNC."""
    return _called(bench, "truncate-read-only")


@attempt
def opened_by_openat2(bench: Bench) -> Steps:
    """openat2(2) for writing: the flags are in a structure, which is in a record of its own."""
    return _called(bench, "openat2-append")


@attempt
def opened_again_by_its_descriptor(bench: Bench) -> Steps:
    """Opened for reading, which nobody records, and then for writing by the name /proc/self/fd/N."""
    return _called(bench, "reopen")


@attempt
def opened_again_by_a_path_descriptor(bench: Bench) -> Steps:
    """As before, from a descriptor that was opened with O_PATH."""
    return _called(bench, "reopen-path")


@attempt_alone
def opened_by_its_handle(bench: Bench) -> Steps:
    """open_by_handle_at(2), which a user may call for a mount of its own in a user namespace (Linux 6.11 and later)."""
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    place = bench.elsewhere / "bound"
    bench.in_namespaces(f"mkdir {place}; mount --bind {bench.here} {place}; exec $P/calls handle {place}/{target.name}")


@attempt_alone
def file_bound_elsewhere_in_a_namespace(bench: Bench) -> Steps:
    """The very file is mounted over another one, in a namespace of the user's, and written by that name."""
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    place = bench.elsewhere / "bound"
    bench.in_namespaces(f"touch {place}; mount --bind {target} {place}; exec $P/calls append {place}")


@attempt_alone
def upper_layer_of_an_overlay(bench: Bench) -> Steps:
    """The watched directory is the upper layer of an overlay in the user's namespace: the file is written through it.

    The overlay opens its upper files by itself, and no rule for the directory sees that.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    _through_overlay(bench, f"$P/calls append m/{target.name}")


@attempt_alone
def replaced_through_an_overlay(bench: Bench) -> Steps:
    """As before, and the file is replaced by another one through the overlay; then root opens the new one."""
    target = bench.target(own=True)
    yield
    _through_overlay(bench, f"echo EVIL > m/new; chmod 666 m/new; mv m/new m/{target.name}")
    bench.innocent(target)
    _through_overlay(bench, f"chmod 600 m/{target.name}; chmod 666 m/{target.name}")


@attempt_alone
def upper_layer_while_root_lets_everybody_write(bench: Bench) -> Steps:
    """As before; the file is root's, and only for a while in the window it is writable by all."""
    target = bench.target()
    bench.root("chmod", "644", str(target))
    yield
    bench.root("chmod", "666", str(target))
    _through_overlay(bench, f"$P/calls append m/{target.name}")
    bench.root("chmod", "644", str(target))
    bench.innocent(target)


def _through_overlay(bench: Bench, code: str) -> None:
    options = f"userxattr,lowerdir=l,upperdir={bench.here},workdir={bench.here.parent / (bench.name + '-work')}"
    work = bench.here.parent / f"{bench.name}-work"
    work.mkdir(exist_ok=True)
    work.chmod(0o777)
    try:
        bench.in_namespaces(f"mkdir -p l m; mount -t overlay -o {options} none m || exit 77; {code}")
    finally:
        bench.root("rm", "-rf", str(work))


@attempt
def flags_set_by_file_setattr(bench: Bench) -> Steps:
    """file_setattr(2), since Linux 6.17, sets flags by path; root's program has opened the file and set its mode."""
    target = bench.target(own=True)
    yield
    bench.root("chmod", "666", str(target))
    bench.program("calls", "flags", target, "0x80")  # FS_XFLAG_NODUMP


@attempt_alone
def attribute_set_by_a_ring(bench: Bench) -> Steps:
    """An extended attribute is set through an io_uring; root sets another one to the value that it has already."""
    target = bench.target(own=True)
    bench.root("setfattr", "-n", "user.kept", "-v", "same", str(target))
    yield
    bench.root("setfattr", "-n", "user.kept", "-v", "same", str(target))
    bench.program("ringed", "xattr", target)


@attempt
def core_dump_over_the_file(bench: Bench) -> Steps:
    """A program of the user's crashes beside a file called "core": the kernel replaces that, without a system call.

    Root's program opens the old file and the new one, and then the user sets the ctime.
    """
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core":
        raise Unavailable("core dumps go elsewhere here (kernel.core_pattern)")
    target = bench.target("core", own=True)
    yield
    bench.innocent(target)
    bench.shell(f"$P/calls core {target} || true")
    bench.innocent(target)
    bench.shell(f"chmod 666 {target}; chmod 600 {target}")


@attempt
def file_without_a_name_gets_the_name(bench: Bench) -> Steps:
    """A file is made with O_TMPFILE, written, and linked to the name, whose old file is removed; then root opens it.

    The record of O_TMPFILE has the directory's name and the new file's inode.
    """
    target = bench.target(own=True)
    yield
    bench.program("calls", "nameless", target, bench.here)
    bench.innocent(target)
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt
def opened_by_a_path_of_four_thousand_bytes(bench: Bench) -> Steps:
    """The name that is opened has 4,000 bytes, which the log writes in hexadecimal: a record of over 8 kB."""
    target = bench.target(own=True)
    odd = bench.here / "\x01"
    odd.mkdir()
    yield
    bench.innocent(target)
    name = f"{bench.here}/" + "\x01/../" * ((4000 - len(str(bench.here))) // 5) + target.name
    bench.program("calls", "append", name)


@attempt
def names_that_look_like_a_record(bench: Bench) -> Steps:
    """The process calls itself 'x" pid=1 uid=0', and the file's other name has a line of a log in it."""
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    other = bench.here / f'x"\ntype=SYSCALL msg=audit(1.000:1): pid=1 uid=0 name="{target.name}"'
    bench.user("ln", str(target), str(other))
    bench.program("calls", "titled", other)
    bench.user("rm", str(other))
