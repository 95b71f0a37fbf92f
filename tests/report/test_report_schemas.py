"""The shipped schemas are valid, strict, and complete with regard to the model's enumerations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import jsonschema
import pytest

from fimscan.config import Algorithm, Policy, Reread, Watch
from fimscan.errors import UsageError
from fimscan.grouping import Level, RankReason, SetKind
from fimscan.model import (
    Action,
    Check,
    CheckSeverity,
    PackageClass,
    PackageFact,
    PackageProof,
    PackageReason,
    Reason,
    ScanStatus,
    Severity,
    Standing,
    UnreadableReason,
    Unseen,
    Verdict,
    Why,
    WitnessHole,
)
from fimscan.report.documents.checks import checks_document, verify_document
from fimscan.report.schema import schema_names, schema_text
from fimscan.scan.path_status import Place
from tests.schemas import validate, validator


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(schema_text(name))
    return loaded


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that describes an object's keys."""
    if isinstance(value, dict):
        if "properties" in value and "required" in value:
            yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)


@pytest.mark.parametrize("name", schema_names())
def test_every_schema_is_valid_complete_and_strict(name: str) -> None:
    """It has its own name, needs no other file, and rejects unknown keys."""
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert (found["title"], found["$id"]) == (f"fimscan.{name}/1", f"urn:fimscan:schema:{name}:1")
    assert "$extends" not in json.dumps(found)
    for part in objects(found):
        assert part["additionalProperties"] is False
        assert set(part["required"]) <= set(part["properties"])


def test_an_unknown_name_is_a_usage_error() -> None:
    """The file of shared definitions is not a schema either."""
    for name in ("nothing", "_definitions", "../schemas/diff", ""):
        with pytest.raises(UsageError, match="fimscan schema"):
            schema_text(name)


def test_the_schemas_have_every_enumeration_value() -> None:
    """A value that is added to an enumeration of the model is added to the schemas, too."""
    access = schema("accesses")["$defs"]["access"]["properties"]
    assert access["action"]["enum"] == list(Action)
    row = schema("diff")["$defs"]["row"]["properties"]
    assert row["severity"]["enum"] == [*get_args(Severity), None]
    rank = schema("diff")["$defs"]["rank"]["properties"]
    assert rank["level"]["enum"] == list(Level)
    assert rank["reasons"]["items"]["enum"] == list(RankReason)
    change_set = schema("diff")["$defs"]["change_set"]["properties"]
    assert change_set["kind"]["enum"] == list(SetKind)
    assert change_set["reason"]["enum"] == [*Reason, None]
    assert list(change_set["verdicts"]["properties"]) == list(Verdict)
    assert list(change_set["shipped"]["properties"]) == list(PackageClass)
    explanation = schema("explanation")["properties"]
    ruling = explanation["considered"]["items"]["properties"]
    assert ruling["why"]["enum"] == list(Why)
    assert ruling["action"]["enum"] == [*Action, None]
    holders = explanation["holders"]["anyOf"][0]["properties"]
    assert holders["doubts"]["items"]["properties"]["why"]["enum"] == list(Unseen)
    assert explanation["programs"]["items"]["properties"]["standing"]["enum"] == list(Standing)
    status = schema("status")["properties"]
    assert status["witness"]["items"]["properties"]["misses"]["items"]["enum"] == ["mapping", *WitnessHole]
    assert status["scans"]["items"]["properties"]["status"]["enum"] == list(ScanStatus)
    checks = schema("checks")["properties"]
    assert checks["severity"]["enum"] == list(CheckSeverity)
    assert checks["checks"]["items"]["properties"]["severity"]["enum"] == list(CheckSeverity)


def test_the_schema_of_packages_has_every_word() -> None:
    """Classes, proofs, reasons and facts."""
    package = schema("packages")["$defs"]["package"]["properties"]
    assert package["class"]["enum"] == list(PackageClass)
    assert package["proof"]["enum"] == [*PackageProof, None]
    assert package["reason"]["enum"] == [*PackageReason, None]
    assert package["facts"]["items"]["enum"] == list(PackageFact)
    assert package["loud"]["items"]["enum"] == [fact for fact in PackageFact if fact.is_loud]


def test_the_schema_of_a_path_knows_the_configuration() -> None:
    """It has every setting of a watch except its patterns, with every possible value."""
    path = schema("path")["properties"]
    assert path["reason"]["enum"] == [*(place for place in Place if place is not Place.MONITORED), None]
    assert path["unreadable"]["enum"] == [*UnreadableReason, None]
    watch = path["watch"]["anyOf"][0]["properties"]
    assert set(watch) == set(Watch.model_fields) - {"exclude"}
    assert watch["policy"]["enum"] == list(get_args(Policy))
    assert watch["reread"]["enum"] == list(get_args(Reread))
    assert watch["severity"]["enum"] == list(get_args(Severity))
    assert set(watch["digests"]["items"]["enum"]) == set(get_args(Algorithm))


def test_checks_of_every_severity_validate() -> None:
    """Including text that is not UTF-8."""
    checks = [Check(name="x", severity=one, detail="a\udcff", remedy="b") for one in CheckSeverity]
    assert validate(checks_document(checks)) == "checks"
    assert validate(verify_document(checks, fingerprint="")) == "verify"


def test_a_key_that_is_not_in_the_schema_is_refused() -> None:
    """A new key of a document has to be added to its schema."""
    document = checks_document([Check.of("x", "y", ok=True)])
    assert validator("checks").is_valid(document)
    assert not validator("checks").is_valid({**document, "new": 1})
