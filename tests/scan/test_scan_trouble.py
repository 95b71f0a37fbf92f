"""What a scan reports about files that it cannot read, or that change during the reading."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fimscan.model import FileKind, FileState, Unreadable, UnreadableReason
from fimscan.scan import attributes, digest, fast_path, reader
from fimscan.scan import dirfd as visiting
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_CHECKOUT = Path(__file__).parents[2]


def printed_in_own_mounts(script: str, root: bytes) -> list[str]:
    """The lines that a shell script prints in its own mount namespace; ``$0`` is Python, ``$1`` the watch."""
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, root],
        cwd=_CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount" in run.stderr or "unshare" in run.stderr:
        pytest.skip(f"mounting is not possible here: {run.stderr.strip()}")
    return run.stdout.splitlines()


def _write(path: bytes, content: bytes) -> bytes:
    with open(path, "wb") as file:
        file.write(content)
    return path


def _reason(result: FileState | Unreadable) -> UnreadableReason:
    assert isinstance(result, Unreadable), result
    return result.reason


@pytest.fixture
def while_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Call a function each time the digesting of a file begins."""

    def arrange(act: Callable[[], None]) -> None:
        def factory(data: memoryview) -> hashlib._Hash:
            begun = hashlib.sha256(data)
            act()
            return begun

        monkeypatch.setitem(digest.ALGORITHMS, "sha256", factory)

    return arrange


def test_missing_root(root: bytes, scanned: Scanned) -> None:
    """A configured directory that does not exist is reported as missing, wherever its path ends."""
    _write(root + b"/file", b"")
    for path in (root + b"/nowhere", root + b"/nowhere/at/all", root + b"/file/below"):
        assert _reason(scanned(path)[path]) is UnreadableReason.MISSING


def test_file_changes_all_the_time(root: bytes, scanned: Scanned) -> None:
    """A file to which a process keeps appending is unstable and has no digest; the scan goes on."""
    path = _write(root + b"/log", b"")
    _write(root + b"/other", b"x")
    script = "import sys\nwith open(sys.argv[1], 'ab', 0) as f:\n while True: f.write(b'x' * 100)"
    with subprocess.Popen([sys.executable, "-c", script, path]) as writer:
        while not os.stat(path).st_size:
            time.sleep(0.01)
        for _ in range(20):
            found = scanned(root)
            if isinstance(found[path], Unreadable):  # else the writer was not scheduled in the meantime
                break
        writer.kill()
    assert _reason(found[path]) is UnreadableReason.UNSTABLE
    assert isinstance(found[root + b"/other"], FileState)


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_file_changes_in_place(
    root: bytes, scanned: Scanned, while_reading: Callable[[Callable[[], None]], None], size: int
) -> None:
    """Bytes replaced during the reading never give a digest, even if the size stays the same."""
    path = _write(root + b"/f", b"a" * size)

    def overwrite() -> None:
        with open(path, "r+b") as file:
            file.write(b"b")

    while_reading(overwrite)
    assert _reason(scanned(root)[path]) is UnreadableReason.UNSTABLE


def test_file_changes_once(root: bytes, scanned: Scanned, while_reading: Callable[[Callable[[], None]], None]) -> None:
    """A single write during the reading causes a second reading, which gives the new digest."""
    path = _write(root + b"/f", b"a" * 1000)
    new = [b"b" * 2000]

    def replace_once() -> None:
        if new:
            _write(path + b".new", new.pop())
            os.rename(path + b".new", path)

    while_reading(replace_once)
    result = scanned(root)[path]
    assert isinstance(result, FileState)
    assert (result.size, result.digest("sha256")) == (2000, hashlib.sha256(b"b" * 2000).digest())


