"""Plans: what is expected is recorded and reported as anything else, and accepted by one command."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from fimscan.cli.plan import moment
from fimscan.cli.reviewer import current_reviewer
from fimscan.errors import UsageError
from fimscan.store.database import Database
from tests.cli.screen import Running
from tests.conftest import Cli, rows
from tests.evidence.site import Site, pretended_audit
from tests.pipeline.test_audit_reading import event


def by(cli: Cli, site: Site, name: str, serial: int, user: str = "admin", auid: int = 54321) -> None:
    """Change a file, with the records of a process of this login user."""
    records = event(cli.watched / name, serial, pid=4242 + auid).replace("auid=1000", f"auid={auid}")
    site.append(records.replace("\n", f'\x1dAUID="{user}"\n', 1))
    (cli.watched / name).write_text(f"by {user}")


def begin(cli: Cli) -> Site:
    """A baseline, with audit that seems to watch everything."""
    site = Site(
        root=cli.root, database=Database(f"sqlite:///{cli.database}", host=os.uname().nodename), log=cli.root / "log"
    )
    for name in ("site.conf", "other.conf", "passwd"):
        (cli.watched / name).write_text("x")
    site.append(event(cli.watched / "a", 0, at=time.time() - 60))
    with pretended_audit():
        site.scan()
    return site


def plans(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    """``plan list`` in JSON."""
    found: list[dict[str, Any]] = json.loads(cli("plan", "list", "--format", "json", *arguments, code=0).stdout)[
        "plans"
    ]
    return found


def opened(cli: Cli, *arguments: str, code: int = 0) -> str:
    """Open a plan of admin's for two files and a pattern."""
    paths = [str(cli.watched / "site.conf"), "--paths", str(cli.watched / "never.conf"), "--paths", "/nowhere/*.conf"]
    done = cli(
        *("plan", "open", "--ticket", "CHG-17", "--until", "2h", "--paths", *paths, "--user", "admin", *arguments),
        code=code,
    )
    return done.stdout + done.stderr


def test_a_plan_from_opening_to_closing(cli: Cli) -> None:
    """37 as planned, 1 extra, 2 that never happened: in diff, JSON, the list; then all of it is accepted at once."""
    site = begin(cli)
    assert "Plan 1 is open until" in opened(cli)
    by(cli, site, "site.conf", 1)
    by(cli, site, "passwd", 2)
    by(cli, site, "other.conf", 3, "eve", 54322)
    with pretended_audit():
        site.scan()
    document = cli.diff()
    assert sorted(rows(document)) == [("modified", "other.conf"), ("modified", "passwd"), ("modified", "site.conf")]
    verdicts = {row["attribution"]["verdict"] for row in document["changes"]}
    assert verdicts == {"confirmed"}
    assert {os.path.basename(row["path"]): row["plan"] for row in document["changes"]} == {
        "other.conf": None,
        "passwd": None,
        "site.conf": 1,
    }
    site_conf = str(cli.watched / "site.conf")
    for options in (("--path", site_conf), ("--from", "1"), ("--verdict", "confirmed")):
        part = {row["path"]: row["plan"] for row in cli.diff(*options)["changes"]}
        assert part[site_conf] == 1, "a report of a part says so, too"
    (found,) = document["plans"]
    assert (found["as_planned"], [os.path.basename(item["path"]) for item in found["extra"]]) == (1, ["passwd"])
    assert [os.path.basename(item["item"]) for item in found["missing"]] == ["never.conf"]
    line = "/usr/bin/tool, CHG-17: 1 as planned, 1 extra, 1 not yet"
    assert line.removeprefix("/usr/bin/") in cli("diff", code=4).stdout
    assert plans(cli) == document["plans"]
    done = cli("accept", "--plan", "1", "--shown", document["shown"], code=0)
    assert "Accepted 1 path" in done.stdout
    assert sorted(name for _, name in rows(cli.diff())) == ["other.conf", "passwd"]
    history = cli.diff("--history", "--path", str(cli.watched / "site.conf"))["changes"][-1]["disposition"]
    assert (history["plan"], history["ticket"], history["category"]) == (1, "CHG-17", "change-control")
    (found,) = plans(cli)
    assert (found["as_planned"], found["accepted"], found["waiting"]) == (1, 1, 0)
    assert "1 not yet" in cli("plan", "list", code=0).stdout
    assert "1 that never happened" in cli("plan", "close", "1", code=0).stdout
    assert plans(cli) == [] and plans(cli, "--all")[0]["state"] == "closed"
    assert "closed already" in cli("plan", "close", "1", code=15).stderr
    assert cli.diff()["plans"] == []
    cli("verify", "--db", code=0)
    site.database.close()


def test_what_is_not_as_planned_stays(cli: Cli) -> None:
    """A change by another user, one after the end, and one of which nobody is confirmed."""
    site = begin(cli)
    opened(cli)
    by(cli, site, "site.conf", 1, "eve", 54322)
    with pretended_audit():
        site.scan()
    shown = cli.diff()["shown"]
    assert "no change matches" in cli("accept", "--plan", "1", "--shown", shown, code=15).stderr
    assert "no plan 9" in cli("accept", "--plan", "9", "--shown", shown, code=15).stderr
    cli("plan", "close", "1", code=0)
    by(cli, site, "other.conf", 2)
    with pretended_audit():
        site.scan()
    assert len(cli.diff()["changes"]) == 2
    site.database.close()


