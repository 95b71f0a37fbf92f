"""Local time is the system's, whatever TZ says; what the system does not understand is reported."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from fimscan.timing import parse_cron, zone_problem

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
_FIRES = """
import sys
from fimscan.timing import parse_cron
at, cron = float(sys.argv[2]), parse_cron(sys.argv[1])
for _ in range(int(sys.argv[3])):
    print(at := cron.after(at))
"""
AUTUMN = datetime(2026, 10, 24, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


@pytest.mark.parametrize(
    ("zone", "same"),
    [
        (BERLIN, "Europe/Berlin"),
        (":/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("MSK-3", "Europe/Moscow"),
        ("<+03>-3", "Europe/Moscow"),
        ("EST5EDT,M3.2.0,M11.1.0", "America/New_York"),
        ("", "Etc/UTC"),
        ("Nowhere/City", "Etc/UTC"),
        ('"Asia/Kolkata"', "Etc/UTC"),
    ],
)
def test_schedules_follow_the_system(zone: str, same: str) -> None:
    """Each form of TZ gives what its zone by name gives, over a change of the clocks."""
    command = [sys.executable, "-c", _FIRES, "*/20 1-3 * * *", str(AUTUMN), "30"]
    done = subprocess.run(command, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True)
    at: float = AUTUMN
    for line in done.stdout.splitlines():
        at = parse_cron("*/20 1-3 * * *").after(at, ZoneInfo(same))
        assert int(line) == at
    assert at > AUTUMN + 2 * 86400


@pytest.mark.parametrize(
    "zone",
    [
        *("", ":", "MSK-3", "<+03>-3", "EST5EDT", "CET-1CEST", "EST5EDT,M3.2.0,M11.1.0", BERLIN, f":{BERLIN}"),
        *("Europe/Berlin", ":Europe/Berlin", "/usr/share/zoneinfo/Europe/Berlin", "<-0330>3:30<-0230>,J60/0,300/-1"),
    ],
)
def test_a_zone_that_the_system_knows_is_no_problem(zone: str) -> None:
    """Names, files and rules."""
    assert zone_problem({"TZ": zone}) is None


@pytest.mark.parametrize(
    ("zone", "remedy"),
    [
        ("Nowhere/City", "Set a name from /usr/share/zoneinfo, or a rule"),
        ('"Asia/Kolkata"', "without quotation marks"),
        ("/etc/passwd", "Set a name"),
        ("/dev/tty", "Set a name"),
        ("../../../etc/passwd", "Set a name"),
        ("Europe", "Set a name"),
        ("+3", "Set a name"),
    ],
)
def test_a_zone_that_the_system_does_not_know_is_reported(zone: str, remedy: str) -> None:
    """With the offset that is used instead, and what to do."""
    problem = zone_problem({"TZ": zone})
    assert problem is not None and remedy in problem
    assert repr(zone) in problem and "the system's offset, UTC" in problem


def test_missing_zone_data_are_reported(tmp_path: Path) -> None:
    """As in a minimal container: by name, or by a link that leads nowhere."""
    absent = [str(tmp_path / "zoneinfo")]
    assert "Install tzdata" in (zone_problem({"TZ": "Europe/Berlin"}, directories=absent) or "")
    assert zone_problem({"TZ": "MSK-3"}, directories=absent) is None
    link = tmp_path / "localtime"
    assert zone_problem({}, localtime=str(link)) is None  # without it, local time is UTC
    link.symlink_to("/no/such/zone")
    assert "leads to /no/such/zone" in (zone_problem({}, localtime=str(link)) or "")
