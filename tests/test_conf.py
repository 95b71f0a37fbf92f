"""The files in conf/ agree with the code."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fimscan.config import Config, Output, Watch, parse_config
from fimscan.errors import ConfigError
from fimscan.shipped import shipped_path
from fimscan.timing import NeverFiresError, interval_seconds, parse_timetable

CONF = Path(shipped_path("conf"))


def test_the_shipped_configuration_shows_every_key_with_its_default() -> None:
    """It shows every key, and its stated defaults are true."""
    table = tomllib.loads((CONF / "fimscan.toml").read_text())
    parse_config((CONF / "fimscan.toml").read_text())
    for name, field in Config.model_fields.items():
        if name in ("watch", "output"):
            continue
        section = field.annotation
        assert isinstance(section, type) and issubclass(section, BaseModel)
        defaults = section().model_dump(mode="json")
        assert table[name] == defaults, name
    shown = set().union(*table["watch"])
    assert shown == set(Watch.model_fields)


def test_the_examples_of_outputs_are_valid_and_show_every_key() -> None:
    """Each can be copied as it is, and there is one of every type."""
    text = (CONF / "outputs.toml").read_text()
    outputs = parse_config(text + WATCH).output
    assert {output.type for output in outputs} == set(get_args(Output.model_fields["type"].annotation))
    assert set().union(*tomllib.loads(text)["output"]) == set(Output.model_fields)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512", 512), ("256k", 256_000), ("256K", 256_000), ("64 MB", 64_000_000), ("64MiB", 64 << 20), ("1G", 10**9)]
    + [(wrong, None) for wrong in ("64m", "1T", "KiB", "1.5M", "64iB", "-1")],
)
def test_sizes(text: str, size: int | None) -> None:
    """As administrators write them; anything else is refused, and never taken for bytes."""
    table = f'[contents]\nquota = "{text}"\n' + WATCH
    if size is None:
        with pytest.raises(ConfigError) as caught:
            parse_config(table)
        assert any("not a size" in problem for problem in caught.value.problems)
    else:
        assert parse_config(table).contents.quota_bytes == size


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('type = "syslog"', "address: required"),
        ('type = "file"\npath = "/x"\nurl = "https://h/"', "url: not for type"),
        ('type = "syslog"\naddress = "h:514"', "address: write unix:"),
        ('type = "webhook"\nurl = "https://user:secret@h/x"', "url_file"),
        ('type = "webhook"\nurl = "https://h/x?token=secret"', "url_file"),
        ('type = "webhook"', "url, url_file: give one"),
        ('type = "command"\ncommand = ["mail"]', "absolute path"),
        ('type = "sendmail"\nto = ["-oQ/tmp"]', "not a mail address"),
        ('type = "sendmail"\nto = ["a@b\\nBcc: c@d"]', "not a mail address"),
        ('type = "smtp"\naddress = "h"\nto = ["root"]\nuser = "x"', "give both"),
        (
            'type = "smtp"\naddress = "h"\nto = ["r"]\nuser = "x"\npassword_file = "/p"\nsecurity = "none"',
            "not sent unencrypted",
        ),
        ('type = "smtp"\naddress = "h"\nto = ["r"]\npassword_file = "secret"', "absolute path"),
    ],
)
def test_wrong_outputs_are_refused(keys: str, words: str) -> None:
    """When the configuration is read, not when an alert is to be sent; and the secret is not in the message."""
    with pytest.raises(ConfigError) as caught:
        parse_config(f'{WATCH}[[output]]\nname = "x"\n{keys}\n')
    (problem,) = caught.value.problems
    assert words in problem
    assert "secret" not in problem.replace("secret_file", "")


def test_the_cron_example_scans_and_the_unit_runs_the_schedule() -> None:
    """Both call existing commands with a named configuration."""
    assert re.search(
        r"root fimscan --config \S+ scan --trigger cron$", (CONF / "fimscan.cron").read_text(), re.MULTILINE
    )
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read_string((CONF / "fimscan.service").read_text())
    assert unit["Service"]["ExecStart"].endswith("schedule")


WATCH = '[[watch]]\npath = "/etc"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[schedule]\nscan = "every day"\n', "fimscan.toml:2: schedule.scan"),
        ('[schedule]\nscan = "0m"\n', "fimscan.toml:2: schedule.scan"),
        ('[schedule]\nfull = "0 3 31 2 *"\n', "it never fires: there is no day 31 in month 2"),
        ('[schedule]\njitter = "often"\n', "fimscan.toml:2: schedule.jitter"),
        ("[scan]\nworkers = -1\n", "fimscan.toml:2: scan.workers"),
        ("[scan]\nworkers = true\n", "fimscan.toml:2: scan.workers"),
        ('[audit]\nlogs = "x"\n', "fimscan.toml:2: audit.logs"),
        ('[audit]\nlogs = ["relative"]\n', "audit.logs[1]"),
        ('[audit]\nkey = "two words"\n', "audit.key"),
    ],
)
def test_wrong_values_are_named_with_key_and_line(text: str, words: str) -> None:
    """The message names the place."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text + WATCH)
    assert any(words in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    "watch",
    [
        'digests = ["sha256"]',
        'digests = ["md5"]',
        'policy = "x"',
        'digests = ["xxh3_128", "xxh3_128"]',
        'severity = "x"',
    ],
)
def test_wrong_watches_are_refused(watch: str) -> None:
    """An unknown digest or policy is refused, not ignored."""
    with pytest.raises(ConfigError):
        parse_config(WATCH + watch)


def test_the_same_directory_twice_is_refused() -> None:
    """Two policies for one path would be ambiguous."""
    with pytest.raises(ConfigError, match="1 problem"):
        parse_config(WATCH + '[[watch]]\npath = "/etc/"\n')


def test_an_effective_configuration_can_be_stored_and_loaded() -> None:
    """The next scan needs the configuration of the last one."""
    config = parse_config(WATCH + 'exclude = ["*.swp", "ä"]\n')
    assert Config.from_canonical(config.canonical()) == config


def test_a_stored_configuration_stays_readable() -> None:
    """An earlier version took expressions that are refused now."""
    stored = parse_config(WATCH).canonical().replace("0 3 * * 0", "0 3 31 2 *")
    assert Config.from_canonical(stored).schedule.full == "0 3 31 2 *"


def test_a_weakened_configuration_has_another_digest() -> None:
    """A new exclude is visible in every later scan record."""
    assert parse_config(WATCH).digest != parse_config(WATCH + 'exclude = ["shadow"]').digest


@given(st.text(max_size=80))
def test_no_text_can_break_the_configuration_reader(text: str) -> None:
    """Any text gives a configuration or a ConfigError."""
    try:
        parse_config(text)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_a_cron_expression_runs_on_the_day_that_it_names() -> None:
    """0 3 * * 0 is Sunday."""
    from datetime import UTC, datetime

    now = datetime(2026, 11, 23, tzinfo=UTC)
    fire = datetime.fromtimestamp(parse_timetable("0 3 * * 0").after(now.timestamp()), UTC)
    assert fire.astimezone().strftime("%A") == "Sunday"
    with pytest.raises(NeverFiresError):
        parse_timetable("0 3 31 2 *")


def test_intervals() -> None:
    """Seconds, minutes, hours and days are valid; nothing else."""
    assert [interval_seconds(text) for text in ("5s", "15m", "2h", "1d")] == [5, 900, 7200, 86400]
    assert [interval_seconds(text) for text in ("0m", "m", "-1m", "1w", "* * * * *")] == [None] * 5
