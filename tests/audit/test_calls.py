"""System calls and flags on other architectures, and records that this kernel does not write."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from fimscan.audit import read_stream
from fimscan.audit.arches import machine, machines
from fimscan.audit.flags import open_flags
from fimscan.audit.syscalls import CALLS, URING_OPERATIONS, syscall_name
from fimscan.model import Action, FileAccess

SUBJECT_TO_AUSYSCALL = {
    "x86_64": b"c000003e",
    "i386": b"40000003",
    "aarch64": b"c00000b7",
    "arm": b"40000028",
    "armeb": b"28",
    "ppc": b"14",
    "ppc64": b"80000015",
    "ppc64le": b"c0000015",
    "s390": b"16",
    "s390x": b"80000016",
}


@pytest.mark.skipif(shutil.which("ausyscall") is None, reason="needs ausyscall")
@pytest.mark.parametrize("arch", SUBJECT_TO_AUSYSCALL)
def test_numbers_are_those_of_ausyscall(arch: str) -> None:
    """Every call that auditd knows has auditd's number; a wrong number would name a wrong action."""
    dump = subprocess.run(["ausyscall", arch, "--dump"], capture_output=True, text=True, check=True).stdout
    # ausyscall falls back to x86_64 for an unknown name, without an error.
    assert dump.startswith(f"Using {'armeb' if arch == 'arm' else arch} syscall table")
    known = {int(line.split()[0]): line.split()[1] for line in dump.splitlines() if line[:1].isdigit()}
    found = machine(SUBJECT_TO_AUSYSCALL[arch])
    assert found is not None
    assert all(known.get(number, name) == name for number, name in found.calls.items())
    # audit has one table for ppc and ppc64, although 64-bit programs do not have these calls.
    spare = {"truncate64", "utimensat_time64"} if arch.startswith("ppc64") else set()
    assert {name for name in known.values() if name in CALLS} - set(found.calls.values()) == spare


# The numbers come from published headers (linux-libc-dev of Debian for the architecture: asm/unistd*.h).
@pytest.mark.parametrize(
    ("arch", "number", "name"),
    [
        (b"c00000f3", 276, "renameat2"),
        (b"c00000f3", 38, None),  # riscv never had renameat
        (b"400000f3", 412, "utimensat_time64"),
        (b"400000f3", 88, None),  # riscv32 never had calls with 32-bit times
        (b"c0000102", 56, "openat"),
        (b"c0009026", 450, "openat"),
        (b"c0009026", 547, "openat2"),
        (b"c0009026", 573, "setxattrat"),
        (b"40000008", 4288, "openat"),
        (b"c0000008", 5247, "openat"),
        (b"a0000008", 6251, "openat"),
        (b"c0000008", 5437, "openat2"),
        (b"8000002b", 284, "openat"),
        (b"2", 284, "openat"),
        (b"f", 275, "openat"),
        (b"2a", 295, "openat"),
        (b"4", 288, "openat"),
        (b"c0000032", 1281, "openat"),
        (b"14", 193, "truncate64"),
        (b"80000015", 193, None),
        (b"40000003", 257, None),
        (b"deadbeef", 257, None),
    ],
)
def test_numbers_differ_between_architectures(arch: bytes, number: int, name: str | None) -> None:
    """A number means the call of the architecture in the record, and nothing on an unknown architecture."""
    assert syscall_name(arch, number) == name


def test_every_architecture_of_the_kernel_is_known() -> None:
    """Every architecture in the kernel's audit.h is known, except those that no maintained kernel supports."""
    assert len(machines()) == 39
    assert all(found.calls and found.flags for found in machines().values())
    assert all(len(set(found.calls.values())) >= 24 for found in machines().values())


def test_every_call_in_the_tables_is_handled() -> None:
    """Every name in the number tables has an entry in CALLS."""
    assert {name for found in machines().values() for name in found.calls.values()} == set(CALLS)
    assert set(URING_OPERATIONS.values()) <= set(CALLS)


def test_x32_calls_are_x86_64_calls() -> None:
    """Calls of a program with the x32 ABI are recognized."""
    assert syscall_name(b"c000003e", 0x40000000 + 257) == "openat"
    assert syscall_name(b"40000003", 0x40000000 + 295) is None


KERNELS = os.environ.get("FIMSCAN_KERNEL_TREES", "").split(":")


