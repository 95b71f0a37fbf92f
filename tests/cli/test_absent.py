"""A configured path that does not exist: its absence is part of the baseline, its appearance a change."""

from __future__ import annotations

import json

import pytest

from fimscan.linux.host import this_host
from fimscan.store.database import Database
from tests.conftest import Cli, rows


@pytest.fixture
def preload(cli: Cli) -> Cli:
    """The only watch is a file that does not exist."""
    made = Cli(root=cli.root, watched=cli.root / "ld.so.preload")
    made.write_config()
    return made


def test_absence_is_recorded_and_appearance_reported(preload: Cli) -> None:
    """Even as the only watch. The first scan reports the absence; later scans do not."""
    assert (
        f"{preload.watched} does not exist and was recorded as absent; its appearance will be reported."
        in preload.scan(0)
    )
    assert preload.scan(0) == ""
    assert preload.diff()["unreadable"] == []
    preload.watched.write_text("/lib/evil.so\n")
    assert str(preload.watched) in preload.scan(1)
    assert rows(preload.diff()) == [("added", "ld.so.preload")]
    preload.watched.unlink()
    preload.scan(2)
    assert rows(preload.diff()) == []
    assert preload.scan(0) == ""


def test_an_accepted_file_that_is_gone_is_removed_not_absent(preload: Cli) -> None:
    """Once the file is in the baseline, its absence is a removal until that is accepted."""
    preload.watched.write_text("/lib/good.so\n")
    preload.scan(0)
    preload.watched.unlink()
    preload.scan(2)
    assert rows(preload.diff()) == [("removed", "ld.so.preload")]
    preload("accept", "--all", code=0)
    preload.scan(0)
    assert preload.diff()["unreadable"] == []
    assert "absent, as in the accepted baseline (scan 2)" in preload("explain-path", str(preload.watched)).stdout


def test_doctor_and_explain_path_report_an_accepted_absence(preload: Cli) -> None:
    """Before there is a baseline they report a missing path, which may be a mistake in the configuration."""
    Database(f"sqlite:///{preload.database}", host=this_host()).close()
    before = json.loads(preload("doctor", "--format", "json").stdout)["checks"]
    assert not any("absent, as in" in check["detail"] for check in before)
    assert any("the first scan records its absence" in check["detail"] and not check["ok"] for check in before)
    preload.scan(0)
    checks = json.loads(preload("doctor", "--format", "json").stdout)["checks"]
    assert {(check["ok"], "absent, as in the accepted baseline" in check["detail"]) for check in checks} >= {
        (True, True)
    }
    output = preload("explain-path", str(preload.watched), code=0).stdout
    assert "monitored" in output and "absent, as in the accepted baseline (scan 1)" in output


def test_one_absent_path_beside_others(cli: Cli) -> None:
    """A path added by a new configuration is reported by the first scan that has it."""
    cli.scan(0)
    cli.write_config(watch=f'[[watch]]\npath = "{cli.root}/cron.d-x"')
    assert f"{cli.root}/cron.d-x does not exist" in cli.scan(0)
    assert cli.scan(0) == ""
    (cli.root / "cron.d-x").write_text("* * * * * root id\n")
    cli.scan(1)
    assert rows(cli.diff()) == [("added", "cron.d-x")]


def test_a_path_without_a_directory_is_missing_and_not_absent(cli: Cli) -> None:
    """Its directory is missing, so no audit rule can be loaded for it: that is a warning."""
    cli.write_config(watch=f'[[watch]]\npath = "{cli.root}/no/where"')
    output = cli.scan(0)
    assert "recorded as absent" not in output
    assert [item["reason"] for item in cli.diff()["unreadable"]] == ["missing"]
