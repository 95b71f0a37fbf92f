"""Changes that no audit rule reports, and their reasons; watches on single paths; calls with two effects.

If the mounts or the log explain a change, "no-event" is the wrong answer.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.lab.bench import Lab, Process
from tests.lab.ground import Unavailable
from tests.lab.scenario import Steps, alone, scenario, scenario_on

#: Audit does not cover the place: any answer that says so is right, "no-event" is wrong.
_NOT_SEEN = (("unattributed", "coverage-gap"), ("unattributed", "not-covered"))


def _explained(lab: Lab, kind: str, path: str, by: Process) -> None:
    verdict, reason = _NOT_SEEN[1]
    lab.expect(kind, path, verdict=verdict, reason=reason, or_else=_NOT_SEEN, by=by, perhaps=by)


# ---- changes without a system call on this mount


@scenario
def core_dump(lab: Lab) -> Steps:
    """The kernel writes the core file; the record of the crash (ANOM_ABEND) names the process."""
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core":
        raise Unavailable("core dumps go elsewhere here (kernel.core_pattern)")
    yield
    code = "import os, resource, signal; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); os.kill(os.getpid(), 11)"
    crashed = lab.run(sys.executable, "-ISc", code, codes=(-11,))
    uses_pid = Path("/proc/sys/kernel/core_uses_pid").read_text().strip() == "1"
    name = f"core.{crashed.pid}" if uses_pid else "core"
    lab.added(name, verdict="likely", reason="core-dump", writer=crashed)


@scenario
def file_mounted_over_a_file(lab: Lab) -> Steps:
    """A file mounted over another, as Docker does with /etc/hosts; the mount table shows it."""
    lab.file("f")
    lab.file(f"{lab.elsewhere}/other", "another file\n")
    yield
    mounter = lab.run("mount", "--bind", f"{lab.elsewhere}/other", "f")
    try:
        _explained(lab, "modified", "f", mounter)
        yield  # still mounted at the second scan
    finally:
        lab.run("umount", "-l", str(lab.here / "f"))


@scenario_on("ext4", "xfs")
def image_of_a_loop_device(lab: Lab) -> Steps:
    """Writes to a file system on a loop device change the image, by the kernel."""
    image = lab.here / "image"
    image.touch()
    lab.run("truncate", "-s", "4M", str(image))
    lab.run("mkfs.ext4", "-q", "-F", str(image))
    place = lab.elsewhere / "on-the-image"
    place.mkdir()
    lab.run("mount", "-o", "loop", str(image), str(place))
    try:
        yield
        writer = lab.shell(f"echo inside > {place}/f; sync -f {place}/f")
        _explained(lab, "modified", "image", writer)
        yield  # still mounted at the second scan
    finally:
        lab.run("umount", str(place))


@scenario_on("ext4", "xfs", "tmpfs")
def upper_layer_of_an_overlay(lab: Lab) -> Steps:
    """The watched directory is the upper layer of an overlay, and processes write through the overlay."""
    lab.file("upper/f")
    place, lower, work = (lab.elsewhere / name for name in ("merged", "lower", "work"))
    for directory in (place, lower):
        directory.mkdir()
    # On the same file system, outside the watched directory.
    work.mkdir()
    options = f"lowerdir={lower},upperdir={lab.here}/upper,workdir={work}"
    lab.run("mount", "-t", "overlay", "-o", options, "overlay", str(place))
    try:
        yield
        writer = lab.shell(f"echo through the overlay >> {place}/f")
        _explained(lab, "modified", "upper/f", writer)
        yield  # still mounted at the second scan
    finally:
        lab.run("umount", "-l", str(place))


# ---- overlays and subvolumes


@scenario
def lower_file_changed_in_every_way(lab: Lab) -> Steps:
    """On an overlay, each of these calls first copies the file up."""
    for name in ("appended", "cut", "mode", "owner", "attribute", "away", "linked", "gone"):
        lab.file(name).chmod(0o644)
    yield
    lab.modified("appended", writer=lab.shell("echo more >> appended"))
    lab.modified("cut", writer=lab.shell("echo x > cut"))
    lab.attributes("mode", changer=lab.run("chmod", "0600", "mode"))
    lab.attributes("owner", changer=lab.run("chown", "1:1", "owner"))
    lab.attributes("attribute", changer=lab.run("setfattr", "-n", "user.note", "-v", "x", "attribute"))
    lab.moved("away", "there", placer=lab.run("mv", "away", "there"))
    linker = lab.run("ln", "linked", "link")
    lab.added("link", placer=linker)
    lab.attributes("linked", changer=linker)
    lab.removed("gone", remover=lab.run("rm", "gone"))


@scenario
def directory_removed_and_made_anew(lab: Lab) -> Steps:
    """On an overlay, the new directory is opaque: it hides the one of the lower layer."""
    lab.file("d/f")
    lab.file("d/g")
    yield
    remover = lab.run("rm", "-r", "d")
    # These files take the free inode numbers. With the old one's number, only the new directory's times would differ.
    others = [f"other{number}" for number in range(9)]
    lab.run("mkdir", *others)
    maker = lab.run("mkdir", "d")
    lab.run("rmdir", *others)
    writer = lab.shell("echo new > d/f")
    lab.modified("d/f", writer=writer, perhaps=remover)
    lab.removed("d/g", remover=remover)
    lab.expect(None, "d", any=maker, perhaps=(remover, writer), or_else=(("contested", None),))


@scenario_on("btrfs")
def files_of_a_nested_subvolume(lab: Lab) -> Steps:
    """A subvolume has its own device number in stat(2), and is no mount. Inode numbers recur in each subvolume."""
    for name in ("one", "two"):
        lab.run("btrfs", "-q", "subvolume", "create", name)
        lab.file(f"{name}/f")
        lab.file(f"{name}/gone")
    yield
    lab.modified("one/f", writer=lab.shell("echo first >> one/f"))
    sed = lab.run("sed", "-i", "s/e/E/", "two/f")
    lab.modified("two/f", writer=sed, placer=sed)
    lab.added("one/new", writer=lab.shell("echo new > one/new"))
    lab.removed("two/gone", remover=lab.run("rm", "two/gone"))


# ---- watches on single paths


@alone(config='[[watch]]\npath = "{elsewhere}/ld.so.preload"\n')
def file_that_must_not_exist_appears(lab: Lab) -> Steps:
    """The kernel takes a rule for a path that does not exist, and records who makes it."""
    path = str(lab.elsewhere.parent / "ld.so.preload")
    lab.file("f")
    yield
    lab.added(path, writer=lab.shell(f"echo /lib/x.so > {path}"))


@alone(config='[[watch]]\npath = "{elsewhere}/sudoers"\n')
def single_file_that_was_replaced_stays_covered(lab: Lab) -> Steps:
    """A rule with path= follows the name: after an editor's rename it watches the new file."""
    path = lab.elsewhere.parent / "sudoers"
    path.write_text("one\n")
    lab.reload_rules()
    lab.shell(f"echo two > {path}.tmp; mv {path}.tmp {path}")
    yield
    lab.modified(str(path), writer=lab.shell(f"echo three >> {path}"))


