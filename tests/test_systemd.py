"""The units under a real systemd: started as process 1 of a container (systemd-nspawn), in an overlay of this system.

In a container, the kernel's audit cannot be asked, so no process is named here; tests/lab does that. With
FIMSCAN_TEST_SYSTEMD=1, the watchdog is waited for, too.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fimscan.pipeline.selftest.place import USUAL

ROOT = Path(__file__).parents[1]
PATIENCE_S = 120
CONFIG = """\
[audit]
enabled = false
[schedule]
scan = "1h"
[[watch]]
path = "/srv/watched"
[[watch]]
path = "/etc/fimscan"
"""
# A machine with nothing but fimscan's units, journald and timers. It shares no directory that can be written to.
_BOOT = """
set -e
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/all"
cd "$1/all"
rm -rf etc/systemd/system etc/fimscan var/lib/fimscan var/log/journal opt/fimscan etc/cron.d/fimscan etc/machine-id
rm -rf usr/local/lib/systemd/system usr/local/bin/fimscan run/*
mkdir -p etc/systemd/system srv/watched opt/fimscan/bin var/log/journal
echo one > srv/watched/file
echo 3c5f6e7d8a9b0c1d2e3f4a5b6c7d8e9f > etc/machine-id
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' > etc/systemd/system/default.target
for unit in systemd-sysctl systemd-udevd systemd-modules-load systemd-binfmt auditd e2scrub_reap; do
  ln -s /dev/null "etc/systemd/system/$unit.service"
done
for program in fimscan python; do
  cp "$2/$program" opt/fimscan/bin
done
make --silent -C "$3" install-files DESTDIR="$1/all"
cp "$2/fimscan.toml" etc/fimscan
chmod 600 etc/fimscan/fimscan.toml
shift 3
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe --directory=. "$@" --boot
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A running systemd; ``leader`` is its process 1, as this system sees it."""

    leader: int
    root: Path

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a command there; return what it printed. ``None`` allows every exit code."""
        enter = ["nsenter", f"--target={self.leader}", "--all", "--root", "--wdns=/"]
        environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_PAGER": "cat"}
        done = subprocess.run(
            [*enter, *command],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
        )
        assert code is None or done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        said = self.run("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in said.splitlines())

    def journal(self, unit: str) -> str:
        """What a unit printed."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def scans(self) -> int:
        """How many scans have finished."""
        said = json.loads(self.run("fimscan", "status", "--format", "json"))
        return sum(scan["status"] == "finished" for scan in said["scans"])

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds."""
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until, f"{what}: {self.journal('fimscan')[-2000:]}"
            time.sleep(0.2)


def stand_in(directory: Path) -> None:
    """Programs for /opt/fimscan that run this checkout."""
    paths = ":".join([str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))])
    for name, arguments in (("fimscan", "-m fimscan"), ("python", "")):
        program = directory / name
        program.write_text(
            f'#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={paths} exec {sys.executable} {arguments} "$@"\n'
        )
        program.chmod(0o755)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted machine with what 'make install' installs, and no unit of fimscan enabled."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it boots a container")
    missing = [name for name in ("systemd-nspawn", "nsenter", "unshare") if shutil.which(name) is None]
    if missing or not os.path.exists("/lib/systemd/systemd"):
        pytest.skip(f"{' and '.join(missing) or 'systemd'} is not installed (apt-get install systemd-container)")
    place, programs = tmp_path_factory.mktemp("machine"), tmp_path_factory.mktemp("programs")
    stand_in(programs)
    (programs / "fimscan.toml").write_text(CONFIG)
    shared = dict.fromkeys(os.path.realpath(path) for path in (ROOT, sys.prefix, sys.base_prefix))
    command = ["unshare", "--mount", "sh", "-c", _BOOT, "sh", str(place), str(programs), str(ROOT)]
    command += [f"--bind-ro={path}" for path in shared]
    output = programs / "console"
    with (
        output.open("wb") as console,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        ) as holder,
    ):
        try:
            yield _booted(holder, output)
        finally:
            holder.terminate()
            with suppress(subprocess.TimeoutExpired):
                holder.wait(30)
            holder.kill()


def _booted(holder: subprocess.Popen[bytes], console: Path) -> Machine:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if holder.poll() is not None:
            pytest.skip(f"no systemd can be booted here: {console.read_text(errors='replace')[-500:].strip()}")
        if (leader := _leader(holder.pid)) is not None:
            found = Machine(leader, Path(f"/proc/{leader}/root"))
            if found.run("systemctl", "is-active", "default.target", code=None).strip() == "active":
                return found
        time.sleep(0.2)
    raise AssertionError(f"systemd did not boot: {console.read_text(errors='replace')[-2000:]}")


def _leader(holder: int) -> int | None:
    """The process that is 1 in the container of systemd-nspawn."""
    with suppress(OSError):
        for pid in Path(f"/proc/{holder}/task/{holder}/children").read_text().split():
            status = Path(f"/proc/{pid}/status").read_text()
            (numbers,) = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
            if len(numbers) > 1 and numbers[-1] == "1":
                return int(pid)
    return None


pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


def test_the_service_scans_reloads_and_stops(machine: Machine) -> None:
    """READY comes when it runs; a scan; SIGHUP, with a valid and an invalid configuration; a selftest; a clean end."""
    machine.run("systemctl", "enable", "--now", "fimscan.service")  # with Type=notify, this waits for READY=1
    state = machine.show("fimscan", "ActiveState", "SubState", "StatusText", "MainPID", "WatchdogUSec")
    assert (state["ActiveState"], state["SubState"], state["WatchdogUSec"]) == ("active", "running", "5min")
    assert "next scan" in state["StatusText"]
    machine.wait(lambda: machine.scans() == 1, "no first scan")
    # The sandbox mounts a directory on itself, so that it can be written to.
    assert "mounted below" not in machine.journal("fimscan")

    config = machine.root / "etc/fimscan/fimscan.toml"
    config.write_text(CONFIG.replace('"1h"', '"2h"'))
    machine.run("systemctl", "reload", "fimscan")
    machine.wait(lambda: "SIGHUP: the configuration is valid" in machine.journal("fimscan"), "no reload")
    config.write_text(CONFIG + "[schedule\n")
    machine.run("systemctl", "reload", "fimscan")
    machine.wait(lambda: "SIGHUP: the configuration is invalid" in machine.journal("fimscan"), "no refusal")
    config.write_text(CONFIG)
    again = machine.show("fimscan", "ActiveState", "MainPID", "NRestarts")
    assert again == {"ActiveState": "active", "MainPID": state["MainPID"], "NRestarts": "0"}

    machine.run("systemctl", "stop", "fimscan")
    ended = machine.show("fimscan", "ActiveState", "Result", "ExecMainStatus")
    assert ended == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert "fimscan: stopped" in machine.journal("fimscan")


def test_the_sandbox_lets_a_selftest_pass_and_nothing_else_be_written(machine: Machine) -> None:
    """By itself in the directory that the package makes. Elsewhere, it says what to allow; and a drop-in allows it."""
    config = machine.root / "etc/fimscan/fimscan.toml"
    config.write_text(CONFIG)
    machine.run("systemctl", "start", "fimscan-scan.service")
    machine.run("systemctl", "start", "fimscan-selftest.service")
    shown = machine.run("fimscan", "status", "--format", "json")
    assert json.loads(shown)["selftest"]["path"].startswith(os.fsdecode(USUAL))
    config.write_text(CONFIG + '[selftest]\npath = "/srv/watched"\n')
    machine.run("systemctl", "start", "fimscan-selftest.service", code=1)
    assert "ReadWritePaths=/srv/watched" in machine.journal("fimscan-selftest")
    drop_in = machine.root / "etc/systemd/system/fimscan-selftest.service.d/place.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nReadWritePaths=/srv/watched\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "fimscan-selftest.service")
    config.write_text(CONFIG)


def test_the_timers_start_scans_and_end_with_the_service(machine: Machine) -> None:
    """What changed is no failure of the unit; the three timers wait; the service takes their place."""
    names = ("fimscan.timer", "fimscan-full-scan.timer", "fimscan-selftest.timer")
    machine.run("systemctl", "enable", "--now", *names)
    (machine.root / "etc/fimscan/fimscan.toml").write_text(CONFIG)
    listed = machine.run("systemctl", "list-timers", "--no-pager")
    assert all(name in listed for name in names)
    machine.run("fimscan", "scan", code=None)
    (machine.root / "srv/watched/new").write_text("new\n")
    for service in ("fimscan-scan.service", "fimscan-full-scan.service"):
        machine.run("systemctl", "start", service)
    state = machine.show("fimscan-scan.service", "Result", "ExecMainStatus")
    assert state == {"Result": "success", "ExecMainStatus": "1"}
    machine.run("systemctl", "start", "fimscan.service")
    assert machine.run("systemctl", "is-active", *names, code=None).split() == ["inactive"] * 3
    machine.run("systemctl", "stop", "fimscan.service")
    machine.run("systemctl", "disable", *names)


def test_a_group_that_may_read_the_database_keeps_it(machine: Machine) -> None:
    """As docs/how-to/install.md says. The units have no CAP_CHOWN, and systemd sets group and mode at each start."""
    machine.run("systemctl", "start", "fimscan-scan.service", code=None)
    machine.run("chgrp", "adm", "/var/lib/fimscan", "/var/lib/fimscan/fimscan.db")
    machine.run("chmod", "640", "/var/lib/fimscan/fimscan.db")
    drop_in = machine.root / "etc/systemd/system/fimscan.service.d/group.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nGroup=adm\nStateDirectoryMode=0750\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "fimscan.service")
    files = [f"/var/lib/fimscan{name}" for name in ("", "/fimscan.db", "/fimscan.db-wal", "/fimscan.db-shm")]
    machine.wait((machine.root / files[2][1:]).exists, "no write-ahead log")
    assert machine.run("stat", "--format=%G %a", *files).splitlines() == ["adm 750", *["adm 640"] * 3]
    machine.run("systemctl", "stop", "fimscan.service")


@pytest.mark.skipif(os.environ.get("FIMSCAN_TEST_SYSTEMD") != "1", reason="slow: set FIMSCAN_TEST_SYSTEMD=1")
def test_a_service_that_hangs_is_started_again(machine: Machine) -> None:
    """It is killed when the watchdog has heard nothing for its time."""
    drop_in = machine.root / "etc/systemd/system/fimscan.service.d/watchdog.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=30\nTimeoutAbortSec=5\nRestartSec=1\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "fimscan.service")
    machine.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", "fimscan.service")
    machine.wait(lambda: machine.show("fimscan", "NRestarts")["NRestarts"] == "1", "no new start")
    machine.wait(lambda: machine.show("fimscan", "SubState")["SubState"] == "running", "not running")
    assert "watchdog" in machine.run("journalctl", "--no-pager", "--unit=fimscan").lower()
    machine.run("systemctl", "stop", "fimscan.service")