@pytest.mark.skipif(KERNELS == [""], reason="needs FIMSCAN_KERNEL_TREES=linux-source-6.12:linux-source-6.1, unpacked")
def test_the_tables_match_the_kernel_sources() -> None:
    """tools/syscall_tables.py generates exactly the file that is shipped."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with open(f"{root}/fimscan/audit/syscalls.json", encoding="utf-8") as file:
        shipped = file.read()
    sources = [source.partition(": ")[2] for source in json.loads(shipped)["sources"]]
    trees = [f"{tree}={source}" for tree, source in zip(KERNELS, sources, strict=True)]
    made = subprocess.run(
        [sys.executable, f"{root}/tools/syscall_tables.py", *trees], capture_output=True, text=True, check=True
    )
    assert made.stdout == shipped


def names(arch: bytes, value: int) -> tuple[str, ...] | None:
    found = open_flags(arch, value)
    return None if found is None else found.names


def test_flags_differ_between_architectures() -> None:
    """The same bits get the names that they have on the architecture."""
    assert names(b"c000003e", 0o200000) == ("O_RDONLY", "O_DIRECTORY")
    assert names(b"c00000b7", 0o40000) == ("O_RDONLY", "O_DIRECTORY")
    assert names(b"c0000015", 0o400000) == ("O_RDONLY", "O_DIRECT")
    assert names(b"c000003e", 0x941) == ("O_WRONLY", "O_CREAT", "O_NOCTTY", "O_NONBLOCK")
    assert names(b"c00000b7", 0o20040002) == ("O_RDWR", "O_TMPFILE")
    assert names(b"c000003e", 0o4010001) == ("O_WRONLY", "O_SYNC")
    assert names(b"40000008", 0x301) == ("O_WRONLY", "O_CREAT", "O_TRUNC")  # mips: 0x100, 0x200
    assert names(b"c0009026", 0o3001) == ("O_WRONLY", "O_CREAT", "O_TRUNC")  # alpha: 01000, 02000
    assert names(b"8000002b", 0x601) == ("O_WRONLY", "O_CREAT", "O_TRUNC")  # sparc: 0x200, 0x400
    assert names(b"f", 0o1401) == ("O_WRONLY", "O_CREAT", "O_TRUNC")  # parisc: 0400, generic 01000
    assert names(b"deadbeef", 0o101) is None


Read = Callable[[bytes], list[FileAccess]]


def event(call: bytes, *more: bytes) -> bytes:
    lines = [call, *more, b"type=PROCTITLE msg=audit(1.000:1): proctitle=" + b"rm a".hex().upper().encode()]
    return b"\n".join(line.replace(b" AT ", b" msg=audit(1.000:1): ") for line in lines) + b"\n"


TAIL = b' ppid=1 pid=2 auid=4294967295 uid=1000 euid=0 tty=pts4 ses=3 comm="rm" exe="/bin/rm" key=(null)'
FILE = b'type=PATH AT item=0 name="f" inode=5 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 '


def test_names_missing_in_the_log_come_from_the_caller(accesses_of: Read) -> None:
    """Users in a RAW log are named by the local database; an unset login user stays unknown."""
    call = b"type=SYSCALL AT arch=c00000b7 syscall=56 success=yes exit=3 a0=ffffff9c a1=1 a2=1 a3=0 items=1" + TAIL
    log = event(call, b'type=CWD AT cwd="/etc"', FILE + b"objtype=NORMAL")
    (batch,) = read_stream(io.BytesIO(log), user_name={1000: "alice"}.get)
    (access,) = batch.accesses
    actor = access.actor
    assert (access.action, access.name.path) == (Action.OPEN_WRITE, b"/etc/f")
    assert (actor.user, actor.uid, actor.euid, actor.auid, actor.login_user) == ("alice", 1000, 0, None, None)
    assert (actor.session, actor.tty, actor.key, actor.cmdline) == (3, "pts4", None, (b"rm a",))


def test_without_a_cwd_record_a_relative_name_has_no_path(accesses_of: Read) -> None:
    """A relative name without the working directory is not resolved."""
    call = b"type=SYSCALL AT arch=c000003e syscall=87 success=yes exit=0 a0=1 a1=1 a2=1 a3=0 items=1" + TAIL
    (access,) = accesses_of(event(call, FILE + b"nametype=DELETE"))
    assert (access.action, access.name.text, access.name.path) == (Action.UNLINK, b"f", None)


def test_an_io_uring_operation_has_only_a_pid_and_uids(accesses_of: Read) -> None:
    """io_uring's records have only pid and uids; program and login user stay unknown."""
    call = b"type=URINGOP AT uring_op=36 success=yes exit=0 items=1 ppid=1 pid=2 uid=0 gid=0 euid=0 key=(null)"
    (access,) = accesses_of(event(call, b'type=CWD AT cwd="/etc"', FILE + b"nametype=DELETE"))
    assert (access.action, access.name.path, access.identity) == (Action.UNLINK, None, (0xFE00, 5))
    assert (access.actor.pid, access.actor.uid, access.actor.exe, access.actor.auid) == (2, 0, None, None)


