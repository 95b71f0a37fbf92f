"""File systems for tests: created in an image, mounted through a loop device, and removed again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_MEGABYTES = {"btrfs": 120, "xfs": 330, "ext4": 16}
_QUIET = {"btrfs": ("-q",), "xfs": ("-q", "-f"), "ext4": ("-q", "-F")}


def run(*command: str | Path) -> str:
    """Run a command that must succeed; returns its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, encoding="utf-8")
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def needs(*programs: str) -> None:
    """Skip the test without root, or if a program is missing."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    for program in programs:
        if shutil.which(program, path=path) is None:
            pytest.skip(f"{program} is not installed")


def image(kind: str, path: Path, *options: str) -> Path:
    """Create a file system of this kind in a file."""
    needs(f"mkfs.{kind}")
    with path.open("wb") as file:
        file.truncate(_MEGABYTES[kind] << 20)
    run(f"/usr/sbin/mkfs.{kind}", *_QUIET[kind], *options, path)
    return path


@contextmanager
def mounted(*arguments: str | Path, at: Path) -> Iterator[Path]:
    """``mount ARGUMENTS AT`` until the end of the block; skips if this kernel or container does not allow it."""
    needs("mount")
    at.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", *[str(word) for word in arguments], str(at)], capture_output=True, check=False, encoding="utf-8"
    )
    if done.returncode:
        pytest.skip(f"mount {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=False, capture_output=True)


@contextmanager
def made(kind: str, directory: Path, *options: str) -> Iterator[Path]:
    """Create a file system of this kind and mount it at a new directory below ``directory``."""
    with ExitStack() as stack:
        if kind == "tmpfs":
            yield stack.enter_context(mounted("-t", "tmpfs", "none", at=directory / "fs"))
        elif kind == "overlay":
            layers = [directory / name for name in ("lower", "upper", "work")]
            for layer in layers:
                layer.mkdir()
            yield stack.enter_context(mounted("-t", "overlay", "-o", overlay(*layers), "overlay", at=directory / "fs"))
        else:
            source = image(kind, directory / "image", *options)
            yield stack.enter_context(mounted("-o", "loop", source, at=directory / "fs"))


def overlay(lower: Path | str, upper: Path, work: Path) -> str:
    """The mount options of an overlay with these layers."""
    return f"lowerdir={lower},upperdir={upper},workdir={work}"
