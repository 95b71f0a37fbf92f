"""What a scan records of each kind of file."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable

import pytest

from fimscan import state_row
from fimscan.model import FileKind, FileState, Unreadable
from fimscan.scan.digest import ALGORITHMS
from fimscan.scan.watch import WatchSpec

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]


def _write(path: bytes, content: bytes) -> bytes:
    with open(path, "wb") as file:
        file.write(content)
    return path


def _state(result: FileState | Unreadable) -> FileState:
    assert isinstance(result, FileState), result
    return result


def test_every_attribute(root: bytes, scanned: Scanned) -> None:
    """A state has the values of lstat, only permission bits as mode, and a time before and after the reading."""
    path = _write(root + b"/f", b"hello")
    os.link(path, root + b"/g")
    os.chmod(path, 0o4751)
    os.utime(path, ns=(1, 1_234_567_890_123_456_789))
    begin = time.time_ns()
    found = scanned(root)
    state, seen = _state(found[path]), os.lstat(path)
    assert (state.kind, state.mode, state.nlink, state.size) == (FileKind.FILE, 0o4751, 2, 5)
    assert (state.dev, state.inode, state.uid, state.gid) == (seen.st_dev, seen.st_ino, seen.st_uid, seen.st_gid)
    assert (state.mtime_ns, state.ctime_ns) == (1_234_567_890_123_456_789, seen.st_ctime_ns)
    assert state.link_target is None
    assert begin <= state.read_start_ns <= state.read_end_ns <= time.time_ns()
    assert _state(found[root + b"/g"]).identity == state.identity


def test_every_kind(root: bytes, scanned: Scanned) -> None:
    """FIFOs, sockets, symlinks and directories are recorded and not opened; a FIFO without a writer does not block."""
    os.mkfifo(root + b"/fifo")
    os.mkdir(root + b"/directory")
    os.symlink(b"/etc/\xff\n", root + b"/symlink")
    _write(root + b"/file", b"")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(root + b"/socket")
        found = scanned(root)
    for kind in ("fifo", "directory", "symlink", "file", "socket"):
        state = _state(found[root + b"/" + kind.encode()])
        assert state.kind is FileKind(kind)
        assert bool(state.digests) is (kind == "file")
    assert _state(found[root + b"/symlink"]).link_target == b"/etc/\xff\n"


@pytest.mark.usefixtures("needs_root")
def test_devices(root: bytes, scanned: Scanned) -> None:
    """Device nodes are recorded and never read: /dev/zero has no end."""
    try:
        os.mknod(root + b"/char", stat.S_IFCHR | 0o600, os.makedev(1, 5))
        os.mknod(root + b"/block", stat.S_IFBLK | 0o600, os.makedev(7, 250))
    except PermissionError:
        pytest.skip("this container may not make device nodes")
    found = scanned(root)
    assert _state(found[root + b"/char"]).kind is FileKind.CHAR_DEVICE
    assert _state(found[root + b"/block"]).kind is FileKind.BLOCK_DEVICE


@pytest.mark.parametrize("size", [0, 1, 5000, 256 * 1024, 256 * 1024 + 1, 1_000_000])
def test_digests(root: bytes, scanned: Scanned, size: int) -> None:
    """SHA-256 is that of sha256sum, for sizes around that of the buffer; the order of digests is fixed."""
    content = os.urandom(size)
    path = _write(root + b"/f", content)
    found = scanned(WatchSpec(path=root, algorithms=("sha512", "blake3", "xxh3_128", "sha256")))
    state = _state(found[path])
    printed = subprocess.run(["sha256sum", "-z", path], check=True, capture_output=True).stdout.split()[0].decode()
    assert [digest.algorithm for digest in state.digests] == list(state_row.ALGORITHMS) == list(ALGORITHMS)
    assert state.digests[2].value == hashlib.sha512(content).digest()
    assert state.digests[1].value.hex() == printed


def test_digests_of_known_bytes(root: bytes, scanned: Scanned) -> None:
    """BLAKE3 and XXH3 of empty input are the published values."""
    state = _state(scanned(WatchSpec(path=_write(root + b"/f", b""), algorithms=("blake3", "xxh3_128")))[root + b"/f"])
    assert state.digests[1].value.hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert state.digests[0].value.hex() == "99aa06d3014798d86001c324468d497f"


def test_file_without_a_size(scanned: Scanned) -> None:
    """Files of procfs report a size of 0; their content is digested."""
    state = _state(scanned(WatchSpec(path=b"/proc/version", algorithms=("sha256",)))[b"/proc/version"])
    with open("/proc/version", "rb") as file:
        assert state.digests[0].value == hashlib.sha256(file.read()).digest()


def test_policy_without_digests(root: bytes, scanned: Scanned, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without algorithms, no content is read; everything else is recorded."""
    for call in ("readv", "preadv"):
        monkeypatch.delattr(os, call)
    path = _write(root + b"/f", b"x")
    state = _state(scanned(WatchSpec(path=root, algorithms=()))[path])
    assert (state.digests, state.size) == ((), 1)


