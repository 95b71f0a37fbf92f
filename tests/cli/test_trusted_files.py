"""Commands refuse a configuration, database or key that somebody else could have written, and say what to do."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")


@as_root
@pytest.mark.parametrize("name", ["", "fim.db", "fimscan.toml", "key.pem"])
def test_what_belongs_to_somebody_else_is_refused(cli: Cli, name: str) -> None:
    """The directory, the database, the configuration and the key, each with the exit code of its kind."""
    cli.scan()
    export = ("export", "pci-dss", "--from", "2020-01-01", "--to", "2099-01-01", "--out", f"{cli.root}/out.zip")
    cli(*export, code=0)
    path = cli.root / name  # for "": the root itself
    assert path.exists()
    command, code = {
        "fim.db": (("status",), 24),
        "key.pem": (export, 18),
    }.get(name, (("status",), 17))
    os.chown(path, NOBODY, 0)
    done = cli(*command, code=code)
    (line,) = done.stderr.splitlines()
    assert f"{path} belongs to" in line and f"chown root {path}" in line, line
    os.chown(path, 0, 0)
    path.chmod(0o777)
    assert f"chmod go-w {path}" in cli(*command, code=code).stderr


@as_root
def test_a_configuration_in_a_directory_of_a_user_is_skipped(cli: Cli) -> None:
    """Root who runs a command in a user's directory gets the configuration of /etc, or none."""
    os.chown(cli.config, NOBODY, 0)
    environment = {name: value for name, value in os.environ.items() if name != "FIMSCAN_CONFIG"}
    command = [sys.executable, "-P", "-m", "fimscan", "status"]
    tree = str(Path(__file__).parents[2])
    options = {"cwd": cli.root, "env": environment | {"PYTHONPATH": tree}, "capture_output": True, "text": True}
    refused = subprocess.run(command, check=False, **options)  # type: ignore[call-overload]
    assert refused.returncode in (17, 24) and "./fimscan.toml is ignored" in refused.stderr, refused
    os.chown(cli.config, 0, 0)
    cli.root.chmod(0o1777)  # anybody could have put one there
    sticky = subprocess.run(command, check=False, **options)  # type: ignore[call-overload]
    assert "./fimscan.toml is ignored" in sticky.stderr, sticky


def test_the_configuration_that_is_used_is_printed(cli: Cli) -> None:
    """By status, and by every command on request."""
    cli.scan()
    document = json.loads(cli("status", "--format", "json", code=0).stdout)
    assert (document["configuration_file"], document["database"]) == (str(cli.config), str(cli.database))
    assert f"Configuration: {cli.config}. Database: {cli.database}" in cli("status", code=0).stdout
    lines = cli("--verbose", "diff", code=0).stderr.splitlines()
    assert [f"fimscan: configuration: {cli.config}", f"fimscan: database: sqlite:///{cli.database}"] == sorted(lines)


def test_a_report_is_private_and_keeps_a_mode_that_was_chosen(cli: Cli) -> None:
    """It names files that not everybody may see."""
    cli.scan()
    out = cli.root / "report.html"
    for mode in (0o600, 0o644):
        cli("diff", "--format", "html", "--out", str(out), code=0)
        assert stat.S_IMODE(out.stat().st_mode) == mode
        out.chmod(0o644)
    assert not list(cli.root.glob("report.html.*"))


def test_no_temporary_name_can_be_foreseen(cli: Cli) -> None:
    """Names with every process number are taken, and the report is written."""
    cli.scan()
    directory = cli.root / "shared"
    directory.mkdir()
    for number in range(1, 33000, 1000):
        (directory / f"r.txt.{number}.new").touch()
    for number in range(os.getpid(), os.getpid() + 2000):
        (directory / f"r.txt.{number}.new").touch()
    cli("diff", "--out", f"{directory}/r.txt", code=0)
    assert (directory / "r.txt").exists()


@pytest.mark.parametrize("command", [("status",), ("scan", "--no-audit")])
def test_a_pipe_is_no_database(cli: Cli, command: tuple[str, ...]) -> None:
    """It does not hang."""
    os.mkfifo(cli.database, 0o600)
    assert "is a device or a pipe" in cli(*command, code=24).stderr


def test_a_lock_is_not_taken_through_a_link(cli: Cli) -> None:
    """A link in its place is not followed."""
    cli.scan()
    lock = Path(f"{cli.database}.lock")
    lock.unlink()
    lock.symlink_to(cli.root / "elsewhere")
    assert "cannot write the lock file" in cli("scan", "--no-audit", code=24).stderr
    assert not (cli.root / "elsewhere").exists()
