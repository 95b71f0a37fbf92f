"""Commands that only read need no write access: run as another user, who may read the database and no more."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fimscan.errors import StoreError
from fimscan.store.database import Database
from tests.conftest import Cli

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")

NOBODY = 65534
# Everything is imported as root: the other user may not reach the directory of the tests or of Python.
AS_NOBODY = f"""
import os, pkgutil, importlib, sqlalchemy.dialects.sqlite, encodings.ascii, encodings.idna, encodings.unicode_escape
import fimscan.cli, fimscan.report
for package in (fimscan.cli, fimscan.report):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
fimscan.cli.main.main()
"""
READING = [
    *(["status"], ["status", "--vouched"], ["diff", "--format", "json"], ["diff", "--format", "csv"]),
    *(["explain", "1"], ["explain-path", "/etc"], ["verify", "--db", "--all"], ["audit", "events"]),
]


@pytest.fixture
def shared() -> Iterator[Cli]:
    """A database with a change, in a directory that every user may enter and only root may write."""
    root = Path(tempfile.mkdtemp(dir="/var/tmp"))
    root.chmod(0o755)
    try:
        cli = Cli(root=root, watched=root / "watched")
        cli.watched.mkdir()
        (cli.watched / "a").write_text("old")
        cli.write_config()
        cli.scan()
        (cli.watched / "a").write_text("other")
        cli.scan(4)
        cli.database.chmod(0o644)
        yield cli
    finally:
        shutil.rmtree(root)


def as_nobody(cli: Cli, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, run by a user who is nobody's friend."""
    command = [sys.executable, "-c", AS_NOBODY, *cli.command(*arguments)[3:]]
    # Not what libraries have put into the environment since, as readline does with the size of the terminal.
    environment = {**os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def listing(cli: Cli) -> dict[str, tuple[int, int]]:
    """What is in the database's directory, with sizes and times."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in cli.root.iterdir()}


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_reading_needs_no_write_access(shared: Cli, arguments: list[str]) -> None:
    """The same output and exit code as root gets; nothing is created or written."""
    before = listing(shared)
    mine = {"fim.db", "fim.db.lock", "fim.db.head", "fim.db.failed-scan"}
    assert set(before) - {"fim.db.host-id"} == {*mine, "fimscan.toml", "watched"}
    done = as_nobody(shared, *arguments)
    assert listing(shared) == before
    as_root = shared(*arguments)
    assert (done.returncode, done.stderr) == (as_root.returncode, as_root.stderr)
    if arguments[0] != "audit":
        assert done.stdout
    assert done.stdout == as_root.stdout


def test_a_bundle_needs_the_key_and_no_write_access_to_the_database(shared: Cli) -> None:
    """Without permission to read the key, the message is about the key; with a key of his own, there is a bundle."""
    out = shared.root / "out"
    out.mkdir()
    os.chown(out, NOBODY, NOBODY)
    export = ("export", "pci-dss", "--from", "2020-01-01", "--to", "2040-01-01", "--out", f"{out}/b.zip")
    assert "signing key" in as_nobody(shared, *export).stderr
    shared.config.write_text(shared.config.read_text().replace(f"{shared.root}/key.pem", f"{out}/key.pem"))
    done = as_nobody(shared, *export)
    assert (done.returncode, done.stderr) == (0, "")
    shared("verify", f"{out}/b.zip", code=0)


def test_a_reader_sees_what_a_running_writer_has_committed(shared: Cli) -> None:
    """The writer's -wal and -shm are used; the reader writes neither."""
    with sqlite3.connect(shared.database, isolation_level=None) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE scan SET trigger = 'cron'")
        assert os.path.getsize(f"{shared.database}-wal") > 0
        done = as_nobody(shared, "status")
        assert done.returncode == 0 and " cron " in done.stdout
        writer.execute("BEGIN IMMEDIATE")
        assert as_nobody(shared, "diff").returncode == 4
        writer.execute("COMMIT")
    writer.close()


def test_changes_that_only_the_owner_can_read_are_not_left_out(shared: Cli) -> None:
    """A crashed writer's -wal without permission, or without its -shm: an error, and no old state."""
    with sqlite3.connect(shared.database, isolation_level=None) as writer:
        writer.execute("UPDATE scan SET trigger = 'cron'")
        os.chmod(f"{shared.database}-wal", 0o600)
        done = as_nobody(shared, "status")
        assert done.returncode == 24 and "fim.db-wal" in done.stderr and not done.stdout
        saved = Path(f"{shared.database}-wal").read_bytes()
    writer.close()
    Path(f"{shared.database}-wal").write_bytes(saved)  # as after kill -9 and a reboot
    done = as_nobody(shared, "status")
    assert done.returncode == 24 and "fim.db-shm" in done.stderr and not done.stdout
    shared("status", code=0)
    assert as_nobody(shared, "status").returncode == 0


def test_who_may_not_read_is_told_so(shared: Cli) -> None:
    """The file, then its directory; and what needs write access says that."""
    done = as_nobody(shared, "accept", "--all")
    assert done.returncode == 24 and "cannot be opened for writing" in done.stderr
    shared.database.chmod(0o600)
    done = as_nobody(shared, "diff")
    assert done.returncode == 24 and "cannot be read: Permission denied" in done.stderr
    url = f"sqlite:///{shared.root}/closed/fim.db"
    (shared.root / "closed").mkdir(mode=0o700)
    done = as_nobody(shared, "--db", url, "diff")
    assert done.returncode == 24 and "cannot be reached: Permission denied" in done.stderr


def test_a_file_that_is_written_while_it_is_read_without_locks_is_an_error(
    shared: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no -wal when it was opened; a checkpoint during the reading could mix old and new."""
    monkeypatch.setattr("fimscan.store.database.is_writable", lambda _path: False)
    database = Database(f"sqlite:///{shared.database}", host=os.uname().nodename, create=False, writing=False)
    with database.read():
        pass
    with pytest.raises(StoreError, match="was written while it was read"), database.read():
        with sqlite3.connect(shared.database) as writer:
            writer.execute("UPDATE scan SET trigger = 'cron'")
        writer.close()
    database.close()


def test_doctor_says_that_it_cannot_be_written(shared: Cli) -> None:
    """The check of the database."""
    assert "can be read, but not written" in as_nobody(shared, "doctor").stdout
    assert "can be read, but not written" not in shared("doctor").stdout