def test_file_grows_without_end(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows faster than it is read is given up."""
    path = _write(root + b"/f", b"a" * 300_000)
    really_read = os.readv

    def grow_and_read(fd: int, buffers: list[memoryview]) -> int:
        with open(path, "ab") as file:
            file.write(b"b" * 300_000)
        return really_read(fd, buffers)

    monkeypatch.setattr(os, "readv", grow_and_read)
    assert _reason(scanned(root)[path]) is UnreadableReason.UNSTABLE


def test_file_vanishes(root: bytes, scanned: Scanned, while_reading: Callable[[Callable[[], None]], None]) -> None:
    """A file deleted between listing and reading is reported as vanished."""
    for name in (b"a", b"b"):
        _write(root + b"/" + name, b"x")

    def delete() -> None:
        if os.path.exists(root + b"/b"):
            os.unlink(root + b"/b")

    while_reading(delete)
    assert _reason(scanned(root)[root + b"/b"]) is UnreadableReason.VANISHED


@pytest.mark.parametrize("kind", ["symlink", "file", "fifo", "nothing"])
def test_directory_is_swapped(
    root: bytes, scanned: Scanned, while_reading: Callable[[Callable[[], None]], None], kind: str
) -> None:
    """A directory replaced after its parent was listed is recorded as it is now; a symlink is not followed."""
    outside = root + b"/../outside"
    os.mkdir(outside)
    _write(outside + b"/secret", b"x")
    _write(root + b"/a", b"x")
    for number in range(20):  # the walk is a few names ahead of the reading
        os.symlink(b"x", root + b"/b%02d" % number)
    os.mkdir(root + b"/z")

    def swap() -> None:
        if os.path.isdir(root + b"/z") and not os.path.islink(root + b"/z"):
            os.rmdir(root + b"/z")
            match kind:
                case "symlink":
                    os.symlink(outside, root + b"/z")
                case "file":
                    _write(root + b"/z", b"now a file")
                case "fifo":
                    os.mkfifo(root + b"/z")

    while_reading(swap)
    found = scanned(root)
    result = found[root + b"/z"]
    if kind == "nothing":
        assert _reason(result) is UnreadableReason.VANISHED
    else:
        assert isinstance(result, FileState)
        assert result.kind is FileKind(kind)
    assert not any(path.startswith(root + b"/z/") for path in found)


@pytest.mark.parametrize(("step", "kind"), [("_hold", "symlink"), ("_reopen", "directory")])
def test_symlink_swapped_at_the_last_moment(
    root: bytes, monkeypatch: pytest.MonkeyPatch, scanned: Scanned, step: str, kind: str
) -> None:
    """A directory that becomes a symlink just before it is opened is not followed."""
    os.mkdir(root + b"/d")
    os.mkdir(root + b"/../outside")
    _write(root + b"/../outside/secret", b"x")
    really, calls = getattr(visiting, step), []

    def swap_and_do(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:  # the first is the root
            os.rmdir(root + b"/d")
            os.symlink(root + b"/../outside", root + b"/d")
        return really(*arguments, **options)

    monkeypatch.setattr(visiting, step, swap_and_do)
    found = scanned(root)
    assert list(found) == [root, root + b"/d"]
    result = found[root + b"/d"]
    assert isinstance(result, FileState)
    assert result.kind is FileKind(kind)


def test_directory_swapped_after_it_was_opened(root: bytes, monkeypatch: pytest.MonkeyPatch, scanned: Scanned) -> None:
    """The directory that was found is listed, whatever has its name by then."""
    os.mkdir(root + b"/d")
    _write(root + b"/d/inside", b"x")
    os.mkdir(root + b"/../outside")
    _write(root + b"/../outside/secret", b"x")
    hold, held = visiting._hold, []

    def hold_and_swap(*arguments: Any, **options: Any) -> int:
        held.append(hold(*arguments, **options))
        if len(held) == 2:  # the first is the root
            os.rename(root + b"/d", root + b"/../moved")
            os.symlink(root + b"/../outside", root + b"/d")
        return held[-1]

    monkeypatch.setattr(visiting, "_hold", hold_and_swap)
    assert list(scanned(root)) == [root, root + b"/d", root + b"/d/inside"]


@pytest.mark.usefixtures("whether_settled")
def test_file_swapped_at_the_last_moment(root: bytes, monkeypatch: pytest.MonkeyPatch, scanned: Scanned) -> None:
    """A file that becomes a symlink between lstat and open is recorded as a symlink; its target is not opened."""
    path = _write(root + b"/f", b"x")
    _write(root + b"/../outside", b"x")
    really_open = reader.open_noatime
    opened = []

    def swap_then_open(name: bytes, flags: int, directory: int | None) -> int:
        os.unlink(path)
        os.symlink(root + b"/../outside", path)
        fd = really_open(name, flags, directory)
        opened.append(name)
        return fd

    for module in (reader, fast_path):
        monkeypatch.setattr(module, "open_noatime", swap_then_open)
    result = scanned(root)[path]
    assert isinstance(result, FileState)
    assert result.kind is FileKind.SYMLINK
    assert not opened


@pytest.mark.usefixtures("whether_settled")
def test_file_becomes_a_pipe_at_the_last_moment(root: bytes, monkeypatch: pytest.MonkeyPatch, scanned: Scanned) -> None:
    """A file that becomes a pipe between lstat and open is recorded as a pipe, and never read."""
    path = _write(root + b"/f", b"x")
    really_open = reader.open_noatime

    def swap_then_open(name: bytes, flags: int, directory: int | None) -> int:
        os.unlink(path)
        os.mkfifo(path)
        return really_open(name, flags, directory)

    for module in (reader, fast_path):
        monkeypatch.setattr(module, "open_noatime", swap_then_open)
    result = scanned(root)[path]
    assert isinstance(result, FileState)
    assert (result.kind, result.digests) == (FileKind.FIFO, ())


def test_file_changed_just_now(root: bytes, scanned: Scanned) -> None:
    """A file is not read in the clock tick of its last change: another change would leave the same times."""
    result = scanned(_write(root + b"/f", b"x"))[root + b"/f"]
    assert isinstance(result, FileState)
    assert result.read_end_ns - result.ctime_ns >= 10_000_000


def test_log_that_shrinks_while_it_is_read(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later content is recorded, whether the shrinking is noticed during the reading or after it."""
    log = WatchSpec(path=root, append_only=True)
    steps: tuple[tuple[object, str], ...] = ((os, "preadv"), (reader, "read_xattrs"))
    for module, step in steps:
        path = _write(root + b"/log", bytes(300_000))
        really = getattr(module, step)
        calls: list[int] = []

        def shrink_and_do(*arguments: Any, really: Any = really, calls: list[int] = calls) -> Any:
            calls.append(1)
            if len(calls) == 1:
                os.truncate(path, 10)  # noqa: B023  # called before the next one
            return really(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(module, step, shrink_and_do)
            state = scanned(log)[path]
        assert isinstance(state, FileState)
        assert (state.size, state.digests[1].value) == (10, hashlib.sha256(bytes(10)).digest())
        assert len(calls) > 1


def test_attributes_that_change_while_they_are_read(
    root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even without content, a state describes one moment: never a new mode with old attributes."""
    path = _write(root + b"/f", b"x")
    really, calls = attributes.read_xattrs, []

    def read_and_change(target: int | bytes) -> object:
        found = really(target)
        calls.append(target)
        if len(calls) == 1:
            os.setxattr(path, "user.late", b"x")
            os.chmod(path, 0o600)
        return found

    monkeypatch.setattr(reader, "read_xattrs", read_and_change)
    state = scanned(WatchSpec(path=root, algorithms=()))[path]
    assert isinstance(state, FileState)
    assert state.mode == 0o600
    assert [one.name for one in state.xattrs or ()] == [b"user.late"]


def test_file_becomes_a_directory(
    root: bytes, scanned: Scanned, while_reading: Callable[[Callable[[], None]], None]
) -> None:
    """A file that becomes a directory is not reported as an empty directory."""
    for name in (b"a", b"b"):
        _write(root + b"/" + name, b"x")

    def swap() -> None:
        if os.path.isfile(root + b"/b"):
            os.unlink(root + b"/b")
            os.mkdir(root + b"/b")

    while_reading(swap)
    assert _reason(scanned(root)[root + b"/b"]) is UnreadableReason.UNSTABLE


def test_read_error(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the medium is reported as I/O error with the system's message."""
    path = _write(root + b"/f", b"x")

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "readv", fail)
    assert scanned(root)[path] == Unreadable(path=path, reason=UnreadableReason.IO_ERROR, detail="Input/output error")


def test_listing_error(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be listed is one unreadable entry; its neighbours are read."""
    os.mkdir(root + b"/bad")
    _write(root + b"/bad/known", b"x")
    _write(root + b"/bad-neighbour", b"x")
    inode, really_scan = os.stat(root + b"/bad").st_ino, os.scandir

    def fail(fd: int) -> object:
        if os.fstat(fd).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return really_scan(fd)

    monkeypatch.setattr(os, "scandir", fail)
    found = scanned(root)
    assert list(found) == [root, root + b"/bad", root + b"/bad-neighbour"]
    assert _reason(found[root + b"/bad"]) is UnreadableReason.IO_ERROR


def _scanned_as_nobody(*watches: WatchSpec) -> list[str]:
    """What a scan by an unprivileged user reports of each path."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            top = os.fsdecode(watches[0].path)
            results = scan(watches, workers=1)
            lines = [f"{os.path.relpath(os.fsdecode(r.path), top)} {getattr(r, 'reason', 'ok')}" for r in results]
            os.write(write, "\n".join(lines).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    lines = os.read(read, 10_000).decode().splitlines()
    os.close(read)
    return lines


@pytest.mark.usefixtures("needs_root")
def test_no_permission() -> None:
    """Files and directories that an unprivileged scan may not read are unreadable (permission); others are read."""
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        for name in ("closed", "listable", "open"):
            os.mkdir(f"{top}/{name}")
            _write(os.fsencode(f"{top}/{name}/f"), b"x")
        _write(os.fsencode(f"{top}/secret"), b"x")
        for name, mode in (("closed", 0o711), ("listable", 0o744), ("secret", 0o600)):
            os.chmod(f"{top}/{name}", mode)
        lines = _scanned_as_nobody(WatchSpec(path=os.fsencode(top)), WatchSpec(path=b"%s/closed/f/x" % top.encode()))
        without_content = _scanned_as_nobody(WatchSpec(path=os.fsencode(top), algorithms=()))
    assert "secret ok" in without_content  # lstat gives all except its flags
    assert lines == [
        ". ok",
        "closed permission",
        "closed/f/x missing",
        "listable ok",
        "listable/f permission",
        "open ok",
        "open/f ok",
        "secret permission",
    ]


@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("cross_mounts", [False, True])
def test_mount_boundary(root: bytes, cross_mounts: bool) -> None:
    """A file system mounted below a watch is recorded as a directory; it is entered only with cross_mounts."""
    os.mkdir(root + b"/mounted")
    os.mkdir(root + b"/nested")
    script = (
        "for d in mounted nested; do mount -t tmpfs none $1/$d && echo x > $1/$d/f || exit; done\n"
        "exec $0 -W error -c 'import sys, os\n"
        "from fimscan.scan.scanner import scan\n"
        "from fimscan.scan.watch import WatchSpec\n"
        "root = os.fsencode(sys.argv[1])\n"
        f"options = dict(workers=1, cross_mounts={cross_mounts})\n"
        'for r in scan([WatchSpec(path=root), WatchSpec(path=root + b"/nested")], **options):\n'
        " print(r.path[len(root):].decode(), r.kind)' $1"
    )
    inside = ["/mounted/f file"] if cross_mounts else []
    assert printed_in_own_mounts(script, root) == [
        " directory", "/mounted directory", *inside, "/nested directory", "/nested/f file"
    ]  # fmt: skip


def test_limit_of_open_files_is_restored(root: bytes, scanned: Scanned) -> None:
    """The soft limit of open files is restored at the end of the scan."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 1, before[1]))
    try:
        scanned(root)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1] - 1, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
