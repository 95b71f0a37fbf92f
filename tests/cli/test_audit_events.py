"""``fimscan audit events LOG...``: its output, and its messages about damaged logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Cli

LOGS = Path(__file__).parents[1] / "data" / "logs"


def paths(output: str) -> list[str]:
    return [json.loads(line)["path"] for line in output.splitlines()]


@pytest.mark.parametrize("order", [("straddles.log.1", "straddles.log"), ("straddles.log", "straddles.log.1")])
def test_an_event_may_begin_in_one_log_and_end_in_the_next(cli: Cli, order: tuple[str, ...]) -> None:
    """In whatever order the logs are given."""
    done = cli("audit", "events", *(str(LOGS / name) for name in order), "--format", "ndjson", code=0)
    assert paths(done.stdout) == ["/etc/a.conf"]
    assert done.stderr == ""


def test_damage_is_reported_with_its_position_and_exit_code(cli: Cli) -> None:
    """Intact events are printed; damage gives a message and exit code 1."""
    broken, whole = LOGS / "split-by-audisp-syslog.log", LOGS / "quoted-values.log"
    done = cli("audit", "events", str(broken), str(whole), "--format", "ndjson", code=1)
    assert paths(done.stdout) == ["/etc/a.conf"]
    assert done.stderr == (f"fimscan: {broken}: 2 lines could not be parsed; at byte 0: the record is truncated\n")
    assert "Exits with 0" in cli("audit", "events", "--help", code=0).stdout


@pytest.mark.parametrize("name", ["skewed-nodes", "records-on-one-line", "interpreted-values", "old-daemon-and-boot"])
def test_an_intact_log_exits_with_0(cli: Cli, name: str) -> None:
    """Only the accesses are printed."""
    assert cli("audit", "events", str(LOGS / f"{name}.log"), "--format", "ndjson", code=0).stderr == ""


def test_a_log_that_is_not_there_is_an_error(cli: Cli) -> None:
    """Nothing of the other logs is printed before."""
    done = cli("audit", "events", str(LOGS / "straddles.log"), str(cli.root / "no.log"), code=18)
    assert done.stdout == ""
    assert "no.log" in done.stderr
