"""Holders that do not show the file are named, counted, or in doubt; never overlooked."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fimscan.linux import OpenFiles, holders, may_write, open_for_writing
from fimscan.model import Rights, Unseen, Xattr
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.reader import Reader
from fimscan.scan.watch import WatchSpec
from fimscan.scan.writers import WriterCheck, release_lease
from tests.linux.hiding import NOBODY, WAYS, Ground, Unavailable, hiding_ground
from tests.support import state

pytestmark = pytest.mark.root  # needs another user's processes; without root, only our own are visible


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    if os.geteuid() != 0:
        pytest.skip("needs root: the holders are another user's processes")
    try:
        with hiding_ground() as made:
            yield made
    except Unavailable as reason:
        pytest.skip(str(reason))


def counted(path: Path) -> bool:
    """Whether the kernel counts a writer of the file."""
    check = WriterCheck()
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        check.ask(file.fileno(), found)
        release_lease(file.fileno())
    return check.take() == [(found.st_dev, found.st_ino)]


def named(found: OpenFiles, path: Path) -> set[int | None]:
    """The users of the holders of a file."""
    info = path.stat()
    return {h.actor.uid for h in found.holders if (h.dev, h.inode) == (info.st_dev, info.st_ino)}


def doubts(found: OpenFiles) -> set[Unseen]:
    """The doubts about the unprivileged user's processes."""
    return {doubt.why for doubt in found.doubts if doubt.rights is not None and NOBODY in doubt.rights.uids}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_hold_a_file_is_counted(way: str, ground: Ground) -> None:
    """The kernel counts every kind of holder, named or not; none after it has ended."""
    path = ground.file(way)
    assert not counted(path)
    try:
        with ground.held(way, path):
            assert counted(path)
            found = open_for_writing(os.getpid())
    except Unavailable as reason:
        pytest.skip(str(reason))
    match WAYS[way]:
        case "named":
            assert named(found, path) == {NOBODY} or Unseen.ENDED in doubts(found)
        case Unseen() as why:
            assert why in doubts(found)
        case _:
            assert named(found, path) == set()
    deadline = time.monotonic() + 20
    while counted(path):  # the kernel frees a ring after its process has ended
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_descriptor_that_root_may_not_stat_does_not_hide_others(ground: Ground) -> None:
    """A process with an open file on its own FUSE file system: its other writable files are still found."""
    path = ground.file("beside")
    try:
        with ground.fuse_beside(path):
            found = open_for_writing(os.getpid())
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert named(found, path) == {NOBODY}
    assert Unseen.REFUSED not in doubts(found)


@pytest.mark.parametrize("is_setuid", [False, True])
def test_a_chain_of_processes_is_named_or_in_doubt(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, *, is_setuid: bool
) -> None:
    """If no pass over /proc examines every process, the missed ones are in doubt: those of whoever started them."""
    path = ground.file("chained")
    monkeypatch.setattr(holders, "_PASSES", 1)
    with ground.held("fork-chain", path, is_setuid=is_setuid):
        found = open_for_writing(os.getpid())
    assert Unseen.ENDED in doubts(found)


