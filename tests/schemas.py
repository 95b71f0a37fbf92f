"""Validate what commands print against the schemas that ship."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema

from fimscan.report.schema import schema_text

_FIRST_ERROR_CODE = 14


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The validator of a schema by its name (``diff``)."""
    return jsonschema.Draft202012Validator(json.loads(schema_text(name)))


def validate(document: dict[str, Any]) -> str:
    """Validate a document against the schema that it names; gives that name."""
    name: str = document["schema"].removeprefix("fimscan.").removesuffix("/1")
    validator(name).validate(document)
    return name


def validate_output(arguments: tuple[str, ...], text: str, code: int) -> None:
    """Validate what ``fimscan ARGUMENTS`` printed, where that is JSON."""
    if code >= _FIRST_ERROR_CODE or not text or "--out" in arguments:
        return
    if "json" in arguments:
        validate(json.loads(text))
    elif "ndjson" in arguments:
        for line in text.splitlines():
            validate(json.loads(line))
