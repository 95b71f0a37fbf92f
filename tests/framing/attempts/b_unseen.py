"""The user changes the file in the window, in a way that the loaded rules might not report.

Root's program opens the file for writing and writes nothing. If audit does not report what the user does, root's
process seems to be the only one that can have changed the file.
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
    """The user appends to the file that root's program opened. Audit records both, so neither may be named alone."""
    return _called(bench, "append")


@attempt_alone
def appended_by_io_uring(bench: Bench) -> Steps:
    """The user opens and writes the file through an io_uring. auditctl 3.0 cannot make a rule for that."""
    target = bench.target()
    yield
    bench.innocent(target)
    bench.program("ringed", "append", target)


@attempt_alone
def truncated_by_io_uring(bench: Bench) -> Steps:
    """The user empties the file through an io_uring, by an open with O_RDONLY|O_TRUNC.

    auditctl 3.0 cannot make a rule for io_uring, and the open does not ask for write access.
    """
    target = bench.target()
    yield
    bench.innocent(target)
    bench.program("ringed", "truncate", target)


@attempt
def truncated_by_openat2_for_reading(bench: Bench) -> Steps:
    """The user empties the file by openat2(2) with O_RDONLY|O_TRUNC.

    A rule with perm=w goes by the access mode, which is for reading only. No rule can look at the flags of openat2,
    which are in memory.
    """
    return _called(bench, "openat2-truncate")


@attempt_alone
def blocks_moved_after_the_last_ctime(bench: Bench) -> Steps:
    """The user moves blocks of another file into the target (EXT4_IOC_MOVE_EXT).

    This leaves the target's ctime, which the user's chmod has set before. By the ctime, the user's open comes too late
    to be the change. Root's open does not.
    """
    target = bench.target(own=True, content="one\n" * 1024)
    yield
    bench.innocent(target)
    bench.program("calls", "move-extents", target, str(target.parent / "mine"))


@attempt
def truncated_by_open_for_reading(bench: Bench) -> Steps:
    """The user empties the file by open(2) with O_RDONLY|O_TRUNC.

    A rule with perm=w goes by the access mode, which is for reading only.
    """
    return _called(bench, "truncate-read-only")


@attempt
def opened_by_openat2(bench: Bench) -> Steps:
    """The user opens the file for writing by openat2(2). The flags are in a record of their own.

    The record of the call has only the address of the flags. The open may be taken for one that reads.
    """
    return _called(bench, "openat2-append")


@attempt
def opened_again_by_its_descriptor(bench: Bench) -> Steps:
    """The user opens the file for reading, and then for writing by the name /proc/self/fd/N.

    Audit does not record the first open. The name in the record of the second one is not that of the file.
    """
    return _called(bench, "reopen")


@attempt
def opened_again_by_a_path_descriptor(bench: Bench) -> Steps:
    """The user opens the file with O_PATH, and then for writing by the name /proc/self/fd/N.

    Audit does not record the first open. The name in the record of the second one is not that of the file.
    """
    return _called(bench, "reopen-path")


@attempt_alone
def opened_by_its_handle(bench: Bench) -> Steps:
    """The user opens the file by its handle (open_by_handle_at(2)), without any name.

    Since Linux 6.11, users may do so on a mount of their own in a user namespace. A rule by path might not report it.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    place = bench.elsewhere / "bound"
    bench.in_namespaces(f"mkdir {place}; mount --bind {bench.here} {place}; exec $P/calls handle {place}/{target.name}")


@attempt_alone
def file_bound_elsewhere_in_a_namespace(bench: Bench) -> Steps:
    """In a namespace, the user mounts the file over a file elsewhere, and writes by that name.

    The name is not below the watched directory.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    place = bench.elsewhere / "bound"
    bench.in_namespaces(f"touch {place}; mount --bind {target} {place}; exec $P/calls append {place}")


@attempt_alone
def upper_layer_of_an_overlay(bench: Bench) -> Steps:
    """In a namespace, the user mounts an overlay with the watched directory as its upper layer, and writes to it.

    The overlay opens the file of its upper layer itself. No rule for the directory reports that.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    _through_overlay(bench, f"$P/calls append m/{target.name}")


@attempt_alone
def replaced_through_an_overlay(bench: Bench) -> Steps:
    """The user replaces the file through an overlay, and root's program opens the new file.

    The watched directory is the overlay's upper layer. No rule for the directory reports the rename.
    """
    target = bench.target(own=True)
    yield
    _through_overlay(bench, f"echo EVIL > m/new; chmod 666 m/new; mv m/new m/{target.name}")
    bench.innocent(target)
    _through_overlay(bench, f"chmod 600 m/{target.name}; chmod 666 m/{target.name}")


@attempt_alone
def upper_layer_while_root_lets_everybody_write(bench: Bench) -> Steps:
    """Root makes its file writable by all for a while. The user then writes to it through an overlay.

    At both scans, the user may not write to the file. So the overlay seems to be of no concern to it.
    """
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
    """The user sets flags of the file by path with file_setattr(2), which is new in Linux 6.17.

    Root's program sets the mode. If the new call is not reported, root's chmod is the only change of attributes.
    """
    target = bench.target(own=True)
    yield
    bench.root("chmod", "666", str(target))
    bench.program("calls", "flags", target, "0x80")  # FS_XFLAG_NODUMP


@attempt_alone
def attribute_set_by_io_uring(bench: Bench) -> Steps:
    """The user sets an extended attribute through an io_uring.

    Root sets another attribute to the value that it has already. Root's call is the only one that a rule of auditctl
    3.0 reports.
    """
    target = bench.target(own=True)
    bench.root("setfattr", "-n", "user.kept", "-v", "same", str(target))
    yield
    bench.root("setfattr", "-n", "user.kept", "-v", "same", str(target))
    bench.program("ringed", "xattr", target)


@attempt
def core_dump_over_the_file(bench: Bench) -> Steps:
    """A program of the user crashes beside a file called "core", which the kernel replaces by a core dump.

    No system call does that. Root's program opens the old file and the new one, and then the user sets the ctime.
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
    """The user creates and writes a file without a name (O_TMPFILE), then links it in place of the target.

    The record of O_TMPFILE has the name of the directory and the inode of the new file. Root's program opens the new
    file by its name.
    """
    target = bench.target(own=True)
    yield
    bench.program("calls", "nameless", target, bench.here)
    bench.innocent(target)
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt
def opened_by_a_path_of_four_thousand_bytes(bench: Bench) -> Steps:
    """The user opens the file by a name of 4,000 bytes, which the log writes in hexadecimal.

    The record has over 8 kB, and may be cut or rejected.
    """
    target = bench.target(own=True)
    odd = bench.here / "\x01"
    odd.mkdir()
    yield
    bench.innocent(target)
    name = f"{bench.here}/" + "\x01/../" * ((4000 - len(str(bench.here))) // 5) + target.name
    bench.program("calls", "append", name)


@attempt
def names_that_look_like_a_record(bench: Bench) -> Steps:
    """The user's process is called 'x" pid=1 uid=0', and another name of the file contains a line of a log.

    If the log is parsed carelessly, the open is laid to pid 1, or the line is taken for a record.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    other = bench.here / f'x"\ntype=SYSCALL msg=audit(1.000:1): pid=1 uid=0 name="{target.name}"'
    bench.user("ln", str(target), str(other))
    bench.program("calls", "titled", other)
    bench.user("rm", str(other))
