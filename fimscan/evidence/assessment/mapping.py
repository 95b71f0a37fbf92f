"""Read ``requirements.toml``: which observations show what, for which requirement of which framework."""

from __future__ import annotations

import tomllib
from importlib import resources

from msgspec import Struct


class Requirement(Struct, frozen=True, kw_only=True):
    """What is asked, the ids of the observations that show something of it, and what is not proved."""

    framework: str
    id: str
    title: str
    asked: str
    shown: tuple[str, ...]
    not_proved: tuple[str, ...]


class Framework(Struct, frozen=True, kw_only=True):
    """A set of requirements; with ``pages``, each of them has a page of its own."""

    id: str
    title: str
    pages: bool
    requirements: tuple[Requirement, ...]


def _read() -> tuple[Framework, ...]:
    text = resources.files("fimscan.evidence.assessment").joinpath("requirements.toml").read_text("utf-8")
    table = tomllib.loads(text)
    every = [
        Requirement(**{**item, "shown": tuple(item["shown"]), "not_proved": tuple(item["not_proved"])})
        for item in table["requirement"]
    ]
    return tuple(
        Framework(**item, requirements=tuple(some for some in every if some.framework == item["id"]))
        for item in table["framework"]
    )


FRAMEWORKS = _read()
"""All of them, in the order of the file. Read at import: later, the file may be out of reach."""
