"""From scans to a bundle that others can check."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shutil
import sqlite3
import subprocess
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fimscan.cli import main
from tests.conftest import Cli


def today() -> str:
    """The day of now: a run of the tests can go past midnight."""
    return datetime.now(UTC).date().isoformat()


@pytest.fixture
def bundle(cli: Cli) -> Path:
    """A bundle of today's scans; one of them found a change."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli.scan(4)
    out = cli.root / "bundle.zip"
    cli("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(out), code=0)
    return out


def test_the_system_tools_alone_can_check_it(cli: Cli, bundle: Path) -> None:
    """openssl and sha256sum suffice, as the bundle's README says; fimscan is not needed."""
    if shutil.which("openssl") is None or shutil.which("unzip") is None:
        pytest.skip("openssl and unzip are not installed")
    directory = cli.root / "unpacked"
    subprocess.run(["unzip", "-q", bundle, "-d", directory], check=True)
    check = "openssl pkeyutl -verify -rawin -pubin -inkey signer.pub.pem -in SHA256SUMS -sigfile SHA256SUMS.sig"
    subprocess.run(f"{check} && sha256sum -c --strict --quiet SHA256SUMS", shell=True, check=True, cwd=directory)


def test_verify_accepts_it_and_notices_a_changed_byte(cli: Cli, bundle: Path) -> None:
    """The exit code is 0 for the bundle as it is, and 25 with one byte changed or with another signer."""
    said = cli("verify", str(bundle), code=0).stdout
    fingerprint = next(line for line in said.splitlines() if line.startswith("Signed by")).partition("SHA256:")[2]
    cli("verify", str(bundle), "--fingerprint", f"SHA256:{fingerprint}", code=0)
    cli("verify", str(bundle), "--fingerprint", "SHA256:" + "00" * 32, code=25)
    data = bytearray(bundle.read_bytes())
    for position in (0, 10, len(data) // 2, len(data) - 1):
        data[position] ^= 1
        bundle.write_bytes(data)
        cli("verify", str(bundle), code=25)
        data[position] ^= 1


def test_the_change_is_in_it(bundle: Path, cli: Cli) -> None:
    """The row has the path and the verdict; the scan is in the ledger."""
    with zipfile.ZipFile(bundle) as archive:
        changes = archive.read("09-changes.csv").decode()
        scans = list(csv.DictReader(io.StringIO(archive.read("07-scans.csv").decode())))
    assert f"{cli.watched}/a" in changes and "unattributed" in changes
    assert len(scans) == 2


def test_changed_settings_are_in_it(cli: Cli) -> None:
    """Each has its old and new value and its effect, tied to the chain; a spreadsheet treats none as a formula."""
    cli.scan()
    cli.write_config(watch='exclude = ["=c"]\npolicy = "attributes"')
    cli.scan()
    cli.scan()
    out = cli.root / "bundle.zip"
    cli("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(out), code=0)
    with zipfile.ZipFile(out) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("04-policy/changes.csv").decode())))
        scans = list(csv.DictReader(io.StringIO(archive.read("07-scans.csv").decode())))
        readme = archive.read("00-README.txt").decode()
    said = {
        (row["scan"], row["setting"].rpartition(": ")[2], row["before"], row["after"], row["effect"]) for row in rows
    }
    assert said == {("2", "policy", "full", "attributes", "weaker"), ("2", "exclude", "", "'=c", "weaker")}
    digests = [scan["config_digest"] for scan in scans]
    assert {(row["config_before"], row["config_after"]) for row in rows} == {(digests[0], digests[1])}
    assert digests[1] == digests[2]
    assert "changed 1 time(s), 1 of them reducing coverage" in readme and "04-policy/changes.csv" in readme
    cli("verify", str(out), code=0)


def test_a_period_without_a_scan_is_an_error(cli: Cli) -> None:
    """Evidence of nothing would look like evidence; a mistyped date is an error, too."""
    cli.scan()
    for start, end in (("2001-01-01", "2001-01-31"), ("yesterday", today()), (today(), "2001-01-01")):
        done = cli("export", "pci-dss", "--from", start, "--to", end, "--out", str(cli.root / "x.zip"), code=15)
        assert len(done.stderr.splitlines()) == 1
    assert not (cli.root / "x.zip").exists()


