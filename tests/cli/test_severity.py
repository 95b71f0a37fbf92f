"""Severity and category of a change, in every report format."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from datetime import UTC, datetime

import pytest

from tests.conftest import Cli
from tests.support import page_data, page_paths


@pytest.fixture
def changed(cli: Cli) -> Cli:
    """Two files changed, one of them below a watch of its own."""
    configure(cli, "low", "critical")
    (cli.watched / "keys").mkdir()
    (cli.watched / "keys" / "k").write_text("secret")
    cli.scan()
    (cli.watched / "a").write_text("changed")
    (cli.watched / "keys" / "k").write_text("changed")
    cli.scan(4)
    return cli


def configure(cli: Cli, outer: str, inner: str) -> None:
    cli.write_config(
        watch=f'severity = "{outer}"\ncategory = "application"\n'
        f'[[watch]]\npath = "{cli.watched}/keys"\nseverity = "{inner}"\ncategory = "keys"'
    )


def severities(cli: Cli, *arguments: str) -> dict[str, tuple[str | None, str | None]]:
    """By the name of the file."""
    return {
        row["path"].rpartition("/")[2]: (row["severity"], row["category"]) for row in cli.diff(*arguments)["changes"]
    }


def test_the_innermost_watch_decides(changed: Cli) -> None:
    """In JSON, NDJSON, CSV and explain."""
    wanted = {"a": ("low", "application"), "k": ("critical", "keys")}
    found = severities(changed)
    assert {name: found[name] for name in wanted} == wanted
    assert severities(changed, "--from", "1", "--to", "2") == found
    assert severities(changed, "--history", "--path", f"{changed.watched}/a") == {"a": wanted["a"]}
    lines = changed("diff", "--format", "ndjson").stdout.splitlines()
    assert {json.loads(line)["severity"] for line in lines} == {"low", "critical"}
    cells = list(csv.DictReader(io.StringIO(changed("diff", "--format", "csv").stdout)))
    assert {(cell["severity"], cell["category"]) for cell in cells} == set(wanted.values())
    explained = json.loads(changed("explain", f"{changed.watched}/keys/k", "--format", "json").stdout)
    assert explained["change"]["severity"] == "critical"


def test_a_reader_sees_the_severity_before_the_path(changed: Cli) -> None:
    """In the text of scan, diff and explain, and on the HTML page."""
    (changed.watched / "keys" / "k").write_text("changed again")
    scanned = changed.scan(4)
    for text in (scanned, changed("diff", "--flat").stdout, changed("explain", f"{changed.watched}/keys/k").stdout):
        assert re.search(rf"^modified    #\d+ +critical  {changed.watched}/keys/k$", text, re.MULTILINE), text
    assert re.search(rf" low       {changed.watched}/a$", changed("diff", "--flat").stdout, re.MULTILINE)
    source = changed("diff", "--format", "html").stdout
    data = page_data(source)
    shown = dict(zip(page_paths(source), data["rows"]["severity"], strict=True))
    assert data["severities"][shown[f"{changed.watched}/keys/k"]] == "critical"
    assert data["severities"][shown[f"{changed.watched}/a"]] == "low"


def test_the_current_configuration_holds_for_earlier_changes(changed: Cli) -> None:
    """A changed severity needs no new scan; without a configuration, that of the last scan is used."""
    before = severities(changed)
    configure(changed, "high", "medium")
    assert (severities(changed)["a"][0], severities(changed)["k"][0]) == ("high", "medium")
    changed.config.unlink()
    document = json.loads(changed("--db", f"sqlite:///{changed.database}", "diff", "--format", "json").stdout)
    assert {row["path"].rpartition("/")[2]: (row["severity"], row["category"]) for row in document["changes"]} == before


def test_what_no_watch_covers_has_no_severity(changed: Cli) -> None:
    """Unknown is null."""
    changed.config.write_text(
        f'[database]\nurl = "sqlite:///{changed.database}"\n[[watch]]\npath = "{changed.watched}/keys"\n'
    )
    assert severities(changed)["a"] == (None, None)


def test_evidence_has_severity_and_category(changed: Cli) -> None:
    """In its table and in its JSON."""
    bundle, today = changed.root / "x.zip", datetime.now(UTC).date().isoformat()
    changed("export", "pci-dss", "--from", today, "--to", today, "--out", str(bundle), code=0)
    with zipfile.ZipFile(bundle) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist()}
        table = list(csv.DictReader(io.StringIO(archive.read(names["09-changes.csv"]).decode())))
        document = json.loads(archive.read(names["09-changes.json"]))
    assert {("low", "application"), ("critical", "keys")} == {(row["severity"], row["category"]) for row in table}
    assert {row["severity"] for row in document["changes"]} == {"low", "critical"}
