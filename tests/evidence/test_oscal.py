"""``17-assessment-results.json`` is OSCAL, and says what the report says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fimscan.evidence.assessment.oscal import OSCAL_VERSION
from fimscan.evidence.inputs import BundleInput
from fimscan.signing import SigningKey
from tests.evidence.conftest import make_input
from tests.evidence.test_assessment import Bundle, hostile_input, troubled

NOTHING = {"scans": (), "files": (), "changes": (), "alerts": (), "routes": (), "decisions": (), "failed_checks": ()}
INPUTS: dict[str, Callable[[], BundleInput]] = {
    "troubled": troubled,
    "hostile": hostile_input,
    "nothing": lambda: make_input(**NOTHING),
}


def results(data: BundleInput, key: SigningKey, path: Path) -> tuple[Bundle, dict[str, Any]]:
    bundle = Bundle(data, key, path / "x.zip")
    return bundle, json.loads(bundle.members["17-assessment-results.json"])["assessment-results"]


@pytest.mark.parametrize("name", INPUTS)
def test_compliance_trestle_accepts_it(tmp_path: Path, key: SigningKey, name: str) -> None:
    """The published models: unknown keys, patterns of tokens and times, and required keys."""
    models = pytest.importorskip("trestle.oscal.assessment_results")
    from trestle.oscal import OSCAL_VERSION as KNOWN

    assert KNOWN == OSCAL_VERSION
    _, document = results(INPUTS[name](), key, tmp_path)
    read = models.AssessmentResults(**document)
    assert len(read.results[0].observations) == len(document["results"][0]["observations"])
    document["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        models.AssessmentResults(**document)


@pytest.mark.parametrize("name", INPUTS)
def test_each_reference_leads_somewhere(tmp_path: Path, key: SigningKey, name: str) -> None:
    """No UUID is there twice, and each that is referred to is there; digests are those of the files."""
    bundle, document = results(INPUTS[name](), key, tmp_path)
    defined: list[str] = []
    used: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            defined.extend([value["uuid"]] if "uuid" in value else [])
            used.update(value[key] for key in ("subject-uuid", "actor-uuid") if key in value)
            used.update([value["href"][1:]] if str(value.get("href", "")).startswith("#") else [])
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(document)
    assert len(set(defined)) == len(defined)
    assert used <= set(defined)
    sums = dict(line.split("  ")[::-1] for line in bundle.members["SHA256SUMS"].decode().splitlines())
    for resource in document["back-matter"]["resources"]:
        for link in resource.get("rlinks", ()):
            assert link["href"] in sums
            assert [item["value"] for item in link.get("hashes", ())] in ([sums[link["href"]]], [])


def test_it_says_what_the_report_says(tmp_path: Path, key: SigningKey) -> None:
    """The same observations and exceptions with their rows, and no verdict on any control."""
    bundle, document = results(troubled(), key, tmp_path)
    (result,) = document["results"]
    assert "findings" not in result
    found = {
        next(item["value"] for item in observation["props"] if item["name"] == "id"): observation
        for observation in result["observations"]
    }
    assert set(found) == set(bundle.observations)
    for name, observation in bundle.observations.items():
        rows = [
            next((item["value"] for item in one["props"] if item["name"] == "row"), None)
            for one in found[name]["relevant-evidence"][1:]
        ]
        assert rows == [None if item.row is None else str(item.row) for item in observation.deviations]
    assert any(item["name"] == "does-not-verify" for item in result["props"])
