"""A hostile tree: whatever is swapped during the walk, nothing outside is opened, read or recorded."""

from __future__ import annotations

import ctypes
import hashlib
import os
import select
import stat
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fimscan.model import FileState, Unreadable
from fimscan.scan import dir_stack, reader, scanner, state
from fimscan.scan.dir_stack import Directory
from fimscan.scan.fast_path import read_ordinary
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.scanner import scan
from fimscan.scan.walk import Walk
from fimscan.scan.watch import WatchSpec
from fimscan.state_row import unpack

# 100,000 swaps, during at least half as many scans (full and of single paths), take minutes.
ROUNDS = int(os.environ.get("FIMSCAN_RACE_ROUNDS", "1000"))
_LEAST_SCANS = max(500, ROUNDS // 2)
_ATTACKERS = 2
_SECRET = b"what nobody may read"
_FRESH_NS = reader.FRESH_NS
_IN_ACCESS, _IN_OPEN = 0x1, 0x20
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def outside(tmp_path: Path) -> bytes:
    """A directory beside the watched one: the canary. Its names are those that a walk would look for."""
    path = os.fsencode(tmp_path / "outside")
    for directory in (path, path + b"/below"):
        os.mkdir(directory)
        for name in (b"inner", b"secret"):
            with open(directory + b"/" + name, "wb") as file:
                file.write(_SECRET)
    return path


@pytest.fixture
def spare(root: bytes, outside: bytes) -> bytes:
    """Files to swap into the watched tree, and a tree with a counterpart for each."""
    spare = os.path.dirname(root) + b"/spare"
    os.mkdir(spare)
    kinds: dict[bytes, Callable[[bytes], object]] = {
        b"directory": lambda path: os.symlink(outside, path),
        b"file": lambda path: os.symlink(outside + b"/secret", path),
        b"relative": lambda path: os.symlink(b"../outside/secret", path),
        b"fifo": os.mkfifo,
        b"zero": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    }
    if os.geteuid() != 0:
        del kinds[b"zero"]
    for kind, make in kinds.items():
        for attacker in range(_ATTACKERS):
            for number in range(2):
                name = b"%d-%s-%d" % (attacker, kind, number)
                _plant(root + b"/" + name, is_directory=kind == b"directory")
                make(spare + b"/" + name)
    for attacker in range(_ATTACKERS):
        # Deep enough that a walk is inside when it is moved away.
        deep = root + b"/%d-moved/a/b/c" % attacker
        os.makedirs(deep)
        _plant(deep + b"/d", is_directory=True)
    return spare


def _plant(path: bytes, *, is_directory: bool) -> None:
    if is_directory:
        os.makedirs(path + b"/below")
        for name in (b"/inner", b"/below/inner"):
            _plant(path + name, is_directory=False)
    else:
        with open(path, "wb") as file:
            file.write(b"harmless")


class _Canary:
    """Detects (inotify) every opening and reading of a directory, its entries and its subdirectories."""

    def __init__(self, path: bytes) -> None:
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for directory in [found[0] for found in os.walk(path)]:
            assert _libc.inotify_add_watch(self.fd, directory, _IN_ACCESS | _IN_OPEN) > 0

    def heard(self) -> int:
        """The number of bytes of events."""
        return len(os.read(self.fd, 4096)) if select.select([self.fd], [], [], 0)[0] else 0


@contextmanager
def _attacked(root: bytes, spare: bytes) -> Iterator[list[bytes]]:
    """Run attackers; yields the files that count their swaps."""
    with ExitStack() as stack:
        counters = []
        for attacker in range(_ATTACKERS):
            counters.append(spare + b"/counter-%d" % attacker)
            with open(counters[-1], "wb") as file:
                file.truncate(8)
            process = subprocess.Popen(
                [sys.executable, os.path.join(os.path.dirname(__file__), "racer.py"),
                 root, spare, counters[-1], str(attacker)],
                stdin=subprocess.PIPE,
            )  # fmt: skip
            stack.enter_context(process)  # closing its standard input ends it; then wait
        yield counters


def _rounds(counters: list[bytes]) -> int:
    total = 0
    for counter in counters:
        with open(counter, "rb") as file:
            total += int(struct.unpack("Q", file.read(8))[0])
    return total


def _check(results: list[FileState | Unreadable], secrets: set[tuple[int, int]]) -> None:
    sha256 = hashlib.sha256(_SECRET).digest()
    paths = [result.path for result in results]
    assert paths == sorted(set(paths))
    for result in results:
        assert b"secret" not in result.path
        if isinstance(result, FileState):
            assert result.identity not in secrets, result
            assert result.digest("sha256") != sha256, result


def _everything(path: bytes) -> list[bytes]:
    return [path, *(os.path.join(d, name) for d, names, files in os.walk(path) for name in (*names, *files))]


def test_canary_detects_access(outside: bytes) -> None:
    """The canary detects the listing of its directory and the reading of a file; the next test relies on it."""
    canary = _Canary(outside)
    assert not canary.heard()
    os.scandir(outside).close()
    assert canary.heard()
    with open(outside + b"/below/secret", "rb") as file:
        file.read()
    assert canary.heard()
    os.close(canary.fd)


def _result(path: bytes, raw: state.Raw, digests: tuple[str, ...]) -> FileState | Unreadable:
    return state.to_unreadable(path, raw) if len(raw) == 2 else unpack(state.to_packed(path, raw, digests))


def _looks(root: bytes, turn: int) -> Iterator[list[FileState | Unreadable]]:
    """Alternate full scans and scans of single names. A single file is often read just when it is swapped."""
    yield list(scan([WatchSpec(path=root)], workers=2 if turn % 50 == 0 else 1))
    path_scanner = PathScanner([WatchSpec(path=root)])
    for name in (b"0-directory-0/inner", b"1-directory-0/below", b"0-file-0", b"0-relative-1", b"1-fifo-0"):
        yield list(path_scanner.look(root + b"/" + name, below=True))
    for _ in range(20):
        for name in (b"0-directory-1", b"1-directory-1", b"1-file-0", b"1-relative-1", b"0-fifo-0"):
            yield list(scan([WatchSpec(path=root + b"/" + name)], workers=1))
    # The time between lstat and open of a file is microseconds.
    directory, one, digests = os.open(root, os.O_PATH), reader.Reader(), ("xxh3_128", "sha256")
    for name in (b"0-file-1", b"1-file-1", b"0-relative-0", b"1-relative-0"):
        plain = read_ordinary(one, 0, directory, [name] * 50, digests, None)
        reads = (*[raw for raw in plain if raw], *[one.read(directory, name, digests) for _ in range(50)])
        yield [_result(b"%s/%s-%04d" % (root, name, number), raw, digests) for number, raw in enumerate(reads)]
    os.close(directory)


@pytest.mark.timeout(1800)
def test_swaps(root: bytes, outside: bytes, spare: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are swapped with symlinks that lead out, FIFOs and devices; directories are moved away during the walk."""
    monkeypatch.setattr(scanner, "_ALONE_SECONDS", 0)
    monkeypatch.setattr(reader, "own_mounts", list)  # files on tmpfs never take the fast path
    monkeypatch.setattr(
        reader, "_SETTLE_NS", 0
    )  # all files here changed just now: without this, fewer scans in the same time
    seen: dict[bytes, Counter[str]] = {}
    secrets = {(found.st_dev, found.st_ino) for found in map(os.lstat, _everything(outside))}
    canary = _Canary(outside)
    scans = turns = 0
    with _attacked(root, spare) as counters:
        while (rounds := _rounds(counters)) < ROUNDS or scans < _LEAST_SCANS:
            # So that directories are closed and reopened, and files take the fast path.
            monkeypatch.setattr(dir_stack, "_KEPT", 256 if turns % 2 else 2)
            monkeypatch.setattr(reader, "FRESH_NS", 0 if turns % 4 < 2 else _FRESH_NS)
            for results in _looks(root, turns):
                _check(results, secrets)
                for result in results:
                    what = result.kind if isinstance(result, FileState) else result.reason
                    seen.setdefault(result.path, Counter())[what] += 1
                scans += 1
            assert not canary.heard(), "something outside of the watched tree was opened"
            turns += 1
    os.close(canary.fd)
    print(f"{rounds:,} rounds of swaps during {scans:,} scans")
    # The race took place: the same name gave different files.
    for kinds in ({"directory", "symlink"}, {"file", "symlink"}, {"file", "fifo"}):
        assert any(kinds <= set(found) for found in seen.values()), seen


def test_a_stat_is_not_lured_out(root: bytes, outside: bytes) -> None:
    """The first stat of a live look does not follow a symlink above the path."""
    os.symlink(outside, root + b"/link")
    os.mkdir(root + b"/real")
    _plant(root + b"/real/inner", is_directory=False)
    path_scanner = PathScanner([WatchSpec(path=root)])
    inner = path_scanner.stat(root + b"/real/inner")
    assert inner is not None
    assert inner.st_ino == os.lstat(root + b"/real/inner").st_ino
    assert path_scanner.stat(root + b"/link/inner") is None
    assert path_scanner.stat(root + b"/real/nothing") is None


def test_stat_uses_the_directory_that_was_opened(root: bytes, outside: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory above the path that becomes a symlink after it was opened is not resolved again."""
    os.mkdir(root + b"/real")
    _plant(root + b"/real/inner", is_directory=False)
    inode = os.lstat(root + b"/real/inner").st_ino
    way_to = Walk._open_parent

    def go_and_swap(walk: Walk, path: bytes) -> Directory | None:
        found = way_to(walk, path)
        os.rename(root + b"/real", root + b"/moved")
        os.symlink(outside, root + b"/real")
        return found

    monkeypatch.setattr(Walk, "_open_parent", go_and_swap)
    found = PathScanner([WatchSpec(path=root)]).stat(root + b"/real/inner")
    assert found is not None
    assert found.st_ino == inode
