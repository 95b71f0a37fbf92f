"""Trees deeper than PATH_MAX, and deeper than the number of directories that can be open at once."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fimscan.linux.filesystems import birth
from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.scan import dir_stack, dirfd, walk
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.watch import WatchSpec
from tests.conftest import Cli

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_KEPT = 3


def _dig(root: bytes, name: bytes, depth: int, *, every: int = 0) -> None:
    """Nest directories deeper than PATH_MAX, with a file at the bottom and one at every ``every`` levels."""
    fd = os.open(root, os.O_DIRECTORY)
    for level in range(depth):
        if every and level % every == 0:
            os.close(os.open(b"z", os.O_CREAT, dir_fd=fd))
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open(b"bottom", os.O_CREAT, dir_fd=fd))
    os.close(fd)


def _append(root: bytes, name: bytes, depth: int) -> None:
    """Append to the file at the bottom."""
    fd = os.open(root, os.O_DIRECTORY)
    for _ in range(depth):
        below = os.open(name, os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    with open(os.open(b"bottom", os.O_WRONLY | os.O_APPEND, dir_fd=fd), "wb") as file:
        file.write(b"changed")
    os.close(fd)


@pytest.fixture(autouse=True)
def _removed(tmp_path: Path) -> Iterator[None]:
    """Remove the tree, because Python, and so pytest, cannot remove such deep trees."""
    yield
    subprocess.run(["rm", "-rf", tmp_path / "watched"], check=True)


@pytest.fixture
def few_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit the number of directories that a walk keeps open."""
    monkeypatch.setattr(dir_stack, "_KEPT", _KEPT)


@pytest.fixture
def ladder(root: bytes) -> bytes:
    """12 levels, each with a file before and after the next level, and a directory interleaved with it."""
    path = root
    for _ in range(12):
        os.makedirs(path + b"/d/")
        os.makedirs(path + b"/d-/e")  # in order: d, d-, d-/e, d/...
        for name in (b"/a", b"/d-/f", b"/z"):
            with open(path + name, "wb") as file:
                file.write(b"x")
        path += b"/d"
    return root


def _names(path: bytes) -> set[bytes]:
    return {path, *(os.path.join(top, one) for top, inner, files in os.walk(path) for one in (*inner, *files))}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.usefixtures("at_once")
def test_deeper_than_path_max(root: bytes, scanned: Scanned, workers: int) -> None:
    """Files are read even if the paths of their directories exceed PATH_MAX."""
    name = b"n" * 250
    _dig(root, name, 40)
    found = scanned(root, workers=workers)
    bottom = found[root + (b"/" + name) * 40 + b"/bottom"]
    assert isinstance(bottom, FileState)
    assert bottom.digests
    assert len(found) == 42


