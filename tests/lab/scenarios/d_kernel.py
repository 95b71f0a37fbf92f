"""Rare system calls, passed descriptors, 32-bit programs, reused inode and process numbers."""

from __future__ import annotations

import os
import shutil
import struct

from tests.lab.bench import Lab, Process
from tests.lab.scenario import SEVERAL, Steps, scenario, scenario_on

# ---- ways to open and to change


@scenario
def creat(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.python("os.write(call(85, b'f', 0o644), b'creat')"))
    lab.added("g", writer=lab.python("os.write(call(85, b'g', 0o644), b'creat')"))


@scenario
def openat2(lab: Lab) -> Steps:
    lab.file("sub/f")
    yield
    code = """
how = (ctypes.c_uint64 * 3)(os.O_WRONLY | os.O_APPEND, 0, 0x8)  # RESOLVE_BENEATH
directory = os.open("sub", os.O_RDONLY)
os.write(call(437, directory, b"f", ctypes.byref(how), ctypes.c_size_t(24)), b"openat2")
"""
    lab.modified("sub/f", writer=lab.python(code))


@scenario_on("ext4", "xfs", "btrfs", "tmpfs")  # an overlay has handles with nfs_export=on only
def open_by_handle_at(lab: Lab) -> Steps:
    lab.file("f")
    yield
    code = """
handle = (ctypes.c_uint8 * 136)()
ctypes.cast(handle, ctypes.POINTER(ctypes.c_uint32))[0] = 128
mount = ctypes.c_int()
assert libc.name_to_handle_at(-100, b"f", handle, ctypes.byref(mount), 0) == 0
directory = os.open(".", os.O_RDONLY)
os.chdir("/")
os.write(call(304, directory, handle, os.O_WRONLY), b"by handle")
"""
    lab.modified("f", writer=lab.python(code))


@scenario
def o_tmpfile_then_linkat(lab: Lab) -> Steps:
    yield
    code = """
made = os.open(".", os.O_TMPFILE | os.O_RDWR)
os.write(made, b"x")
here = os.open(".", os.O_RDONLY)
os.link(f"/proc/self/fd/{made}", "f", src_dir_fd=here, dst_dir_fd=here, follow_symlinks=True)
"""
    lab.added("f", writer=lab.python(code))


@scenario
def mmap(lab: Lab) -> Steps:
    lab.file("f")
    yield
    code = "import mmap; d = os.open('f', os.O_RDWR); m = mmap.mmap(d, 0); os.close(d); m[0:1] = b'X'; m.close()"
    lab.modified("f", writer=lab.python(code))


@scenario
def copy_file_range_and_sendfile(lab: Lab) -> Steps:
    for name in ("f", "g"):
        lab.file(name)
    source = lab.file(f"{lab.elsewhere}/source", "something else, and longer\n")  # on the same file system
    yield
    code = f"source = os.open('{source}', os.O_RDONLY); target = os.open({{!r}}, os.O_WRONLY); "
    lab.modified("f", writer=lab.python(code.format("f") + "os.copy_file_range(source, target, 20)"))
    lab.modified("g", writer=lab.python(code.format("g") + "os.sendfile(target, source, 0, 20)"))


@scenario
def fallocate_and_ftruncate(lab: Lab) -> Steps:
    for name in ("f", "g", "h"):
        lab.file(name)
    yield
    lab.modified("f", writer=lab.python("os.posix_fallocate(os.open('f', os.O_WRONLY), 0, 100)"))
    lab.modified("g", writer=lab.python("os.ftruncate(os.open('g', os.O_WRONLY), 3)"))
    lab.modified("h", writer=lab.python("call(285, os.open('h', os.O_RDWR), 3, 0, 4096)"))  # PUNCH_HOLE | KEEP_SIZE


@scenario
def truncate_by_path(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.python("os.truncate('f', 1)"))


@scenario
def truncated_by_opening_it_for_reading(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.python("os.open('f', os.O_RDONLY | os.O_TRUNC)"))


@scenario
def modes_owners_attributes_on_descriptors(lab: Lab) -> Steps:
    for name in ("f", "g", "h"):
        lab.file(name)
    yield
    lab.attributes("f", changer=lab.python("os.fchmod(os.open('f', os.O_RDONLY), 0o640)"))
    lab.attributes("g", changer=lab.python("os.fchown(os.open('g', os.O_RDONLY), 1, 1)"))
    lab.attributes("h", changer=lab.python("os.setxattr(os.open('h', os.O_RDONLY), 'user.note', b'1')"))


