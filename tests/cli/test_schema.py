"""``fimscan schema``, and validation of all printed documents."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from fimscan.report.schema import schema_names
from tests.conftest import Cli
from tests.schemas import validate

LOG = Path(__file__).parents[1] / "data" / "logs" / "quoted-values.log"
AIDE = """\
@@begin_db
# Time of generation was 2021-03-04 05:06:07
@@db_spec name lname attr perm uid gid size mtime ctime inode lcount sha256
{watched} 0 4029 40755 0 0 4096 MTYxNDgzNDM2Nw== MTYxNDgzNDM2Nw== 12 3 0
{watched}/a 0 1073745853 100644 0 7 3 MTYxNDgzNDM2Nw== MTYxNDgzNDM2Nw== 13 1 {sha256}
@@end_db
"""


def test_schema_lists_the_names_and_prints_one(cli: Cli) -> None:
    """Neither needs a configuration or a database."""
    cli.config.unlink()
    names = cli("schema", code=0).stdout.split()
    assert names == schema_names()
    for name in names:
        schema = json.loads(cli("schema", name, code=0).stdout)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["title"] == f"fimscan.{name}/1"
    assert cli("diff", "--schema", code=0).stdout == cli("schema", "diff", code=0).stdout


def test_an_unknown_schema_is_one_line(cli: Cli) -> None:
    """With exit code 15, and what to do."""
    (line,) = cli("schema", "dif", code=15).stderr.splitlines()
    assert "'dif'" in line and "schema' lists them" in line


def printed(cli: Cli, *arguments: str) -> set[str]:
    """The names of the schemas that a command's output was validated by."""
    done = cli(*arguments)
    assert done.returncode < 14 and done.stdout, done.stderr
    lines = done.stdout.splitlines() if "ndjson" in arguments else [done.stdout]
    return {validate(json.loads(line)) for line in lines}


@pytest.mark.parametrize("reread", ["always", "ctime"])
def test_every_document_validates_against_its_schema(cli: Cli, reread: str) -> None:
    """Every printed document is valid by its shipped schema, and every schema has a command."""
    output = f'[[output]]\nname = "o"\ntype = "file"\npath = "{cli.root}/out"\nall_is_well = true\n'
    cli.write_config(output, watch=f'reread = "{reread}"')
    (cli.root / "aide").write_text(
        AIDE.format(watched=cli.watched, sha256="ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")
    )
    json_form, lines = ("--format", "json"), ("--format", "ndjson")
    found = printed(cli, "explain-path", str(cli.watched / "a"), *json_form)
    found |= printed(cli, "packages", "check", "/usr/bin/env", str(cli.root / "none"), *json_form)
    found |= printed(cli, "import", "aide", str(cli.root / "aide"), *json_form)
    found |= printed(cli, "scan", "--no-audit", *json_form)
    found |= printed(cli, "accept", str(cli.watched / "a"), "--ticket", "T-1", *json_form)
    (cli.watched / "b").write_text("changed")
    (cli.watched / "n\udcff").write_text("new")
    (cli.watched / "c").unlink()
    cli.write_config(f'{output}[live]\nmax_size = "1M"', watch=f'reread = "{reread}"\nexclude = ["*.swp"]')
    found |= printed(cli, "scan", "--no-audit", *json_form)
    found |= printed(cli, "diff", *json_form) | printed(cli, "diff", *lines)
    found |= printed(cli, "reject", str(cli.watched / "b"), "--category", "malware", *json_form)
    found |= printed(cli, "diff", *json_form) | printed(cli, "diff", *lines)
    found |= printed(cli, "explain", str(cli.watched / "b"), *json_form)
    found |= printed(cli, "undo", "3", *json_form)
    planned = ("--paths", str(cli.watched), "--package", "p", "--user", "u", "--exe", "/x")
    found |= printed(cli, "plan", "open", "--ticket", "T", "--until", "1h", *planned, *json_form)
    found |= printed(cli, "plan", "list", *json_form) | printed(cli, "plan", "close", "1", *json_form)
    for path in (cli.watched / "a", cli.watched / "n\udcff", cli.watched / "x.swp", cli.root):
        found |= printed(cli, "explain-path", str(path), *json_form)
    found |= printed(cli, "status", *json_form) | printed(cli, "status", "--vouched", *json_form)
    found |= printed(cli, "doctor", *json_form)
    cli.write_config(f"{output}[audit]\nenabled = false\n", watch=f'reread = "{reread}"')
    found |= printed(cli, "scan", *json_form) | printed(cli, "selftest", *json_form)
    found |= printed(cli, "audit", "events", str(LOG), *json_form)
    found |= printed(cli, "audit", "events", str(LOG), *lines)
    found |= printed(cli, "verify", "--db", *json_form) | printed(cli, "db", "prune", "--dry-run", *json_form)
    found |= printed(cli, "notify", "--list", *json_form) | printed(cli, "control", "list", *json_form)
    found |= {validate(json.loads(line)) for line in (cli.root / "out").read_text().splitlines()}
    bundle, today = cli.root / "evidence.zip", datetime.now(UTC).date().isoformat()
    cli("export", "pci-dss", "--from", today, "--to", today, "--out", str(bundle), code=0)
    found |= printed(cli, "verify", str(bundle), *json_form) | printed(cli, "key", "show", *json_form)
    cli("verify", str(bundle), code=0)  # after all of this, the journal binds every row that the bundle shows
    with zipfile.ZipFile(bundle) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("09-changes.json"))
        document = json.loads(archive.read(name))
        found.add(validate(json.loads(archive.read("00-manifest.json"))))
    assert document["changes"]
    found.add(validate(document))
    assert found == set(schema_names())
