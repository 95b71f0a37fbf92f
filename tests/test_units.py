"""The systemd units are valid, are as strict as a scan allows, and agree with the exit codes that fimscan has."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from fimscan import errors
from fimscan.pipeline.selftest.place import USUAL
from fimscan.shipped import shipped_path

CONF = Path(shipped_path("conf"))
SCANNING = ("fimscan.service", "fimscan-scan.service", "fimscan-full-scan.service", "fimscan-selftest.service")
SERVICES = (*SCANNING, "fimscan-notify.service", "fimscan-failed@.service")
TIMERS = {
    "fimscan.timer": "fimscan-scan.service",
    "fimscan-full-scan.timer": "fimscan-full-scan.service",
    "fimscan-selftest.timer": "fimscan-selftest.service",
}
UNITS = (*SERVICES, *TIMERS)
# What systemd-analyze may give at most, in tenths; 0 is the strictest. A scan has to read everything.
EXPOSURE = {
    "fimscan.service": 27,
    "fimscan-scan.service": 24,
    "fimscan-full-scan.service": 24,
    "fimscan-selftest.service": 24,
    "fimscan-notify.service": 16,
    "fimscan-failed@.service": 31,
}
# With the drop-in for programs of others.
PROGRAMS_EXPOSURE = 28
# Each of these would hide files or processes from a scan, or show others than the host has.
HIDES = {
    *(
        "PrivateDevices",
        "PrivateTmp",
        "ProtectHome",
        "ProtectKernelModules",
        "TemporaryFileSystem",
        "InaccessiblePaths",
    ),
    *("ProtectProc", "ProcSubset", "PrivatePIDs", "PrivateUsers", "ProtectHostname", "RootDirectory", "User"),
}


def analyze() -> str:
    """Path of systemd-analyze, in a version that judges files of units."""
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.split()[1].split(".")[0]) < 250:
        pytest.skip(f"{version.splitlines()[0]} cannot judge unit files offline")
    return found


def keys(unit: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    parser.read_string((CONF / unit).read_text())
    return parser["Timer" if unit.endswith(".timer") else "Service"]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """No unknown key, no value that is ignored, no program that is missing."""
    for unit in UNITS:
        text = (CONF / unit).read_text()
        (tmp_path / unit).write_text(text.replace("/usr/local/bin/fimscan", "/bin/true"))
    command = [analyze(), "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / unit) for unit in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "fimscan" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("unit", SERVICES)
def test_the_sandbox_is_strict(unit: str) -> None:
    """systemd's own judgement; a line that is taken away shows here."""
    command = [analyze(), "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE[unit]}", str(CONF / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-200:]


def test_programs_of_others_get_no_more_than_they_need(tmp_path: Path) -> None:
    """sendmail is set-uid: the drop-in allows that, and keeps the rest of the sandbox."""
    unit = "fimscan-notify.service"
    text = (CONF / unit).read_text().partition("\n[Install]")[0]
    (tmp_path / unit).write_text(f"{text}\n{(CONF / 'fimscan-notify-programs.conf').read_text()}")
    exposure = f"--threshold={PROGRAMS_EXPOSURE}"
    command = [analyze(), "security", "--offline=yes", "--no-pager", exposure, str(tmp_path / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-200:]


@pytest.mark.parametrize("unit", [*SCANNING, "fimscan-notify.service"])
def test_a_unit_that_fails_says_so(unit: str) -> None:
    """By mail, from a unit that does not depend on what failed."""
    assert "\nOnFailure=fimscan-failed@%N.service\n" in (CONF / unit).read_text()
    assert "[[output]]" not in keys("fimscan-failed@.service")["ExecStart"]


@pytest.mark.parametrize("unit", SCANNING)
def test_the_sandbox_hides_nothing_from_a_scan(unit: str) -> None:
    """A file that the sandbox hides would be reported as removed, or not at all."""
    assert HIDES & set(keys(unit)) == set()


def test_each_timer_starts_its_service() -> None:
    """Not fimscan.service, which scans by its own schedule; what was missed is made up for, and hosts differ."""
    assert {path.name for path in CONF.glob("*.timer")} == {*TIMERS}
    for timer, service in TIMERS.items():
        found = keys(timer)
        assert found.get("Unit", timer.replace(".timer", ".service")) == service
        assert (found["Persistent"], found["FixedRandomDelay"]) == ("true", "true")
        assert "RandomizedDelaySec" in found and "\nConflicts=fimscan.service\n" in (CONF / timer).read_text()


@pytest.mark.parametrize("unit", SCANNING[2:])
def test_the_services_of_timers_have_the_same_sandbox(unit: str) -> None:
    """A selftest may write to one more place."""
    first, other = (dict(keys(one)) for one in ("fimscan-scan.service", unit))
    for own in ("ExecStart", "SuccessExitStatus", "TimeoutStartSec"):
        del first[own], other[own]
    if unit == "fimscan-selftest.service":
        assert other.pop("ReadWritePaths") == f"-{os.fsdecode(USUAL)}"
        assert "\nReadWritePaths=/var/lib/fimscan\n" in (CONF / unit).read_text()
        del first["ReadWritePaths"]
    assert first == other


def test_both_ways_to_scan_have_the_same_sandbox() -> None:
    """But for what only the second witness needs."""
    sandbox = re.compile(
        r"(Private|Protect|Restrict|NoNew|Lock|Memory|Keyring|Device|IPAddress|SystemCall|Capability|UMask)"
    )
    service, scan = ({k: v for k, v in keys(unit).items() if sandbox.match(k)} for unit in SCANNING[:2])
    assert service.keys() == scan.keys()
    only = {k: set(service[k].split()) ^ set(scan[k].split()) for k in service if service[k] != scan[k]}
    assert only == {
        "CapabilityBoundingSet": {"CAP_SYS_ADMIN"},
        "SystemCallFilter": {"fanotify_init", "fanotify_mark", "open_by_handle_at"},
    }


def test_exit_codes_mean_the_same_to_systemd() -> None:
    """A scan that found changes did not fail; errors do; waiting does not fix bad arguments and configurations."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FimscanError)]
    failures = {kind.exit_code for kind in kinds if kind.meaning} - {errors.LockedError.exit_code}
    stopped = {128 + signal.SIGINT, 128 + signal.SIGTERM}
    success = {int(code) for code in keys("fimscan-scan.service")["SuccessExitStatus"].split()}
    assert success == {*range(1, 8), errors.LockedError.exit_code, *stopped}
    full, selftest = (keys(f"fimscan-{name}.service")["SuccessExitStatus"] for name in ("full-scan", "selftest"))
    # A full scan or a selftest that did not run is not made up for soon.
    assert set(map(int, full.split())) == success - {errors.LockedError.exit_code}
    assert set(map(int, selftest.split())) == stopped
    assert (failures - stopped) & success == set()
    for unit in ("fimscan.service", "fimscan-notify.service"):
        assert {int(code) for code in keys(unit)["SuccessExitStatus"].split()} == stopped
        never = {int(code) for code in keys(unit)["RestartPreventExitStatus"].split()}
        assert never == {errors.UsageError.exit_code, errors.ConfigError.exit_code}


def test_a_mail_is_made_of_the_state(tmp_path: Path) -> None:
    """The command of fimscan-failed@.service, with a sendmail that keeps what it gets."""
    (tmp_path / "sendmail").write_text(f"#!/bin/sh\ncat > {tmp_path}/mail\n")
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho status of $4\n")
    (tmp_path / "fimscan").write_text("#!/bin/sh\necho fimscan $*\n")
    for name in ("sendmail", "systemctl", "fimscan"):
        (tmp_path / name).chmod(0o755)
    words = keys("fimscan-failed@.service")["ExecStart"].partition("-c '")[2].removesuffix("'")
    words = (
        words.replace("%%", "%")
        .replace("%H", "web1")
        .replace("%i", "fimscan-scan")
        .replace("/usr/sbin/", "")
        .replace("/usr/local/bin/", "")
    )
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MAILTO": "admin@example.com"}
    subprocess.run(["/bin/sh", "-c", words.replace("\\\\", "\\")], env=environment, check=True, timeout=60)
    assert (tmp_path / "mail").read_text() == (
        "To: admin@example.com\nSubject: [fimscan] web1: fimscan-scan failed\n\nstatus of fimscan-scan.service\n"
        "fimscan --config /etc/fimscan/fimscan.toml --no-pager status --last 3\n"
    )