PARENTS = (
    b'type=PATH AT item=0 name="d1/" inode=3 dev=fe:00 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=PARENT',
    b'type=PATH AT item=1 name="d2/" inode=4 dev=fe:00 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=PARENT',
)


@pytest.mark.parametrize("how", ["lost", "damaged", "merged"])
def test_a_lost_record_is_not_taken_for_a_merged_one(how: str, accesses_of: Read) -> None:
    """If the record of a rename's source is lost, the overwritten file's name is not returned as the source."""
    call = b"type=SYSCALL AT arch=c000003e syscall=82 success=yes exit=0 a0=1 a1=2 a2=1 a3=0 items=%d" + TAIL
    source = FILE.replace(b"item=0", b"item=2").replace(b'"f"', b'"d1/f"') + b"nametype=DELETE"
    victim = source.replace(b"item=2", b"item=3").replace(b'"d1/f"', b'"d2/f"').replace(b"inode=5", b"inode=6")
    created = FILE.replace(b"item=0", b"item=4").replace(b'"f"', b'"d2/f"') + b"nametype=CREATE"
    if how == "lost":
        log = event(call % 5, b'type=CWD AT cwd="/x"', *PARENTS, victim, created)
    elif how == "damaged":
        log = event(call % 5, b'type=CWD AT cwd="/x"', *PARENTS, b"type=PATH AT item=2 name=", victim, created)
    else:
        log = event(call % 4, b'type=CWD AT cwd="/x"', *PARENTS, source.replace(b"inode=5", b"inode=6"), created)
    (access,) = accesses_of(log)
    assert (access.action, access.name.path) == (Action.RENAME, b"/x/d2/f")
    assert access.replaced == (0xFE00, 6)
    assert (access.old and access.old.path) == (b"/x/d1/f" if how == "merged" else None)


def test_an_open_with_o_path_is_no_write(accesses_of: Read) -> None:
    """With O_PATH, access mode and O_TRUNC have no effect: the open is not an access."""
    call = b"type=SYSCALL AT arch=c000003e syscall=2 success=yes exit=3 a0=1 a1=200201 a2=0 a3=0 items=1" + TAIL
    assert accesses_of(event(call, b'type=CWD AT cwd="/etc"', FILE + b"nametype=NORMAL")) == []


def test_the_command_line_comes_from_execve_without_proctitle(accesses_of: Read) -> None:
    """Without PROCTITLE, the arguments of EXECVE are the command line."""
    call = b"type=SYSCALL AT arch=c000003e syscall=87 success=yes exit=0 a0=1 a1=1 a2=1 a3=0 items=1" + TAIL
    lines = event(call, b'type=EXECVE AT argc=2 a0="rm" a1=612062', FILE + b"nametype=DELETE").splitlines(keepends=True)
    (access,) = accesses_of(b"".join(lines[:-1]))
    assert access.actor.cmdline == (b"rm", b"a b")


@pytest.mark.parametrize(
    ("comm", "exe", "title", "kept"),
    [
        (b"vim", b"/usr/bin/vim.basic", b"/usr/bin/vim", True),
        (b"tool", b"/usr/bin/python3.11", b"/usr/bin/python3", True),
        (b"bash", b"/usr/bin/bash", b"-bash", True),
        (b"nginx", b"/usr/sbin/nginx", b"nginx: master process /usr/sbin/nginx", True),
        (b"a-very-long-nam", b"/x", b"a-very-long-name-indeed", True),
        (b"sed", b"/usr/bin/sed (deleted)", b"sed", True),
        (b"cat", b"/usr/bin/cat", b"bash", False),
        (b"sed", b"/usr/bin/sed", b"/usr/bin/python3", False),
    ],
)
def test_a_title_from_before_an_execve_is_not_the_programs_command_line(
    accesses_of: Read, comm: bytes, exe: bytes, title: bytes, kept: bool
) -> None:
    """'exec tool > file' leaves the shell's title in the tool's records: it is not used as the command line."""
    call = (
        b"type=SYSCALL AT arch=c000003e syscall=87 success=yes exit=0 a0=1 a1=1 a2=1 a3=0 items=1"
        b' ppid=1 pid=2 auid=1 uid=0 euid=0 tty=pts4 ses=3 comm="%b" exe=%b key=(null)'
        % (comm, exe.hex().upper().encode())
    )
    text = event(call, FILE + b"nametype=DELETE").replace(b"rm a".hex().upper().encode(), title.hex().upper().encode())
    (access,) = accesses_of(text)
    assert access.actor.cmdline == ((title,) if kept else None)
