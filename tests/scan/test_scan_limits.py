"""What a scan costs its host, as measured by the kernel."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from fimscan.config import parse_config
from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.pipeline.settings import limits_of
from fimscan.scan import scanner
from fimscan.scan.limits import Limits
from fimscan.scan.page_cache import pages_cached
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_CHECKOUT = Path(__file__).parents[2]


def _state(result: FileState | Unreadable) -> FileState:
    assert isinstance(result, FileState), result
    return result


@pytest.mark.usefixtures("at_once")
def test_priorities(root: bytes) -> None:
    """Workers, and this process during a scan, have the configured niceness and I/O class."""
    for number in range(200):
        Path(os.fsdecode(root), str(number)).write_bytes(b"x")
    script = (
        "import os, subprocess, sys\n"
        "from fimscan.scan import scanner\nfrom fimscan.scan.limits import Limits\n"
        "from fimscan.scan.scanner import scan\n"
        "from fimscan.scan.watch import WatchSpec\n"
        "scanner._ALONE_SECONDS = 0\n"
        "def priority(pid):\n"
        "    io = subprocess.run(['ionice', '-p', str(pid)], capture_output=True, text=True, check=True).stdout\n"
        "    return os.getpriority(os.PRIO_PROCESS, pid), io.strip()\n"
        "found = scan([WatchSpec(path=os.fsencode(sys.argv[1]))], workers=2, limits=Limits(nice=7, ionice='idle'))\n"
        "for _ in range(150): next(found)\n"
        "workers = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        "print(len(workers) >= 2, {priority(int(pid)) for pid in workers}, priority(os.getpid()))\n"
        "found.close()\n"
        "print(os.getpriority(os.PRIO_PROCESS, 0))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, root], cwd=_CHECKOUT, capture_output=True, text=True, check=True
    )
    before = os.getpriority(os.PRIO_PROCESS, 0)
    nice = max(before, 7)
    io = "idle" if platform.machine() in ("x86_64", "aarch64") else None
    if io is None:
        pytest.skip("no ioprio_set(2) for this architecture")
    during, after = run.stdout.splitlines()
    assert during == f"True {{({nice}, 'idle')}} ({nice}, 'idle')"
    assert int(after) == (before if os.geteuid() == 0 else nice)


def _cached(path: bytes) -> int:
    """How many bytes of a file are in the page cache."""
    with open(path, "rb") as file:
        return sum(end - begin for begin, end in pages_cached(file.fileno(), os.stat(path).st_size))


@pytest.mark.parametrize("drop", [True, False])
def test_page_cache(root: bytes, scanned: Scanned, drop: bool) -> None:
    """With drop_cache, the cache holds exactly the same pages before and after a scan."""
    size, some = 4 << 20, slice(1 << 20, 2 << 20)
    for name in (b"/cold", b"/warm"):
        with open(root + name, "wb") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if _cached(root + b"/cold"):
        pytest.skip("this file system keeps everything in memory")
    with open(root + b"/warm", "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no readahead
        os.pread(file.fileno(), some.stop - some.start, some.start)
        before = pages_cached(file.fileno(), size)
    assert before == [(some.start, some.stop)]
    scanned(root, limits=Limits(drop_cache=drop))
    with open(root + b"/warm", "rb") as file:
        assert pages_cached(file.fileno(), size) == (before if drop else [(0, size)])
    assert _cached(root + b"/cold") == (0 if drop else size)


def test_cached_pages(root: bytes) -> None:
    """A mapped page that was accessed is cached; a file need not end at the end of a page."""
    path = root + b"/f"
    with open(path, "wb") as file:
        file.write(bytes(mmap.PAGESIZE * 3 + 1))
    with open(path, "rb") as file:
        assert list(pages_cached(file.fileno(), mmap.PAGESIZE * 3 + 1)) == [(0, mmap.PAGESIZE * 4)]
        assert list(pages_cached(file.fileno(), 0)) == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("at_once")
def test_rate_of_files(root: bytes, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more files per second than allowed, over all workers."""
    monkeypatch.setattr(scanner, "_BATCH_NAMES", 10)  # so that each worker gets a batch
    for number in range(200):
        Path(os.fsdecode(root), str(number)).write_bytes(b"x")
    begin = time.monotonic()
    results = list(scan([WatchSpec(path=root)], workers=workers, limits=Limits(max_files_per_s=100)))
    assert len(results) == 201
    # 200 files at 100 per second, minus the burst of a tenth of a second for each reader. If each worker had the whole
    # rate, it would take one second; without a limit, only the start of the workers.
    assert time.monotonic() - begin > 1.7


