"""Files that somebody else could replace or alter are not trusted."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from fimscan.trust import make_private_directories, trust_problem

NOBODY = 65534


def test_own_files_are_trusted(tmp_path: Path) -> None:
    """Also below a sticky directory, through own links, and before they exist."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").touch()
    (tmp_path / "link").symlink_to("inside")
    (tmp_path / "further").symlink_to(f"{tmp_path}/link/../link/file")
    for name in ("inside/file", "link/file", "further", "inside/missing", "no/such/directory", "inside/../link/file"):
        assert trust_problem(f"{tmp_path}/{name}", alone=True) is None, name
    tmp_path.chmod(0o1777)
    assert trust_problem(f"{inside}/file", alone=True) is None


@pytest.mark.parametrize("mode", [0o722, 0o770])
def test_what_others_may_write_to_is_not(tmp_path: Path, mode: int) -> None:
    """The file, its directory, or any directory above it; the message names what to do."""
    directory = tmp_path / "a" / "b"
    directory.mkdir(parents=True)
    file = directory / "file"
    file.touch()
    if os.geteuid() == 0:
        os.chown(file, 0, 1)  # root's own group has no other members
        os.chown(directory, 0, 1)
        os.chown(tmp_path / "a", 0, 1)
    elif mode == 0o770:
        pytest.skip("a user's private group has no other members")
    for changed in (file, directory, tmp_path / "a"):
        before = changed.stat().st_mode
        changed.chmod(mode)
        problem = trust_problem(str(file))
        assert problem is not None and problem.endswith(f"run: chmod go-w {changed}"), problem
        changed.chmod(before)
    assert trust_problem(str(file)) is None


def test_a_sticky_directory_is_not_alone(tmp_path: Path) -> None:
    """SQLite opens files beside the database: others could create them first."""
    tmp_path.chmod(0o1777)
    (tmp_path / "file").touch()
    assert trust_problem(f"{tmp_path}/file") is None
    for name in ("file", "missing"):
        problem = trust_problem(f"{tmp_path}/{name}", alone=True)
        assert problem is not None and "everybody may create files" in problem


def test_root_may_have_a_shared_group_of_its_own(tmp_path: Path) -> None:
    """Mode 0770 with group root adds nobody, unless an access control list does."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(tmp_path, 0, 0)
    tmp_path.chmod(0o770)
    assert trust_problem(f"{tmp_path}/x", alone=True) is None
    if shutil.which("setfacl") is None:
        return
    if subprocess.run(["setfacl", "-m", "u:65534:rwx", tmp_path], check=False, capture_output=True).returncode == 0:
        assert trust_problem(f"{tmp_path}/x") is not None


def test_the_owner_of_any_part_can_replace_the_rest(tmp_path: Path) -> None:
    """A file, a directory, a link: each of them named, with its owner."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = tmp_path / "d"
    directory.mkdir()
    file, link = directory / "file", tmp_path / "link"
    file.touch()
    link.symlink_to("d")
    for foreign in (file, directory, link):
        os.chown(foreign, NOBODY, 0, follow_symlinks=False)
        problem = trust_problem(f"{link}/file")
        assert problem is not None and problem.startswith(str(foreign)) and f"uid {NOBODY}" in problem, problem
        os.chown(foreign, 0, 0, follow_symlinks=False)
    assert trust_problem(f"{link}/file") is None


def test_no_home_directory_is_to_be_taken_from_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sudo in a user's checkout: a chown is a remedy for the file and its directory only, and not in a home."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = tmp_path / "checkout"
    directory.mkdir()
    os.chown(tmp_path, NOBODY, 0)
    elsewhere = "use a directory of root's, such as /etc/fimscan, or run as nobody"
    assert (trust_problem(f"{directory}/file") or "").endswith(elsewhere)
    os.chown(tmp_path, 0, 0)
    os.chown(directory, NOBODY, 0)
    assert (trust_problem(f"{directory}/file") or "").endswith(f"run: chown root {directory}")
    nobody = pwd.getpwuid(NOBODY)
    at_home = pwd.struct_passwd((*nobody[:5], str(directory), nobody.pw_shell))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: at_home)
    assert "chown" not in (trust_problem(f"{directory}/file") or "chown")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """As the kernel has it."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert "too many symbolic links" in (trust_problem(f"{tmp_path}/a") or "")


def test_all_directories_that_are_made_are_private(tmp_path: Path) -> None:
    """The parents, too, under any umask; existing ones stay as they are."""
    tmp_path.chmod(0o755)
    before = os.umask(0)
    try:
        make_private_directories(str(tmp_path / "a" / "b" / "c"))
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c")] == [
        0o700
    ] * 3
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_private_directories(str(tmp_path / "file"))
