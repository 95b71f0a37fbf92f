"""A btrfs subvolume has its own device number, but is no mount: it is scanned."""

from __future__ import annotations

from pathlib import Path

import pytest

from fimscan.model import FileState
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.path_status import Place, find_status
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec
from tests.filesystems import made, mounted, needs, run


def seen(watch: WatchSpec, *, cross_mounts: bool = False) -> set[str]:
    found = scan([watch], workers=1, cross_mounts=cross_mounts)
    return {Path(one.path.decode()).relative_to(watch.path.decode()).as_posix() for one in found if one.path}


def test_nested_subvolumes_and_snapshots_are_scanned(tmp_path: Path) -> None:
    """Nested subvolumes and snapshots are read at any depth; a mount below them only if configured."""
    needs("btrfs")
    with made("btrfs", tmp_path) as root:
        run("btrfs", "subvolume", "create", root / "home")
        run("btrfs", "subvolume", "create", root / "home" / "inner")
        (root / "home" / "inner" / "deep").mkdir()
        (root / "home" / "inner" / "deep" / "f").write_text("x")
        run("btrfs", "subvolume", "snapshot", root / "home", root / "snap")
        watch = WatchSpec(path=bytes(root))
        everything = {".", "home", "home/inner", "home/inner/deep", "home/inner/deep/f", "snap", "snap/inner"}
        assert seen(watch) == everything
        with mounted("-t", "tmpfs", "none", at=root / "home" / "inner" / "deep"):
            (root / "home" / "inner" / "deep" / "hidden").write_text("y")
            assert seen(watch) == everything - {"home/inner/deep/f"}
            assert "home/inner/deep/hidden" in seen(watch, cross_mounts=True)


@pytest.mark.parametrize("name", ["home/inner/f", "home/inner"])
def test_single_path_in_a_subvolume_is_scanned(tmp_path: Path, name: str) -> None:
    """A scan of one path enters subvolumes like a full walk, and 'explain-path' says that it is monitored."""
    needs("btrfs")
    with made("btrfs", tmp_path) as root:
        run("btrfs", "subvolume", "create", root / "home")
        run("btrfs", "subvolume", "create", root / "home" / "inner")
        (root / "home" / "inner" / "f").write_text("x")
        watch, path = WatchSpec(path=bytes(root)), bytes(root / name)
        found = list(PathScanner([watch]).look(path))
        assert [one.path for one in found if isinstance(one, FileState)] == [path]
        assert find_status(path, [watch], cross_mounts=False).place is Place.MONITORED
        with mounted("-t", "tmpfs", "none", at=root / "home" / "inner"):
            (root / "home" / "inner" / "f").write_text("x")
            below = find_status(bytes(root / "home" / "inner" / "f"), [watch], cross_mounts=False)
            assert (below.place, below.at) == (Place.OTHER_MOUNT, bytes(root / "home" / "inner"))
