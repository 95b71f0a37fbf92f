"""``fimscan packages``: the commands, and the real apt with the hook that ``--hook`` prints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.packages.debian import Debian

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="dpkg --root needs root"),
    pytest.mark.skipif(not shutil.which("apt-get"), reason="there is no apt here"),
]
FILES = {"/usr/bin/tool": "the program\n", "/etc/tool.conf": "a=1\n", "/usr/bin/t": "-> tool"}


@pytest.fixture
def system(tmp_path: Path) -> Debian:
    return Debian.make(tmp_path)


def check(cli: Cli, system: Debian, *arguments: str, code: int) -> list[str]:
    done = cli("packages", "check", "--root", str(system.root), *arguments, code=code)
    return done.stdout.splitlines()


def test_check_in_text(cli: Cli, system: Debian) -> None:
    """A line for each path, with package and proof; the exit code is that of the worst."""
    system.install(system.build("tool", "1.0", FILES))
    (line, total) = check(cli, system, "/bin/tool", code=0)
    assert line == "as-shipped      /bin/tool  tool 1.0; MD5 in dpkg's database"
    assert total == "1 file: 1 as shipped"
    system.path("/usr/bin/new\x1b").write_text("x")
    lines = check(cli, system, "/usr/bin", code=1)
    assert [line.split("  ")[0] for line in lines[:-1]] == ["unowned", "unknown"]
    assert "/usr/bin/new\\x1b" in lines[0] and lines[-1] == "3 files: 1 as shipped, 1 unowned, 1 unknown"
    assert len(check(cli, system, "/usr/bin", "--all", code=1)) == 4
    system.path("/etc/tool.conf").write_text("a=2\n")
    (line, _) = check(cli, system, "/etc", code=2)
    assert line.endswith("/etc/tool.conf  tool 1.0 (conffile); content differs; MD5 in dpkg's database")


def test_check_in_json(cli: Cli, system: Debian) -> None:
    """By its schema; a path that is not UTF-8 has its bytes."""
    system.install(system.build("tool", "1.0", FILES))
    system.path("/usr/bin/n\udcff").write_text("x")
    lines = check(cli, system, "/usr/bin", "--format", "json", code=1)
    document = json.loads("\n".join(lines))
    assert document["databases"] == ["dpkg"]
    assert document["summary"] == {"as_shipped": 1, "not_as_shipped": 0, "unowned": 1, "unknown": 1}
    files = {row["path"]: row for row in document["files"]}
    assert files["/usr/bin/tool"]["package"]["proof"] == "md5sums"
    assert files["/usr/bin/n\\xff"]["path_b64"] == "L3Vzci9iaW4vbv8="


def test_what_cannot_be_examined_is_not_passed_over(cli: Cli, system: Debian) -> None:
    """A name that is too long, a directory that loops: unknown or missing, with exit code 1."""
    (system.root / "loop").symlink_to("loop")
    system.install(system.build("tool", "1.0", FILES))
    for option in ("--root", "--debs"):
        assert "no directory" in cli("packages", "check", option, "/nowhere", "/x", code=15).stderr
    assert check(cli, system, "/loop/x", code=1)[0].startswith("un")
    assert check(cli, system, "/" + "x" * 300, code=1)[0].startswith("unknown")


def test_record_takes_debs_and_goes_on_whatever_happens(cli: Cli, system: Debian) -> None:
    """Trouble is one line and exit code 0; with --strict it is 18."""
    deb = system.build("tool", "1.0", FILES)
    done = cli("packages", "record", str(deb), code=0)
    assert done.stdout == "Recorded 1 of 1; 0 had been recorded before.\n"
    assert "1 had been recorded" in cli("packages", "record", str(deb), code=0).stdout
    assert (cli.root / "packages").stat().st_mode & 0o7777 == 0o700
    broken = system.built / "broken.deb"
    broken.write_bytes(deb.read_bytes()[:200])
    for arguments in ((str(broken),), (str(system.built / "none.deb"),)):
        done = cli("packages", "record", *arguments, code=0)
        assert "was not recorded" in done.stderr
        cli("packages", "record", "--strict", *arguments, code=18)
    assert "version '9'" in cli("packages", "record", input="VERSION 9\n\n", code=0).stderr
    cli("packages", "record", "--strict", input="VERSION 9\n\n", code=18)
    assert cli("packages", "record", input="", code=0).stderr == ""
    cli.config.write_text("damaged")
    done = cli("packages", "record", input=f"{broken}\n", code=0)
    assert done.stdout == "" and "manifests are in /var/lib/fimscan/packages" in done.stderr
    cli("packages", "record", "--out", "x", code=15)


APT = """\
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Etc::main "";
Dir::Etc::Parts "{root}/etc/apt/apt.conf.d";
Dir::Bin::dpkg "/usr/bin/dpkg";
DPkg::Options:: "--root={root}";
APT::Sandbox::User "root";
Debug::NoLocking "true";
"""


def apt(cli: Cli, system: Debian, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real apt-get on the scratch system, with our hook as --hook prints it."""
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/lib/apt/lists/partial", "tmp"):
        (system.root / name).mkdir(parents=True, exist_ok=True)
    (system.root / "var/cache/apt/archives/partial").mkdir(parents=True, exist_ok=True)
    (system.root / "var/log/apt").mkdir(exist_ok=True)
    config = system.root / "apt.conf"
    config.write_text(APT.format(root=system.root))
    return subprocess.run(
        ["apt-get", "install", "-y", "--allow-downgrades", *arguments],
        env={**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C", "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=system.built,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("version", [1, 3])
def test_apt_has_packages_recorded_before_it_unpacks_them(cli: Cli, system: Debian, version: int) -> None:
    """The real apt, with the configuration that --hook prints: installed, upgraded, and then one byte is changed."""
    hook = system.root / "etc/apt/apt.conf.d/50fimscan"
    hook.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "fimscan"]
    if version == 3:
        # A program of this name has options of its own.
        program = cli.root / "fimscan"
        program.write_text(f"#!{sys.executable}\nfrom fimscan.cli.main import main\nmain()\n")
        program.chmod(0o755)
        command = [str(program)]
    printed = subprocess.run(
        [*command, "--config", str(cli.config), "packages", "record", "--hook", "--out", str(hook)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
        text=True,
    )
    assert printed.stdout == "" and str(cli.config) in hook.read_text()
    assert ('::Version "3";' in hook.read_text()) == (version == 3)
    for number in ("1:1.0", "1:2.0"):
        deb = system.build("tool", number, {**FILES, "/usr/bin/tool": f"version {number}\n"})
        done = apt(cli, system, f"./{deb.name}")
        assert done.returncode == 0 and "fimscan" not in done.stderr, done.stdout + done.stderr
    assert len([*(cli.root / "packages").iterdir()]) == 2
    lines = check(cli, system, "/usr/bin/tool", "/usr/bin/t", "/etc/tool.conf", code=0)
    assert all("SHA-256 recorded before it was unpacked" in lines[at] for at in (0, 2))
    system.path("/usr/bin/tool").chmod(0o4755)
    assert "mode differs" in check(cli, system, "/usr/bin/tool", code=2)[0]


@pytest.mark.parametrize("trouble", ["directory", "program", "package"])
def test_trouble_of_the_hook_does_not_stop_apt(cli: Cli, system: Debian, trouble: str) -> None:
    """A directory that cannot be made, a fimscan that does not start, a .deb with a form that only dpkg knows."""
    hook = system.root / "etc/apt/apt.conf.d/50fimscan"
    hook.parent.mkdir(parents=True)
    cli("packages", "record", "--hook", "--out", str(hook), code=0)
    deb = system.build("tool", "1.0", FILES)
    if trouble == "directory":
        (cli.root / "packages").write_text("in the way")
    elif trouble == "program":
        hook.write_text(hook.read_text().replace(sys.executable, "/nowhere/fimscan"))
    else:
        shutil.rmtree(cli.root / "packages", ignore_errors=True)
        (cli.root / "packages").mkdir(mode=0o777)
        (cli.root / "packages").chmod(0o777)
    done = apt(cli, system, f"./{deb.name}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert system.path("/usr/bin/tool").exists()
    if trouble != "program":
        assert "was not recorded" in done.stderr
