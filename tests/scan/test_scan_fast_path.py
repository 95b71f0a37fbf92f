"""The fast path for ordinary files gives the same results as the careful path, or none."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.model import FileState, Unreadable
from fimscan.scan import fast_path, worker
from fimscan.scan.digest import PIECE_BYTES
from fimscan.scan.fast_path import read_ordinary
from fimscan.scan.limits import Limits
from fimscan.scan.reader import Reader, is_same, open_noatime
from fimscan.scan.state import Raw
from fimscan.scan.throttle import HEARTBEAT_BYTES, Heartbeat, Throttle
from fimscan.scan.worker import Task, read_tasks
from tests.support import vouched_stat

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
_DIGESTS = ("xxh3_128", "sha256")
_START, _END = -3, -2  # positions of the start and end of the reading in a Raw


@pytest.fixture
def directory(root: bytes) -> Iterator[int]:
    """A descriptor of the watched directory."""
    fd = os.open(root, os.O_PATH)
    yield fd
    os.close(fd)


def _write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _read(directory: int, *names: bytes, reader: Reader | None = None) -> list[Raw | None]:
    return read_ordinary(reader or Reader(), 0, directory, names, _DIGESTS, None)


def _without_times(raw: Raw) -> Raw:
    return *raw[:_START], raw[-1]


@pytest.mark.usefixtures("settled")
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300) | st.integers(-2, 2).map(lambda more: bytes(PIECE_BYTES + more)),
    mode=st.integers(0, 0o7777),
    xattr=st.none() | st.binary(max_size=100),
)
def test_same_result_as_the_careful_path(
    root: bytes, directory: int, content: bytes, mode: int, xattr: bytes | None
) -> None:
    """The fast path gives the same as the careful path, except the times of reading."""
    path = root + b"/f"
    _write(path, content)
    os.chmod(path, mode)
    if xattr is not None:
        with suppress(OSError):  # no such attributes here, or no permission
            os.setxattr(path, "user.a", xattr)
    reader = Reader()
    begin = time.time_ns()
    (short,) = _read(directory, b"f", reader=reader)
    end = time.time_ns()
    long = reader.read(directory, b"f", _DIGESTS)
    os.unlink(path)
    if len(content) > PIECE_BYTES or len(long) == 2:
        assert short is None
    else:
        assert short is not None
        assert _without_times(short) == _without_times(long)
        assert begin <= short[_START] <= short[_END] <= end


def test_real_files(scanned: Scanned) -> None:
    """The digests of files that exist for long are those of their content."""
    place = Path(os.__file__).parent / "json"
    found = scanned(os.fsencode(place))
    files = [path for path in place.iterdir() if path.is_file()]
    assert files
    for path in files:
        state = found[os.fsencode(path)]
        assert isinstance(state, FileState)
        assert state.digest("sha256") == hashlib.sha256(path.read_bytes()).digest()


@pytest.mark.usefixtures("settled")
def test_other_files_are_left_to_the_careful_path(root: bytes, directory: int) -> None:
    """Other than ordinary files are left to the careful path."""
    os.symlink(b"plain", root + b"/symlink")
    os.mkfifo(root + b"/fifo")
    os.mkdir(root + b"/directory")
    _write(root + b"/large", bytes(PIECE_BYTES + 1))
    _write(root + b"/plain", b"x")
    assert [raw is not None for raw in _read(directory, *sorted(os.listdir(root)), b"missing")] == [
        False, False, False, True, False, False,
    ]  # fmt: skip


def test_recently_changed_file(root: bytes, directory: int) -> None:
    """A file changed just now is left to the careful path: its times may not show the next change."""
    _write(root + b"/f", b"x")
    assert _read(directory, b"f") == [None]


@pytest.mark.usefixtures("settled")
def test_file_with_a_wrong_size() -> None:
    """Files of procfs report a size of 0; they are not digested as empty."""
    directory = os.open("/proc/self", os.O_PATH)
    assert _read(directory, b"status") == [None]
    os.close(directory)


def _overwrite(path: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(b"y")


def _forge(path: bytes) -> None:
    found = os.lstat(path)
    _overwrite(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _replace(path: bytes) -> None:
    _write(path + b".new", b"y")
    os.rename(path + b".new", path)


def _grow(path: bytes) -> None:
    with open(path, "ab") as file:
        file.write(b"y")


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("step", ["open_noatime", "read_xattrs"])
@pytest.mark.parametrize("act", [_overwrite, _forge, _replace, _grow, lambda path: os.chmod(path, 0o600), os.unlink])
def test_changed_meanwhile(
    root: bytes, directory: int, monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[bytes], object]
) -> None:
    """A file that changes before it is opened or after it is read gives no result."""
    for name in (b"a", b"b"):
        _write(root + b"/" + name, b"x")
    os.chmod(root + b"/a", 0o644)
    time.sleep(0.02)  # so that the change is in another clock tick
    really, left = getattr(fast_path, step), [root + b"/a"]

    def act_once(*arguments: object) -> object:
        if left:
            act(left.pop())
        return really(*arguments)

    monkeypatch.setattr(fast_path, step, act_once)
    first, second = _read(directory, b"a", b"b")
    assert (first is None, second is None) == (True, False)


@pytest.mark.usefixtures("settled")
def test_swapped_in_pipe_is_not_read(root: bytes, directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe that replaces a file just before it is opened may be opened, but not read."""
    _write(root + b"/f", b"12345")
    os.mkfifo(root + b"/pipe")
    pipe = os.open(root + b"/pipe", os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b"12345")
    really = open_noatime

    def swap_then_open(name: bytes, flags: int, at: int | None) -> int:
        os.rename(root + b"/pipe", root + b"/f")
        return really(name, flags, at)

    monkeypatch.setattr(fast_path, "open_noatime", swap_then_open)
    assert _read(directory, b"f") == [None]
    assert os.read(pipe, 10) == b"12345"
    os.close(pipe)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("step", ["open_noatime", "read_xattrs", "read_flags"])