def test_path_too_long(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with an absurdly long path is reported and not entered; its neighbours are read."""
    monkeypatch.setattr(walk, "_LONGEST_PATH", len(root) + 100)
    _dig(root, b"d", 60)
    Path(os.fsdecode(root), "z").write_bytes(b"x")
    found = scanned(root)
    failure = found[root + b"/d" * 51]
    assert isinstance(failure, Unreadable)
    assert (failure.reason, len(found)) == (UnreadableReason.IO_ERROR, 1 + 51 + 1)
    assert "path" in failure.detail
    assert isinstance(found[root + b"/z"], FileState)


@pytest.mark.usefixtures("few_open")
def test_tree_deeper_than_open_directories(ladder: bytes, scanned: Scanned) -> None:
    """A directory that was closed to save descriptors is continued when the walk returns to it."""
    before = set(os.listdir("/proc/self/fd"))
    found = scanned(ladder)
    assert set(found) == _names(ladder)
    assert all(isinstance(one, FileState) for one in found.values())
    assert set(os.listdir("/proc/self/fd")) == before, "all of them are closed again"


@pytest.mark.usefixtures("few_open")
def test_subtree_deeper_than_open_directories(ladder: bytes) -> None:
    """The same in a scan of a subtree."""
    below = ladder + b"/d/d"
    found = {one.path: one for one in PathScanner([WatchSpec(path=ladder)]).look(below, below=True)}
    assert set(found) == _names(below)
    assert all(isinstance(one, FileState) for one in found.values())


class Moves:
    """Moves directories of the tree once, when the walk leaves the seventh level."""

    def __init__(self, ladder: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outside = ladder + b"/../outside"
        os.mkdir(self.outside)
        with open(self.outside + b"/z", "wb") as file:
            file.write(b"secret")
        self.above = ladder + b"/d" * 6
        self.left = self.above + b"/d"
        self.left_inode = os.stat(self.left).st_ino
        self.really = dirfd.step
        self.do: Callable[[], None] = lambda: None
        self.done = False
        monkeypatch.setattr(dir_stack, "step", self.step)

    def step(self, directory: int, name: bytes) -> dirfd.DirHandle:
        if name == b".." and not self.done and os.fstat(directory).st_ino == self.left_inode:
            self.done = True
            self.do()
        return self.really(directory, name)


@pytest.fixture
def moves(ladder: bytes, monkeypatch: pytest.MonkeyPatch) -> Moves:
    return Moves(ladder, monkeypatch)


@pytest.mark.usefixtures("few_open")
def test_directory_moved_out_while_the_walk_is_in_it(ladder: bytes, scanned: Scanned, moves: Moves) -> None:
    """``..`` then leads out of the tree: the parent is found by name, and no other directory is read."""
    names = _names(ladder)
    moves.do = lambda: os.rename(moves.left, moves.outside + b"/d")
    found = scanned(ladder)
    assert moves.done
    assert set(found) == names
    assert all(isinstance(one, FileState) for one in found.values())
    sizes = {one.size for path, one in found.items() if path.endswith(b"/z") and isinstance(one, FileState)}
    assert sizes == {1}, "no secret of the directory outside"


def _check_loss(found: dict[bytes, FileState | Unreadable], names: set[bytes], lost: bytes) -> None:
    """Only the remaining entries of that directory are lost, and they are reported."""
    assert set(found) == names
    refused = {path: one for path, one in found.items() if isinstance(one, Unreadable)}
    assert set(refused) == {lost + b"/z"}
    assert {one.reason for one in refused.values()} == {UnreadableReason.UNSTABLE}


@pytest.mark.usefixtures("few_open")
@pytest.mark.parametrize("by", ["directory", "symlink", "nothing"])
def test_directory_replaced_while_the_walk_is_below(ladder: bytes, scanned: Scanned, moves: Moves, by: str) -> None:
    """A directory that replaced a closed one is recognised as another and not read."""
    names = _names(ladder)

    def replace() -> None:
        os.rename(moves.left, moves.outside + b"/d")
        os.rename(moves.above, moves.outside + b"/above")
        if by == "directory":
            os.mkdir(moves.above)
            Path(os.fsdecode(moves.above), "z").write_bytes(b"secret")
        elif by == "symlink":
            os.symlink(moves.outside, moves.above)

    moves.do = replace
    _check_loss(scanned(ladder), names, moves.above)


@pytest.mark.usefixtures("few_open")
def test_reused_inode_number(ladder: bytes, scanned: Scanned, moves: Moves) -> None:
    """A directory outside that reused the inode number of a closed one is recognised as another."""
    names = _names(ladder)
    reused = []

    def replace() -> None:
        inode = os.stat(moves.above).st_ino
        os.rename(moves.left, moves.outside + b"/d")
        subprocess.run(["rm", "-r", moves.above], check=True)
        for number in range(100):
            fresh = moves.outside + b"/%d" % number
            os.mkdir(fresh)
            if os.stat(fresh).st_ino == inode:
                os.rename(moves.outside + b"/d", fresh + b"/d")
                Path(os.fsdecode(fresh), "z").write_bytes(b"secret")
                reused.append(fresh)
                break

    moves.do = replace
    found = scanned(ladder)
    if not reused:
        pytest.skip("this file system does not use numbers again so soon")
    _check_loss(found, names, moves.above)


def test_a_tree_of_2500_levels(cli: Cli) -> None:
    """With 64 descriptors, the file at the bottom is recorded, and its change is found and shown."""
    depth = 2500
    watched = os.fsencode(cli.watched)
    _dig(watched, b"d", depth, every=4)

    def scan(code: int) -> str:
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))  # noqa: E731
        done = subprocess.run(
            cli.command("scan", "--no-audit"), capture_output=True, text=True, check=False, preexec_fn=limit
        )
        assert (done.returncode, done.stderr) == (code, "")
        return done.stdout

    assert f"{3 + 2 + depth + depth // 4:,} files" in scan(0)
    _append(watched, b"d", depth)
    bottom = f"{cli.watched}{'/d' * depth}/bottom"
    assert bottom in scan(4)
    document = cli.diff()
    assert [row["path"] for row in document["changes"]] == [bottom]
    assert document["summary"]["unreadable"] == 0


def test_paths_longer_than_path_max_are_handled(cli: Cli) -> None:
    """Every command that takes or prints a path handles paths longer than PATH_MAX."""
    name, depth = "n" * 250, 20
    _dig(os.fsencode(cli.watched), name.encode(), depth)
    cli.scan()
    _append(os.fsencode(cli.watched), name.encode(), depth)
    bottom = f"{cli.watched}{f'/{name}' * depth}/bottom"
    assert bottom in cli.scan(4)
    assert bottom in cli("diff", "--flat", "--path", bottom).stdout
    assert "size 0 -> 7" in cli("explain", bottom, code=0).stdout
    assert cli("explain-path", bottom, code=0).stdout.startswith(f"{bottom}: monitored\n")
    assert "it does not exist now" in cli("explain-path", bottom + "-not", code=0).stdout
    bundle = str(cli.root / "evidence.zip")
    cli("export", "pci-dss", "--from", "2020-01-01", "--to", "2100-01-01", "--out", bundle, code=0)
    cli("verify", bundle, code=0)
    cli("accept", bottom, code=0)
    assert cli.diff()["changes"] == []


def test_birth_times_in_threads(root: bytes) -> None:
    """Each thread gets the birth time of its own directory; another's would look like a replaced directory."""
    switching = sys.getswitchinterval()
    directories = [os.open(path, os.O_PATH) for path in (b"/", root)]
    births = [birth(fd) for fd in directories]
    with ThreadPoolExecutor(2) as threads:
        sys.setswitchinterval(1e-6)
        try:
            found = list(threads.map(lambda fd: {birth(fd) for _ in range(500)}, directories))
        finally:
            sys.setswitchinterval(switching)
    for fd in directories:
        os.close(fd)
    assert found == [{one} for one in births]
