"""A changed configuration is reported, with whether it weakens monitoring."""

from __future__ import annotations

import json

import jsonschema
import pytest

from fimscan.config import parse_config
from fimscan.model import Effect
from fimscan.pipeline.config_changes import differences
from tests.conftest import Cli

ETC = '[[watch]]\npath = "/etc"\n'
OUTPUT = '[[output]]\nname = "siem"\ntype = "file"\npath = "/x"\n'
LOGS = ETC + 'policy = "append-only"\n'


def judged(before: str, after: str) -> list[tuple[str, Effect]]:
    return [(item.key, item.effect) for item in differences(parse_config(before), parse_config(after))]


@pytest.mark.parametrize(
    ("weak", "strong", "key"),
    [
        (ETC, ETC + '[[watch]]\npath = "/srv"\n', "[[watch]] /srv"),
        (ETC + 'exclude = ["shadow"]', ETC, "[[watch]] /etc: exclude"),
        (ETC + 'exclude = ["*"]', ETC + 'exclude = ["*", "!shadow"]', "[[watch]] /etc: exclude"),
        (ETC + 'policy = "attributes"', ETC, "[[watch]] /etc: policy"),
        (ETC + 'policy = "append-only"', ETC + 'policy = "full"', "[[watch]] /etc: policy"),
        (ETC + 'digests = ["xxh3_128"]', ETC, "[[watch]] /etc: digests"),
        (ETC + 'reread = "ctime"', ETC, "[[watch]] /etc: reread"),
        (LOGS + "keep = 4", LOGS, "[[watch]] /etc: keep"),
        (LOGS + "keep = 4", LOGS + "keep = 9", "[[watch]] /etc: keep"),
        ("[audit]\nenabled = false\n" + ETC, ETC, "audit.enabled"),
        ("[audit]\nlogs = []\n" + ETC, ETC, "audit.logs"),
        (ETC, "[scan]\ncross_mounts = true\n" + ETC, "scan.cross_mounts"),
        ("[live]\nenabled = false\n" + ETC, ETC, "live.enabled"),
        ('[schedule]\nscan = "2h"\n' + ETC, '[schedule]\nscan = "15m"\n' + ETC, "schedule.scan"),
        ('[scan]\nfile_timeout = "30s"\n' + ETC, '[scan]\nfile_timeout = "1h"\n' + ETC, "scan.file_timeout"),
        ('[scan]\nstall_timeout = "10s"\n' + ETC, ETC, "scan.stall_timeout"),
        ('[scan]\nmax_holes = "9G"\n' + ETC, '[scan]\nmax_holes = "0"\n' + ETC, "scan.max_holes"),
        (ETC, ETC + OUTPUT, "[[output]] siem"),
        (ETC + OUTPUT + 'sets = "look"', ETC + OUTPUT, "[[output]] siem: sets"),
        (ETC + OUTPUT + 'min_severity = "high"', ETC + OUTPUT, "[[output]] siem: min_severity"),
        (ETC + OUTPUT + 'verdicts = ["likely"]', ETC + OUTPUT, "[[output]] siem: verdicts"),
        (ETC + OUTPUT + "problems = false", ETC + OUTPUT, "[[output]] siem: problems"),
    ],
)
def test_what_weakens_and_what_strengthens(weak: str, strong: str, key: str) -> None:
    """In one direction it is weaker, in the other it is stronger."""
    assert judged(strong, weak) == [(key, Effect.WEAKER)]
    assert judged(weak, strong) == [(key, Effect.STRONGER)]


def test_a_section_within_another_one_is_compared_with_it() -> None:
    """A new watch can weaken, since the innermost covers its files; removing one can change nothing."""
    inner = '[[watch]]\npath = "/etc/ssh"\npolicy = "attributes"\n'
    assert ("[[watch]] /etc/ssh: policy", Effect.WEAKER) in judged(ETC, ETC + inner)
    assert ("[[watch]] /etc/ssh: policy", Effect.STRONGER) in judged(ETC + inner, ETC)
    same = '[[watch]]\npath = "/etc/ssh"\n'
    assert judged(ETC + same, ETC) == [("[[watch]] /etc/ssh", Effect.OTHER)]


def test_passwords_are_not_shown() -> None:
    """The URL of the database may have one."""
    (found,) = differences(parse_config(ETC), parse_config('[database]\nurl = "postgresql://u:secret@h/d"\n' + ETC))
    assert "secret" not in (found.after or "") and "***" in (found.after or "")


def test_a_changed_configuration_is_reported_everywhere(cli: Cli) -> None:
    """A scan reports it once, diff until it is accepted, and status; the exit code depends on files alone."""
    cli.scan()
    cli.write_config(watch='exclude = ["c"]\npolicy = "attributes"')
    words = "and reduces coverage:"
    assert f"since the last scan {words}" in cli("status", code=0).stdout
    output = cli.scan(0)
    assert f"with scan 2 {words}" in output
    assert f"weaker    [[watch]] {cli.watched}: policy: full -> attributes" in output
    assert f"weaker    [[watch]] {cli.watched}: exclude: added (c)" in output
    assert "configuration" not in cli.scan(0)
    assert "policy: full -> attributes" in cli("diff", code=0).stdout
    assert "policy: full -&gt; attributes" in cli("diff", "--format", "html", code=0).stdout
    assert "policy: full -> attributes" in cli("status", code=0).stdout
    document = cli.diff()
    jsonschema.validate(document, json.loads(cli("diff", "--schema").stdout))
    configuration = document["configuration"]
    assert configuration["weaker"] and configuration["from"] != configuration["to"]
    assert [change["scan"] for change in configuration["changes"]] == [2]
    assert {d["effect"] for d in configuration["changes"][0]["differences"]} == {"weaker"}
    cli("accept", "--all", code=0)
    assert "policy" not in cli("diff", code=0).stdout


def test_a_configuration_that_was_weak_for_a_while_is_not_forgotten(cli: Cli) -> None:
    """Both ends have the same configuration; the changes in between are reported all the same."""
    cli.scan()
    strong = cli.config.read_text()
    cli.write_config(watch='exclude = ["c"]')
    cli.scan(0)
    cli.config.write_text(strong)
    cli.scan(0)
    configuration = cli.diff()["configuration"]
    assert configuration["from"] == configuration["to"] and configuration["weaker"]
    assert [change["weaker"] for change in configuration["changes"]] == [True, False]
