"""The status of a single path agrees with the walk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import pytest

from fimscan.model import FileState, Unreadable
from fimscan.scan.path_status import PathStatus, Place, find_status
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec


def _at(
    path: bytes, watches: Sequence[WatchSpec], skip: Sequence[bytes] = (), cross_mounts: bool = False
) -> PathStatus:
    return find_status(path, watches, skip=skip, cross_mounts=cross_mounts)


def _everything(root: bytes) -> list[bytes]:
    """Every path below a directory, without following symlinks."""
    return [os.path.join(top, name) for top, names, others in os.walk(root) for name in (*names, *others)]


def test_status_agrees_with_the_walk(root: bytes) -> None:
    """The status agrees for every path of a tree with nested watches, excludes, re-includes, links and odd names."""
    for name in (b"a/b/c.swp", b"a/b/keep.swp", b"cache/deep/x", b"inner/y.swp", b"inner/cache/z", b"a/\xff\n.swp"):
        os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
        with open(os.path.join(root, name), "wb"):
            pass
    os.symlink(b"a", os.path.join(root, b"link"))
    own = os.path.join(root, b"a/b/fim.db")
    with open(own, "wb"):
        pass
    watches = [
        WatchSpec(path=root, exclude=("*.swp", "!keep.swp", "cache/")),
        WatchSpec(path=os.path.join(root, b"inner"), exclude=("y*",)),
    ]
    seen = {found.path for found in scan(watches, workers=1, skip=[own]) if isinstance(found, FileState | Unreadable)}
    paths = _everything(root)
    assert len(paths) > 12
    for path in paths:
        assert (_at(path, watches, [own]).place is Place.MONITORED) == (path in seen), path


def test_obstacle_is_named(root: bytes) -> None:
    """The obstacle is named: the exclude and its directory, the symlink above, fimscan's own file, no watch."""
    os.makedirs(root + b"/cache/deep")
    os.symlink(b"cache", root + b"/link")
    watches = [WatchSpec(path=root, exclude=("*.swp", "cache/"))]
    excluded = _at(root + b"/cache/deep/file", watches)
    assert (excluded.place, excluded.at, excluded.pattern) == (Place.EXCLUDED, root + b"/cache", "cache/")
    assert _at(root + b"/x.swp", watches).pattern == "*.swp"
    linked = _at(root + b"/link/deep", watches)
    assert (linked.place, linked.at) == (Place.BEHIND_SYMLINK, root + b"/link")
    assert linked.real_path == root + b"/cache/deep"
    assert _at(root + b"/fim.db", watches, [root + b"/fim.db"]).place is Place.OWN_FILE
    outside = _at(os.path.dirname(root) + b"/other", watches)
    assert (outside.place, outside.watch) == (Place.OUTSIDE, None)


def test_missing_path(root: bytes) -> None:
    """A missing path is judged by its name; a final slash makes it a directory."""
    watches = [WatchSpec(path=root, exclude=("build/",))]
    assert _at(root + b"/new/file", watches).exists is False
    assert _at(root + b"/new/file", watches).place is Place.MONITORED
    assert _at(root + b"/build", watches).place is Place.MONITORED
    assert _at(root + b"/build/", watches).place is Place.EXCLUDED
    assert _at(root + b"/build/file", watches).place is Place.EXCLUDED


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_another_file_system_is_a_boundary(root: bytes) -> None:
    """The mount point itself is recorded; its content only with cross_mounts."""
    mount = root + b"/mount"
    os.mkdir(mount)
    if subprocess.run(["mount", "-t", "tmpfs", "none", mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        watches = [WatchSpec(path=root)]
        assert _at(mount, watches).place is Place.MONITORED
        assert _at(mount + b"/x", watches).at == mount
        assert _at(mount + b"/x", watches).place is Place.OTHER_MOUNT
        assert _at(mount + b"/x", watches, cross_mounts=True).place is Place.MONITORED
    finally:
        subprocess.run(["umount", mount], check=True)
