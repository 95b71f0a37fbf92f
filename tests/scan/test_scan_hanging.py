"""File systems that hang, fail or are slow: real mounts whose answers the test controls (strange_fs.py)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.scan.block import Voucher
from fimscan.scan.limits import Limits
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.process import WorkerProcess, _stuck
from fimscan.scan.scanner import PriorStates, scan, scan_blocks
from fimscan.scan.watch import WatchSpec
from tests.support import vouched_stat

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
Mounted = Callable[..., "subprocess.Popen[bytes]"]
_MNT_DETACH = 2
_IMPATIENT = Limits(stall_timeout_s=0.5)
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def mounted() -> Iterator[Mounted]:
    """Mount a strange file system with these names until the end of the test."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    servers: list[tuple[bytes, subprocess.Popen[bytes]]] = []

    def mount(path: bytes, *names: str) -> subprocess.Popen[bytes]:
        script = os.path.join(os.path.dirname(__file__), "strange_fs.py")
        server = subprocess.Popen([sys.executable, script, path, *names], stdout=subprocess.PIPE)
        assert server.stdout is not None
        servers.append((path, server))
        if server.stdout.readline() != b"ready\n":
            pytest.skip("this container may not mount")
        return server

    yield mount
    for path, server in servers:
        _libc.umount2(path, _MNT_DETACH)
        server.kill()  # ends all waiting system calls with an error
        with server:
            server.wait()
    for worker in _stuck:  # and reap it, so that other tests that check for child processes do not find it
        worker.wait(10)