@alone(config='[[watch]]\npath = "{elsewhere}/sudoers"\n')
def single_file_replaced_by_rename(lab: Lab) -> Steps:
    path = lab.elsewhere.parent / "sudoers"
    path.write_text("one\n")
    lab.reload_rules()
    yield
    shell = lab.shell(f"echo two > {path}.tmp; mv {path}.tmp {path}")
    lab.modified(str(path), placer=shell.child("mv"), perhaps=shell)


# ---- calls with two effects, reused numbers


@scenario
def number_of_a_replaced_file_used_again_outside(lab: Lab) -> Steps:
    # The writer of the earlier file with this inode number did not write the file that got the number next.
    yield from _placed_with_the_number_of_a_removed_file(lab, "echo other > x2; mv x2 x")


@scenario
def number_of_a_removed_file_used_again_outside(lab: Lab) -> Steps:
    yield from _placed_with_the_number_of_a_removed_file(lab, "rm x")


def _placed_with_the_number_of_a_removed_file(lab: Lab, removal: str) -> Steps:
    lab.file("f")
    yield
    lab.shell("echo unrelated > x0; mv x0 x")
    number = (lab.here / "x").stat().st_ino
    lab.shell(removal)
    # ext4 reuses a number within one block group; btrfs and tmpfs never reuse one.
    code = f"""
for i in range(16):
    os.mkdir(f"{lab.elsewhere}/{{i}}")
    for j in range(100):
        open(f"{lab.elsewhere}/{{i}}/{{j}}", "w").write("new")
"""
    writer = lab.python(code)
    files = sorted(lab.elsewhere.glob("*/*"))
    new = next((file for file in files if file.stat().st_ino == number), files[-1])
    lab.modified("f", placer=lab.run("mv", str(new), "f"), by=writer)
    lab.shell("rm -f x")