def test_extended_attributes(root: bytes, scanned: Scanned) -> None:
    """Any difference in extended attributes changes the digest, whether the policy reads content or not."""
    path, directory = _write(root + b"/f", b"x"), root + b"/d"
    os.mkdir(directory)
    try:
        os.setxattr(directory, "user.d", b"")
    except OSError:
        pytest.skip("this file system has no user attributes")
    attributes = WatchSpec(path=root, algorithms=())
    seen = {_state(scanned(root)[path]).xattr_digest}
    assert seen == {None}
    for name, value in (("user.ab", b"c"), ("user.a", b"bc"), ("user.a", b"bd")):
        os.setxattr(path, name, value)
        digest = _state(scanned(root)[path]).xattr_digest
        assert digest == _state(scanned(attributes)[path]).xattr_digest
        seen.add(digest)
    assert len(seen) == 4
    assert _state(scanned(root)[directory]).xattr_digest is not None


@pytest.mark.usefixtures("needs_root")
def test_extended_attributes_of_a_symlink(root: bytes, scanned: Scanned) -> None:
    """A symlink's own attributes (its SELinux label) are recorded, not those of its target."""
    path = _write(root + b"/f", b"x")
    os.symlink(path, root + b"/l")
    try:
        os.setxattr(root + b"/l", "trusted.x", b"1", follow_symlinks=False)
    except OSError:
        pytest.skip("this file system has no trusted attributes")
    found = scanned(root)
    assert _state(found[root + b"/l"]).xattr_digest is not None
    assert _state(found[path]).xattr_digest is None


def test_access_times_are_not_set(root: bytes, scanned: Scanned) -> None:
    """Reading one's own tree does not set access times, which may be evidence."""
    path = _write(root + b"/f", b"x")
    for each in (path, root):
        os.utime(each, (1000, time.time()))  # relatime would update these
    scanned(root)
    assert os.stat(path).st_atime == os.stat(root).st_atime == 1000


@pytest.mark.parametrize("kind", ["file", "symlink", "symlink-to-directory"])
def test_root_that_is_no_directory(root: bytes, scanned: Scanned, kind: str) -> None:
    """A watched file is read; a watched symlink is recorded, and its target is not entered."""
    _write(root + b"/f", b"x")
    watched = {"file": b"/f", "symlink": b"/l", "symlink-to-directory": b"/ld"}[kind]
    os.symlink(b"f", root + b"/l")
    os.symlink(root, root + b"/ld")
    found = scanned(root + watched)
    assert list(found) == [root + watched]
    assert _state(found[root + watched]).kind is (FileKind.FILE if kind == "file" else FileKind.SYMLINK)


def test_symlink_loop(root: bytes, scanned: Scanned) -> None:
    """Links to themselves and to a parent are recorded once each."""
    os.symlink(b"self", root + b"/self")
    os.symlink(root, root + b"/up")
    assert list(scanned(root)) == [root, root + b"/self", root + b"/up"]


def test_the_file_system_root(scanned: Scanned) -> None:
    """The root directory can be watched; paths below it begin with one slash."""
    found = scanned(WatchSpec(path=b"/", exclude=("/*",)), WatchSpec(path=b"/proc/version"))
    assert list(found) == [b"/", b"/proc/version"]
    below = scanned(WatchSpec(path=b"/", exclude=("/*/*",), algorithms=()))
    assert set(below) == {b"/", *(b"/" + name for name in os.listdir(b"/"))}
