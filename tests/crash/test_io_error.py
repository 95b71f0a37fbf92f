"""A disk with an unreadable part: the kernel itself returns EIO, as for a worn out disk.

It is an ext4 image on a loop device whose backing file is truncated while it is mounted. The loop device reads without
a page cache (``--direct-io``), so the missing part gives an error and not zeros.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]

_SIZE, _LEFT = 16 << 20, 8 << 20


class Disk:
    """A mounted file system whose second half can be made unreadable, and readable again."""

    def __init__(self, image: Path, point: Path) -> None:
        self.image, self.point, self.device = image, point, ""

    def make(self) -> None:
        with open(self.image, "wb") as file:
            file.truncate(_SIZE)
        # Without flex_bg each part of the disk has its own inodes.
        options = ["-b", "1024", "-g", "2048", "-O", "^has_journal,^flex_bg"]
        for command in (
            ["mkfs.ext4", "-q", "-F", *options, str(self.image)],
            ["losetup", "-f", "--show", "--direct-io=on", str(self.image)],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
        self.device = done.stdout.strip()
        self.mount("rw")

    def mount(self, mode: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "ext4", "-o", mode, self.device, self.point], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a loop device cannot be mounted here: {done.stderr.strip()}")

    def unmount(self) -> None:
        subprocess.run(["umount", self.point], check=True)

    def lose_half(self) -> None:
        """Make the second half unreadable, and drop everything that was read before from memory."""
        self.unmount()
        shutil.copyfile(self.image, self.image.with_suffix(".whole"))
        os.truncate(self.image, _LEFT)
        self._forget()
        self.mount("ro")

    def restore(self) -> None:
        """Make the second half readable again, with its old content."""
        self.unmount()
        with open(self.image.with_suffix(".whole"), "rb") as whole, open(self.image, "r+b") as file:
            whole.seek(_LEFT)
            file.seek(_LEFT)
            shutil.copyfileobj(whole, file)
        self._forget()
        self.mount("rw")

    def _forget(self) -> None:
        subprocess.run(["blockdev", "--flushbufs", self.device], check=True)

    def refuses(self, path: Path) -> bool:
        """Whether the kernel returns EIO for a file or directory to this test."""
        try:
            _ = sorted(os.listdir(path)) if os.path.isdir(path) else path.read_bytes()
        except OSError as error:
            assert error.errno == errno.EIO
            return True
        return False

    def remove(self) -> None:
        subprocess.run(["umount", "-l", self.point], stderr=subprocess.DEVNULL, check=False)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=True)


@pytest.fixture
def disk(cli: Cli) -> Iterator[Disk]:
    """A file system of its own as the watched directory."""
    made = Disk(cli.root / "image", cli.watched)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def _fill(top: Path) -> None:
    for name in ("a", "z"):
        (top / name).write_text(name)
    # The file system spreads directories of its first level over the whole disk.
    for number in range(24):
        (top / f"d{number:02}").mkdir()
        (top / f"d{number:02}" / "inner").write_text("x")
    (top / "large").write_bytes(b"large" * (2 << 20))  # 10 of 16 MB: a part of it is in the second half


def _reported(cli: Cli) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Return (names that changed, what cannot be read)."""
    document = cli.diff()
    unreadable = {one["path"]: (one["reason"], one["detail"]) for one in document["unreadable"]}
    return [os.path.basename(row["path"]) for row in document["changes"]], unreadable


def test_exactly_what_the_kernel_refuses_is_unreadable(cli: Cli, disk: Disk) -> None:
    """Exactly what the kernel refuses is unreadable, neither removed nor changed; all else is read as usual."""
    _fill(cli.watched)
    cli.scan()
    (cli.watched / "a").write_text("changed")
    disk.lose_half()
    refused = {path for path in cli.watched.iterdir() if path.name != "lost+found" and disk.refuses(path)}
    if not refused:
        pytest.skip("this kernel reads what is lost of a loop device's file as zeros")
    names = {path.name for path in refused}
    assert "large" in names and 5 < len(names) < 20, "a file and directories are lost, and others are not"
    cli.scan(4)
    cli.scan()  # the next one has nothing new to report
    changed, unreadable = _reported(cli)
    assert changed == ["a"]
    assert unreadable == {str(path): ("io-error", "Input/output error") for path in refused}

    disk.restore()
    (cli.watched / "large").write_bytes(b"new")
    cli.scan(4)
    assert _reported(cli) == (["a", "large"], {})