def test_error_affects_one_file(root: bytes, directory: int, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """An error affects one file: the others are read, and no descriptor leaks."""
    for name in (b"a", b"b", b"c"):
        _write(root + b"/" + name, b"x")
    really, calls = getattr(fast_path, step), []

    def fail(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.EIO, "a failing medium")
        return really(*arguments)

    monkeypatch.setattr(fast_path, step, fail)
    reader, before = Reader(), os.listdir("/proc/self/fd")
    assert [raw is not None for raw in _read(directory, b"a", b"b", b"c", reader=reader)] == [True, False, True]
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.usefixtures("settled")
def test_heartbeat_names_the_current_file(root: bytes, directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat names the current file, whichever system call hangs."""
    names = [b"a", b"b", b"c"]
    for name in names:
        _write(root + b"/" + name, b"x")
    memory = os.memfd_create("heartbeat")
    os.ftruncate(memory, HEARTBEAT_BYTES)
    heartbeat, at = Heartbeat(memory), []
    really_stat, really_open = os.stat, open_noatime

    def stat_and_tell(name: bytes, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        at.append((name, heartbeat.number))
        return really_stat(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def open_and_tell(name: bytes, flags: int, where: int | None) -> int:
        at.append((name, heartbeat.number))
        return really_open(name, flags, where)

    reader = Reader(Throttle(Limits(), heartbeat))
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_and_tell)
        patched.setattr(fast_path, "open_noatime", open_and_tell)
        read_ordinary(reader, 7, directory, names, _DIGESTS, None)
    assert at == [(name, number) for number, name in enumerate(names, 7) for _ in range(2)]
    assert heartbeat.beats >= 3
    os.close(memory)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("is_vouched", [True, False])
def test_vouched_file_is_skipped(root: bytes, directory: int, is_vouched: bool) -> None:
    """A file is skipped only if every field is as known."""
    _write(root + b"/f", b"x")
    known = vouched_stat(os.lstat(root + b"/f"), taken=3)
    if not is_vouched:
        known = (*known[:-1], int(known[-1]) ^ 1)
    (raw,) = read_ordinary(Reader(), 0, directory, [b"f"], _DIGESTS, [known])
    assert raw is not None
    assert bool(raw) is not is_vouched


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("reader", "refused", "task"),
    [
        (Reader(Throttle(Limits(max_files_per_s=1e9))), {}, {}),
        (Reader(Throttle(Limits(max_bytes_per_s=1e9))), {}, {}),
        (Reader(drop_cache=True), {}, {}),
        (Reader(), {0: ("timeout", "it hung")}, {}),
        (Reader(), {}, {"lengths": [1]}),
        (Reader(), {}, {"algorithms": ()}),
    ],
    ids=["files-per-s", "bytes-per-s", "drop-cache", "hung", "log", "attributes"],
)
def test_limits_need_the_careful_path(
    root: bytes,
    directory: int,
    monkeypatch: pytest.MonkeyPatch,
    reader: Reader,
    refused: dict[int, Raw],
    task: dict[str, object],
) -> None:
    """With rate limits, drop_cache, known answers, logs or attributes-only policies, the fast path is not used."""
    _write(root + b"/f", b"x")
    monkeypatch.setattr(worker, "read_ordinary", lambda *_: pytest.fail("the fast path was taken"))
    reader.throttle.begin_request(refused)
    one = Task(directory, root + b"/", _DIGESTS, [b"f"], None, None)._replace(**task)  # type: ignore[arg-type]
    assert len(read_tasks(reader, [one])[1]) == 1
    with pytest.raises(pytest.fail.Exception):
        read_tasks(Reader(), [one._replace(lengths=None, algorithms=_DIGESTS)])


@pytest.mark.parametrize("place", range(7))
def test_every_field_is_compared(root: bytes, place: int) -> None:
    """A difference in any single field is noticed: two files made in the same tick have the same times."""
    found = os.lstat(root)
    fields = list(found)
    fields[place] += 1
    times = {name: getattr(found, name) for name in ("st_mtime_ns", "st_ctime_ns")}
    assert is_same(found, os.stat_result(list(found), times))
    assert not is_same(found, os.stat_result(fields, times))
