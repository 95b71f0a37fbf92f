"""Files of which a mount keeps a removed name are found; where that is not possible, it is said to be unknown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fimscan.linux import holders, open_for_writing
from fimscan.linux.kept_names import kept_by_mounts
from fimscan.linux.mounts import parse_mounts, served_by
from fimscan.model import Unseen
from tests.linux.hiding import NOBODY

ROOT = "20 1 254:0 / / rw shared:1 - ext4 /dev/vda rw"
KEPT = "40 20 254:0 /home/mallory/x//deleted /place rw - ext4 /dev/vda rw"


def found(tmp_path: Path, *mounts: str) -> list[tuple[int, int] | None]:
    """What is found for a process that has these mounts, in the order of their making."""
    return list(kept_by_mounts(str(tmp_path), parse_mounts("\n".join(mounts).encode())))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """What the process finds at /place."""
    place = tmp_path / "root" / "place"
    place.parent.mkdir()
    place.write_text("content")
    return place


def test_a_mounted_file_whose_name_was_removed_is_found(tmp_path: Path, kept: Path) -> None:
    """By device and inode. A mount whose name is there has nothing to do with it."""
    info = kept.stat()
    assert found(tmp_path, ROOT, KEPT) == [(info.st_dev, info.st_ino)]
    assert found(tmp_path, ROOT, KEPT.replace("//deleted", "")) == []


@pytest.mark.parametrize(
    "other",
    [
        "41 40 254:0 /etc/hosts /place rw - ext4 /dev/vda rw",
        "41 20 0:44 / / rw - tmpfs none rw",
    ],
    ids=("mounted over it", "mounted over all"),
)
def test_a_mount_that_is_hidden_is_not_taken_for_what_hides_it(tmp_path: Path, kept: Path, other: str) -> None:
    """Its owner can take away what hides it."""
    assert kept.exists()
    assert found(tmp_path, ROOT, KEPT, other) == [None]


def test_a_file_system_that_may_hang_is_not_accessed(tmp_path: Path, kept: Path) -> None:
    """The mount point can be on a file system whose server never answers."""
    assert kept.exists()
    assert found(tmp_path, ROOT, "30 20 0:50 / /pl rw - fuse.x x rw", KEPT) != [None]
    assert found(tmp_path, ROOT, "30 20 0:50 / /d rw - fuse.x x rw", KEPT.replace("/place", "/d/place")) == [None]
    assert found(tmp_path, ROOT, KEPT.replace(" ext4 ", " nfs4 ")) == []


def test_what_is_no_other_name_of_a_file_does_not_count(tmp_path: Path) -> None:
    """A directory, and a mount point that is gone."""
    (tmp_path / "root" / "place").mkdir(parents=True)
    assert found(tmp_path, ROOT, KEPT) == []
    (tmp_path / "root" / "place").rmdir()
    assert found(tmp_path, ROOT, KEPT) == [None]


KEEPER = """
import ctypes, os, sys
way, place, user = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([])
os.setresgid(*[int(user)] * 3)
os.setresuid(*[int(user)] * 3)
libc.prctl(4, 1)  # PR_SET_DUMPABLE
NEW_NAMESPACES = 0x10020000  # user and mount namespace

def needed(result):
    if result < 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
    return result

if way == "entrance":  # a descriptor of a namespace that has no process
    talk = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        needed(libc.unshare(NEW_NAMESPACES))
        os.write(talk[0][1], b"x")
        os.read(talk[1][0], 1)
        os._exit(0)
    os.read(talk[0][0], 1)
    kept = open("/proc/%d/ns/mnt" % child)
    os.write(talk[1][1], b"x")
    os.wait()
else:
    needed(libc.unshare(NEW_NAMESPACES))
    if way == "root":
        os.chroot(place)
    else:
        tree = needed(libc.syscall(428, -100, place.encode(), 1))  # open_tree(2), OPEN_TREE_CLONE
        if way == "cwd":
            os.fchdir(tree)
            os.close(tree)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.root
@pytest.mark.parametrize("way", ["descriptor", "cwd", "root", "entrance"])
def test_mounts_that_cannot_be_listed_are_a_doubt(way: str) -> None:
    """A tree of mounts in no namespace, a namespace without a process, and one whose process shows a part only."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the process is another user's")
    with TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        command = [sys.executable, "-c", KEEPER, way, place, str(NOBODY)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as process:
            assert process.stdout is not None and process.stdin is not None
            said = process.stdout.readline()
            if said != b"ready\n":
                pytest.skip(f"user namespaces: {said.decode().strip()}")
            doubts = open_for_writing(os.getpid()).doubts
            process.stdin.close()
        assert Unseen.NAME in {
            doubt.why for doubt in doubts if doubt.rights is not None and NOBODY in doubt.rights.uids
        }


@pytest.mark.parametrize(
    ("line", "user"),
    [
        ("40 20 0:50 / /m rw - fuse.sshfs h:/d rw,user_id=1000,group_id=1000", 1000),
        ("40 20 0:50 / /m rw - fuse none rw,user_id=0,group_id=0", 0),
        ("40 20 0:50 / /m rw - fuseblk /dev/sdb rw,user_id=0,group_id=0", 0),
        ("40 20 0:50 / /m rw - fusectl none rw", None),
        (ROOT, None),
    ],
)
def test_who_serves_a_file_system(line: str, user: int | None) -> None:
    """The kernel shows it for FUSE."""
    (mount,) = parse_mounts(line.encode() + b"\n")
    assert served_by(mount) == user


@pytest.mark.root
def test_a_user_with_a_fuse_file_system_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the host's own namespace, for the user that serves it: a read from it can write to a file when it likes."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the process is another user's")
    served = {"fuse.sshfs": 1234}
    monkeypatch.setattr(holders, "served_by", lambda mount: served.get("fuse.sshfs") if mount.point == b"/" else None)
    doubts = [doubt for doubt in open_for_writing(os.getpid()).doubts if doubt.why is Unseen.SERVES]
    assert (1234,) in {doubt.rights.uids for doubt in doubts if doubt.rights is not None}
    served["fuse.sshfs"] = 0
    doubts = [doubt for doubt in open_for_writing(os.getpid()).doubts if doubt.why is Unseen.SERVES]
    assert all(doubt.rights is not None and any(doubt.rights.uids) for doubt in doubts), "root's own server is trusted"
