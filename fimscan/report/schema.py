"""The JSON Schema of ``fimscan diff --format json``, shipped in ``schemas``."""

from __future__ import annotations

from importlib import resources

DIFF_SCHEMA = "fimscan.diff/1"
CHANGE_SCHEMA = "fimscan.change/1"


def diff_schema() -> str:
    """The schema of ``fimscan.diff/1`` as JSON text (JSON Schema draft 2020-12)."""
    return resources.files("fimscan.report").joinpath("schemas/diff.json").read_text("utf-8")