def test_a_ring_of_a_user_need_not_show(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files in memory are watched, every user's process may have one, unless users may not make any."""
    path = ground.file("in-memory")
    with ground.held("plain", path):
        monkeypatch.setattr(holders, "_users_have_rings", lambda: True)
        assert Unseen.HIDDEN_RING in doubts(open_for_writing(os.getpid(), in_memory=True))
        assert Unseen.HIDDEN_RING not in doubts(open_for_writing(os.getpid()))
        rings = [d for d in open_for_writing(1, in_memory=True).doubts if d.why is Unseen.HIDDEN_RING]
        assert all(d.rights is not None and any(d.rights.uids) for d in rings), "root's processes are not in doubt"
        monkeypatch.setattr(holders, "_users_have_rings", lambda: False)
        assert Unseen.HIDDEN_RING not in doubts(open_for_writing(os.getpid(), in_memory=True))


def test_the_time_for_a_user_is_bounded(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with too many open files is in doubt; the processes of others are examined."""
    path, other = ground.file("many"), ground.file("other")
    monkeypatch.setattr(holders, "_USER_SECONDS", 0.0)
    with ground.held("plain", path), other.open("a"):
        found = open_for_writing(1)
    assert Unseen.TOO_MANY in doubts(found)
    assert named(found, other) == {0}


def _slow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recently changed file takes the careful path."""


def _fast(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reader, "is_settled", lambda *_: True)


@pytest.mark.parametrize("prepare", [_slow, _fast])
def test_the_scan_says_which_files_were_open(
    prepare: Callable[[Path, pytest.MonkeyPatch], None], ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fast and careful path both check, and only files that are open for writing are reported."""
    directory = ground.root / prepare.__name__
    directory.mkdir()
    paths = {name: ground.file(name, directory) for name in ("free", "held", "read")}
    prepare(paths["held"], monkeypatch)
    writable: set[tuple[int, int]] = set()
    with paths["held"].open("a"), paths["read"].open("rb"):
        path_scanner = PathScanner([WatchSpec(path=os.fsencode(directory))])
        assert len(list(path_scanner.look(os.fsencode(directory), below=True, writable=writable))) == 4
    info = paths["held"].stat()
    assert writable == {(info.st_dev, info.st_ino)}


def test_the_check_does_not_disturb_other_processes(ground: Ground) -> None:
    """Opening a file for writing during the check waits only briefly, and neither side gets a signal."""
    path = ground.file("asked")
    done = threading.Event()
    script = "import sys,time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: open(sys.argv[1], 'a').close()"
    writer = subprocess.Popen(["python3", "-c", script, str(path)])
    threading.Timer(1.5, done.set).start()
    check, asked = WriterCheck(), 0
    while not done.is_set():
        with path.open("rb") as file:
            check.ask(file.fileno(), os.fstat(file.fileno()))
        asked += 1
    assert writer.wait(timeout=20) == 0
    assert asked > 100
    info = path.stat()
    assert set(check.take()) <= {(info.st_dev, info.st_ino)}


def test_without_leases_the_file_system_is_reported() -> None:
    """procfs has no leases: writers of its files are unknown."""
    check = WriterCheck()
    with open("/proc/version", "rb") as file:
        found = os.fstat(file.fileno())
        check.ask(file.fileno(), found)
    assert check.take() in ([(found.st_dev, 0)], [])


def test_an_examination_is_quick(ground: Ground) -> None:
    """Examining two thousand mappings of one process is fast."""
    path = ground.file("quick")
    with ground.held("mapped-among-others", path):
        begun = time.monotonic()
        open_for_writing(os.getpid())
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("rights", "file", "may"),
    [
        (Rights(uids=(1003,), gids=(1003,)), {}, False),
        (Rights(uids=(1003,), gids=(1003,)), {"mode": 0o666}, True),
        (Rights(uids=(1003,), gids=(1003,)), {"mode": 0o664, "gid": 1003}, True),
        (Rights(uids=(1003,), gids=(1003,)), {"mode": 0o644, "gid": 1003}, False),
        (Rights(uids=(1003,), gids=None), {"mode": 0o664, "gid": 7}, True),  # its groups are unknown
        (Rights(uids=(1003,), gids=(1003,)), {"uid": 1003, "mode": 0o444}, True),  # its owner may change the mode
        (Rights(owned=((100000, 65536),)), {"uid": 100001}, True),  # root of a user namespace
        (Rights(owned=((100000, 65536),)), {"uid": 0}, False),
        (Rights(any_file=True), {}, True),
        (Rights(uids=(1003,)), {"xattr_digest": b"?", "xattrs": None}, True),
        (Rights(uids=(1003,)), {"xattr_digest": b"?", "xattrs": (Xattr(name=b"user.x", size=1, data=b"1"),)}, False),
        (
            Rights(uids=(1003,)),
            {"xattr_digest": b"?", "xattrs": (Xattr(name=b"system.posix_acl_access", size=1, data=b"1"),)},
            True,
        ),
    ],
)
def test_who_may_write_to_a_file(rights: Rights, file: dict[str, Any], may: bool) -> None:
    """A process whose credentials do not allow writing to a file causes no doubt about it."""
    assert may_write(rights, state(**file)) is may