def test_a_tampered_database_gives_no_clean_bundle(cli: Cli) -> None:
    """A digest that was edited in the database is noticed in the bundle, too."""
    cli.scan()
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE file_version SET sha256 = zeroblob(32) WHERE kind = 'file'")
    out = cli.root / "bundle.zip"
    cli("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(out), "--despite", code=25)
    assert "FAIL" in cli("verify", str(out), code=25).stdout


def test_what_was_altered_in_the_database_is_not_signed(cli: Cli, bundle: Path) -> None:
    """An answer that was rewritten: nothing is exported, or what failed is in the bundle."""
    assert "checked before this export: every row is as it was stored" in readme_of(bundle)
    bundle.unlink()
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE change SET attribution = replace(attribution, 'unattributed', 'confirmed')")
    arguments = ("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(bundle))
    refused = cli(*arguments, code=25)
    assert "the database does not verify" in refused.stderr and not bundle.exists()
    despite = cli(*arguments, "--despite", code=25)
    assert "Wrote " in despite.stdout and "the database does not verify" in despite.stderr
    assert "ALTERED OR DAMAGED" in readme_of(bundle)
    assert "change 1 was altered, or was never recorded" in cli("verify", str(bundle), code=25).stdout


def test_reports_show_the_fingerprint_of_the_key(cli: Cli) -> None:
    """Where there is a key that can be read; no report makes one, and none fails because of it."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli.scan(4)
    key = cli.root / "key.pem"
    assert "Signing key" not in cli("status", code=0).stdout and cli.diff()["signing_key"] is None
    assert not key.exists()
    cli("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(cli.root / "x.zip"), code=0)
    fingerprint = cli("key", "show", code=0).stdout.split()[0]
    assert f"Signing key: {fingerprint}\n" in cli("status", code=0).stdout
    assert json.loads(cli("status", "--format", "json", code=0).stdout)["signing_key"] == fingerprint
    assert cli.diff()["signing_key"] == fingerprint
    assert fingerprint in cli("diff", "--format", "html", code=4).stdout
    assert fingerprint in cli("--verbose", "diff", code=4).stderr
    short = fingerprint.removeprefix("SHA256:")[:19]
    assert fingerprint not in cli("diff", code=4).stdout
    assert f"; key {short}\n" in cli("diff", code=4).stdout
    (cli.watched / "a").write_text("another")
    assert f"; key {short}\n" in cli("scan", "--no-audit", code=4).stdout  # what cron mails
    key.write_text("no key")
    assert "Signing key" not in cli("status", code=0).stdout and cli.diff()["signing_key"] is None


def test_the_same_records_give_the_same_bytes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever they are exported: within a day of a period that goes on, and at any time after one that is over."""
    assessed(cli)
    day, name = datetime.now(UTC).date(), cli.root / "x.zip"
    end_ns = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + 86400) * 10**9

    def exported(now_ns: int, last: str) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: now_ns)
            patch.setattr(time, "time", lambda: now_ns / 1e9)
            period = ("--from", day.isoformat(), "--to", last)
            options = ("--sample", "5", "--seed", "1", "--copies", "--out", str(name))
            main.cli.main(
                args=["--config", str(cli.config), "export", "pci-dss", *period, *options], standalone_mode=False
            )
        return name.read_bytes()

    going_on = exported(end_ns - 3 * 10**9, "2100-01-01")
    assert "Covered:        only to " in readme_of(name)
    assert exported(end_ns - 10**9, "2100-01-01") == going_on
    over = exported(end_ns + 10**9, day.isoformat())
    assert "Covered: " not in readme_of(name)
    assert exported(end_ns + 10**18, day.isoformat()) == over


