"""The quick encoder of evidence writes the bytes of the standard library's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.evidence import ascii_json as module
from fimscan.evidence.ascii_json import ascii_json

TEXTS = st.text() | st.text(st.characters(max_codepoint=127)) | st.sampled_from(["\ud800", "\udc80x", "\x7f\x00\\\"/'"])
LEAVES = st.none() | st.booleans() | st.integers() | TEXTS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner))


@given(VALUES)
def test_it_is_what_the_standard_library_writes(value: Any) -> None:
    assert ascii_json(value) == json.dumps(value, separators=(",", ":")).encode("ascii")


def test_most_values_go_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def exact(_: object) -> str:
        raise AssertionError("the slow way was taken")

    monkeypatch.setattr(module, "_exact", exact)
    assert ascii_json({"path": "/etc/a \\ \n", "inode": 2**64 - 1, "x": [None, True]}).startswith(b'{"path":')
