"""Controls that fail, and hosts, as the commands show them."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import zipfile
from contextlib import closing

from fimscan.linux.host import this_host
from fimscan.model import ControlFailure, ControlKind
from fimscan.store import controls as control_store
from fimscan.store import schema
from fimscan.store.database import Database
from tests.conftest import Cli


def test_a_failed_scan_shows_until_one_finishes(cli: Cli) -> None:
    """The error is its report. The next scan says once that scans work again; status has both."""
    cli.scan()
    os.rename(cli.watched, cli.root / "away")
    cli("scan", "--no-audit", code=18)
    assert "Control failed (scan): scans: the scan failed: " in cli("status", code=0).stdout
    os.rename(cli.root / "away", cli.watched)
    (mended,) = json.loads(cli("scan", "--no-audit", "--strict", "--format", "json", code=0).stdout)["controls"]
    assert mended["kind"] == "scan" and mended["end"] is not None
    assert json.loads(cli("status", "--format", "json", code=0).stdout)["controls"] == [mended]
    assert cli.scan(0) == ""


def test_strict_adds_8_while_a_control_is_failed(cli: Cli) -> None:
    """Printed once, also where nothing changed; the exit code stays. Without --strict it is that of the changes."""
    cli.scan()
    failed = ControlFailure(
        kind=ControlKind.SELFTEST, subject="selftest", cause="not detected", start_ns=10**18, detected_ns=10**18
    )
    with closing(opened(cli)) as database, database.begin() as session:
        control_store.add(session, [failed])
    printed = cli("scan", "--no-audit", code=0).stdout
    assert printed == "Control failed (selftest): selftest: not detected; since 2001-09-09 01:46 UTC\n"
    (cli.watched / "a").write_text("other")
    assert "Control" not in cli("scan", "--no-audit", "--strict", code=12).stdout
    assert cli("scan", "--no-audit", "--strict", code=8).stdout == ""


def test_people_note_what_they_did(cli: Cli) -> None:
    """Who, when, ticket and root cause, for several failures at once; a later note is added to an earlier one."""
    cli.scan()
    failures = [
        ControlFailure(kind=ControlKind.AUDIT, subject=name, cause="no rule", start_ns=10**18, detected_ns=10**18)
        for name in ("/a", "/b", "/c")
    ]
    with closing(opened(cli)) as database, database.begin() as session:
        control_store.add(session, failures)
    assert cli("control", "list", code=0).stdout.count("no rule") == 3
    cli("control", "note", "1", "2", "--remediation", "loaded", "--root-cause", "=cron", "--ticket", "INC-7", code=0)
    assert "loaded" in cli("control", "note", "1", "--remediation", "locked", code=0).stdout
    first, second, third = json.loads(cli("control", "list", "--format", "json", code=0).stdout)["controls"]
    assert [note["remediation"] for note in first["notes"]] == ["loaded", "locked"]
    assert (first["notes"][0]["ticket"], first["notes"][0]["root_cause"]) == ("INC-7", "=cron")
    assert len(second["notes"]) == 1 and second["notes"][0]["user"] and not third["notes"]
    status = cli("status", code=0).stdout
    assert "(INC-7): loaded; root cause: =cron" in status and "control list' has their numbers" in status
    assert json.loads(cli("status", "--format", "json", code=0).stdout)["controls"] == [first, second, third]
    assert "no control failure 9" in cli("control", "note", "3", "9", "--remediation", "x", code=15).stderr
    assert "is empty" in cli("control", "note", "3", "--remediation", " ", code=15).stderr
    cli("verify", "--db", code=0)
    check_noted_evidence(cli)
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE control_note SET ticket = 'INC-8' WHERE id = 2")
    assert "note 2 on a control failure" in cli("verify", "--db", code=25).stdout


def check_noted_evidence(cli: Cli) -> None:
    """The bundle has each note, the newest beside its failure; its report names those without one."""
    bundle = cli.root / "x.zip"
    cli("export", "pci-dss", "--from", "2001-09-01", "--to", "2100-01-01", "--out", str(bundle), code=0)
    with zipfile.ZipFile(bundle) as archive:
        failures, notes = (
            list(csv.DictReader(io.StringIO(archive.read(f"12-control-{name}.csv").decode())))
            for name in ("failures", "notes")
        )
        report = archive.read("01-report.html").decode()
    known = [(row["notes"], row["remediation"], row["ticket"]) for row in failures]
    assert known == [("2", "locked", ""), ("1", "loaded", "INC-7"), ("0", "", "")]
    assert [(row["failure"], row["note"], row["root_cause"]) for row in notes] == [
        ("1", "1", "'=cron"),
        ("1", "3", ""),
        ("2", "2", "'=cron"),
    ]
    assert report.count("no remediation by people is recorded") == 1 and "INC-7): loaded" in report
    assert "records are as" in cli("verify", str(bundle), code=0).stdout


def test_no_import_into_a_database_that_was_emptied(cli: Cli) -> None:
    """An imported baseline is a first scan, too."""
    cli.scan()
    (cli.root / f"{cli.database.name}.head").rename(cli.root / "kept")
    for path in cli.root.glob(f"{cli.database.name}*"):
        path.unlink()
    opened(cli).close()
    (cli.root / "kept").rename(f"{cli.database}.head")
    (cli.root / "sums").write_text(f"{'0' * 64}  {cli.watched}/a\n")
    assert "knows of scan 1" in cli("import", "auto", str(cli.root / "sums"), code=24).stderr


def opened(cli: Cli) -> Database:
    """The database, as the commands open it."""
    return Database(f"sqlite:///{cli.database}", host=this_host())


def test_a_copied_database_is_adopted_by_an_option(cli: Cli) -> None:
    """A host whose recorded id is lost is another host: refused in one line, and taken over with the option."""
    cli.scan()
    with closing(opened(cli)) as database, database.begin() as session:
        session.execute(schema.host.update().values(identity="machine:other"))
    refused = cli("scan", "--no-audit", code=24).stderr
    assert refused.count("\n") == 1 and "baseline of another host" in refused and "scan --adopt-host" in refused
    cli("diff", code=24)
    assert cli("scan", "--no-audit", "--adopt-host", code=0).stdout.startswith("Host adopted: ")
    assert cli.scan(0) == ""