@scenario
def times_forged_by_utimensat(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("g")
    yield
    lab.modified("f", writer=lab.python("open('f', 'w').write('forged'); os.utime('f', (1, 1))"))
    lab.attributes("g", changer=lab.python("os.utime('g', (1, 1))"))


@scenario
def times_forged_by_another_than_the_writer(lab: Lab) -> Steps:
    lab.file("f")
    yield
    writer = lab.shell("echo other > f")
    forger = lab.python("os.utime('f', (1, 1))")
    lab.modified("f", writer=writer, perhaps=forger)


@scenario
def device_node_and_socket(lab: Lab) -> Steps:
    yield
    lab.added("null", writer=lab.python("os.mknod('null', 0o20600, os.makedev(1, 3))"))
    lab.added("socket", writer=lab.python("socket.socket(socket.AF_UNIX).bind('socket')"))


# ---- descriptors that are passed on: audit reports who opened the file, and that is all that "writer" means


@scenario
def inherited_by_a_child(lab: Lab) -> Steps:
    # The shell opened the file and its child wrote to it: both took part, and only the shell is recorded.
    lab.file("f")
    yield
    shell = lab.shell("exec 3>>f; /usr/bin/env printf more >&3; true")
    lab.modified("f", writer=shell, by=shell.child("printf"))


_GIVE = """
ours, theirs = socket.socketpair()
pid = os.fork()
if pid == 0:
    received = socket.recv_fds(theirs, 1, 1)[1][0]
    os.write(received, b"by another hand")
    {after}
    os._exit(0)
socket.send_fds(ours, [b"x"], [os.open("f", os.O_WRONLY | os.O_APPEND)])
{wait}
"""


@scenario
def passed_over_a_socket(lab: Lab) -> Steps:
    lab.file("f")
    yield
    opener = lab.python(_GIVE.format(after="", wait="os.waitpid(pid, 0)"))
    lab.modified("f", writer=opener, by=opener.child(opener.programs[0]))


@scenario
def passed_over_a_socket_and_still_held(lab: Lab) -> Steps:
    # The opener is in the audit log, the receiver in /proc. Either may have written.
    lab.file("f")
    yield
    after = "os.setsid(); os.close(1); os.close(2); import time\n    while os.path.exists('f'): time.sleep(0.1)"
    opener = lab.python(_GIVE.format(after=after, wait="import time; time.sleep(0.3)"))
    lab.modified("f", verdict="contested", writer=(opener, opener.child(opener.programs[0])))


@scenario
def opened_before_the_baseline(lab: Lab) -> Steps:
    lab.file("f")
    holder = lab.steps("f = open('f', 'a'); pause(); f.write('held'); f.close()")
    yield
    lab.modified("f", verdict="likely", reason="held-descriptor", writer=holder.end())


@scenario
def mapped_before_the_baseline(lab: Lab) -> Steps:
    lab.file("f")
    code = (
        "import mmap; d = os.open('f', os.O_RDWR); m = mmap.mmap(d, 0); os.close(d); pause(); m[0:1] = b'X'; m.close()"
    )
    holder = lab.steps(code)
    yield
    lab.modified("f", verdict="likely", reason="held-descriptor", writer=holder.end())


@scenario
def held_by_one_and_opened_by_another(lab: Lab) -> Steps:
    # The holder did not write, but could have: the evidence does not distinguish the two.
    lab.file("f")
    holder = lab.steps("f = open('f', 'a'); pause()")
    yield
    writer = lab.shell("echo other >> f")
    lab.modified("f", verdict="contested", writer=(writer, holder.who))
    holder.end()


# ---- programs and processes


def _program_of_32_bits() -> bytes:
    """A static i386 program, assembled by hand, that appends one byte to the file "f" (and needs no compiler)."""
    base, headers = 0x08048000, 52 + 32
    code = b"".join(
        (
            b"\xb8\x05\x00\x00\x00\xbb%name\xb9\x01\x04\x00\x00\xcd\x80",  # open(name, O_WRONLY | O_APPEND)
            b"\x89\xc3\xb8\x04\x00\x00\x00\xb9%name\xba\x01\x00\x00\x00\xcd\x80",  # write(it, name, 1)
            b"\xb8\x01\x00\x00\x00\x31\xdb\xcd\x80",  # exit(0)
        )
    )
    name = struct.pack("<I", base + headers + len(code) - 2)  # "%name" is one byte longer, twice
    code = code.replace(b"%name", name)
    size = headers + len(code) + 2
    elf = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    elf += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base + headers, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    elf += struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000)
    return elf + code + b"f\0"


