"""Worker processes give the same results and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.errors import InputError
from fimscan.model import FileState, Unreadable
from fimscan.scan.scanner import Progress, scan
from fimscan.scan.watch import WatchSpec

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def forest(root: bytes) -> bytes:
    """A thousand files in directories of all sizes, with odd names and links."""
    for directory in range(60):
        path = root + b"/d%d\xff\n" % directory
        os.mkdir(path)
        for number in range(directory // 2):
            with open(path + b"/f%d" % number, "wb") as file:
                file.write(b"%d" % number * directory * number)
        os.symlink(b"x" * 4000, path + b"/link")
        os.mkfifo(path + b"/fifo")
    return root


def _workers(parent: int | None = None) -> list[int]:
    """The child processes of the scan, including zombies (which have no command line)."""
    parent = parent or os.getpid()
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        children = map(int, file.read().split())
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, command in commands.items() if not command or b"fimscan.scan.worker" in command]


def _descriptors() -> list[str]:
    return [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    ]


def _gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.usefixtures("at_once")
def test_same_results(forest: bytes, scanned: Scanned) -> None:
    """Workers give the same results in the same order as one process, with mixed policies."""
    watches = [
        WatchSpec(path=forest, algorithms=("xxh3_128", "sha256")),
        WatchSpec(path=forest + b"/d9\xff\n", algorithms=()),
    ]
    alone, shared = (
        [
            replace(result, read_start_ns=0, read_end_ns=0) if isinstance(result, FileState) else result
            for result in scanned(*watches, workers=workers).values()
        ]
        for workers in (1, 3)
    )
    assert len(alone) > 1000
    assert alone == shared


@pytest.mark.usefixtures("at_once")
def test_files_are_read_by_workers(forest: bytes) -> None:
    """The files are read by as many workers as requested."""
    results = scan([WatchSpec(path=forest)], workers=3)
    for _ in range(100):
        next(results)
    assert len(_workers()) == 3
    list(results)
    assert not _workers()


def test_a_small_scan_starts_no_workers(forest: bytes) -> None:
    """A scan that is quickly finished starts no workers."""
    results = scan([WatchSpec(path=forest + b"/d20\xff\n")], workers=2)
    assert not [_workers() for _ in results if _workers()]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("workers", [1, 2])
def test_close_leaves_no_process_or_descriptor(forest: bytes, workers: int) -> None:
    """A scan that is closed half-way leaves no process and no descriptor."""
    before = _descriptors()
    results = scan([WatchSpec(path=forest), WatchSpec(path=forest + b"/d30\xff\n")], workers=workers)
    for _ in range(150):
        next(results)
    assert len(_descriptors()) > len(before)
    results.close()
    assert not _workers()
    assert sorted(_descriptors()) == sorted(before)


@pytest.mark.usefixtures("at_once")
def test_close_does_not_wait(root: bytes) -> None:
    """Closing a scan does not wait until a huge file is read, so that Ctrl-C is quick."""
    for number in range(20):
        with open(root + b"/%02d" % number, "wb") as file:
            file.truncate(200 << 30 if number > 10 else 0)  # less than what is hashed of holes
    results = scan([WatchSpec(path=root)], workers=2)
    next(results)
    reader = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    try:
        reader.start()
        with pytest.raises(KeyboardInterrupt):
            list(results)
        reader.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not _workers()


@pytest.mark.usefixtures("at_once")
def test_signals_are_for_the_parent(forest: bytes) -> None:
    """SIGTERM or SIGINT to the whole process group does not kill workers during their work; nor does a broken lease."""
    results = scan([WatchSpec(path=forest)], workers=2)
    seen = [next(results) for _ in range(100)]  # the workers have answered, so they are running
    for pid in _workers():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO):
            os.kill(pid, number)
    seen += results
    assert len(seen) > 1000


@pytest.mark.usefixtures("at_once")
def test_killed_worker(forest: bytes) -> None:
    """If the system kills a worker, the scan fails: partial results never pass as complete."""
    results = scan([WatchSpec(path=forest)], workers=2)
    next(results)
    for _ in range(20):
        next(results)
    for pid in _workers():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(InputError, match="worker ended unexpectedly"):
        list(results)
    assert not _workers()


def test_parent_is_killed(root: bytes) -> None:
    """Workers end with a parent that was killed, even while reading a huge file."""
    for number in range(20):
        with open(root + b"/%02d" % number, "wb") as file:
            file.truncate(200 << 30 if number > 10 else 0)  # less than what is hashed of holes
    script = (
        "import os, sys\nfrom fimscan.scan import scanner\nfrom fimscan.scan.watch import WatchSpec\n"
        "scanner._ALONE_SECONDS = 0\nlist(scanner.scan([WatchSpec(path=os.fsencode(sys.argv[1]))], workers=2))"
    )
    with subprocess.Popen([sys.executable, "-c", script, root], cwd=_CHECKOUT) as parent:
        while len(workers := _workers(parent.pid)) < 2:
            time.sleep(0.02)
        time.sleep(0.4)  # they are running, and in the middle of the file
        assert not any(_gone(pid) for pid in workers)
        parent.kill()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all(map(_gone, workers)):
        time.sleep(0.02)
    assert all(map(_gone, workers))


@pytest.mark.usefixtures("at_once")
def test_no_code_from_the_current_directory(
    forest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: Scanned
) -> None:
    """A worker started by root runs no module from the current directory or the environment."""
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("marshal", "select", "xxhash", "fimscan", "socket"):
        (trap / f"{name}.py").write_text(f"open({str(trap)!r} + '/sprung', 'w')")
    monkeypatch.chdir(trap)
    monkeypatch.setenv("PYTHONPATH", str(trap))
    monkeypatch.syspath_prepend("")
    assert len(scanned(forest, workers=2)) > 1000
    assert not (trap / "sprung").exists()


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("workers", [1, 2])
def test_progress(forest: bytes, workers: int) -> None:
    """Progress only increases, and ends with what the scan yielded."""
    reports: list[Progress] = []
    results = list(scan([WatchSpec(path=forest)], workers=workers, on_progress=reports.append))
    assert reports == sorted(reports, key=lambda progress: (progress.files, progress.bytes, progress.elapsed_s))
    assert reports[-1].files == len(results)
    assert reports[-1].bytes == sum(r.size for r in results if isinstance(r, FileState) and r.digests)