def test_bundles_that_follow_each_other(cli: Cli) -> None:
    """Each begins where the one before ends, has no change again, and shows if one between them is missing."""
    names = [str(cli.root / f"{number}.zip") for number in range(4)]
    cli.scan()
    for number, text in enumerate(("one", "two", "three")):
        (cli.watched / "a").write_text(text)
        cli.scan(4)
        begin = ("--since-bundle", names[number - 1]) if number else ("--from", today())
        cli("export", "pci-dss", *begin, "--to", "2100-01-01", "--out", names[number], code=0)
    found = [sorted(row["change"] for row in changes_of(name)) for name in names[:3]]
    assert found == [["1"], ["2"], ["3"]]
    said = cli("verify", names[1], "--previous", names[0], code=0).stdout
    assert f"ok    previous: begins where {names[0]} ends" in said
    with zipfile.ZipFile(names[0]) as archive:
        sums = hashlib.sha256(archive.read("SHA256SUMS")).hexdigest()
    assert sums in readme_of(Path(names[1])) and "?     previous: follows" in cli("verify", names[1], code=0).stdout
    skipped = cli("verify", names[2], "--previous", names[0], code=25).stdout
    assert "hours after its end: nothing shows that time" in skipped and "follows another bundle" in skipped
    assert (
        "hours before its end: both show that time" in cli("verify", names[0], "--previous", names[1], code=25).stdout
    )
    period = ("--since-bundle", names[2], "--to", "2100-01-01", "--out", names[3])
    (line,) = cli("export", "pci-dss", *period, code=15).stderr.splitlines()
    assert re.fullmatch(rf"fimscan: nothing is newer than {names[2]}, which ends \S+Z; run '.* scan' first", line)
    assert not Path(names[3]).exists()
    assert "either --from or --since-bundle" in cli("export", "pci-dss", "--from", today(), *period, code=15).stderr
    # Without what the bundle has seen last, this is not its database any more.
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE scan SET entry = replace(entry, '0', '1') WHERE id = 4")
    assert "does not verify" in cli("export", "pci-dss", *period, code=25).stderr
    data = bytearray(Path(names[2]).read_bytes())
    data[len(data) // 2] ^= 1
    Path(names[2]).write_bytes(data)
    cli("export", "pci-dss", *period, code=25)


def changes_of(bundle: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(bundle) as archive:
        return list(csv.DictReader(io.StringIO(archive.read("09-changes.csv").decode())))


def test_a_host_that_records_nothing_any_more_has_a_gap(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the period is over: nobody may look only at the time that was recorded."""
    cli.scan()
    out = cli.root / "x.zip"
    later = time.time_ns() + 9 * 86400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    period = ("--from", today(), "--to", "2100-01-01", "--out", str(out))
    main.cli.main(args=["--config", str(cli.config), "export", "pci-dss", *period], standalone_mode=False)
    with zipfile.ZipFile(out) as archive:
        *_, last = csv.DictReader(io.StringIO(archive.read("08-continuity.csv").decode()))
    assert last["status"] == "gap" and float(last["actual_hours"]) > 190


def readme_of(bundle: Path) -> str:
    with zipfile.ZipFile(bundle) as archive:
        return archive.read("00-README.txt").decode()


# --------------------------------------------------------------------------------------------------------------------
# What an assessor asks, with the ZIP alone


Tables = dict[str, list[dict[str, str]]]


def test_what_an_assessor_asks(cli: Cli) -> None:
    """Who approved it and on what ticket, who was alerted, when monitoring was blind, what happened to logs."""
    tables = assessed(cli)
    for check in (check_approval, check_alerts, check_coverage, check_logs):
        check(tables)


def assessed(cli: Cli) -> Tables:
    """The tables of a host with an output, a log, a change that was accepted, and one that waits."""
    logs = cli.root / "logs"
    logs.mkdir()
    (logs / "app.log").write_text("one\n")
    cli.write_config(
        extra=f'[[output]]\nname = "siem"\ntype = "file"\npath = "{cli.root}/alerts.json"',
        watch=f'[[watch]]\npath = "{logs}"\npolicy = "append-only"',
    )
    cli.scan()
    (cli.watched / "a").write_text("approved\n")
    (logs / "app.log").write_text("one\ntwo\n")
    cli.scan(4)
    cli("accept", f"{cli.watched}/a", "--ticket", "CHG-7", "--reason", "release 2", code=0)
    (cli.watched / "b").write_text("nobody knows\n")
    (logs / "app.log").write_text("")
    cli.scan(4)
    out = cli.root / "q.zip"
    cli("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(out), code=0)
    with zipfile.ZipFile(out) as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        return {name: list(csv.DictReader(io.StringIO(archive.read(name).decode()))) for name in names}


def check_approval(assessed: Tables) -> None:
    """The row of the change has it, and so has that of the decision; another change waits."""
    changes = {row["object"].rpartition("/")[2]: row for row in assessed["09-changes.csv"]}
    approved, waiting = changes["a"], changes["b"]
    assert (approved["status"], approved["ticket"], approved["decision_reason"]) == ("approved", "CHG-7", "release 2")
    assert approved["reviewer"] and approved["decided_utc"] and approved["severity"] == "high" and approved["set"]
    assert (waiting["status"], waiting["ticket"], waiting["reviewer"]) == ("pending", "", "")
    first, decision = assessed["11-dispositions.csv"]
    assert first["reason"] == "first scan"
    assert (decision["decision"], decision["ticket"]) == (approved["decision"], "CHG-7")
    assert decision["path"] == approved["object"] and decision["taken_back"] == "no"


def check_alerts(assessed: Tables) -> None:
    """Each message says which changes it is about, and when its receiver acknowledged it."""
    (route,) = assessed["04-policy/alert-routes.csv"]
    assert route["output"] == "siem" and route["destination"].endswith("/alerts.json")
    alerted = {row["changes"]: row for row in assessed["10-alerts.csv"] if row["kind"] == "changes"}
    numbers = {number for changes in alerted for part in changes.split() for number in _numbers(part)}
    assert numbers == {int(row["change"]) for row in assessed["09-changes.csv"]}
    assert all(row["state"] == "delivered" and row["acknowledged_utc"] for row in alerted.values())


def _numbers(part: str) -> range:
    first, _, last = part.partition("-")
    return range(int(first), int(last or first) + 1)


def check_coverage(assessed: Tables) -> None:
    """Every interval between comparisons; that audit was not looked at; when monitoring began."""
    before, *between = assessed["08-continuity.csv"]
    assert before["status"] == "not-monitored" and {row["status"] for row in between} == {"ok"}
    assert {row["cause"] for row in assessed["08-audit-coverage.csv"]} <= {"not-observed", "log-missing"}
    assert assessed["08-audit-coverage.csv"]
    assert assessed["03-hosts.csv"][0]["monitoring_began_utc"]
    assert [row["scan"] for row in assessed["14-time-sync.csv"]] == ["1", "2", "3"]
    assert {row["synchronized"] for row in assessed["14-time-sync.csv"]} <= {"yes", "no", ""}


def check_logs(assessed: Tables) -> None:
    """Growth is expected, truncation is not."""
    (log,) = assessed["13-log-integrity.csv"]
    assert log["path"].endswith("/app.log")
    assert (log["grown_or_rotated"], log["breaches"], log["status"]) == ("1", "truncated:1", "breached")
    kept = {row["kind"]: row for row in assessed["15-retention.csv"]}
    assert (kept["findings"]["kept_for"], kept["findings"]["removed_before_utc"]) == ("400d", "")
    assert kept["scans"]["oldest_utc"].startswith(today()[:4])


def test_without_a_fingerprint_nothing_is_simply_ok(cli: Cli, bundle: Path) -> None:
    """In JSON, too: anybody can sign with a key of their own."""
    said = cli("verify", str(bundle), code=0).stdout
    assert "Intact, signer not checked" in said and "ok    signer" not in said
    document = json.loads(cli("verify", str(bundle), "--format", "json", code=0).stdout)
    assert (document["ok"], document["result"]) == (None, "intact, signer not checked")
    assert {check["check"]: check["ok"] for check in document["checks"]}["signer"] is None
    known = json.loads(
        cli("verify", str(bundle), "--fingerprint", document["fingerprint"], "--format", "json", code=0).stdout
    )
    assert (known["ok"], known["result"]) == (True, "intact, signed by the expected key")
    other = json.loads(cli("verify", str(bundle), "--fingerprint", "0" * 64, "--format", "json", code=25).stdout)
    assert (other["ok"], other["result"]) == (False, "failed")


def test_a_sample_is_drawn_again_by_its_seed(cli: Cli, bundle: Path) -> None:
    """A seed that was not given is printed; a seed alone is a mistake."""
    period = ("export", "pci-dss", "--from", today(), "--to", today(), "--out", str(bundle))
    said = cli(*period, "--sample", "25", code=0).stdout
    seed = re.search(r"drawn with the seed (\d+)\.", said)
    assert seed is not None
    samples = []
    for _ in range(2):
        cli(*period, "--sample", "25", "--seed", seed[1], code=0)
        with zipfile.ZipFile(bundle) as archive:
            samples.append(archive.read("17-sample.csv"))
    assert samples[0] == samples[1] and samples[0].count(b"\n") == 2
    cli("verify", str(bundle), code=0)
    assert "--seed needs --sample" in cli(*period, "--seed", "1").stderr
