"""conf/fimscan-oval.xml: what a scanner of compliance asks of a host, answered by OpenSCAP where that is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fimscan.pipeline.health import started
from fimscan.profiles import Host, profile_text
from fimscan.shipped import shipped_path

OVAL = Path(shipped_path("conf")) / "fimscan-oval.xml"
CONFIG = "etc/fimscan/fimscan.toml"
CRON = "MAILTO=root\n*/30 * * * * root fimscan scan --trigger cron\n"
WATCH = '[[watch]]\npath = "/srv"\n'
ENABLED = "etc/systemd/system/multi-user.target.wants/fimscan.service"
TIMER = "etc/systemd/system/timers.target.wants/fimscan.timer"


def test_every_reference_leads_somewhere() -> None:
    """A definition names tests, a test names objects; nothing is left over."""
    root = ElementTree.parse(OVAL).getroot()
    given = {one.get("id") for one in root.iter() if one.get("id")}
    asked = {value for one in root.iter() for key, value in one.items() if key in ("test_ref", "object_ref")}
    assert asked == {one for one in given if one and ":def:" not in one}
    assert sum(":def:" in (one or "") for one in given) == 4


def test_it_looks_for_what_doctor_looks_for() -> None:
    text = OVAL.read_text()
    assert started._RUNS_SCAN.pattern.decode() in text
    names = "|".join(name.partition(".")[2] for name in started._UNITS)
    assert f"/fimscan\\.({names})$" in text


@pytest.mark.parametrize(
    ("files", "true"),
    [
        ({}, set()),
        ({CONFIG: WATCH}, {1}),
        ({CONFIG: WATCH, ENABLED: None}, {1, 2}),
        ({CONFIG: WATCH + "[[output]]\n", TIMER: None}, {1, 2, 3}),
        ({CONFIG: WATCH, "etc/cron.d/fimscan": CRON}, {1, 2, 3}),
        ({CONFIG: WATCH, "etc/cron.d/fimscan": CRON.replace("=root", "=")}, {1, 2}),
        ({CONFIG: WATCH, "etc/cron.d/fimscan": CRON.replace("*/30", "# */30")}, {1}),
        ({CONFIG: profile_text("stig", Host(resolve=lambda path: path))}, {1, 4}),
    ],
)
def test_a_scanner_answers(tmp_path: Path, files: Mapping[str, str | None], true: set[int]) -> None:
    """1: configured, 2: something starts scans, 3: somebody is told, 4: the audit tools are monitored."""
    oscap = shutil.which("oscap")
    if oscap is None:
        pytest.skip("oscap is not installed (apt-get install openscap-scanner openscap-common)")
    (tmp_path / "etc").mkdir()
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/lib/systemd/system/some") if text is None else path.write_text(text)
    subprocess.run([oscap, "oval", "validate", str(OVAL)], check=True, timeout=60)
    environment = {**os.environ, "OSCAP_PROBE_ROOT": str(tmp_path)}
    command = [oscap, "oval", "eval", str(OVAL)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=60)
    answers = dict(re.findall(r"oval:fimscan:def:(\d): (\w+)", done.stdout))
    assert answers == {str(number): str(number in true).lower() for number in range(1, 5)}
