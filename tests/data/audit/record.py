"""Record what the running kernel's audit says about single operations: one NAME.log for each scenario below.

Run as root where an auditd writes an ENRICHED log: ``python3 record.py /var/log/audit/audit.log [NAME]...``. It watches
a scratch directory with two rules of its own (both removed at the end), runs each scenario in a child process, and
writes the lines of that child's events beside this file. Afterwards ``FIMSCAN_UPDATE_GOLDEN=1 pytest tests/audit``
writes what is read out of them; look at that difference before you keep it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(HERE))))

from tests.data.audit import uring  # noqa: E402

SCRATCH = "/tmp/fimscan-record"
KEY = "fimscan"
LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
# x86_64 numbers (arch/x86/entry/syscalls/syscall_64.tbl) of what Python has no function for.
OPENAT2, RENAMEAT2, FCHMODAT2, CREAT, UTIME, OPEN_BY_HANDLE_AT, SETXATTRAT = 437, 316, 452, 85, 132, 304, 463

I386_PROGRAM = r"""
static long call(long n, long a, long b, long c) {
    long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory"); return r;
}
void _start(void) {
    call(5, (long)"i386.txt", 0101, 0644);      /* open */
    call(15, (long)"i386.txt", 0600, 0);        /* chmod */
    call(38, (long)"i386.txt", (long)"i386.new", 0); /* rename */
    call(10, (long)"i386.new", 0, 0);           /* unlink */
    call(1, 0, 0, 0);                           /* exit */
}
"""


def syscall(number: int, *args: object) -> int:
    """A raw system call; errors are not raised, since failing is what some scenarios are about."""
    return int(LIBC.syscall(ctypes.c_long(number), *args))


def write(path: str | bytes, text: str = "x") -> None:
    with open(path, "w") as file:
        file.write(text)


def openat2(dirfd: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    how = (ctypes.c_uint64 * 3)(flags, mode, resolve)
    return syscall(OPENAT2, dirfd, path, ctypes.byref(how), ctypes.c_size_t(24))


def failing(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        return
    raise AssertionError("this scenario was to fail")


# Each scenario: what is made before (not recorded), then what is recorded. Both run with the scratch directory as cwd.
SCENARIOS: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {}


def scenario(prepare: Callable[[], None] = lambda: None) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(action: Callable[[], None]) -> Callable[[], None]:
        SCENARIOS[action.__name__] = (prepare, action)
        return action

    return register


def files() -> None:
    for name in ("a", "b"):
        write(name, name)
    os.mkdir("d1")
    os.mkdir("d2")
    write("d1/f", "1")
    write("d2/g", "2")


@scenario(files)
def open_modes() -> None:
    for flags in (
        os.O_WRONLY,
        os.O_RDWR | os.O_APPEND,
        os.O_WRONLY | os.O_TRUNC,
        os.O_RDONLY,
        os.O_RDONLY | os.O_CREAT,
        os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
        os.O_RDONLY | os.O_TRUNC,
    ):
        os.close(os.open("a", flags))


@scenario()
def open_creates() -> None:
    os.close(os.open("new1", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.close(os.open(SCRATCH + "/new2", os.O_RDONLY | os.O_CREAT, 0o644))
    os.close(syscall(CREAT, b"new3", 0o644))
    os.close(os.open(SCRATCH + "//./new2", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))


@scenario(files)
def openat2_record() -> None:
    os.close(openat2(AT_FDCWD, b"a", os.O_WRONLY, 0, 0))
    os.close(openat2(AT_FDCWD, b"o2", os.O_RDWR | os.O_CREAT | os.O_DIRECTORY * 0, 0o600, 0x8))
    os.close(openat2(AT_FDCWD, b"a", os.O_RDONLY, 0, 0))


@scenario(files)
def handle_open() -> None:
    handle = (ctypes.c_uint8 * 136)()
    ctypes.cast(handle, ctypes.POINTER(ctypes.c_uint32))[0] = 128
    mount = ctypes.c_int()
    assert LIBC.name_to_handle_at(AT_FDCWD, b"a", handle, ctypes.byref(mount), 0) == 0
    directory = os.open(".", os.O_RDONLY)
    os.close(syscall(OPEN_BY_HANDLE_AT, directory, handle, os.O_WRONLY))


@scenario(files)
def rename_order() -> None:
    os.rename("a", "c")
    os.rename("c", "b")
    os.rename("b", "d1/b")
    os.rename(SCRATCH + "/d1/b", SCRATCH + "/d2/g")
    os.rename("d1", "d3")


@scenario(files)
def dirfd_rename() -> None:
    one, two = os.open("d1", os.O_RDONLY), os.open("d2", os.O_RDONLY)
    os.chdir("/")
    os.rename("f", "f9.conf", src_dir_fd=one, dst_dir_fd=one)
    os.rename("f9.conf", "g", src_dir_fd=one, dst_dir_fd=two)
    os.rename("g", SCRATCH + "/h", src_dir_fd=two)


def same_base_names() -> None:
    files()
    for name in ("f", "d1/g", "d2/f"):
        write(name)
    os.mkdir("longer")
    write("longer/f")


@scenario(same_base_names)
def same_names() -> None:
    """One last component for both names: where the target exists, the kernel may write one DELETE for the two."""
    subprocess.run(["mv", "-f", "f", "d1/"], check=True)  # replaces d1/f
    subprocess.run(["mv", "d1/f", "."], check=True)
    os.rename("f", "d1/f")
    os.rename("d1/f", "d2/f")  # replaces
    os.rename("d2/f", "longer/f")  # replaces, and is not merged
    shutil.copy("longer/f", "f")
    os.rename("f", "longer/f")  # replaces
    os.rename(SCRATCH + "/d1/g", SCRATCH + "/d2/g")  # replaces
    one, two = os.open("d2", os.O_RDONLY), os.open("longer", os.O_RDONLY)
    os.rename("g", "f", src_dir_fd=one, dst_dir_fd=one)
    os.rename("f", "f", src_dir_fd=one, dst_dir_fd=two)  # replaces; one pointer for both names


@scenario(same_base_names)
def same_names_exchange() -> None:
    assert syscall(RENAMEAT2, AT_FDCWD, b"f", AT_FDCWD, b"d1/f", 2) == 0
    assert syscall(RENAMEAT2, AT_FDCWD, b"d1/f", AT_FDCWD, b"f", 2) == 0


@scenario(files)
def exchange() -> None:
    assert syscall(RENAMEAT2, AT_FDCWD, b"a", AT_FDCWD, b"d1/f", 2) == 0
    assert syscall(RENAMEAT2, AT_FDCWD, b"a", AT_FDCWD, b"b", 2) == 0
    assert syscall(RENAMEAT2, AT_FDCWD, b"a", AT_FDCWD, b"moved", 1) == 0  # RENAME_NOREPLACE


@scenario(files)
def hard_links() -> None:
    os.link("a", "a.link")
    os.link(SCRATCH + "/a", "d1/a.link2")
    directory = os.open("d2", os.O_RDONLY)
    os.link("g", "g.link", src_dir_fd=directory, dst_dir_fd=directory)
    os.rename("a", "a.link")  # two names of one inode: rename(2) does nothing and succeeds


@scenario(files)
def symlinks() -> None:
    os.symlink("a", "s1")
    os.symlink("/etc/../no such place", "d1/s2")
    write("s1", "through the link")
    os.chown("s1", 0, 0, follow_symlinks=False)
    os.unlink("s1")


def dangling() -> None:
    files()
    os.symlink("d2/made", "to-nowhere")
    os.symlink("d1", "to-d1")


@scenario(dangling)
def through_symlinks() -> None:
    os.close(os.open("to-nowhere", os.O_WRONLY | os.O_CREAT))
    os.close(os.open("to-d1/f", os.O_WRONLY | os.O_CREAT))
    os.close(os.open("to-d1/new", os.O_WRONLY | os.O_CREAT))
    os.rename("to-d1/new", "to-d1/newer")
    os.unlink("to-d1/newer")


@scenario(files)
def o_tmpfile_linkat() -> None:
    descriptor = os.open("d1", os.O_TMPFILE | os.O_RDWR, 0o600)
    LIBC.linkat(AT_FDCWD, b"/proc/self/fd/%d" % descriptor, AT_FDCWD, b"d1/final", 0x400)
    descriptor = os.open("d1", os.O_TMPFILE | os.O_RDWR, 0o600)
    LIBC.linkat(descriptor, b"", AT_FDCWD, b"d1/final2", 0x1000)


@scenario(files)
def unlinks() -> None:
    os.unlink("a")
    os.unlink(SCRATCH + "/b")
    directory = os.open("d1", os.O_RDONLY)
    os.unlink("f", dir_fd=directory)
    os.rmdir("d1")
    parent = os.open(".", os.O_RDONLY)
    os.unlink("d2/g", dir_fd=parent)
    os.rmdir("d2", dir_fd=parent)


@scenario()
def making() -> None:
    os.mkdir("m1", 0o700)
    os.mkdir(SCRATCH + "/m1/m2/")
    os.mknod("fifo", 0o600 | stat.S_IFIFO)
    os.mknod("null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    directory = os.open("m1", os.O_RDONLY)
    os.mkdir("m3", dir_fd=directory)
    socket.socket(socket.AF_UNIX).bind("sock")


@scenario(files)
def truncates() -> None:
    os.truncate("a", 0)
    descriptor = os.open("b", os.O_RDWR)
    os.ftruncate(descriptor, 0)


@scenario(files)
def chmods() -> None:
    os.chmod("a", 0o600)
    descriptor = os.open("b", os.O_RDONLY)
    os.fchmod(descriptor, 0o4755)
    directory = os.open("d1", os.O_RDONLY)
    os.chmod("f", 0o640, dir_fd=directory)
    syscall(FCHMODAT2, AT_FDCWD, b"a", 0o644, 0x100)
    syscall(FCHMODAT2, descriptor, b"", 0o611, 0x1000)  # AT_EMPTY_PATH


@scenario(files)
def chowns() -> None:
    os.chown("a", 1, 1)
    os.lchown("a", 2, 2)
    descriptor = os.open("b", os.O_RDONLY)
    os.fchown(descriptor, 1, -1)
    directory = os.open("d1", os.O_RDONLY)
    os.chown("f", 1, 1, dir_fd=directory)
    LIBC.fchownat(descriptor, b"", 3, 3, 0x1000)


@scenario(files)
def xattrs() -> None:
    os.setxattr("a", "user.one", b"1")
    os.setxattr("a", "user.one", b"2", follow_symlinks=True)
    os.setxattr("d1", "user.dir", b"2", follow_symlinks=False)
    os.removexattr("a", "user.one")
    descriptor = os.open("b", os.O_RDONLY)
    os.setxattr(descriptor, "user.two", b"1")
    os.removexattr(descriptor, "user.two")
    value = ctypes.create_string_buffer(b"3")
    arguments = (ctypes.c_uint64 * 2)(ctypes.addressof(value), 1)
    assert syscall(SETXATTRAT, AT_FDCWD, b"a", 0, b"user.three", ctypes.byref(arguments), ctypes.c_size_t(16)) == 0


@scenario(files)
def times() -> None:
    os.utime("a", (1, 1))
    descriptor = os.open("b", os.O_RDONLY)
    os.utime(descriptor, (1, 1))
    directory = os.open("d1", os.O_RDONLY)
    os.utime("f", (1, 1), dir_fd=directory)
    syscall(UTIME, b"a", None)


@scenario()
def odd_names() -> None:
    for name in (
        b"two words",
        b"new\nline",
        b"\xff\xfe\x80",
        b'quo"te',
        b"it's",
        b"back\\slash",
        b"caf\xc3\xa9",
        b"(null)",
        b"AB12",
    ):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT))
    os.rename(b"two words", b"\x01\x1d\x7f")
    os.unlink(b"\xff\xfe\x80")


@scenario(files)
def relative_names() -> None:
    os.chdir("d1")
    write("../a")
    write("./f")
    write("../d2/../b")
    write("../../fimscan-record/d2//g")
    os.rename("../a", "a")
    os.rename("f", "../f")


@scenario(files)
def failed_calls() -> None:
    failing(lambda: os.unlink("not-there"))
    failing(lambda: os.rename("not-there", "b"))
    failing(lambda: os.open("a", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    failing(lambda: os.mkdir("d1"))
    failing(lambda: os.rmdir("d1"))
    failing(lambda: os.open("no-dir/x", os.O_WRONLY | os.O_CREAT))
    os.setgid(65534)
    os.setuid(65534)
    failing(lambda: os.open("a", os.O_WRONLY))
    failing(lambda: os.chmod("a", 0o777))
    failing(lambda: os.unlink("b"))
    failing(lambda: os.open("fresh", os.O_WRONLY | os.O_CREAT))


@scenario(files)
def deleted_program() -> None:
    shutil.copy("/usr/bin/touch", "/tmp/fimscan touch")
    pid = os.posix_spawn("/tmp/fimscan touch", ["touch", "a b", "c"], {"PATH": "/usr/bin"})
    os.waitpid(pid, 0)
    shutil.copy("/usr/bin/dash", "/tmp/fimscan-sh")
    script = "sleep 0.1; echo gone > a"
    shell = subprocess.Popen(["/tmp/fimscan-sh", "-c", script])
    os.unlink("/tmp/fimscan-sh")
    shell.wait()
    os.unlink("/tmp/fimscan touch")


@scenario(files)
def programs() -> None:
    for command in (
        "sed -i s/a/z/ a",
        "cp -p a d1/copy",
        "mv d1/copy d2/",
        "ln -sf b l",
        "ln -sf a l",
        "rm -rf d2",
        "chmod u+x a",
    ):
        subprocess.run(["/bin/sh", "-c", command], check=True)


def i386_prepare() -> None:
    write("/tmp/fimscan-i386.c", I386_PROGRAM)
    command = ["gcc", "-m32", "-nostdlib", "-static", "-o", "/tmp/fimscan-i386", "/tmp/fimscan-i386.c"]
    subprocess.run(command, check=True)


@scenario(i386_prepare)
def i386_program() -> None:
    subprocess.run(["/tmp/fimscan-i386"], check=False)
    os.unlink("/tmp/fimscan-i386")
    os.unlink("/tmp/fimscan-i386.c")


@scenario(files)
def io_uring() -> None:
    ring = uring.Ring()
    how = struct.pack("=QQQ", os.O_WRONLY | os.O_CREAT, 0o644, 0)
    os.unlink("b")
    ring.submit(uring.OPENAT, b"new", size=0o644, flags=os.O_WRONLY | os.O_CREAT)
    ring.submit(uring.OPENAT2, b"new2", offset=ring.pointer(how), size=len(how))
    ring.submit(uring.OPENAT, b"a", flags=os.O_WRONLY)  # carried out at once: with the record of the system call
    ring.submit(uring.MKDIRAT, b"made", size=0o755)
    ring.submit(uring.RENAMEAT, b"new", offset=ring.pointer(b"d1/old\0"), size=uring.AT_FDCWD & 0xFFFFFFFF)
    ring.submit(uring.UNLINKAT, b"new2", how=uring.ASYNC)
    os.unlink("a")
    ring.submit(uring.UNLINKAT, b"d1/old")  # nothing of this process comes after it


def auditctl(action: str) -> None:
    uring.rule(SCRATCH.encode(), KEY.encode(), add=action == "-a")
    for what in (
        "-F arch=b64 {} -F perm=wa -F key=" + KEY,
        "-F arch=b32 {} -F perm=wa -F key=" + KEY,
        # What perm=wa does not see, and other rules of the same host might.
        "-F arch=b64 -S utimensat,utime,open_by_handle_at,463 {} -F key=" + KEY + "-more",
        "-F arch=b64 -S openat -F a2&01100 {} -F key=" + KEY + "-more",
    ):
        rule = f"{action} always,exit {what.format('-F dir=' + SCRATCH)}"
        subprocess.run(["auditctl", *rule.split()], check=True)


def settled(log: str, start: int) -> bytes:
    """What was appended since ``start``, once nothing more comes."""
    size = -1
    while size != os.path.getsize(log):
        size = os.path.getsize(log)
        time.sleep(0.4)
    with open(log, "rb") as file:
        file.seek(start)
        return file.read()


def lines_of(text: bytes) -> bytes:
    """The lines of all events that our rules made."""
    ours = re.compile(rb'type=(?:SYSCALL|URINGOP) msg=audit\(([^)]*)\).* key="%b' % KEY.encode())
    events = set(ours.findall(text))
    lines = text.splitlines(keepends=True)
    return b"".join(line for line in lines if line.partition(b"msg=audit(")[2].partition(b")")[0] in events)


def run(log: str, name: str) -> bytes:
    """One scenario in a fresh directory; the lines of its events."""
    prepare, action = SCENARIOS[name]
    for entry in os.scandir(SCRATCH):
        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    prepare()
    return recorded(log, action)


def recorded(log: str, action: Callable[[], None]) -> bytes:
    """The lines of the events that an action makes, in a process of its own."""
    time.sleep(0.2)
    start = os.path.getsize(log)
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException as error:
            print(f"{action.__name__}: {error!r}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)
    return lines_of(settled(log, start))


def main(log: str, names: list[str]) -> None:
    assert platform.machine() == "x86_64", "the system call numbers above are x86_64's"
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(SCRATCH)
    os.chmod(SCRATCH, 0o755)
    os.chdir(SCRATCH)
    os.umask(0o022)
    auditctl("-a")
    try:
        for name in names or SCENARIOS:
            with open(f"{HERE}/{name}.log", "wb") as file:
                file.write(run(log, name))
    finally:
        auditctl("-d")
        shutil.rmtree(SCRATCH)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
