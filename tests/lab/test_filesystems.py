"""Attribution on every file system that servers use: real processes, real mounts, real audit records."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from demo.auditd import remove_rules
from tests.filesystems import image, made, mounted, needs, overlay, run
from tests.lab.ground import Installation, load_rules, write_config

pytestmark = [pytest.mark.audit, pytest.mark.timeout(300)]

FILES = ("append", "sed", "gone", "mode", "owner", "descriptor", "moved", "over", "truncated", "dirfd", "held")
_SOME = tuple(range(8))


@dataclass
class Host:
    """fimscan on one directory, and what the processes that the test starts did there."""

    installation: Installation
    rules: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Load the rules, and record the baseline."""
        self.rules = load_rules(self.installation)
        self.scan()

    def scan(self) -> str:
        return self.installation.run("scan", codes=_SOME).stdout.decode()

    def do(self, path: Path, *command: str | Path) -> None:
        """Start a program that changes this path."""
        process = subprocess.Popen([str(word) for word in command], cwd="/")
        assert process.wait() == 0, command
        self.done[str(path)] = process.pid

    def rows(self) -> dict[str, dict[str, Any]]:
        self.scan()
        document = json.loads(self.installation.run("diff", "--format", "json", codes=_SOME).stdout)
        return {row["path"]: row for row in document["changes"]}

    def judge(self, rows: dict[str, dict[str, Any]], *, likely: tuple[str, ...] = ()) -> None:
        """Each change is attributed to its process, confirmed or, without a proof, likely; nothing else changed."""
        assert set(rows) == set(self.done)
        wrong: dict[str, object] = {}
        for path, row in rows.items():
            answer = row["attribution"]
            wanted = ("likely", "path-only") if os.path.basename(path) in likely else ("confirmed", None)
            pids = {actor["pid"] for actor in answer["actors"]}
            if (answer["verdict"], answer["reason"]) != wanted and not is_foreign(answer):
                wrong[path] = (answer["verdict"], answer["reason"], answer["coverage"]["gaps"], sorted(pids))
            elif pids != {self.done[path]}:
                wrong[path] = ("named", sorted(pids), "but it was", self.done[path])
        assert wrong == {}


def is_foreign(answer: dict[str, Any]) -> bool:
    """Whether the only gap is that another program removed rules of another key meanwhile."""
    gaps = {gap["reason"] for gap in answer["coverage"]["gaps"]}
    return (answer["verdict"], answer["reason"], gaps) == ("likely", "coverage-gap", {"rule-removed"})


