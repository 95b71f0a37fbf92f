"""``17-assessment-results.json``: the same observations for programs, as OSCAL assessment results.

OSCAL's findings say that a control is satisfied or not. That is the assessor's decision, so there are none: there are
observations, with the requirements that they are about.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fimscan.evidence.assessment.document import Part, Report
from fimscan.evidence.assessment.observation import Deviation, Observation
from fimscan.evidence.assessment.scope import Scope
from fimscan.report.display import moment_text, show

OSCAL_VERSION = "1.2.1"
_NS = "https://fimscan.invalid/ns/oscal"  # of our properties: a name, not an address


def oscal_results(
    scope: Scope, observations: Mapping[str, Observation], report: Report, digests: Mapping[str, str]
) -> bytes:
    """The document as JSON. ``digests`` are the SHA-256 of files by name, as far as they are known."""
    ids = _Ids(scope)
    files = sorted({item.file for item in observations.values()})
    parts = [part for page in report.pages for part in page.parts]
    results = {
        "uuid": ids("document"),
        "metadata": {
            "title": report.title,
            "last-modified": moment_text(scope.as_of_ns),
            "version": moment_text(scope.as_of_ns),
            "oscal-version": OSCAL_VERSION,
        },
        "import-ap": {"href": f"#{ids('plan')}", "remarks": "There is no assessment plan: this is evidence for one."},
        "results": [_result(scope, observations, report, parts, ids)],
        "back-matter": {"resources": [_plan(ids), *(_resource(name, digests, ids) for name in files)]},
    }
    return (json.dumps({"assessment-results": results}, indent=1) + "\n").encode("ascii")


class _Ids:
    """UUIDs (version 5) that follow from what they are of: the same export has the same ones."""

    def __init__(self, scope: Scope) -> None:
        about = f"{show(scope.host)} {scope.start_ns} {scope.end_ns} {scope.as_of_ns}"
        self._base = uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, _NS), about)

    def __call__(self, name: str) -> str:
        return str(uuid.uuid5(self._base, name))


def _result(
    scope: Scope, observations: Mapping[str, Observation], report: Report, parts: Sequence[Part], ids: _Ids
) -> dict[str, Any]:
    facts = [{"name": _token(name), "ns": _NS, "value": value} for name, value in report.facts]
    alarms = [{"name": "does-not-verify", "ns": _NS, "value": text} for text in report.alarms]
    return {
        "uuid": ids("result"),
        "title": report.title,
        "description": "Observations of change detection. Whether a requirement is met is the assessor's decision.",
        "start": moment_text(scope.start_ns),
        "end": moment_text(scope.covered_to_ns),
        "props": [*facts, *alarms],
        "local-definitions": {
            "components": [
                {
                    "uuid": ids("fimscan"),
                    "type": "software",
                    "title": "fimscan",
                    "description": f"fimscan {scope.version}, which made this",
                    "status": {"state": "operational"},
                }
            ],
            "inventory-items": [{"uuid": ids("host"), "description": f"the host {show(scope.host)}"}],
        },
        "reviewed-controls": {
            "control-selections": [
                {
                    "description": "Requirements that these observations are about.",
                    "include-controls": [{"control-id": part.anchor} for part in parts],
                }
            ]
        },
        "observations": [_observation(item, scope, parts, ids) for item in observations.values()],
    }


def _observation(item: Observation, scope: Scope, parts: Sequence[Part], ids: _Ids) -> dict[str, Any]:
    about = [part for part in parts if item.id in part.requirement.shown]
    return {
        "uuid": ids(f"observation {item.id}"),
        "title": item.title,
        "description": item.text,
        "props": [
            {"name": "id", "ns": _NS, "value": item.id},
            {"name": "exceptions", "ns": _NS, "value": str(item.count)},
            *({"name": "requirement", "ns": _NS, "value": part.anchor, "remarks": _name(part)} for part in about),
        ],
        "methods": ["TEST"],
        "types": ["control-objective"],
        "origins": [{"actors": [{"type": "tool", "actor-uuid": ids("fimscan")}]}],
        "subjects": [{"subject-uuid": ids("host"), "type": "inventory-item"}],
        "relevant-evidence": [
            {"href": f"#{ids(f'file {item.file}')}", "description": f"{item.file}: {item.text}"},
            *(_evidence(item, one, ids) for one in item.deviations),
        ],
        "collected": moment_text(scope.as_of_ns),
        "remarks": f"All exceptions: {item.where}." if item.where else "No exceptions.",
    }


def _evidence(item: Observation, one: Deviation, ids: _Ids) -> dict[str, Any]:
    return {
        "href": f"#{ids(f'file {item.file}')}",
        "description": one.text,
        "props": [
            {"name": name, "ns": _NS, "value": value}
            for name, value in (("row", "" if one.row is None else str(one.row)), ("concerns", one.subject.strip()))
            if value
        ]
        or [{"name": "concerns", "ns": _NS, "value": "the file as a whole"}],
    }


def _name(part: Part) -> str:
    return f"{part.requirement.id} {part.requirement.title}"


def _plan(ids: _Ids) -> dict[str, Any]:
    return {"uuid": ids("plan"), "description": "There is no assessment plan. The assessor has one."}


def _resource(name: str, digests: Mapping[str, str], ids: _Ids) -> dict[str, Any]:
    hashes = {"hashes": [{"algorithm": "SHA-256", "value": digests[name]}]} if name in digests else {}
    return {"uuid": ids(f"file {name}"), "title": name, "rlinks": [{"href": name, **hashes}]}


def _token(text: str) -> str:
    return text.lower().replace(" ", "-")
