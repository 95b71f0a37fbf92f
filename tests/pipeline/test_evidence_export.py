"""From scans to a bundle that others can check."""

from __future__ import annotations

import csv
import io
import shutil
import sqlite3
import subprocess
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import Cli

TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture
def bundle(cli: Cli) -> Path:
    """A bundle of today's scans; one of them found a change."""
    cli.scan()
    (cli.watched / "a").write_text("other")
    cli.scan(4)
    out = cli.root / "bundle.zip"
    cli("export", "pci-dss", "--from", TODAY, "--to", TODAY, "--out", str(out), code=0)
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
    cli("export", "pci-dss", "--from", TODAY, "--to", TODAY, "--out", str(out), code=0)
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
    for start, end in (("2001-01-01", "2001-01-31"), ("yesterday", TODAY), (TODAY, "2001-01-01")):
        done = cli("export", "pci-dss", "--from", start, "--to", end, "--out", str(cli.root / "x.zip"), code=15)
        assert len(done.stderr.splitlines()) == 1
    assert not (cli.root / "x.zip").exists()


def test_a_tampered_database_gives_no_clean_bundle(cli: Cli) -> None:
    """A digest that was edited in the database is noticed in the bundle, too."""
    cli.scan()
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE file_version SET sha256 = zeroblob(32) WHERE kind = 'file'")
    out = cli.root / "bundle.zip"
    cli("export", "pci-dss", "--from", TODAY, "--to", TODAY, "--out", str(out), "--despite", code=0)
    assert "FAIL" in cli("verify", str(out), code=25).stdout


def test_what_was_altered_in_the_database_is_not_signed(cli: Cli, bundle: Path) -> None:
    """An answer that was rewritten: nothing is exported, or what failed is in the bundle."""
    assert "checked before this export: every row is as it was stored" in readme_of(bundle)
    bundle.unlink()
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE change SET attribution = replace(attribution, 'unattributed', 'confirmed')")
    arguments = ("export", "pci-dss", "--from", TODAY, "--to", TODAY, "--out", str(bundle))
    refused = cli(*arguments, code=25)
    assert "the database does not verify" in refused.stderr and not bundle.exists()
    cli(*arguments, "--despite", code=0)
    assert "ALTERED OR DAMAGED" in readme_of(bundle)
    assert "change 1 was altered, or was never recorded" in cli("verify", str(bundle), code=25).stdout


def readme_of(bundle: Path) -> str:
    with zipfile.ZipFile(bundle) as archive:
        return archive.read("00-README.txt").decode()