def test_an_expired_plan_is_told_until_it_is_closed(cli: Cli) -> None:
    """What was planned and did not happen is not forgotten."""
    site = begin(cli)
    cli("plan", "open", "--ticket", "C", "--until", "1s", "--paths", str(cli.watched / "never"), "--exe", "/x", code=0)
    time.sleep(1.1)
    (found,) = plans(cli)
    assert found["state"] == "expired"
    assert "/x, C: 0 as planned, 1 that never happened" in cli("diff", code=0).stdout
    cli("plan", "close", "1", code=0)
    assert "never happened" not in cli("diff", code=0).stdout
    site.database.close()


def test_a_plan_of_many_paths_is_a_short_text(cli: Cli) -> None:
    """It names the first ones; JSON has all."""
    cli.scan()
    many = [word for number in range(40) for word in ("--paths", f"/srv/{number}.conf")]
    said = cli("plan", "open", "--ticket", "C", "--until", "2h", *many, "--exe", "/x", code=0).stdout
    assert "/srv/4.conf, 35 more paths; with /x." in said
    assert "/srv/5.conf" not in said + cli("plan", "list", code=0).stdout
    (found,) = plans(cli)
    assert len(found["paths"]) == 40


@pytest.mark.parametrize("rule", ["warn", "refuse"])
def test_own_plans(cli: Cli, rule: str) -> None:
    """Who opens a plan for himself, or accepts what he planned, is warned or refused."""
    site = begin(cli)
    reviewer = current_reviewer()
    assert reviewer.number is not None
    cli.write_config(extra=f'[review]\nown_changes = "{rule}"\n')
    code = 15 if rule == "refuse" else 0
    said = opened(cli, "--user", reviewer.name, code=code)
    assert "about your own changes" in said and (rule == "warn" or "Another person has to open it" in said)
    if rule == "refuse":
        # By program, so that the user shows only later.
        paths = ("--paths", str(cli.watched / "site.conf"))
        cli("plan", "open", "--ticket", "C", "--until", "2h", *paths, "--exe", "/usr/bin/tool", code=0)
    by(cli, site, "site.conf", 1, reviewer.name, reviewer.number)
    with pretended_audit():
        site.scan()
    done = cli("accept", "--plan", "1", "--shown", cli.diff()["shown"], code=code)
    assert "may be your own" in done.stderr
    site.database.close()


def test_a_review_takes_what_is_as_planned_at_once(cli: Cli) -> None:
    """As one item, with the plan's ticket."""
    site = begin(cli)
    opened(cli)
    by(cli, site, "site.conf", 1)
    by(cli, site, "passwd", 2)
    with pretended_audit():
        site.scan()
    site.database.close()
    with Running(cli.command("review")) as running:
        shown = running.wait("1/2  as planned")
        assert "tool, CHG-17: 1 as planned, 1 extra, 1 not yet" in shown[1]
        running.press("a", "1 change accepted (decision 2)")
        os.write(running.terminal, b"q")
        running.end()
    assert rows(cli.diff()) == [("modified", "passwd")]
    last = json.loads(cli("status", "--format", "json", code=0).stdout)["accepted"][-1]
    assert (last["plan"], last["ticket"]) == (1, "CHG-17")


def test_what_cannot_be_planned(cli: Cli) -> None:
    """Nothing, by nobody, until yesterday; and before there is a baseline."""
    cli("scan", "--no-audit", code=0)
    until, paths, user = ("--until", "2h"), ("--paths", "/etc/x"), ("--user", "admin")
    for wrong, words in (
        ((*until, *user), "what will change"),
        ((*until, *paths), "who will change it"),
        (("--until", "2001-01-01", *paths, *user), "over already"),
        (("--until", "soon", *paths, *user), "no time"),
    ):
        assert words in cli("plan", "open", "--ticket", "T", *wrong, code=15).stderr
    assert "There is no open plan." in cli("plan", "list", code=0).stdout


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles"])
def test_the_end_of_a_plan(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """A time of day is the next such time in the local zone, across a change of the clocks as well."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        now = int(datetime(2026, 10, 24, 20, 30).timestamp())  # noqa: DTZ001  # the local zone

        def local(text: str) -> str:
            return datetime.fromtimestamp(moment(text, now * 10**9) / 10**9).isoformat()  # noqa: DTZ006

        assert local("21:00") == "2026-10-24T21:00:00"
        assert local("20:30") == local("20:30") == "2026-10-25T20:30:00"
        assert local("2026-10-26T07:00") == "2026-10-26T07:00:00"
        assert moment("2026-10-26T07:00Z", 0) == int(datetime(2026, 10, 26, 7, tzinfo=UTC).timestamp()) * 10**9
        assert moment("2h", now * 10**9) == (now + 7200) * 10**9
        for wrong in ("", "25:00", "soon", "18:00:00:00"):
            with pytest.raises(UsageError, match="is no time"):
                moment(wrong, now * 10**9)
    finally:
        monkeypatch.undo()
        time.tzset()