def test_rate_of_bytes(root: bytes, scanned: Scanned) -> None:
    """No more bytes per second than allowed. The waiting does not count against the time of the file."""
    Path(os.fsdecode(root), "f").write_bytes(bytes(4_000_000))
    begin = time.monotonic()
    found = scanned(root, limits=Limits(max_bytes_per_s=8_000_000, file_timeout_s=0.3))
    assert time.monotonic() - begin > 0.35
    assert _state(found[root + b"/f"]).digests


@pytest.mark.usefixtures("at_once")
def test_rate_of_bytes_over_all_workers(root: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is shared by the workers: two of them do not read twice as much."""
    monkeypatch.setattr(scanner, "_BATCH_NAMES", 1)
    for number in range(20):
        Path(os.fsdecode(root), f"{number:02}").write_bytes(bytes(1_000_000))
    begin = time.monotonic()
    list(scan([WatchSpec(path=root)], workers=2, limits=Limits(max_bytes_per_s=12_000_000)))
    # New files are read twice: 3.3 s. At twice that rate, half of it.
    assert time.monotonic() - begin > 2.7


def test_limits_come_from_the_configuration() -> None:
    """Every limit of [scan] reaches the code that applies it."""
    text = 'nice = 7\nionice = "idle"\nmax_bytes_per_s = "2M"\nmax_files_per_s = 50\ndrop_cache = true\n'
    text += 'max_holes = "3G"\n'
    times = 'file_timeout = "3s"\nstall_timeout = "4s"\n'
    config = parse_config(f'[scan]\n{text}{times}[[watch]]\npath = "/w"\n')
    assert limits_of(config.scan) == Limits(
        file_timeout_s=3,
        stall_timeout_s=4,
        nice=7,
        ionice="idle",
        max_bytes_per_s=2_000_000,
        max_files_per_s=50,
        max_holes=3_000_000_000,
        drop_cache=True,
    )


def test_holes(root: bytes, scanned: Scanned) -> None:
    """The digest of a sparse file is that of sha256sum, wherever its holes are, and holes do not fill the cache."""
    contents = {
        b"hole-at-the-end": [(0, b"begin")],
        b"hole-at-the-beginning": [(40_000_000, b"end")],
        b"islands": [(5_000_000, b"x" * 70_000), (20_000_001, b"y"), (39_999_999, b"z")],
        b"only-a-hole": [],
    }
    for name, pieces in contents.items():
        with open(root + b"/" + name, "wb") as file:
            file.truncate(40_000_010)
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)
            os.fsync(file.fileno())
        assert os.stat(root + b"/" + name).st_blocks * 512 < 1_000_000, "sparse"
    found = scanned(root)
    for name in contents:
        path = root + b"/" + name
        if name == b"only-a-hole":
            assert _cached(path) == 0
        sum_line = subprocess.run(["sha256sum", path], capture_output=True, check=True).stdout.split()[0].decode()
        digest = _state(found[path]).digest("sha256")
        assert digest is not None
        assert digest.hex() == sum_line.removeprefix("\\")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("at_once")
def test_many_sparse_files(root: bytes, scanned: Scanned, workers: int) -> None:
    """Holes are hashed up to the limit, over all workers; further sparse files are unreadable, and all others are read.

    8 TB, and a thousand files of 8 GB that begin with a byte, would take hours.
    """
    for number in range(1000):
        with open(root + b"/%03d" % number, "wb") as file:
            file.write(b"x")
            file.truncate(8 << 30)
    os.truncate(root + b"/000", 8 << 40)
    Path(os.fsdecode(root), "z").write_bytes(b"x")
    begin = time.monotonic()
    found = scanned(root, limits=Limits(max_holes=20 << 20), workers=workers)
    assert time.monotonic() - begin < 60
    assert {item.reason for item in found.values() if isinstance(item, Unreadable)} == {UnreadableReason.SPARSE}
    assert sum(isinstance(item, Unreadable) for item in found.values()) == 1000
    assert _state(found[root + b"/z"]).digest("sha256") == hashlib.sha256(b"x").digest()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("at_once")
def test_the_budget_of_holes_is_shared(root: bytes, scanned: Scanned, workers: int) -> None:
    """What one worker hashed of holes, another one does not hash once more."""
    for number in range(600):
        with open(root + b"/%03d" % number, "wb") as file:
            file.write(b"x")
            file.truncate(3_000_000)
    os.utime(root + b"/000", (0, 0))
    found = scanned(root, limits=Limits(max_holes=90_000_000), workers=workers)
    read = [item for path, item in found.items() if path != root and isinstance(item, FileState)]
    # Each is hashed twice, because it was changed a moment ago. Two processes may lose a count.
    assert 10 <= len(read) <= 25


def test_files_that_are_one_hole_are_hashed_once(root: bytes, scanned: Scanned) -> None:
    """A thousand files of the same size without any data take the time and the limit of one."""
    for number in range(1000):
        with open(root + b"/%03d" % number, "wb") as file:
            file.truncate(30_000_000)
    found = scanned(root, limits=Limits(max_holes=300_000_000))
    assert {_state(found[root + b"/%03d" % number]).digest("sha256") for number in range(1000)} == {
        hashlib.sha256(bytes(30_000_000)).digest()
    }


@pytest.mark.usefixtures("needs_root")
def test_users_do_not_use_up_the_holes_of_root(root: bytes, scanned: Scanned) -> None:
    """A user's sparse files keep no sparse file of root's from being read."""
    for number in range(20):
        with open(root + b"/%03d" % number, "wb") as file:
            file.write(b"x")
            file.truncate(20_000_000)
        os.chown(root + b"/%03d" % number, 1000, 1000)
    with open(root + b"/z", "wb") as file:
        file.write(b"x")
        file.truncate(20_000_000)
    found = scanned(root, limits=Limits(max_holes=40_000_000))
    assert isinstance(found[root + b"/019"], Unreadable)
    assert isinstance(found[root + b"/z"], FileState)


def test_sparse_terabyte(root: bytes, scanned: Scanned) -> None:
    """A sparse terabyte takes its time limit, not hours; the file beside it is read."""
    with open(root + b"/huge", "wb") as file:
        file.truncate(1 << 40)
    Path(os.fsdecode(root), "z").write_bytes(b"x")
    found = scanned(root, limits=Limits(file_timeout_s=0.5, max_holes=0))
    assert found[root + b"/huge"] == Unreadable(
        path=root + b"/huge", reason=UnreadableReason.TIMEOUT, detail="not completely read within 0.5 s"
    )
    assert _state(found[root + b"/z"]).digest("sha256") == hashlib.sha256(b"x").digest()


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("flag", ["i", "a"])
def test_immutable_and_append_only(root: bytes, scanned: Scanned, flag: str) -> None:
    """Immutable and append-only files and directories are read like all others."""
    os.mkdir(root + b"/d")
    for name in (b"/f", b"/d/f"):
        Path(os.fsdecode(root + name)).write_bytes(b"x")
    paths = [root + b"/d/f", root + b"/d", root + b"/f"]
    if subprocess.run(["chattr", f"+{flag}", *paths], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no such flags")
    try:
        found = scanned(root)
    finally:
        subprocess.run(["chattr", f"-{flag}", *paths], check=True)
    assert [_state(found[path]).flags for path in paths] == [{"i": 0x10, "a": 0x20}[flag]] * 3
    assert all(a < b for a, b in pairwise(found))


@pytest.mark.usefixtures("needs_root")
def test_strict_atime(root: bytes, scanned: Scanned) -> None:
    """No access time is set, neither of files nor of directories, even with strictatime."""
    libc = ctypes.CDLL(None, use_errno=True)
    strictatime = 1 << 24
    if libc.mount(b"none", root, b"tmpfs", strictatime, None):
        pytest.skip("this container may not mount")
    try:
        os.mkdir(root + b"/d")
        Path(os.fsdecode(root + b"/d/f")).write_bytes(b"x")
        paths = (root + b"/d", root + b"/d/f")
        for path in paths:
            os.utime(path, ns=(0, 0))
        scanned(root)
        assert [os.stat(path).st_atime_ns for path in paths] == [0, 0]
        Path(os.fsdecode(root + b"/d/f")).read_bytes()
        assert os.stat(root + b"/d/f").st_atime_ns, "this mount records accesses"
    finally:
        libc.umount2(root, 2)