def _parsed(found: dict[bytes, FileState | Unreadable], root: bytes) -> dict[str, str]:
    """Relative path -> reason why it is unreadable, or "read"."""
    return {
        os.fsdecode(path[len(root) + 1 :]): result.reason.value if isinstance(result, Unreadable) else "read"
        for path, result in found.items()
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_medium(root: bytes, scanned: Scanned, mounted: Mounted, workers: int) -> None:
    """EIO and ESTALE are reported for the one file or directory; all others are read."""
    mounted(root, "a", "eio-file", "eio-directory/", "fine/", "stale-file", "stale-directory/", "z")
    found = scanned(root, workers=workers)
    assert _parsed(found, root) == {
        "": "read",
        "a": "read",
        "eio-directory": "io-error",
        "eio-file": "io-error",
        "fine": "read",
        "fine/inner": "read",
        "stale-directory": "vanished",
        "stale-file": "vanished",
        "z": "read",
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_hanging_reads(root: bytes, scanned: Scanned, mounted: Mounted, workers: int) -> None:
    """A file or directory whose reading never ends is given up; the others are read."""
    mounted(root, "a", "hang-directory/", "hang-file", "z")
    found = scanned(root, workers=workers, limits=_IMPATIENT)
    assert _parsed(found, root) == {
        "": "read", "a": "read", "hang-directory": "timeout", "hang-file": "timeout", "z": "read"
    }  # fmt: skip
    hanging = found[root + b"/hang-file"]
    assert isinstance(hanging, Unreadable)
    assert hanging.detail == "the file system did not answer within 0.5 s"


def test_file_system_that_hangs_often_is_skipped(root: bytes, scanned: Scanned, mounted: Mounted) -> None:
    """After three hanging calls, the file system is not accessed any more: a million files would take months."""
    os.mkdir(root + b"/m")
    names = [f"hang{number:03}" for number in range(150)]
    mounted(root + b"/m", *names, "z")
    Path(os.fsdecode(root), "z").write_bytes(b"x")
    begin = time.monotonic()
    found = scanned(root, cross_mounts=True, limits=_IMPATIENT)
    assert time.monotonic() - begin < 60
    said = _parsed(found, root)
    assert said.pop("") == said.pop("m") == said.pop("z") == "read"
    assert said == dict.fromkeys([f"m/{name}" for name in (*names, "z")], "timeout")
    z = found[root + b"/m/z"]
    assert isinstance(z, Unreadable)
    assert z.detail == "skipped: its file system does not answer"


def test_queue_of_a_hung_worker_is_read_by_another(root: bytes, scanned: Scanned, mounted: Mounted) -> None:
    """The remaining queue of a worker that hung is read by another worker, except the file at which it hung."""
    os.mkdir(root + b"/m")
    for number in range(300):
        Path(os.fsdecode(root), f"f{number:03}").write_bytes(b"%d" % number)
        Path(os.fsdecode(root), f"z{number:03}").write_bytes(b"%d" % number)
    mounted(root + b"/m", "hang", *(f"f{number}" for number in range(300)))
    found = scanned(root, workers=2, limits=_IMPATIENT, cross_mounts=True)
    assert len(found) == 1 + 600 + 1 + 301
    assert [path for path, result in found.items() if isinstance(result, Unreadable)] == [root + b"/m/hang"]


@pytest.mark.parametrize("cross_mounts", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_server(root: bytes, scanned: Scanned, mounted: Mounted, workers: int, cross_mounts: bool) -> None:
    """A mount point whose server is stopped costs one entry, not the scan, with or without cross_mounts."""
    for name in (b"/a", b"/z"):
        Path(os.fsdecode(root + name)).write_bytes(b"x")
    os.mkdir(root + b"/m")
    server = mounted(root + b"/m", "inside")
    os.stat(root + b"/m")
    server.send_signal(signal.SIGSTOP)
    found = scanned(root, workers=workers, limits=_IMPATIENT, cross_mounts=cross_mounts)
    assert _parsed(found, root) == {"": "read", "a": "read", "m": "timeout", "z": "read"}


def test_server_stops_during_the_scan(root: bytes, mounted: Mounted) -> None:
    """A server stops during the scan: read files are reported, the rest is unreadable, none is missing."""
    # More than is sent to workers before the first answers are used.
    names = [f"{number:04}" for number in range(1300)]
    server = mounted(root, *names)
    results: list[FileState | Unreadable] = []
    for result in scan([WatchSpec(path=root)], workers=2, limits=_IMPATIENT):
        if len(results) == 5:
            server.send_signal(signal.SIGSTOP)
        results.append(result)
    assert [result.path for result in results[1:]] == [root + b"/" + name.encode() for name in names]
    assert isinstance(results[0], FileState)
    assert isinstance(results[-1], Unreadable)
    assert results[-1].reason is UnreadableReason.TIMEOUT


def test_hanging_root(root: bytes, scanned: Scanned, mounted: Mounted) -> None:
    """A watch on a hanging file system, and a watch inside it, are unreadable; the others are read."""
    os.mkdir(root + b"/m")
    os.mkdir(root + b"/other")
    server = mounted(root + b"/m", "d/")
    server.send_signal(signal.SIGSTOP)
    found = scanned(root + b"/m", root + b"/m/d/inner", root + b"/other", limits=_IMPATIENT)
    assert _parsed(found, root) == {"m": "timeout", "m/d/inner": "timeout", "other": "read"}


def test_slow_file(root: bytes, scanned: Scanned, mounted: Mounted) -> None:
    """A file that is read slowly is given up after its time, although nothing hangs."""
    mounted(root, "a", "slow", "z")
    found = scanned(root, limits=Limits(stall_timeout_s=20, file_timeout_s=1))
    assert _parsed(found, root) == {"": "read", "a": "read", "slow": "timeout", "z": "read"}
    slow = found[root + b"/slow"]
    assert isinstance(slow, Unreadable)
    assert slow.detail == "not completely read within 1 s"


def test_live_look_at_a_hanging_file(root: bytes, mounted: Mounted) -> None:
    """A scan of a single path on a hanging file system returns."""
    mounted(root, "a", "hang", "lost")
    path_scanner = PathScanner([WatchSpec(path=root)], limits=_IMPATIENT)
    (a,) = path_scanner.look(root + b"/a")
    assert isinstance(a, FileState)
    for name in (b"/hang", b"/lost"):
        (result,) = path_scanner.look(root + name)
        assert isinstance(result, Unreadable)
        assert result.reason is UnreadableReason.TIMEOUT
    found = path_scanner.stat(root + b"/a")
    assert found is not None
    assert found.st_size == 5
    assert path_scanner.stat(root + b"/lost") is None


@pytest.mark.parametrize("place", ["within the watch", "above the watch", "behind a link"])
def test_live_look_below_a_hanging_directory(root: bytes, mounted: Mounted, place: str) -> None:
    """A hanging directory above the path: another process accesses it, and is given up."""
    os.mkdir(root + b"/m")
    os.symlink(root + b"/m", root + b"/link")
    mounted(root + b"/m", "lost/")
    inner = root + b"/m/lost/inner"
    watched, path = {
        "within the watch": (root, inner),
        "above the watch": (inner, inner),
        "behind a link": (root + b"/link/lost", root + b"/link/lost"),
    }[place]
    script = (
        "import os, sys\nfrom fimscan.scan.limits import Limits\nfrom fimscan.scan.path_scan import PathScanner\n"
        "from fimscan.scan.watch import WatchSpec\n"
        "watch, path = map(os.fsencode, sys.argv[1:])\n"
        "path_scanner = PathScanner([WatchSpec(path=watch)], cross_mounts=True, limits=Limits(stall_timeout_s=0.5))\n"
        "print(*(r.reason.value for r in path_scanner.look(path)), path_scanner.stat(path))"
    )
    command: list[str | bytes] = [sys.executable, "-c", script, watched, path]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
    assert done.stdout == b"timeout None\n"


@pytest.mark.parametrize("beside", ["unwatched", "mounted-in-it", "linked"])
def test_no_hang_guard_where_nothing_hangs(
    root: bytes, mounted: Mounted, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    """A mount that hangs needs an extra process only if it is on the path that is scanned."""
    os.makedirs(root + b"/d/m")
    Path(os.fsdecode(root), "d", "a").write_bytes(b"x")
    elsewhere = root + b"/d/m" if beside == "mounted-in-it" else root + b"/../m"
    os.makedirs(elsewhere, exist_ok=True)
    mounted(elsewhere, "a", "w/", "hang")
    started: list[WorkerProcess] = []

    def start(limits: Limits) -> WorkerProcess:
        started.append(WorkerProcess(limits))
        return started[-1]

    monkeypatch.setattr("fimscan.scan.hang_guard.WorkerProcess", start)
    watched = root + b"/d"
    if beside == "linked":
        os.symlink(elsewhere, root + b"/link")
        watched = root + b"/link/w"
    path_scanner = PathScanner([WatchSpec(path=watched)], limits=_IMPATIENT)
    for path in (watched, watched + (b"/inner" if beside == "linked" else b"/a")):
        (found,) = path_scanner.look(path)
        assert isinstance(found, FileState)
        assert path_scanner.stat(path) is not None
    assert bool(started) == (beside == "linked")
    if beside == "mounted-in-it":
        assert path_scanner.stat(watched + b"/m") is not None
        assert started


def test_stuck_worker_is_left_behind(root: bytes, mounted: Mounted) -> None:
    """A scan's process ends although its worker is in a system call that not even SIGKILL ends."""
    mounted(root, "hang")
    script = (
        "import os, sys\nfrom fimscan.scan.limits import Limits\nfrom fimscan.scan.scanner import scan\n"
        "from fimscan.scan.watch import WatchSpec\n"
        "for r in scan([WatchSpec(path=os.fsencode(sys.argv[1]))], limits=Limits(stall_timeout_s=0.5)): pass\n"
        "print(r.reason.value)"
    )
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, root], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "timeout\n"
    assert time.monotonic() - begin < 30


def _voucher(path: bytes) -> Voucher:
    """A voucher for a regular file with any content."""
    return path, b"digest", 1, vouched_stat(os.lstat(path), taken=3)


def test_vouched_files_on_a_hanging_file_system(root: bytes, mounted: Mounted) -> None:
    """Files that ctime vouches for still need lstat(2), which may hang: then that file timed out."""
    mounted(root, "a", "b", "hang", "lost", "z")
    watch = WatchSpec(path=root, vouched=True)
    vouchers = [_voucher(root + b"/" + name) for name in (b"a", b"z")]
    vouchers.insert(1, (root + b"/lost", b"digest", 1, vouchers[0][3]))
    blocks = list(scan_blocks([watch], known=PriorStates(vouchers=[vouchers]), limits=_IMPATIENT))
    entries = [entry for block in blocks for entry in block.entries()]
    said = ["timeout" if isinstance(entry, Unreadable) else len(entry) > 1 for entry in entries[1:]]
    assert said == [False, True, "timeout", "timeout", False]
    assert [path[len(root) :] for block in blocks for path in block.paths] == [
        b"", b"/a", b"/b", b"/hang", b"/lost", b"/z"
    ]  # fmt: skip


def test_logs_on_a_hanging_file_system(root: bytes, mounted: Mounted) -> None:
    """On such a file system, a log and its verified prefix are read or given up; so are its prefix digests."""
    mounted(root, "a", "hang")
    watch = WatchSpec(path=root, algorithms=("sha256",), append_only=True)
    found = {one.path: one for one in scan([watch], verified=lambda _path: 3, limits=_IMPATIENT)}
    log, hung = found[root + b"/a"], found[root + b"/hang"]
    assert isinstance(log, FileState) and log.prefix is not None and log.prefix.size == 3
    assert isinstance(hung, Unreadable) and hung.reason is UnreadableReason.TIMEOUT
    path_scanner = PathScanner([watch], limits=_IMPATIENT)
    assert path_scanner.prefixes(log, [3, 9], ["sha256"]) == [{3: log.prefix.digests}]
    there = os.lstat(root + b"/hang")
    with pytest.raises(TimeoutError):
        path_scanner.prefixes(replace(log, path=root + b"/hang", inode=there.st_ino), [3], ["sha256"])
