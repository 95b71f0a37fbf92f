"""Finding the holders of a file."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fimscan.linux import mounts, open_for_writing
from fimscan.linux.mounts import parse_mounts

_STRANGE_FS = Path(__file__).parents[1] / "scan" / "strange_fs.py"

HOLD = """
import ctypes, mmap, os, sys, threading, time
how, path = sys.argv[1:]
FLAGS = {"write": os.O_WRONLY, "append": os.O_RDWR | os.O_APPEND, "leaderless": os.O_WRONLY}
if how.startswith("map"):
    descriptor = os.open(path, os.O_RDONLY if how == "map read-only" else os.O_RDWR)
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if how == "map writable" else 0)
    memory = mmap.mmap(descriptor, 0, mmap.MAP_SHARED, protection)
    os.closerange(3, 20)  # mmap keeps its own descriptor
else:
    descriptor = os.open(path, FLAGS.get(how, os.O_RDONLY))

def stay():
    if "leaderless" in how:
        while open("/proc/self/stat").read().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)

if "leaderless" in how:
    threading.Thread(target=stay).start()
    ctypes.CDLL(None).pthread_exit(None)
stay()
"""


@contextmanager
def holder(how: str, path: Path) -> Iterator[int]:
    command = [sys.executable, "-c", HOLD, how, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=path.parent) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate()


@pytest.mark.parametrize(
    ("how", "held"),
    [
        ("write", True),
        ("append", True),
        ("read", False),
        ("map writable", True),
        ("map for now read-only", True),  # mapped from a writable descriptor: mprotect(2) is enough
        ("map read-only", False),
        ("leaderless", True),
        ("map leaderless", True),
    ],
)
def test_a_process_that_can_write_without_opening_is_found(how: str, held: bool, tmp_path: Path) -> None:
    """Writable descriptors and mappings are found with their process; read-only ones are not."""
    path = tmp_path / "held file"
    path.write_bytes(b"x" * mmap.PAGESIZE)
    info = path.stat()
    with holder(how, path) as pid:
        holders = open_for_writing(os.getpid()).holders
    mine = [h for h in holders if (h.dev, h.inode) == (info.st_dev, info.st_ino)]
    assert [h.actor.pid for h in mine] == ([pid] if held else [])
    for found in mine:
        actor = found.actor
        assert (actor.ppid, actor.uid, actor.euid) == (os.getpid(), os.getuid(), os.geteuid())
        assert actor.exe == os.fsencode(os.path.realpath(sys.executable))
        assert actor.cmdline is not None
        assert actor.cmdline[-2:] == (how.encode(), os.fsencode(path))
        assert actor.cwd == os.fsencode(tmp_path)
        assert actor.event is None


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_a_descriptor_of_a_removed_name_counts_where_the_file_has_others(flags: int, tmp_path: Path) -> None:
    """Through it, the file can be opened for writing (/proc/self/fd/N), and the rules do not know the name."""
    path, other = tmp_path / "file", tmp_path / "other"
    path.touch()
    os.link(path, other)
    kept = os.open(other, flags)
    info = path.stat()
    found = []
    for name in (other, path):
        found.append([h for h in open_for_writing(1).holders if (h.dev, h.inode) == (info.st_dev, info.st_ino)])
        name.unlink()
    found.append([h for h in open_for_writing(1).holders if (h.dev, h.inode) == (info.st_dev, info.st_ino)])
    os.close(kept)
    assert [[h.actor.pid for h in some] for some in found] == [[], [os.getpid()], []]


def test_users_are_named_by_the_caller(tmp_path: Path) -> None:
    """A holder's user has a name if the caller knows one; its login user only if there is one."""
    path = tmp_path / "held"
    path.touch()
    names = {os.getuid(): "the user", 4711: "the login"}
    with holder("write", path) as pid:
        try:
            Path(f"/proc/{pid}/loginuid").write_text("4711")
            login: str | None = "the login"
        except OSError:
            login = names.get(int(Path(f"/proc/{pid}/loginuid").read_text()))
        named = open_for_writing(os.getpid(), user_name=names.get).holders
        unnamed = open_for_writing(os.getpid()).holders
    mine = [found.actor for found in named if (found.actor.pid, found.inode) == (pid, path.stat().st_ino)]
    assert [(actor.user, actor.login_user) for actor in mine] == [("the user", login)]
    assert {(h.actor.user, h.actor.login_user) for h in unnamed} == {(None, None)}


def test_own_process_is_no_holder(tmp_path: Path) -> None:
    """The examining process itself is left out."""
    with (tmp_path / "own").open("w") as file:
        inode = os.fstat(file.fileno()).st_ino
        assert inode not in {holder.inode for holder in open_for_writing(os.getpid()).holders}
        assert inode in {holder.inode for holder in open_for_writing(1).holders}


@pytest.mark.root
@pytest.mark.parametrize("signal_number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_file_system_that_hangs_or_has_died_is_not_asked(signal_number: int, tmp_path: Path) -> None:
    """A process may have a file open on a dead network file system: the examination neither waits nor fails."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    with subprocess.Popen([sys.executable, _STRANGE_FS, mounted, "a"], stdout=subprocess.PIPE) as server:
        assert server.stdout
        try:
            assert server.stdout.readline() == b"ready\n"
            info = (mounted / "a").stat()
            with holder("append", mounted / "a") as pid:
                server.send_signal(signal_number)
                holders = open_for_writing(os.getpid()).holders
                assert pid in {h.actor.pid for h in holders if (h.dev, h.inode) == (info.st_dev, info.st_ino)}
                server.send_signal(signal.SIGCONT)
        finally:
            server.kill()
            subprocess.run(["umount", "-l", mounted], check=True)


def test_mounts_are_read_once_for_all_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processes hold files: a user can have 100,000 mounts, and any number of processes."""
    read: list[bytes] = []

    def counted(text: bytes) -> tuple[mounts.Mount, ...]:
        read.append(text)
        return parse_mounts(text)

    monkeypatch.setattr(mounts, "parse_mounts", counted)
    counts = []
    with ExitStack() as stack:
        for number in range(12):
            path = tmp_path / str(number)
            path.write_bytes(b"x")
            stack.enter_context(holder("write", path))
            read.clear()
            assert len([one for one in open_for_writing(os.getpid()).holders if one.inode == path.stat().st_ino]) == 1
            counts.append(len(read))
    # Other tests begin and end namespaces meanwhile.
    assert counts[-1] < counts[0] + 6
