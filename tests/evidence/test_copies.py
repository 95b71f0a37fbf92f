"""``09-changes.ecs.ndjson`` and ``.ocsf.ndjson``: the changes once more, in schemas that SIEMs know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from msgspec.structs import replace
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from fimscan.evidence.verify import verify_bundle
from fimscan.signing import SigningKey
from tests.evidence.conftest import make_input
from tests.evidence.test_assessment import Bundle, hostile_input
from tests.outputs.test_formats import ecs_fields, flat

NAMES = ("09-changes.ecs.ndjson", "09-changes.ocsf.ndjson")


def copies(bundle: Bundle) -> list[list[dict[str, Any]]]:
    return [[json.loads(line) for line in bundle.members[name].splitlines()] for name in NAMES]


def test_without_the_option_they_are_not_there(tmp_path: Path, key: SigningKey) -> None:
    """Neither as files nor in the README."""
    bundle = Bundle(make_input(), key, tmp_path / "x.zip")
    assert not set(NAMES) & set(bundle.members)
    assert ".ndjson" not in bundle.members["00-README.txt"].decode()


def test_each_change_is_a_line(tmp_path: Path, key: SigningKey) -> None:
    """With its verdict and its decision, named in README and index, without command lines and ranks."""
    bundle = Bundle(make_input(copies=True), key, tmp_path / "x.zip")
    assert verify_bundle(tmp_path / "x.zip").ok
    ecs, ocsf = copies(bundle)
    of_ecs = [document["fimscan"]["changes"][0] for document in ecs]
    of_ocsf = [document["unmapped"]["change"] for document in ocsf]
    for changes in (of_ecs, of_ocsf):
        found = [(change["id"], change["verdict"]) for change in changes]
        assert found == [(17, "confirmed"), (18, "contested"), (19, "unattributed")]
        assert changes[0]["disposition"]["ticket"] == "CHG-1"
        assert all("look" not in change for change in changes)
    assert ecs[0]["process"]["executable"] == "/usr/bin/vim"
    assert "process" not in ecs[1]  # one of two candidates is not called the one that did it
    for name in NAMES:
        assert b"S3cret" not in bundle.members[name]
        assert name in {row["file"] for row in bundle.lines("02-evidence-index.csv").values()}
        assert f"  {name}" in bundle.members["00-README.txt"].decode()


def test_they_are_valid(tmp_path: Path, key: SigningKey) -> None:
    """OCSF by its published schema; ECS by its list of fields."""
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0")).get_class_schema(
        class_name="file_activity", profiles=["host"]
    )
    validator, known = jsonschema.Draft202012Validator(schema), ecs_fields()
    for data in (make_input(copies=True), replace(hostile_input(), copies=True)):
        ecs, ocsf = copies(Bundle(data, key, tmp_path / "x.zip"))
        assert len(ecs) == len(ocsf) > 0
        assert [error.message for event in ocsf for error in validator.iter_errors(event)] == []
        names = {name for document in ecs for name, _ in flat(document) if not name.startswith("fimscan.")}
        assert names <= set(known)