@scenario_on("ext4", "xfs", "tmpfs")
def renamed_with_a_whiteout_left_behind(lab: Lab) -> Steps:
    """RENAME_WHITEOUT leaves a device 0:0 at the old name: one call, two effects."""
    lab.file("f")
    yield
    mover = lab.python("call(316, -100, b'f', -100, b'g', 4)")
    lab.expect("modified", "f", any=mover)
    lab.added("g", placer=mover)


@scenario
def two_programs_under_one_number(lab: Lab) -> Steps:
    """A process ends and its pid is reused: both processes changed the file, and both are named."""
    lab.file("f")
    yield
    first = lab.shell("echo one >> f")
    second = _with_number(lab, first.pid, "truncate", "-s", "3", "f")
    lab.modified("f", verdict="contested", or_else=(("contested", "several-writers"),), writer=(second, first))


def _with_number(lab: Lab, pid: int, *command: str) -> Process:
    """Run a program with the pid of an ended process (clone3(2), set_tid)."""
    if os.uname().machine != "x86_64":
        raise Unavailable("the number of clone3(2) is known for x86-64 only")
    code = f"""
number = ctypes.c_int({pid})
words = (ctypes.c_uint64 * 11)()
words[4], words[8], words[9] = 17, ctypes.addressof(number), 1  # exit_signal, set_tid, set_tid_size
child = libc.syscall(ctypes.c_long(435), words, ctypes.c_size_t(88))
if child == 0: os.execvp({command[0]!r}, {list(command)!r})
assert child == {pid}, os.strerror(ctypes.get_errno())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    lab.python(code)
    return lab.process(pid, command[0])


# ---- ordinary work is confirmed, whatever other processes do to other files


@scenario
def others_have_other_files_in_flight_and_in_rings(lab: Lab) -> Steps:
    """A process has a descriptor in flight and a registered io_uring file, both of other files: no doubt follows."""
    lab.file("f")
    other = lab.file(f"{lab.elsewhere}/other")
    code = f"""
ours, theirs = socket.socketpair()
held = os.open({str(other)!r}, os.O_RDWR)
socket.send_fds(ours, [b"x"], [held])
parameters = ctypes.create_string_buffer(120)
ring = libc.syscall(ctypes.c_long(425), 4, parameters)
if ring >= 0: call(427, ring, 2, ctypes.byref(ctypes.c_int(held)), 1)  # IORING_REGISTER_FILES
os.close(held)
pause()
"""
    keeper = lab.steps(code)
    yield
    lab.modified("f", writer=lab.shell("echo more >> f"))
    keeper.end()