@contextmanager
def host(root: Path, watched: Path, log: str) -> Iterator[Host]:
    """An installation that watches one directory."""
    (root / "log").mkdir()
    os.link(log, root / "log" / "audit.log")
    config = write_config(root, [watched], str(root / "log" / "audit.log"))
    config.write_text(config.read_text().replace('key = "fimscan-lab"', f'key = "fs{os.getpid()}"'))
    one = Host(Installation(root=root, watched=watched, elsewhere=root, config=config))
    try:
        yield one
    finally:
        remove_rules(one.rules)


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory beside the log, so that the log can have another name there."""
    directory = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def fill(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for name in FILES:
        (directory / name).write_text("first\nsecond\n")
    (directory / "sub").mkdir()
    (directory / "sub" / "gone").write_text("x")


def python(code: str, *arguments: Path) -> tuple[str, ...]:
    return (sys.executable, "-ISc", f"import os, sys\n{code}", *map(str, arguments))


def act(host: Host, d: Path, *, by_descriptor: bool = True) -> None:
    """Ordinary changes of files, each by its own process."""
    host.do(d / "append", "bash", "-c", f"echo more >> {d}/append")
    host.do(d / "sed", "sed", "-i", "s/first/1st/", d / "sed")
    host.do(d / "gone", "rm", d / "gone")
    host.do(d / "mode", "chmod", "600", d / "mode")
    host.do(d / "owner", "chown", "1:1", d / "owner")
    host.do(d / "moved2", "mv", d / "moved", d / "moved2")
    host.do(d / "truncated", "bash", "-c", f"echo new > {d}/truncated")
    host.do(d / "made", "mkdir", d / "made")
    host.do(d / "made" / "f", "cp", "-p", d / "mode", d / "made" / "f")
    host.do(d / "sub" / "gone", "rm", "-r", d / "sub" / "gone")
    if by_descriptor:
        code = "fd = os.open(sys.argv[1], os.O_RDONLY)\nos.fchmod(fd, 0o600)"
        host.do(d / "descriptor", *python(code, d / "descriptor"))
        code = "d = os.open(sys.argv[1], os.O_RDONLY)\nfd = os.open('dirfd', os.O_WRONLY, dir_fd=d)\nos.write(fd, b'1')"
        host.do(d / "dirfd", *python(code, d))
    process = subprocess.Popen(["bash", "-c", f"echo over > {d}/over.new; exec mv {d}/over.new {d}/over"])
    assert process.wait() == 0
    host.done[str(d / "over")] = process.pid


@pytest.mark.parametrize("kind", ["ext4", "ext4 -I 128", "xfs", "btrfs", "tmpfs", "overlay"])
def test_the_right_process_is_named(kind: str, root: Path, audit_log: str) -> None:
    """The usual operations by name, by directory descriptor and by file descriptor, on each kind of file system."""
    name, *options = kind.split()
    with made(name, root, *options) as fs, host(root, fs, audit_log) as one:
        fill(fs)
        one.begin()
        act(one, fs)
        one.judge(one.rows())


def test_one_inode_number_in_three_subvolumes(root: Path, audit_log: str) -> None:
    """A subvolume and its snapshot have the same inode numbers; still, each change is attributed to its process.

    The record of a call on a descriptor, or relative to one, does not give the place of the file: it is no proof.
    """
    needs("btrfs")
    with made("btrfs", root) as fs, host(root, fs, audit_log) as one:
        run("btrfs", "subvolume", "create", fs / "home")
        fill(fs / "home")
        run("btrfs", "subvolume", "snapshot", fs / "home", fs / "snap")
        run("btrfs", "subvolume", "create", fs / "home" / "inner")
        fill(fs / "home" / "inner")
        assert os.stat(fs / "home" / "append").st_ino == os.stat(fs / "snap" / "append").st_ino
        one.begin()
        for directory in ("home", "snap", "home/inner"):
            act(one, fs / directory, by_descriptor=directory == "home")
        one.judge(one.rows(), likely=("descriptor", "dirfd"))


def test_a_writer_in_a_snapshot_is_not_named_for_the_original(root: Path, audit_log: str) -> None:
    """A write in one subvolume is not attributed to the file with the same inode number in another one."""
    needs("btrfs")
    with made("btrfs", root) as fs, host(root, fs, audit_log) as one:
        run("btrfs", "subvolume", "create", fs / "home")
        (fs / "home" / "f").write_text("x")
        run("btrfs", "subvolume", "snapshot", fs / "home", fs / "snap")
        one.begin()
        one.do(fs / "home" / "f", "bash", "-c", f"echo 1 >> {fs}/home/f")
        # It opens the other file and does not change it.
        subprocess.run(["bash", "-c", f": >> {fs}/snap/f"], check=True)
        one.judge(one.rows())


@pytest.mark.parametrize("layers", ["one file system", "two file systems", "xino"])
def test_files_of_lower_layers(layers: str, root: Path, audit_log: str) -> None:
    """Copy-up, whiteouts and files of the upper layer, with and without separate inode numbers of the layers."""
    with ExitStack() as stack:
        (root / "disk").mkdir()
        disk = stack.enter_context(made("ext4", root / "disk"))
        lower = disk / "lower" if layers == "one file system" else root / "lower"
        fill(lower)
        for name in ("upper", "work"):
            (disk / name).mkdir()
        options = overlay(lower, disk / "upper", disk / "work") + (",xino=on" if layers == "xino" else "")
        fs = stack.enter_context(mounted("-t", "overlay", "-o", options, "overlay", at=root / "fs"))
        one = stack.enter_context(host(root, fs, audit_log))
        fill(fs / "new")
        for name in FILES[:4]:  # these files are copied up already
            os.utime(fs / name)
        one.begin()
        act(one, fs, by_descriptor=layers != "two file systems")
        act(one, fs / "new", by_descriptor=layers != "two file systems")
        one.judge(one.rows())


def test_a_hard_link_of_a_lower_layer_that_is_copied_up(root: Path, audit_log: str) -> None:
    """It gets a new inode number; a writer to the other link is not named for it."""
    with ExitStack() as stack:
        for name in ("lower", "upper", "work"):
            (root / name).mkdir()
        for name in ("a", "b"):
            (root / "lower" / name).write_text("x")
            os.link(root / "lower" / name, root / "lower" / f"{name}-link")
        options = overlay(root / "lower", root / "upper", root / "work")
        fs = stack.enter_context(mounted("-t", "overlay", "-o", options, "overlay", at=root / "fs"))
        one = stack.enter_context(host(root, fs, audit_log))
        one.begin()
        inode = os.stat(fs / "a").st_ino
        for name in ("a", "a-link", "b"):
            one.do(fs / name, "bash", "-c", f"echo {name} >> {fs}/{name}")
        if os.stat(fs / "a").st_ino == inode:
            pytest.skip("this kernel keeps the inode number")
        rows = one.rows()
        rows.pop(str(fs / "b-link"), None)  # only its link count differs
        one.judge(rows)


def test_the_same_files_by_two_mounts(root: Path, audit_log: str) -> None:
    """Writers through a bind mount or a second mount are recorded: rules match inodes."""
    with ExitStack() as stack:
        source = image("ext4", root / "image")
        fs = stack.enter_context(mounted("-o", "loop", source, at=root / "fs"))
        fill(fs / "w")
        device = run("findmnt", "-no", "SOURCE", fs).strip()
        again = stack.enter_context(mounted(device, at=root / "again"))
        bound = stack.enter_context(mounted("--bind", fs / "w", at=root / "bound"))
        one = stack.enter_context(host(root, fs / "w", audit_log))
        one.begin()
        one.do(fs / "w" / "append", "bash", "-c", f"echo 1 >> {bound}/append")
        one.do(fs / "w" / "gone", "rm", again / "w" / "gone")
        one.do(fs / "w" / "sed", "sed", "-i", "s/first/1st/", bound / "sed")
        one.judge(one.rows())


def test_a_remount_between_two_scans(root: Path, audit_log: str) -> None:
    """After it, the device number differs; writers before and after are known."""
    with ExitStack() as stack:
        source = image("ext4", root / "image")
        first = stack.enter_context(ExitStack())
        fs = first.enter_context(mounted("-o", "loop", source, at=root / "fs"))
        fill(fs)
        one = stack.enter_context(host(root, fs, audit_log))
        one.begin()
        one.do(fs / "append", "bash", "-c", f"echo 1 >> {fs}/append")
        old = os.stat(fs).st_dev
        first.close()
        other = stack.enter_context(mounted("-o", "loop", image("ext4", root / "other"), at=root / "elsewhere"))
        stack.enter_context(mounted("-o", "loop", source, at=fs))
        if os.stat(fs).st_dev == old:
            pytest.skip(f"{other} did not take the device's number")
        remove_rules(one.rules)
        one.rules = load_rules(one.installation)
        one.do(fs / "sed", "sed", "-i", "s/first/1st/", fs / "sed")
        rows = one.rows()
        assert set(rows) == set(one.done)
        for path, row in rows.items():
            assert {actor["pid"] for actor in row["attribution"]["actors"]} == {one.done[path]}


# --------------------------------------------------------------------------------------------------------------------
# Changes that no audit rule reports


def mount_over_file(fs: Path, stack: ExitStack) -> None:
    (fs.parent / "other").write_text("other")
    stack.enter_context(bind(fs.parent / "other", fs / "append"))


def mount_over_directory(fs: Path, stack: ExitStack) -> None:
    fill(fs.parent / "others")
    (fs.parent / "others" / "gone").write_text("of another tree")
    stack.enter_context(bind(fs.parent / "others", fs / "sub"))


@contextmanager
def bind(source: Path, target: Path) -> Iterator[None]:
    run("mount", "--bind", source, target)
    try:
        yield
    finally:
        run("umount", "-l", target)


@pytest.mark.parametrize("over", [mount_over_file, mount_over_directory])
def test_a_mount_is_reported_as_a_mount(over: Callable[[Path, ExitStack], None], root: Path, audit_log: str) -> None:
    """A mount over a file or directory, and its removal, are not reported as "no event"."""
    fs = root / "fs"
    fill(fs)
    with host(root, fs, audit_log) as one:
        config = one.installation.config
        config.write_text(config.read_text() + "[scan]\ncross_mounts = true\n")
        one.begin()
        with ExitStack() as stack:
            over(fs, stack)
            assert_gap(one.rows(), "mount")
            one.installation.run("accept", "--all", "--even-outstanding", "--ticket", "T", "--reason", "R")
        assert_gap(one.rows(), "mount")


def test_the_image_of_a_loop_device(root: Path, audit_log: str) -> None:
    """The kernel writes to it while it is mounted, and when it is unmounted."""
    fs = root / "fs"
    fs.mkdir()
    source = image("ext4", fs / "image")
    with host(root, fs, audit_log) as one:
        with mounted("-o", "loop", source, at=root / "mounted") as inner:
            one.begin()
            (inner / "f").write_text("x")
            run("sync", "-f", inner / "f")
        assert_gap(one.rows(), "loop-image")
        with mounted("-o", "loop", source, at=root / "mounted") as inner:
            (inner / "f").write_text("y")
            run("sync", "-f", inner / "f")
            assert_gap(one.rows(), "loop-image")


def test_a_layer_that_is_watched_from_below(root: Path, audit_log: str) -> None:
    """A change in the overlay changes its upper layer, without an audit record."""
    with ExitStack() as stack:
        for name in ("lower", "work"):
            (root / name).mkdir()
        fill(root / "upper")
        options = overlay(root / "lower", root / "upper", root / "work")
        merged = stack.enter_context(mounted("-t", "overlay", "-o", options, "overlay", at=root / "merged"))
        one = stack.enter_context(host(root, root / "upper", audit_log))
        one.begin()
        subprocess.run(["bash", "-c", f"echo 1 >> {merged}/append"], check=True)
        assert_gap(one.rows(), "overlay-layer")


def assert_gap(rows: dict[str, dict[str, Any]], reason: str) -> None:
    assert rows
    for row in rows.values():
        answer = row["attribution"]
        assert reason in {gap["reason"] for gap in answer["coverage"]["gaps"]}, row
        assert (answer["verdict"], answer["reason"]) == ("unattributed", "not-covered"), row


def test_a_file_system_that_is_not_scanned_is_reported(root: Path, audit_log: str) -> None:
    """A file system mounted below a watched directory: once by scan, by doctor while it is mounted."""
    fs = root / "fs"
    fill(fs)
    with host(root, fs, audit_log) as one:
        one.begin()
        with mounted("-t", "tmpfs", "none", at=fs / "sub"):
            outputs = [one.installation.run("scan", codes=_SOME).stderr.decode() for _ in range(2)]
            line = f"{fs}/sub (tmpfs) is mounted below a watched directory, and is not scanned"
            assert [line in output for output in outputs] == [True, False]
            checks = one.installation.run("doctor", codes=_SOME).stdout.decode()
            assert f"{fs}/sub: mounted beneath a watched directory, and not scanned" in checks