@scenario
def program_of_32_bits(lab: Lab) -> Steps:
    lab.file("f")
    program = lab.elsewhere / "program"
    program.write_bytes(_program_of_32_bits())
    program.chmod(0o755)
    yield
    lab.modified("f", writer=lab.run(str(program)))


@scenario
def thread(lab: Lab) -> Steps:
    lab.file("f")
    yield
    code = "import threading; t = threading.Thread(target=lambda: open('f', 'w').write('x')); t.start(); t.join()"
    lab.modified("f", writer=lab.python(code))


@scenario
def setuid_program(lab: Lab) -> Steps:
    """A process keeps its login user, whatever rights it gets."""
    lab.file("f").chmod(0o600)
    lab.here.chmod(0o755)
    program = lab.elsewhere / "truncate"
    shutil.copy("/usr/bin/truncate", program)
    program.chmod(0o4755)
    yield
    code = (
        f"open('/proc/self/loginuid', 'w').write('65534'); os.setuid(65534); os.execv('{program}', ['t', '-s1', 'f'])"
    )
    process = lab.python(code)
    facts = {"auid": 65534, "login_user": "nobody", "uid": 65534, "euid": 0}
    lab.modified("f", writer=lab.process(process.pid, str(program)), facts=facts)


@scenario
def program_deleted_while_it_ran(lab: Lab) -> Steps:
    lab.file("f")
    program = lab.elsewhere / "shell"
    shutil.copy(os.path.realpath("/bin/sh"), program)
    yield
    process = lab.start(str(program), "-c", f"rm {program}; echo other > f")
    process.communicate(timeout=60)
    lab.modified("f", writer=Process(process.pid, (f"{program} (deleted)", str(program)), lab.forks))


@scenario
def ended_before_anyone_could_look(lab: Lab) -> Steps:
    # An orphaned grandchild that ends within milliseconds.
    lab.file("f")
    yield
    shell = lab.shell("(sh -c 'echo other > f' &) ; sleep 0.2")
    lab.modified("f", writer=shell.child("sh"))


# ---- reused numbers


@scenario
def inode_number_returns(lab: Lab) -> Steps:
    lab.file("f")
    yield
    remover = lab.run("rm", "f")
    lab.removed("f", remover=remover)
    # ext4 assigns the lowest free inode number, usually the one that was just freed.
    lab.added("g", writer=lab.shell("echo another file > g"))


@scenario
def removed_by_one_made_anew_by_another(lab: Lab) -> Steps:
    lab.file("f")
    yield
    remover = lab.run("rm", "f")
    lab.modified("f", writer=lab.shell("echo made anew > f"), perhaps=remover)


@scenario
def created_removed_created(lab: Lab) -> Steps:
    yield
    first = lab.shell("echo first > f")
    remover = lab.run("rm", "f")
    lab.added("f", **SEVERAL, writer=(lab.shell("echo second > f"), first), perhaps=remover)


@scenario
def created_and_removed(lab: Lab) -> Steps:
    # Nothing is left of the file, so nothing is reported; the file beside it did not change.
    lab.file("f")
    yield
    lab.shell("echo for a moment > g; rm g")
    lab.opened_unmodified("f", lab.shell(": >> f"))


@scenario
def removed_then_another_of_that_name_removed(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.removed("f", remover=lab.run("rm", "f"))
    lab.run("touch", "f")
    lab.run("rm", "f")


@scenario
def changed_and_changed_back(lab: Lab) -> Steps:
    # The content is the old one again. The times differ, which shows that somebody wrote.
    lab.file("f", "content\n")
    yield
    lab.attributes("f", writer=lab.shell("echo other > f; echo content > f"))


@scenario
def away_and_back_with_other_content(lab: Lab) -> Steps:
    # It was written where no rule watches: the process that moved it back is known, the writer is not.
    lab.file("f")
    yield
    lab.run("mv", "f", f"{lab.elsewhere}/f")
    writer = lab.shell(f"echo evil >> {lab.elsewhere}/f")
    back = lab.run("mv", f"{lab.elsewhere}/f", "f")
    lab.modified("f", verdict="likely", reason="coverage-gap", placer=back, by=writer)


@scenario
def mode_set_again_by_another(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.attributes("f", changer=lab.run("chmod", "0600", "f"))
    lab.run("chmod", "0600", "f")
