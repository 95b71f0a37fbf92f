"""Load the JSON Schemas (draft 2020-12) of all documents that fimscan prints, from ``schemas``.

Each file is one schema; ``_definitions.json`` has shared definitions. There, ``"$extends": "#/$defs/NAME"`` adds all
properties of a definition to an object. Printed schemas are complete, plain JSON Schema without ``$extends``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

from fimscan.errors import UsageError

_DEFINITIONS = "_definitions"
_SUFFIX = ".json"


def schema_names() -> list[str]:
    """The names of all schemas: ``diff`` for the documents whose ``schema`` is ``fimscan.diff/1``."""
    names = (
        file.name.removesuffix(_SUFFIX) for file in resources.files("fimscan.report").joinpath("schemas").iterdir()
    )
    return sorted(name for name in names if name != _DEFINITIONS)


def schema_text(name: str) -> str:
    """A schema as JSON text.

    Raises:
        UsageError: there is no schema of this name.
    """
    if name not in schema_names():
        raise UsageError(f"there is no schema {name!r}; 'fimscan schema' lists them")
    shared = _load(_DEFINITIONS)["$defs"]
    schema = _extended(_load(name), shared)
    definitions = {key: _extended(value, shared) for key, value in shared.items()}
    needed = set(_needed(schema, definitions))
    if needed:
        schema["$defs"] = {key: value for key, value in definitions.items() if key in needed}
    return json.dumps(schema, indent=2) + "\n"


def _load(name: str) -> dict[str, Any]:
    file = resources.files("fimscan.report").joinpath("schemas", name + _SUFFIX)
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


def _extended(value: Any, shared: dict[str, Any]) -> Any:
    """Resolve ``$extends`` in a part of a schema; its own properties come first."""
    if isinstance(value, list):
        return [_extended(item, shared) for item in value]
    if not isinstance(value, dict):
        return value
    own = {key: _extended(item, shared) for key, item in value.items() if key != "$extends"}
    if "$extends" not in value:
        return own
    base = _extended(shared[_name_of(value["$extends"])], shared)
    return {
        **base,
        **own,
        "properties": {
            **own["properties"],
            **{k: v for k, v in base["properties"].items() if k not in own["properties"]},
        },
        "required": [*own["required"], *(key for key in base["required"] if key not in own["required"])],
    }


def _needed(value: Any, definitions: dict[str, Any]) -> Iterator[str]:
    """The names of all definitions that a part of a schema refers to, directly or indirectly. None is circular."""
    if isinstance(value, dict):
        if "$ref" in value:
            name = _name_of(value["$ref"])
            yield name
            yield from _needed(definitions[name], definitions)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _needed(item, definitions)


def _name_of(reference: str) -> str:
    return reference.removeprefix("#/$defs/")
