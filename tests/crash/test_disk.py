"""A disk that becomes full at any moment of a scan, and one that cannot be written to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fimscan.model import ControlKind
from fimscan.store import controls
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.crash.ground import Ground

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]


@pytest.fixture
def disk(cli: Cli) -> Iterator[Path]:
    """A small file system of its own for the database."""
    mounted = cli.root / "disk"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", mounted], check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    cli.config.write_text(cli.config.read_text().replace(str(cli.database), str(mounted / "fim.db")))
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


def fill(disk: Path, but_for: int) -> None:
    """Fill the disk except for ``but_for`` kilobytes."""
    found = os.statvfs(disk)
    free = found.f_bavail * found.f_frsize - but_for * 1024
    with open(disk / "filler", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free, 1))


def said(done: subprocess.CompletedProcess[str]) -> str:
    (line,) = done.stderr.splitlines()
    return line


def test_a_full_disk_at_any_moment(cli: Cli, disk: Path) -> None:
    """Without space to begin, store or finish, a scan ends with 24 and one message; with enough space it succeeds."""
    ground = Ground(cli, 1200)
    cli.scan()
    for _ in range(900):
        ground.change_one()
    codes = []
    for free in (0, 16, 48, 100, 400, 900):
        fill(disk, free)
        done = cli("scan", "--no-audit", "--format", "json")
        codes.append(done.returncode)
        if done.returncode == 24:
            assert "no space left" in said(done) or "cannot" in said(done)
        else:
            assert done.returncode in (0, 4), done.stderr
            ground.count(done.stdout)
        (disk / "filler").unlink()
        ground.check_database(disk / "fim.db")
    assert codes[0] == 24 and codes.count(24) >= 3, codes
    ground.scan()
    ground.check_database(disk / "fim.db")
    object.__setattr__(cli, "root", disk)  # where the database is
    ground.check_changes()


def controls_by_doctor(cli: Cli) -> list[dict[str, str]]:
    found = json.loads(cli("doctor", "--format", "json").stdout)["checks"]
    return [one for one in found if one["check"] == "controls"]


def test_a_scan_that_a_full_disk_prevented_is_told_afterwards(cli: Cli, disk: Path) -> None:
    """Once, with start, end and cause: also if the disk was full between two scans only, as with cron."""
    cli.scan()
    began_ns = time.time_ns()
    fill(disk, 0)
    assert "no space left" in said(cli("scan", "--no-audit", code=24))
    failed_ns = time.time_ns()
    cli("scan", "--no-audit", code=24)
    (disk / "filler").unlink()
    assert any("no space left" in one["detail"] for one in controls_by_doctor(cli))
    done = cli("scan", "--no-audit", "--strict", code=8)
    (line,) = [line for line in done.stdout.splitlines() if "Control failed" in line]
    assert "for a while (scan)" in line and "no space left" in line
    assert cli("scan", "--no-audit", "--strict", code=0).stdout == ""
    assert [one["severity"] for one in controls_by_doctor(cli)] == ["ok"]
    database = Database(f"sqlite:///{disk}/fim.db", host=os.uname().nodename, create=False)
    with database.read() as session:
        (failure,) = [one for one in controls.between(session, 0, time.time_ns()) if one.kind is ControlKind.SCAN]
    database.close()
    assert began_ns < failure.start_ns < failed_ns < (failure.end_ns or 0)


def test_a_file_system_that_is_mounted_read_only(cli: Cli, disk: Path) -> None:
    """Commands that write and commands that only read print one message; afterwards the database is unchanged."""
    cli.scan()
    (cli.watched / "a").write_text("changed")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for writing in (("scan", "--no-audit"), ("accept", "--all", "--even-outstanding")):
        assert "cannot" in said(cli(*writing, code=24)), writing
    for reading in (("status",), ("diff",), ("verify", "--db")):
        done = cli(*reading)
        assert done.returncode == 0 or (done.returncode == 24 and "cannot" in said(done)), reading
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    cli.scan(4)


def test_a_database_without_write_permission(cli: Cli) -> None:
    """The database belongs to another user, in that user's directory: the message says so."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        watched = place / "watched"
        watched.mkdir()
        (watched / "a").write_text("x")
        config = place / "fimscan.toml"
        config.write_text(f'[database]\nurl = "sqlite:///{place}/fim.db"\n[[watch]]\npath = "{watched}"\n')
        theirs = Cli(root=place, watched=watched)
        theirs.scan()
        for path in (place, watched, place / "fim.db"):
            path.chmod(0o755 if path.is_dir() else 0o444)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *theirs.command("scan", "--no-audit")]
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv (util-linux) is missing")
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.environ["PATH"]}
        )
        if "No module named" in done.stderr or done.returncode in (126, 127):
            pytest.skip("other users may not read this installation")
        assert done.returncode == 24, done
        assert "cannot" in said(done)
        (watched / "a").write_text("y")
        theirs.scan(4)
